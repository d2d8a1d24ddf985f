"""Google's cloud storage by its XML API: all promises of a store, and a part of the chain as in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import google_store
import pytest
from conftest import MakeProject, build_all, deliver_country, digests
from google_store import BUCKET, GoogleStore
from store_promises import PROMISES, takes_large_files

from groundplan.core.store import Store, open_store
from groundplan.project import open_project
from groundplan.synthetic.country import Country


@pytest.fixture(scope="module", autouse=True)
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleStore]:
    folder = tmp_path_factory.mktemp("google")
    with google_store.serve(folder) as (state, environment), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield state


def store_at(place: str) -> Store:
    return open_store(f"gs://{BUCKET}/{place}", retries=2, retry_seconds=10)


@pytest.mark.parametrize("keeps", PROMISES, ids=lambda one: one.__name__)
def test_what_a_store_promises(keeps: Callable[[Store], None]) -> None:
    keeps(store_at(keeps.__name__))


def test_large_files_go_in_parts(google: GoogleStore, tmp_path: Path) -> None:
    takes_large_files(store_at("large"), tmp_path)
    assert any("uploads" in path for _, path in google.seen)
    assert not google.uploads, "nothing is left of a finished upload"


def test_a_listing_of_many_pages_is_whole(google: GoogleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at("pages")
    for number in range(7):
        store.put(f"a/{number}/x", b"x")
    monkeypatch.setattr(google, "page", 2)
    assert [item.key for item in store.list("a")] == [f"a/{number}/x" for number in range(7)]
    assert store.below("a")[0] == [str(number) for number in range(7)]


@pytest.mark.slow
def test_the_chain_makes_the_bytes_that_it_makes_in_a_folder(
    make_project: MakeProject, country: Country, built_home: Path, tmp_path: Path
) -> None:
    """Up to what a training reads; from there on other datasets ask the store for nothing new."""
    project = make_project(tmp_path, store=f"gs://{BUCKET}/chain")
    deliver_country(project, country)
    made = build_all(project, last="training_windows")
    rooms = ("sheets", "aerial_tiles", "register_buildings", "labels", "training_windows")
    assert digests(project, *rooms) == digests(open_project(built_home), *rooms)
    assert made
    assert not any(build_all(project, last="training_windows").values()), "the second time nothing is made"

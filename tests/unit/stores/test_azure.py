"""Azure's blob storage, as Azurite speaks it: all promises of a store, and the chain with the bytes of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import azurite
import pytest
from conftest import MakeProject, build_all, deliver_country, digests
from store_promises import PROMISES, takes_large_files

from groundplan.core.store import Store, open_store
from groundplan.project import open_project
from groundplan.synthetic.country import Country

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[str]:
    with azurite.serve() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in azurite.environment(url).items():
            patch.setenv(name, value)
        yield url


def store_at(place: str) -> Store:
    return open_store(f"az://{azurite.CONTAINER}/{place}", retries=2, retry_seconds=10)


@pytest.mark.parametrize("keeps", PROMISES, ids=lambda one: one.__name__)
def test_what_a_store_promises(keeps: Callable[[Store], None]) -> None:
    keeps(store_at(keeps.__name__))


def test_large_files_go_in_parts(tmp_path: Path) -> None:
    takes_large_files(store_at("large"), tmp_path)


def test_the_chain_makes_the_bytes_that_it_makes_in_a_folder(
    make_project: MakeProject, country: Country, built_home: Path, tmp_path: Path
) -> None:
    project = make_project(tmp_path, store=f"az://{azurite.CONTAINER}/chain")
    deliver_country(project, country)
    made = build_all(project)
    assert digests(project) == digests(open_project(built_home))
    assert made
    assert not any(build_all(project).values()), "the second time nothing is made"

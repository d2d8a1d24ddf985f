"""S3 by another hand: versitygw over a folder keeps every promise of a store, and the chain makes the same bytes.

It is built from its Go module once per machine (tests/kubernetes/bring), for the tests on a cluster too. Without it and
without Go these tests are left out, unless NOTHING_LEFT_OUT says that none may be, as CI does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import servers
from conftest import MakeProject, build_all, deliver_country, digests
from store_promises import PROMISES, takes_large_files

from groundplan.core.capabilities import probe
from groundplan.core.store import Store, open_store
from groundplan.project import open_project
from groundplan.synthetic.country import Country

pytestmark = pytest.mark.slow
BUILT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "groundplan")


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    can = shutil.which("go") or list(BUILT.glob("versitygw-*"))
    if not can and not os.environ.get("NOTHING_LEFT_OUT"):
        pytest.skip("versitygw is not built, and there is no Go to build it with")
    with servers.serve_s3(tmp_path_factory.mktemp("versitygw") / "s3") as s3, pytest.MonkeyPatch.context() as patch:
        for name, value in s3.env.items():
            patch.setenv(name, value)
        patch.delenv("AWS_ALLOW_HTTP")  # the store finds that out itself
        yield


def store_at(place: str) -> Store:
    return open_store(f"s3://{servers.BUCKET}/{place}", retries=2, retry_seconds=10)


@pytest.mark.parametrize("keeps", PROMISES, ids=lambda one: one.__name__)
def test_what_a_store_promises(keeps: Callable[[Store], None]) -> None:
    keeps(store_at(keeps.__name__))


def test_large_files_go_in_parts(tmp_path: Path) -> None:
    takes_large_files(store_at("large"), tmp_path)


def test_it_lacks_nothing() -> None:
    assert probe(store_at("probe")).lacking == ()


def test_the_chain_makes_the_bytes_that_it_makes_in_a_folder(
    make_project: MakeProject, country: Country, built_home: Path, tmp_path: Path
) -> None:
    project = make_project(tmp_path, store=f"s3://{servers.BUCKET}/chain")
    deliver_country(project, country)
    made = build_all(project, last="labels")
    rooms = ("sheets", "aerial_tiles", "register_buildings", "labels")
    assert digests(project, *rooms) == digests(open_project(built_home), *rooms)
    assert made

"""A project that commit 3205019 made, before the modules moved: the code of today finds nothing to do in it.

The project is data/home-3205019.tar.xz; data/README.md says what it holds. Two things follow from unpacking it. Digests
of delivered files are remembered by size and time, so they are taken anew. And a collection's report names the store
that it is of, so elsewhere it is written once more.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

import dagster as dg
import pytest
from commands import COMMAND, PATIENCE, ROOT

from groundplan.project import open_project
from orchestration.cli.build import sync
from orchestration.definitions import build_definitions
from resources.project import ProjectResource

pytestmark = pytest.mark.slow  # three commands in processes of their own

HOME = Path(__file__).parents[1] / "data/home-3205019.tar.xz"
PLACE = "/tmp/groundplan-3205019/home"  # where it was made
SAVED = "digests/"  # saves time; what is not remembered is read again
REPORT = "manifests/collection_report/fruits.json"
SHOWN = "previews/collections/fruits/report.html"
FOOTPRINTS = dg.AssetKey("building_footprints")
LINE = "manifests/building_footprints/2024/zuiderhout.json"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with tarfile.open(HOME) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "home"


def groundplan(home: Path, *arguments: str) -> str:
    """What the command says; with the settings of the home, and none from outside."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("GROUNDPLAN_", "DAGSTER_"))}
    done = subprocess.run(
        [*COMMAND, *arguments, "--home", str(home)],
        cwd=home,
        env=clean | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def stored(home: Path) -> dict[str, str]:
    """Key to SHA-256 of every object of the store, manifests and pictures too."""
    store = home / "store"
    files = {path.relative_to(store).as_posix(): path for path in store.rglob("*") if path.is_file()}
    sums = {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in files.items()}
    return {key: found for key, found in sums.items() if not key.startswith(SAVED)}


def test_imagery_of_an_old_home_is_current_and_no_byte_of_it_changes(home: Path) -> None:
    before = stored(home)
    assert len(before) > 180
    assert groundplan(home, "build").strip() == "Nothing to do: all 28 partitions are current."
    rows = json.loads(groundplan(home, "status", "--json"))
    assert len(rows) == 28
    assert {(row["state"], row["note"]) for row in rows} == {("current", "")}
    assert stored(home) == before


def test_a_collection_of_an_old_home_is_current_but_for_where_its_report_lies(home: Path) -> None:
    before, page = stored(home), (home / "store" / SHOWN).read_text("utf-8")
    rows = json.loads(groundplan(home, "build", "--collection", "fruits", "--json"))["done"]
    assert [(row["asset"], row["outcome"]) for row in rows if row["outcome"] != "current"] == [
        ("collection_report", "made")
    ]
    assert sum(len(row["partitions"]) for row in rows) == 3 * 3 + 2
    after = stored(home)
    assert {key for key in before if after.get(key) != before[key]} == {REPORT, SHOWN}
    assert len(after) == len(before) + 1, "the report of the other place stays"
    now = (home / "store" / SHOWN).read_text("utf-8")
    assert str(home) not in now, "a page that others see names a folder of this machine"
    now = now.replace("./", f"{PLACE}/store/").replace(" A dot is the folder of the store.", "")
    assert without_pictures(now) == without_pictures(page)


def without_pictures(page: str) -> str:
    return re.sub(r'data:image/[^"]+', "", page)  # their bytes are the picture library's


def test_dagster_knows_what_an_old_database_remembers_and_goes_on_with_it(home: Path) -> None:
    before = stored(home)
    (home / "store" / LINE).unlink()
    definitions = build_definitions({"project": ProjectResource(home=str(home))})
    assert sync(open_project(home))[0] == 2, "its years were a window of Dagster's; now they are the project's own"
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        kept = {key: instance.get_materialized_partitions(key) for key in instance.all_asset_keys()}
        for key, names in kept.items():
            cut = definitions.resolve_asset_graph().get(key).partitions_def
            assert cut is not None, key
            assert names <= set(cut.get_partition_keys(dynamic_partitions_store=instance)), key
        assert sum(map(len, kept.values())) == 28 + 11
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[FOOTPRINTS],
            partition_key=dg.MultiPartitionKey({"region": "zuiderhout", "year": "2024"}),
        )
        facts = result.asset_materializations_for_node("building_footprints")[0].metadata
        assert facts["blocks made"].value == 0, "the objects are there: only the manifest is written"
        assert instance.get_materialized_partitions(FOOTPRINTS) == kept[FOOTPRINTS]
    changed = {key for key, found in stored(home).items() if before.get(key) != found}
    assert {key for key in changed if not key.startswith("verdicts/")} == {LINE}

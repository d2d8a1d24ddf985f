"""Store and manifests agree or it is said; garbage goes only when asked; a new year is complete or it is said why."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.operations.change_readiness import change_readiness
from assets.operations.store_audit import store_audit
from groundplan.core.manifest import manifest_key, need_manifest
from groundplan.core.partition import Partition
from groundplan.imagery.landing import landed_files
from groundplan.operations import change_readiness as readiness
from groundplan.operations import store_audit as audit
from groundplan.operations.change_readiness import Year, compare, year_before
from groundplan.project import Project, open_project
from resources.project import ProjectResource

NORTH, SOUTH = Partition(2024, "noorderveld"), Partition(2024, "zuiderhout")


@pytest.fixture
def project(built_home: Path, tmp_path: Path) -> Project:
    shutil.copytree(built_home, tmp_path / "home")
    return open_project(tmp_path / "home")


def some_object(project: Project, dataset: str = "predictions") -> str:
    return next(iter(need_manifest(project.store, dataset, NORTH).objects.values())).key


def test_a_made_country_agrees(project: Project) -> None:
    found = audit.check(project)
    assert (found.wrong, found.findings) == (0, ())
    records = [item for item in project.store.list("registers") if item.key.endswith(".json")]
    assert found.manifests == len(project.store.list("manifests")) + len(records)
    objects = sum(len(list_of(project, item.key)) for item in project.store.list("manifests"))
    assert found.objects == objects + 2 * len(records), "a register has two parts"


def list_of(project: Project, key: str) -> dict[str, Any]:
    import json

    objects: dict[str, Any] = json.loads(project.store.get(key))["objects"]
    return objects


@pytest.mark.fault
def test_lost_shortened_and_unreadable_are_named_with_the_remedy(project: Project) -> None:
    lost, short = some_object(project), some_object(project, "aerial_tiles")
    project.store.delete([lost])
    project.store.put(short, project.store.get(short)[:-7])
    broken = manifest_key("sheets", SOUTH)
    project.store.put(broken, b"{")
    found = audit.check(project)
    assert found.wrong == 3
    told = {finding.key: (finding.reason, finding.remedy) for finding in found.findings}
    assert told[lost] == (
        "the manifest names it and the store does not hold it",
        "Run `groundplan build --region 'noorderveld' --year 2024`, or materialize predictions of noorderveld 2024: "
        "only it is made again",
    )
    assert "bytes and the manifest says" in told[short][0]
    assert "materialize aerial_tiles of noorderveld 2024" in told[short][1]
    assert "cannot be read" in told[broken][0]


@pytest.mark.fault
def test_the_remedy_mends_it(project: Project) -> None:
    from groundplan.pipeline import run_asset

    short = some_object(project, "aerial_tiles")
    whole = project.store.get(short)
    project.store.put(short, whole[:-7])
    run_asset(project, "aerial_tiles", NORTH)
    assert audit.check(project).wrong == 0
    assert project.store.get(short) == whole


def test_a_partition_that_is_remade_meanwhile_is_not_wrong(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its objects are newer than the listing: they are looked at before anything is said of them."""
    key, real = some_object(project), type(project.store).list
    monkeypatch.setattr(type(project.store), "list", lambda s, p="": [item for item in real(s, p) if item.key != key])
    assert audit.check(project).wrong == 0


def judged(project: Project) -> tuple[dg.AssetCheckEvaluation, dict[str, Any]]:
    result = dg.materialize([store_audit], resources={"project": ProjectResource(home=str(project.home))})
    event = result.asset_materializations_for_node("store_audit")[0]
    return result.get_asset_check_evaluations()[0], {name: value.value for name, value in event.metadata.items()}


def test_the_weekly_maintenance_fails_its_check_and_says_what(project: Project) -> None:
    check, facts = judged(project)
    assert check.passed
    assert facts["wrong"] == 0
    lost = some_object(project)
    project.store.delete([lost])
    check, facts = judged(project)
    assert (check.passed, facts["wrong"]) == (False, 1)
    assert lost in str(check.metadata["findings"].value)
    assert "materialize predictions" in str(check.metadata["findings"].value)


def test_garbage_goes_only_when_asked_and_old_and_all_is_well(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, young = "predictions/2024/noorderveld/old-0123456789abcdef.tif", "labels/2024/noorderveld/young-01.tif"
    for key in (old, young):
        project.store.put(key, b"nobody names it")
    past = time.time() - 30 * 86400
    os.utime(project.home / "store" / old, (past, past))
    facts = judged(project)[1]
    assert (facts["objects that nobody names"], facts["removed"]) == (1, False)
    assert project.store.exists(old)
    monkeypatch.setenv("GROUNDPLAN_NIGHTLY__COLLECT_GARBAGE", "true")
    lost = some_object(project)
    kept = project.store.get(lost)
    project.store.delete([lost])
    assert judged(project)[1]["removed"] is False, "what is wrong comes first"
    project.store.put(lost, kept)
    assert judged(project)[1]["removed"] is True
    assert (project.store.exists(old), project.store.exists(young)) == (False, True)


# --- a new year -------------------------------------------------------------------------------------------------------

shares = st.dictionaries(st.sampled_from(["x0y0", "x0y1", "x1y0", "x1y1"]), st.floats(0.05, 1), min_size=1)


@given(shares, shares, st.integers(0, 2))
def test_a_year_is_ready_exactly_when_it_covers_the_last(
    then: dict[str, float], now: dict[str, float], aside: int
) -> None:
    standing = compare(NORTH, 2023, Year(now, aside), Year(then))
    covered = all(now.get(block, 0) >= share * readiness.COVERED for block, share in then.items())
    assert standing.ready is (covered and not aside)
    assert standing.why


def test_why_a_year_is_not_ready() -> None:
    whole = Year({"x0y0": 1.0, "x1y0": 1.0})
    assert "2 of 2 blocks lack imagery: x0y0, x1y0" in compare(NORTH, 2023, Year({}), whole).why
    assert "1 sheet is set aside" in compare(NORTH, 2023, Year(whole.blocks, 1), whole).why
    assert "not made" in compare(NORTH, 2023, None, whole).why
    assert "no earlier year" in compare(NORTH, None, whole, None).why
    edge = Year({"x0y0": 1.0, "x1y0": 0.01})
    assert compare(NORTH, 2023, Year({"x0y0": 0.99}), edge).ready, "a flight's edge is not ground that was lost"


def test_the_year_before_is_the_last_that_was_flown() -> None:
    flown = [Partition(2019, "delft"), Partition(2021, "delft"), Partition(2023, "leiden"), Partition(2024, "delft")]
    assert year_before(Partition(2024, "delft"), flown) == 2021
    assert year_before(Partition(2019, "delft"), flown) is None


def test_change_readiness_says_where_each_region_stands(project: Project) -> None:
    """A second year with the same sheets, so nothing is missing; only one region's tiles are made."""
    from groundplan.pipeline import run_asset

    later = Partition(2025, NORTH.region)
    for item in [*landed_files(project, NORTH), *landed_files(project, SOUTH)]:
        project.store.put(item.key.replace("/2024/", "/2025/"), project.store.get(item.key))
    resources = {"project": ProjectResource(home=str(project.home))}

    def told() -> dict[str, Any]:
        result = dg.materialize([change_readiness], resources=resources)
        event = result.asset_materializations_for_node("change_readiness")[0]
        return {name: value.value for name, value in event.metadata.items()}

    before = told()
    assert (before["regions"], before["ready"]) == (2, 0)
    line = "| noorderveld | 2025 | 2024 | no | aerial_tiles of noorderveld 2025 are not made |"
    assert line in before["not ready first"]
    for region in (NORTH.region, SOUTH.region):  # a block at the border shows what a neighbour's sheets show
        run_asset(project, "sheets", Partition(2025, region))
    run_asset(project, "aerial_tiles", later)
    after = told()
    assert after["ready"] == 1
    assert "| zuiderhout | 2025 | 2024 | no | aerial_tiles of zuiderhout" in after["not ready first"]

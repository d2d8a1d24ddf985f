"""What is missing or has failed is said, also when the run that failed could not say so itself."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from assets.operations.country_status import country_status
from assets.partitions import add_partitions, key_of
from groundplan.core.manifest import failure_key, manifest_key
from groundplan.core.partition import Partition
from groundplan.operations import status
from groundplan.project import Project, open_project
from orchestration.definitions import ASSETS
from resources.database import DatabaseResource
from resources.project import ProjectResource

NORTH, SOUTH = Partition(2024, "noorderveld"), Partition(2024, "zuiderhout")


@pytest.fixture
def project(built_home: Path, tmp_path: Path) -> Project:
    shutil.copytree(built_home, tmp_path / "home")
    return open_project(tmp_path / "home")


def judged(project: Project, instance: dg.DagsterInstance) -> tuple[dg.AssetCheckEvaluation, dict[str, object]]:
    resources = {"project": ProjectResource(home=str(project.home)), "database": DatabaseResource()}
    result = dg.materialize([country_status], instance=instance, resources=resources)
    event = result.asset_materializations_for_node("country_status")[0]
    return result.get_asset_check_evaluations()[0], {name: value.value for name, value in event.metadata.items()}


def test_a_country_that_is_all_made_passes(project: Project) -> None:
    check, facts = judged(project, dg.DagsterInstance.ephemeral())
    assert check.passed
    assert (facts["missing"], facts["failed"]) == (0, 0)
    assert facts["made"] == len(status.take(project)) == 6 * 2 + 2
    assert project.store.exists("previews/country_status.png")


def test_missing_and_failed_partitions_are_named(project: Project) -> None:
    project.store.delete([manifest_key("predictions", NORTH)])
    check, facts = judged(project, dg.DagsterInstance.ephemeral())
    assert (check.passed, check.severity, facts["missing"]) == (False, dg.AssetCheckSeverity.WARN, 1)
    project.store.put(failure_key("labels", SOUTH), json.dumps({"failed": {"x00y00": "bad"}}).encode())
    check, facts = judged(project, dg.DagsterInstance.ephemeral())
    assert (check.passed, check.severity, facts["failed"]) == (False, dg.AssetCheckSeverity.ERROR, 1)
    table = str(check.metadata["partitions"].value)
    assert "| labels | zuiderhout | 2024 | failed |" in table
    assert "| predictions | noorderveld | 2024 | missing |" in table
    assert table.index("failed") < table.index("missing |")


@pytest.mark.fault
def test_a_run_whose_pod_was_lost_shows_until_it_is_made(project: Project) -> None:
    """Nothing in the store tells of it: an older manifest still lies there."""
    instance = dg.DagsterInstance.ephemeral()
    add_partitions(instance, [NORTH])
    key = key_of(NORTH)
    job = (
        dg.Definitions(
            assets=ASSETS,
            resources={"project": ProjectResource(home=str(project.home)), "database": DatabaseResource()},
        )
        .resolve_implicit_global_asset_job_def()
        .get_subset(asset_selection={dg.AssetKey("labels")})
    )
    partition = {"": str(key), "/region": NORTH.region, "/year": "2024"}
    tags = {f"dagster/partition{name}": value for name, value in partition.items()}
    run = instance.create_run_for_job(job, tags=tags, asset_selection=frozenset({dg.AssetKey("labels")}))
    instance.report_run_failed(run, "Detected run worker status UNKNOWN. Marking run as failed.")
    check, facts = judged(project, instance)
    assert (check.passed, check.severity, facts["failed"]) == (False, dg.AssetCheckSeverity.ERROR, 1)
    assert "| labels | noorderveld | 2024 | run failed |" in str(check.metadata["partitions"].value)
    again = dg.materialize(
        ASSETS,
        selection=["labels"],
        partition_key=key,
        instance=instance,
        resources={"project": ProjectResource(home=str(project.home)), "database": DatabaseResource()},
    )
    assert again.success
    assert judged(project, instance)[0].passed


def test_the_picture_shows_a_region_per_line_and_a_year_per_column() -> None:
    places = [Partition(year, f"r{number}") for number in range(3) for year in (2022, 2023)]
    entries = [status.Entry(name, place, status.MADE) for place in places for name in ("sheets", "labels")]
    entries[0] = status.Entry("sheets", places[0], status.FAILED)
    entries[5] = status.Entry("labels", places[2], status.MISSING)
    pixels = np.asarray(Image.open(io.BytesIO(status.picture(entries))).convert("RGB")).reshape(-1, 3)
    colors, counts = np.unique(pixels, axis=0, return_counts=True)
    large = {tuple(color): int(count) for color, count in zip(colors.tolist(), counts, strict=True) if count > 500}
    cell = min(count for color, count in large.items() if color != (255, 255, 255))
    assert large[200, 60, 50] == cell
    assert large[70, 150, 80] == 4 * cell
    assert large[138, 178, 142] == cell

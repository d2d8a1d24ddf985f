"""A region's report: figures of stored blocks, the baseline of a model, and an alarm for a person."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from conftest import digests

from assets.operations.drift_report import drift_report, verdict
from assets.partitions import key_of
from groundplan.core.partition import Partition
from groundplan.database.connect import open_database
from groundplan.database.tables import drift as drift_table
from groundplan.monitoring import baseline as known
from groundplan.monitoring import report
from groundplan.monitoring.drift import unit_of
from groundplan.monitoring.figures import FIGURES
from groundplan.operations.drift_alarms import notices
from groundplan.project import Project, open_project
from groundplan.training import models
from resources.database import DatabaseResource
from resources.project import ProjectResource

NOW = datetime(2026, 11, 27, 3, tzinfo=UTC)
HERE = Partition(2024, "noorderveld")


@pytest.fixture(scope="module")
def project(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    home = tmp_path_factory.mktemp("drift") / "home"
    shutil.copytree(built_home, home)
    return open_project(home)


def test_figures_of_blocks_change_nothing_and_are_made_once(project: Project) -> None:
    before = digests(project)
    figures = report.unit(project, HERE)
    assert {"brightness_1", "sharpness", "building_share", "per_hectare"} <= set(figures.values)
    made = digests(project, report.DATASET)
    assert made
    report.unit(project, HERE)
    assert digests(project, report.DATASET) == made
    assert digests(project) == before


def test_without_a_baseline_the_report_says_which_command_makes_it(project: Project) -> None:
    found = report.look(project, HERE, NOW)
    assert found.out is None
    assert "groundplan drift --baseline" in found.why


def test_a_baseline_is_of_one_model_and_what_is_unlike_it_is_out(project: Project) -> None:
    sha256 = models.model_for(project, 2024).facts["sha256"]
    report.make_baseline(project, 2024, [HERE, Partition(2024, "zuiderhout")])
    kept = known.read_baseline(project.store, sha256)
    assert set(kept.why.values()) == {known.TRAINING}
    # eight more regions, the same but for a little; then this one, darker than all of them
    blocks = list(report.figures_of(project, HERE).values())
    near = [
        unit_of(f"r{n}", [{**b, "brightness_1": b["brightness_1"] + 0.3 + 0.003 * n} for b in blocks]) for n in range(8)
    ]
    known.write_baseline(
        project.store,
        known.Baseline(model=sha256, units={u.name: u for u in near}, why={u.name: known.ACCEPTED for u in near}),
    )
    found = report.look(project, HERE, NOW)
    assert found.out
    assert found.unusual[0].figure == "brightness_1"
    assert "light" in found.cause
    assert 1 <= len(found.blocks) <= 3
    assert report.thumbnails(project, found).height == 200
    assert report.reports(project) == [found]
    (notice,) = notices(report.reports(project), NOW, 0.1)
    assert "noorderveld" in notice.where
    assert "brightness" in notice.why
    # a person looked, and it is how this region looks
    report.accept(project, HERE)
    assert report.look(project, HERE, NOW).compared == 8  # never compared with itself


def test_a_unit_keeps_few_numbers() -> None:
    found = unit_of("x", [{name: float(n) for name in FIGURES} for n in range(1000)])
    assert {len(values) for values in found.values.values()} == {33}
    assert found.values["dark"].tolist() == sorted(found.values["dark"])


def test_the_asset_shows_figures_and_pictures_and_warns(project: Project) -> None:
    blocks = list(report.figures_of(project, HERE).values())
    sha256 = models.model_for(project, 2024).facts["sha256"]
    near = [unit_of(f"r{n}", [{**b, "brightness_1": 0.9 + 0.001 * n} for b in blocks]) for n in range(8)]
    units = {unit.name: unit for unit in near}
    known.write_baseline(project.store, known.Baseline(model=sha256, units=units, why=dict.fromkeys(units, "accepted")))
    settings = (project.home / "groundplan.toml").read_text()
    url = f"sqlite:///{project.home / 'results.sqlite'}"
    (project.home / "groundplan.toml").write_text(f'{settings}\n[database]\nurl = "{url}"\n')
    resources = {"project": ProjectResource(home=str(project.home)), "database": DatabaseResource()}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("regions", [HERE.region])
        instance.add_dynamic_partitions("years", ["2024"])
        made = dg.materialize([drift_report], partition_key=key_of(HERE), instance=instance, resources=resources)
        event = made.asset_materializations_for_node("drift_report")[0]
        (check,) = made.get_asset_check_evaluations()
    assert {"picture", "likely cause", "unlike"} <= set(event.metadata)
    assert "brightness_1" in str(event.metadata["unlike"].value)
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert verdict(report.reports(project)[0]).description.startswith("brightness")
    with open_database(open_project(project.home)).connect() as connection:
        rows = {row.figure: row for row in connection.execute(sa.select(drift_table))}
    assert {row.unit for row in rows.values()} == {str(HERE)}
    assert rows["brightness_1"].verdict == "out"
    assert rows["brightness_1"].value < 0.8 < rows["brightness_1"].reference[0]
    assert rows["sharpness"].verdict == "like"
    assert report.reports(project)[0].figures, "the store has what the table has"


def test_the_sensor_tells_once_of_what_is_new(project: Project) -> None:
    from orchestration.sensors.alerts import drift

    found = report.look(project, HERE, NOW)
    assert found.out
    with dg.DagsterInstance.ephemeral() as instance:
        told, position = drift(project, instance, None, NOW.timestamp() + 60)
        assert [notice.what for notice in told] == ["Imagery or predictions have drifted"]
        assert drift(project, instance, position, NOW.timestamp() + 120) == ([], position)

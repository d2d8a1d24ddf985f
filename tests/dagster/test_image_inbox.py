"""What piles up of single images is seen in Dagster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from arriving import accept, make_home, opened, picture

from assets.operations.image_inbox import image_inbox
from groundplan.database.tables import message
from groundplan.project import Project
from orchestration.sensors.piling import image_inbox_sensor
from resources.brokers.aside import set_aside
from resources.database import DatabaseResource
from resources.project import ProjectResource


def resources_of(project: Project) -> dict[str, Any]:
    return {"project": ProjectResource(home=str(project.home)), "database": DatabaseResource()}


def made(project: Project) -> tuple[dict[str, Any], bool]:
    with dg.instance_for_test() as instance:
        result = dg.materialize([image_inbox], instance=instance, resources=resources_of(project))
        event = result.asset_materializations_for_node("image_inbox")[0]
        (check,) = result.get_asset_check_evaluations()
    return {name: value.value for name, value in event.metadata.items()}, check.passed


def looked(project: Project, cursor: str | None) -> dg.SensorResult:
    context = dg.build_sensor_context(cursor=cursor, resources=resources_of(project))
    found = image_inbox_sensor(context)
    assert isinstance(found, dg.SensorResult)
    return found


def test_an_inbox_that_piles_up_is_seen_and_told_once(tmp_path: Path) -> None:
    project = make_home(tmp_path / "home")
    engine, broker = opened(project)
    quiet = looked(project, None)
    assert not quiet.run_requests
    accept(project, broker, map(picture, range(3)))
    with engine.begin() as connection:
        long_ago = datetime.now(UTC) - timedelta(hours=2)
        connection.execute(message.update().where(message.c.seq == 1).values(arrived=long_ago))
    metadata, passed = made(project)
    assert not passed
    assert metadata["waiting"] == 3
    assert 7190 < metadata["oldest [s]"] < 8000
    first = looked(project, None)
    assert first.run_requests is not None
    assert [run.tags["groundplan/why"] for run in first.run_requests] == ["messages wait too long"]
    assert not looked(project, first.cursor).run_requests, "told once"
    (held,) = broker.receive(1, 60.0)
    with engine.begin() as connection:
        set_aside(connection, held, "it is no image")
    told = looked(project, first.cursor)
    assert told.run_requests is not None
    assert [run.tags["groundplan/why"] for run in told.run_requests] == ["1 set aside"]
    metadata, passed = made(project)
    assert passed
    assert (metadata["set aside"], metadata["newest reason"]) == (1, "it is no image")


def test_a_project_to_which_nothing_ever_came_gets_no_database(tmp_path: Path) -> None:
    project = make_home(tmp_path / "home")
    (project.home / "database.sqlite").unlink()
    for file in project.home.glob("database.sqlite-*"):
        file.unlink()
    assert not looked(project, None).run_requests
    assert made(project)[1]
    assert not (project.home / "database.sqlite").exists()

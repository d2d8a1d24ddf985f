"""Drift of single images by camera and day: from rows of analyses to a verdict, a row and a notice."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import sqlalchemy as sa
from arriving import accept, make_home, opened, picture, work
from conftest import new_project
from drifting import INJECTIONS, pictures
from sqlalchemy.engine import Engine
from typer.testing import CliRunner

from groundplan.database import image_drift
from groundplan.database.connect import open_database
from groundplan.database.tables import analysis, drift, image
from groundplan.monitoring.figures import of_picture
from groundplan.operations.drift_alarms import notices
from groundplan.project import Project
from orchestration.cli.main import app
from resources.database import DatabaseResource
from resources.project import ProjectResource
from serving.work.sparing import AT_ONCE, EVERY, MOST_CAMERAS, Sparing

FIRST = date(2026, 11, 1)
DAYS = 10  # of the baseline
EACH = 6  # images of a camera's day


def arrived(engine: Engine, camera: str, number: int, day: date, injection: str = "") -> None:
    """A camera's images of a day, as a worker's rows of them. number: of their places, and of the day's light."""
    at = datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=9)
    seen = pictures(number, EACH, INJECTIONS[injection] if injection else None)
    images, said = [], []
    for n, pixels in enumerate(seen):
        identity = f"{camera} {day} {n}"
        images.append({"id": identity, "arrived": at, "camera": camera or None, "state": "analysed"})
        figures = of_picture(pixels.transpose(1, 2, 0)) | {"entropy": 0.1}
        said.append(
            {
                "id": identity,
                "image": identity,
                "model": "footprints",
                "version": "1",
                "made": at,
                "kind": "footprints",
                "figures": figures,
            }
        )
    with engine.begin() as connection:
        connection.execute(image.insert(), images)
        connection.execute(analysis.insert(), said)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Engine]:
    """A project whose camera 'roof' had DAYS good days, which a person accepted."""
    project = new_project(tmp_path_factory.mktemp("images") / "home")
    engine = open_database(project)
    for number in range(DAYS):
        arrived(engine, "roof", number, FIRST + timedelta(days=number))
    assert image_drift.make_baseline(project, engine, FIRST + timedelta(days=DAYS)) == DAYS
    return project, engine


def looked(watched: tuple[Project, Engine], day: date) -> dict[str, image_drift.CameraReport]:
    now = datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC)
    return {one.camera: one for one in image_drift.look(*watched, day, now)}


def test_a_cameras_bad_day_is_out_and_another_cameras_good_one_is_not(watched: tuple[Project, Engine]) -> None:
    project, engine = watched
    day = date(2026, 11, 20)
    arrived(engine, "roof", 40, day, "gamma 1.6")
    arrived(engine, "", 41, day)
    found = looked(watched, day)
    assert found["roof"].out
    assert "light" in found["roof"].cause
    assert found["roof"].name == "roof 2026-11-20"
    assert found[""].out is False
    assert found[""].compared == DAYS, "one without a past is compared with all cameras"
    with engine.connect() as connection:
        rows = connection.execute(sa.select(drift).where(drift.c.unit == "roof 2026-11-20 footprints")).all()
    told = {row.figure: row.verdict for row in rows}
    assert told["brightness_1"] == "out"
    assert told["entropy"] == "like"
    (notice,) = notices(image_drift.reports(project), datetime(2026, 11, 21, 1, tzinfo=UTC), 0.1)
    assert "roof 2026-11-20" in notice.where
    assert "--images --camera 'roof' --day 2026-11-20" in notice.remedy


@pytest.mark.parametrize("injection", ["blur of 2 pixels", "JPEG of quality 40"])
def test_an_injection_is_seen_and_accepted(watched: tuple[Project, Engine], injection: str) -> None:
    day = date(2026, 11, 21) + timedelta(days=len(injection))
    arrived(watched[1], "roof", 50, day, injection)
    assert looked(watched, day)["roof"].out
    assert image_drift.accept(*watched, day, "none of that name") == 0
    assert image_drift.accept(*watched, day, "roof") == 1


def test_clean_days_are_left_alone(watched: tuple[Project, Engine]) -> None:
    for number in range(4):
        day = date(2027, 1, 1) + timedelta(days=number)
        arrived(watched[1], "roof", 60 + number, day)
        assert looked(watched, day)["roof"].out is False


def test_a_few_images_and_a_model_without_a_baseline_say_nothing(watched: tuple[Project, Engine]) -> None:
    engine, day = watched[1], date(2027, 2, 1)
    arrived(engine, "roof", 70, day)
    with engine.begin() as connection:
        connection.execute(sa.update(analysis).where(analysis.c.id.like(f"%{day}%")).values(version="2"))
    found = looked(watched, day)["roof"]
    assert found.out is None
    assert "groundplan drift --images --baseline" in found.why
    assert found.figures[0].out is None


def test_the_asset_warns_of_yesterday(watched: tuple[Project, Engine]) -> None:
    from assets.operations.image_drift import image_drift as asset

    project, engine = watched
    arrived(engine, "roof", 40, datetime.now(UTC).date() - timedelta(days=1), "gamma 1.6")
    resources: dict[str, Any] = {"project": ProjectResource(home=str(project.home)), "database": DatabaseResource()}
    made = dg.materialize([asset], instance=dg.DagsterInstance.ephemeral(), resources=resources)
    (check,) = made.get_asset_check_evaluations()
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert "light" in str(check.description)


def test_one_constantly_bad_camera_among_many_is_told() -> None:
    def report(camera: str, day: int, out: bool) -> image_drift.CameraReport:
        texts = {"version": "1", "why": "", "cause": "other light", "model": "m"}
        at = datetime(2026, 11, day, 1, tzinfo=UTC).isoformat()
        return image_drift.CameraReport(
            camera=camera,
            day=f"2026-11-{day:02d}",
            at=at,
            images=9,
            out=out,
            compared=9,
            unusual=(),
            figures=(),
            **texts,
        )

    cameras = [f"c{n}" for n in range(20)]
    twice = [report(camera, day, camera == "c3") for day in (10, 11) for camera in cameras]
    now = datetime(2026, 11, 11, 2, tzinfo=UTC)
    assert notices(twice[:20], now, 0.1) == []
    (notice,) = notices(twice, now, 0.1)
    assert "c3" in notice.where
    assert "c4" not in notice.where


def test_figures_of_pictures_are_made_sparingly() -> None:
    now = [0.0]
    sparing = Sparing(lambda: now[0])
    assert sum(sparing.may("a") for _ in range(100)) == AT_ONCE
    assert sparing.may("b"), "each camera has its own"
    now[0] += EVERY
    assert [sparing.may("a"), sparing.may("a")] == [True, False]
    for n in range(MOST_CAMERAS + 5):
        sparing.may(str(n))
    assert len(sparing._left) == MOST_CAMERAS


def test_a_small_picture_has_no_figures_and_a_large_ones_middle_has() -> None:
    assert of_picture(np.zeros((20, 400, 3), np.uint8)) == {}
    large = np.zeros((600, 700, 3), np.uint8)
    large[172:428, 222:478] = 128
    assert of_picture(large)["brightness_1"] == pytest.approx(128 / 255, rel=1e-5)


def test_a_worker_keeps_figures_of_pixels_and_of_the_answer(tmp_path: Path) -> None:
    project = make_home(tmp_path / "home")
    engine, broker = opened(project)
    accept(project, broker, [picture(number) for number in range(4)])
    work(str(project.home), until_empty=True)
    (unit,) = image_drift.look(project, engine, datetime.now(UTC).date(), datetime.now(UTC))
    assert unit.images == 4
    assert {"brightness_1", "sharpness", "building_share", "entropy", "per_hectare"} <= {
        one.figure for one in unit.figures
    }
    done = CliRunner().invoke(app, ["drift", "--images", "--baseline", "--home", str(project.home)])
    assert "1 days of cameras taken into the baseline" in done.output, done.output
    assert "0 reference units; at least 5 are needed" in done.output

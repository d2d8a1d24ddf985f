"""Rows of drift: what was said of each figure of a unit, and what single images say, by camera.

Here: writing and asking. Not here: figures and what is said of them (groundplan/monitoring), who asks
(image_drift.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from groundplan.database.connect import writing
from groundplan.database.once import insert_once
from groundplan.database.tables import analysis, drift, image
from groundplan.monitoring.drift import FigureVerdict

WORDS = {None: "not known", True: "out", False: "like"}
MOST_IMAGES = 20_000  # of a day that are looked at: ids are hashes, so the first ones by id are a fair draw


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CameraModel:
    """camera: '' of images that do not say which."""

    model: str
    version: str
    camera: str


def keep_verdicts(engine: Engine, unit: str, at: datetime, figures: Iterable[FigureVerdict]) -> int:
    """Write what was said of a unit's figures; how many rows were new. The same twice is one."""
    rows = [
        {
            "unit": unit[:200],
            "figure": one.figure,
            "at": at,
            "value": one.value,
            "reference": list(one.usual) if one.usual else None,
            "verdict": WORDS[one.out],
        }
        for one in sorted(figures, key=lambda one: one.figure)
    ]
    with writing(engine) as connection:
        return insert_once(connection, drift, rows)


def of_day(engine: Engine, day: date) -> dict[CameraModel, list[Mapping[str, float]]]:
    """Figures of the images that arrived on a day (UTC), by model and camera."""
    begin = datetime.combine(day, time(), UTC)
    wanted = (
        sa.select(analysis.c.model, analysis.c.version, image.c.camera, analysis.c.figures)
        .join(image, image.c.id == analysis.c.image)
        .where(image.c.arrived >= begin, image.c.arrived < begin + timedelta(days=1))
        .order_by(analysis.c.id)
        .limit(MOST_IMAGES)
    )
    found: dict[CameraModel, list[Mapping[str, float]]] = {}
    with engine.connect() as connection:
        for model, version, camera, figures in connection.execute(wanted):
            key = CameraModel(model=model, version=version, camera=camera or "")
            found.setdefault(key, []).append(figures or {})
    return found


def newest_day(engine: Engine) -> date | None:
    """On which an image arrived last; None where none ever did."""
    with engine.connect() as connection:
        last = connection.execute(sa.select(sa.func.max(image.c.arrived))).scalar()
    return last.astimezone(UTC).date() if last else None

"""Drift of single images: a camera's day against days of which nothing is wrong.

Here: gathering a day's images, judging each camera's, keeping what was said; baselines of cameras. Not here:
figures and statistics (groundplan/monitoring), rows (groundplan/database/drift.py). A day is that on which images
arrived, UTC: cameras state no time zone. A camera's days are compared with days of that camera where the baseline has
enough of them, else with those of all cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from groundplan.core.records import read_record, write_record
from groundplan.database.drift import CameraModel, keep_verdicts, of_day
from groundplan.errors import Damaged, MissingInput
from groundplan.monitoring import baseline as known
from groundplan.monitoring.drift import (
    FEWEST_VALUES,
    FigureVerdict,
    Likeness,
    Reference,
    Unit,
    Unusual,
    compare,
    unit_of,
)
from groundplan.monitoring.drift import figures_of as verdicts_of
from groundplan.monitoring.report import told_of, unusual_of
from groundplan.project import Project

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

PREFIX = "drift/images"
BASELINE_DAYS = 60
REMEDY = "Make it, at a time when all is well: `groundplan drift --images --baseline`"


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraReport:
    """What is known of one camera's day and one model's answers. Fields as of DriftReport."""

    model: str
    version: str
    camera: str
    day: str
    at: str
    images: int
    out: bool | None
    why: str
    cause: str
    compared: int
    unusual: tuple[Unusual, ...]
    figures: tuple[FigureVerdict, ...]

    @property
    def name(self) -> str:
        return unit_name(self.camera, date.fromisoformat(self.day))

    @property
    def series(self) -> str:
        """Of whose last ones an alarm is made."""
        return self.camera

    @property
    def options(self) -> str:
        return f"--images --camera '{self.camera}' --day {self.day}"


def unit_name(camera: str, day: date) -> str:
    """'camera-3 2026-11-27'."""
    return f"{camera or 'unknown camera'} {day.isoformat()}"


def look(project: Project, engine: Engine, day: date, now: datetime) -> list[CameraReport]:
    """Judge every camera's images of a day, and keep that in the store and the database."""
    found = [
        _judged(project, camera, day, unit_of(unit_name(camera.camera, day), figures), len(figures), now)
        for camera, figures in sorted(of_day(engine, day).items())
    ]
    for one in found:
        keep_verdicts(engine, f"{one.name} {one.model}", now, one.figures)
    if found:
        write_record(project.store, f"{PREFIX}/{day.isoformat()}.json", {"reports": [asdict(one) for one in found]})
    return found


def _judged(project: Project, of: CameraModel, day: date, unit: Unit, images: int, now: datetime) -> CameraReport:
    settings = project.settings.drift
    try:
        units = known.read_baseline(project.store, baseline_of(of)).units
    except MissingInput as error:
        why = f"{error.reason}. {REMEDY}"
        said = Likeness(name=unit.name, out=None, figures=verdicts_of(unit), why=why)
    else:
        others = [other for name, other in sorted(units.items()) if name != unit.name]
        own = [other for other in others if other.name.rpartition(" ")[0] == unit.name.rpartition(" ")[0]]
        chosen = own if len(own) >= settings.least_units else others
        said = compare(unit, Reference(chosen), settings.least_units, settings.false_discovery)
    return CameraReport(
        model=of.model,
        version=of.version,
        camera=of.camera,
        day=day.isoformat(),
        at=now.isoformat(timespec="seconds"),
        images=images,
        **said.facts(),
    )


def baseline_of(camera: CameraModel) -> str:
    """The name of the baseline of a model's cameras: another model answers otherwise."""
    return f"images-{camera.model}-{camera.version}"


def make_baseline(project: Project, engine: Engine, last: date) -> int:
    """Take every camera's days of the BASELINE_DAYS up to `last` into the baselines; how many. What is there stays."""
    return sum(accept(project, engine, last - timedelta(days=back)) for back in range(BASELINE_DAYS))


def accept(project: Project, engine: Engine, day: date, camera: str | None = None) -> int:
    """Take a day of a camera, or of all, into the baselines; how many units. One with too few images is left out."""
    found: dict[str, list[Unit]] = {}
    for of, figures in of_day(engine, day).items():
        unit = unit_of(unit_name(of.camera, day), figures)
        if camera in (None, of.camera) and unit.count >= FEWEST_VALUES:
            found.setdefault(baseline_of(of), []).append(unit)
    for name, units in found.items():
        known.write_baseline(project.store, known.with_units(_before(project, name), units, known.ACCEPTED))
    return sum(len(units) for units in found.values())


def _before(project: Project, name: str) -> known.Baseline:
    try:
        return known.read_baseline(project.store, name)
    except MissingInput:
        return known.Baseline(model=name, units={}, why={})


def reports(project: Project) -> list[CameraReport]:
    """All that were made, by day and camera. Raises StoreFailed; what cannot be read is left out."""
    found: list[CameraReport] = []
    for item in project.store.list(PREFIX):
        try:
            raw = read_record(project.store, item.key, "Look again: `groundplan drift --images`")
            found += [_read(one) for one in raw["reports"]]
        except (Damaged, MissingInput, TypeError, KeyError, ValueError):
            continue
    return sorted(found, key=lambda one: (one.day, one.camera, one.model, one.version))


def _read(raw: dict[str, object]) -> CameraReport:
    made: Sequence[object] = (raw.pop("unusual"), raw.pop("figures"))
    return CameraReport(**raw, unusual=unusual_of(made[0]), figures=told_of(made[1]))  # type: ignore[arg-type]

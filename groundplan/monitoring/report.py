"""The drift report of a region and year: its figures, whether they are like the baseline's, and where they are not.

Here: figures of stored blocks, made once per block as everything is; the report as a record of the store; the baseline
of a model. Not here: the statistics (drift.py), pictures for the web UI (assets/operations/drift_report.py), telling.
Nothing that another dataset holds changes by it: it reads tiles, predictions and footprints as they are committed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypedDict

import numpy as np

from groundplan.core.manifest import Dataset, Planned, fingerprint, need_manifest, object_key
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.core.records import read_record, write_record
from groundplan.errors import Damaged, MissingInput
from groundplan.footprints import footprints, predictions
from groundplan.imagery import tiles
from groundplan.monitoring import baseline as known
from groundplan.monitoring.drift import (
    FigureVerdict,
    Likeness,
    Unit,
    Unusual,
    compare,
    most_unusual,
    unit_of,
)
from groundplan.monitoring.drift import (
    figures_of as verdicts_of,
)
from groundplan.monitoring.figures import of_buildings, of_pixels, of_probabilities, rounded
from groundplan.project import Project
from groundplan.raster import cog
from groundplan.step import Scope, Step, run_step_of
from groundplan.training import models


class BlockFigures(TypedDict):
    """What a manifest says of an object."""

    figures: dict[str, float]


DATASET: Dataset[BlockFigures] = Dataset("drift_figures")
VERSION = "1"
SAMPLE, SAMPLES = 512, 3
"""Pixels of a window, and windows across a block, that are looked at: the rest would say the same."""

Needs: TypeAlias = "tuple[str, str, np.ndarray, np.ndarray]"
"""Keys of a block's tile and prediction; its buildings and their confidence."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """An object per block, from its tile, its prediction and the buildings whose anchor lies in it."""
    images = need_manifest(project.store, tiles.DATASET, partition).objects
    predicted = need_manifest(project.store, predictions.DATASET, partition).objects
    built = footprints.load(project, partition)
    groups = built.groupby("block").indices
    planned = []
    for name, tile in images.items():
        if name not in predicted:
            continue
        rows = built.iloc[groups.get(name, [])]
        polygons, confidence = rows.geometry.values.to_numpy(), rows["confidence"].to_numpy(float)
        digest = fingerprint(
            version=VERSION,
            tile=tile.fingerprint,
            prediction=predicted[name].fingerprint,
            buildings=list(rows["id"]),
            confidence=[round(float(value), 4) for value in confidence],
            area=[round(float(value), 2) for value in rows["area"]],
        )
        keys = (tile.key, predicted[name].key)
        key = object_key(DATASET, partition, name, digest, ".json")
        planned.append(Planned(name=name, fingerprint=digest, key=key, inputs=keys, args=(*keys, polygons, confidence)))
    return planned


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """A small JSON text of one block's figures."""
    tile, prediction, polygons, confidence = planned.needs
    check()
    windows = list(_windows(project.grid.block_size))
    found, imaged = [], []
    with cog.opened(project.store, tile, whole=False) as image, cog.opened(project.store, prediction, False) as guess:
        for window in windows:
            check()
            pixels, valid = cog.read_window(image, window)
            probable, _ = cog.read_window(guess, window)
            imaged.append(float(valid.mean()))
            found.append({**of_pixels(pixels, valid), **of_probabilities(probable, valid)})
    whole = {name: float(np.mean([one[name] for one in found if name in one])) for one in found for name in one}
    ground = float(np.mean(imaged)) * project.grid.span**2
    if whole:
        whole |= of_buildings(polygons, confidence, ground)
    return Output(json.dumps({"figures": rounded(whole)}, sort_keys=True).encode())


def describe(data: bytes) -> BlockFigures:
    raw = json.loads(data)
    return {"figures": {str(name): float(value) for name, value in raw["figures"].items()}}


def _windows(side: int) -> Iterable[tuple[int, int, int, int]]:
    """Windows of a block that stand for it, (column, row, columns, rows): all of a small one."""
    if side <= SAMPLE * SAMPLES:
        return [(0, 0, side, side)]
    starts = [int(at) for at in np.linspace(0, side - SAMPLE, SAMPLES)]
    return [(column, row, SAMPLE, SAMPLE) for row in starts for column in starts]


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.REGION,
    reads=(tiles.DATASET, predictions.DATASET, footprints.DATASET),
)
"""Not in the table of the pipeline: nothing is made from it, and a country without it lacks nothing."""


def figures_of(project: Project, partition: Partition) -> dict[str, dict[str, float]]:
    """Figures by block, as committed. Raises MissingInput."""
    made = need_manifest(project.store, DATASET, partition).objects
    return {name: dict(one.facts["figures"]) for name, one in made.items() if one.facts.get("figures")}


def unit(project: Project, partition: Partition, run: str = "") -> Unit:
    """A region and year as a unit; its figures are made where they are missing. Raises MissingInput."""
    run_step_of(project, STEP, partition, run)
    return unit_of(str(partition), list(figures_of(project, partition).values()))


# ---------------------------------------------------------------------------------------------------- the report


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """What is known of one region and year. out: None where nothing can be said yet; why says why."""

    region: str
    year: int
    at: str
    """UTC, ISO 8601."""
    model: str
    out: bool | None
    why: str
    cause: str
    compared: int
    unusual: tuple[Unusual, ...]
    blocks: tuple[str, ...]
    """The most unusual ones."""
    figures: tuple[FigureVerdict, ...] = ()
    """All; earlier reports have none."""

    @property
    def partition(self) -> Partition:
        return Partition(self.year, self.region)

    @property
    def name(self) -> str:
        return str(self.partition)

    @property
    def series(self) -> str:
        """Of whose last ones an alarm is made: all regions'."""
        return ""

    @property
    def options(self) -> str:
        return self.partition.options


def report_key(partition: Partition) -> str:
    return f"drift/reports/{partition.path}.json"


def can_compare(project: Project, partition: Partition) -> bool:
    """Whether the model that predicts it has a baseline. Raises StoreFailed."""
    try:
        model = models.model_for(project, partition.year).facts["sha256"]
    except MissingInput:
        return False
    return project.store.exists(known.key_of(model))


def look(project: Project, partition: Partition, now: datetime, run: str = "") -> DriftReport:
    """Judge a region and year, and keep the report. Raises MissingInput where its footprints are not made."""
    here = unit(project, partition, run)
    model = models.model_for(project, partition.year).facts["sha256"]
    settings = project.settings.drift
    unusual_blocks: list[str] = []
    try:
        reference = known.read_baseline(project.store, model).reference()
    except MissingInput as error:
        why = f"{error.reason}. {error.remedy}"
        judged = Likeness(name=here.name, out=None, figures=verdicts_of(here), why=why)
    else:
        judged = compare(here, reference, settings.least_units, settings.false_discovery)
        unusual_blocks = most_unusual(figures_of(project, partition), judged, reference)
    report = DriftReport(
        region=partition.region,
        year=partition.year,
        at=now.isoformat(timespec="seconds"),
        model=model,
        blocks=tuple(unusual_blocks),
        **judged.facts(),
    )
    write_record(project.store, report_key(partition), asdict(report))
    return report


def read_report(project: Project, key: str) -> DriftReport:
    """Raises MissingInput, Damaged, NewerFormat."""
    remedy = "Look again: `groundplan drift`"
    raw = read_record(project.store, key, remedy)
    raw.pop("format", None)
    try:
        raw |= {"unusual": unusual_of(raw["unusual"]), "figures": told_of(raw.get("figures", ()))}
        return DriftReport(**{**raw, "blocks": tuple(raw["blocks"])})
    except (TypeError, KeyError, ValueError) as error:
        raise Damaged(project.store.uri(key), f"it is no drift report ({error})", remedy) from error


def unusual_of(raw: Iterable[dict[str, Any]]) -> tuple[Unusual, ...]:
    return tuple(Unusual(**{**one, "usual": tuple(one["usual"])}) for one in raw)


def told_of(raw: Iterable[dict[str, Any]]) -> tuple[FigureVerdict, ...]:
    return tuple(FigureVerdict(**{**one, "usual": one["usual"] and tuple(one["usual"])}) for one in raw)


def reports(project: Project) -> list[DriftReport]:
    """All that were made, by when. Raises StoreFailed; one that cannot be read is left out."""
    found = []
    for item in project.store.list("drift/reports"):
        try:
            found.append(read_report(project, item.key))
        except (Damaged, MissingInput):
            continue
    return sorted(found, key=lambda report: (report.at, report.year, report.region))


# ---------------------------------------------------------------------------------------------------- the baseline


def make_baseline(
    project: Project, year: int, partitions: Sequence[Partition], told: Callable[[str], None] = lambda _: None
) -> known.Baseline:
    """The baseline of a year's model, from regions of its training year; what was accepted before stays.

    partitions: whose footprints are made. Raises MissingInput.
    """
    model = models.model_for(project, year).facts["sha256"]
    chosen = known.evenly(
        [p for p in partitions if p.year == known.model_year(project, year)], project.settings.drift.most_units
    )
    units = []
    for partition in chosen:
        told(str(partition))
        units.append(unit(project, partition))
    made = known.with_units(_before(project, model), [one for one in units if one.count], known.TRAINING)
    known.write_baseline(project.store, made)
    return made


def accept(project: Project, partition: Partition) -> known.Baseline:
    """Add a region and year, which a person looked at, to its model's baseline. Raises MissingInput."""
    model = models.model_for(project, partition.year).facts["sha256"]
    made = known.with_units(_before(project, model), [unit(project, partition)], known.ACCEPTED)
    known.write_baseline(project.store, made)
    return made


def _before(project: Project, model: str) -> known.Baseline:
    try:
        return known.read_baseline(project.store, model)
    except MissingInput:
        return known.Baseline(model=model, units={}, why={})


def thumbnails(project: Project, report: DriftReport, side: int = 200) -> Any:
    """The most unusual blocks side by side, as a PIL image; None where there is none."""
    from PIL import Image

    made = need_manifest(project.store, tiles.DATASET, report.partition).objects
    shown = []
    for name in report.blocks:
        if name in made:
            pixels, _ = cog.read_overview(project.store, made[name].key, side)
            bands = pixels[:3] if len(pixels) >= 3 else np.repeat(pixels[:1], 3, axis=0)
            shown.append(Image.fromarray(np.ascontiguousarray(bands.transpose(1, 2, 0))).resize((side, side)))
    if not shown:
        return None
    strip = Image.new("RGB", (side * len(shown) + 4 * (len(shown) - 1), side), "white")
    for at, image in enumerate(shown):
        strip.paste(image, (at * (side + 4), 0))
    return strip

"""Unit costs: processor seconds and bytes of each step, measured in a project or taken from a table.

Here: reading costs out of manifests, the figures that are shipped for those who have none yet, and what each step asks
of the object store. Not here: what a country comes to (simulation.py); making blocks, which writes the costs down
(core/materialize.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from groundplan.capacity.rates import Views, forward, gpu_rate, on_processors
from groundplan.errors import BadConfig
from groundplan.pipeline import STEPS
from groundplan.raster.cog import TILE

if TYPE_CHECKING:
    from groundplan.core.manifest import Committed, Manifest
    from groundplan.core.partition import Partition
    from groundplan.project import Project


PART = 5 * 2**20  # bytes of one part of an upload; a larger object is uploaded in parts, each of them a request
NEIGHBORS = 8
FULL = 0.999  # a block with so much imagery is a full one


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a step cuts its work, and what it reads: from its declaration. The same for every project."""

    short: str
    objects: Literal["block", "ring", "region"]
    """One object per block; per block of the region and of the ring around it; or one for the region."""
    reads: str
    """The dataset that an object is made from."""
    around: bool
    """Whether the edges of its eight neighbors are read too."""
    alone: bool
    """One block at a time, on all processors of the pod; else a block per processor."""
    per: Literal["megapixel", "km2"]
    on_gpu: bool = False
    """Whether a machine with a GPU makes it where there are some."""


def kinds() -> dict[str, Kind]:
    """Every step whose work grows with the country."""
    return {
        name: Kind(
            short=step.work.short,
            objects=step.work.objects,
            reads=step.work.of,
            around=step.work.of in step.reads_around,
            alone=step.alone,
            per=step.work.per,
            on_gpu=step.accelerator,
        )
        for name, step in STEPS.items()
        if step.work
    }


KINDS: Mapping[str, Kind] = kinds()
SHEET_RANGES = {"region": 0.9e6, "block": 0.45e6}
"""Bytes per request where sheets are looked at as a whole, and where a block is cut from them."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one unit of a step costs: a megapixel of the grid, or a km2 of ground (`Kind.per`)."""

    cpu_seconds: float
    bytes: float
    source: str


REFERENCE_NAME = "reference: one 2-core machine, 2026-11"
_DOC = "docs/benchmarks.md"
_TOWN = "AMD family 25 model 17, 2026-11-28"
REFERENCE: Mapping[str, StepCost] = {
    "landing": StepCost(0.0, 0.324e6, "sheets of benchmarks.cutting: JPEG in TIFF, quality 92"),
    "sheets": StepCost(0.0073, 155.0, "docs/scale.md: a catalogue of 8 sheets, 134 MPx"),
    "aerial_tiles": StepCost(
        0.0105, 0.414e6, f"{_DOC}, cutting: 0.707 s per block of 8192 px, `python -m benchmarks.cutting`, {_TOWN}"
    ),
    "labels": StepCost(0.046, 0.026e6, "manifests of the README's walk-through: 15 blocks"),
    "building_outlines": StepCost(
        0.0196, 0.0143e6, f"{_DOC}, vectorising: 1.96 s per 100 MPx, `python -m benchmarks.vectorise`, {_TOWN}"
    ),
    "building_footprints": StepCost(
        0.269, 0.124e6, f"{_DOC}, vectorising: 1.68 s per 100 MPx at 0.25 m, the same command and machine"
    ),
}
"""All but predictions, which their settings decide. Cutting: of JPEG sheets that lie on the grid's pixels. Of ground
that is all town (2,864 buildings per km2): a country costs less than this from outlines on. Bytes from saving."""
PREDICTION_BYTES = 0.396e6  # per MPx
REFERENCE_RESOLUTION = 0.25


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Costs of every step at one resolution, and in a line where they come from."""

    label: str
    steps: Mapping[str, StepCost]
    resolution: float
    network: float = 0.0
    """Metres per pixel that the network sees, as the setting `model.resolution`; 0: what is chosen by itself."""
    views: Views = "unsure"
    """As the setting `predict.views`."""

    def at(self, resolution: float, network: float = 0.0) -> Costs:
        """Carried to another pixel size: what is per megapixel stays, but not how many pixels the network sees."""
        factor = forward(resolution, network) / forward(self.resolution, self.network)
        steps = {**self.steps, "predictions": _times(self.steps["predictions"], factor)}
        return replace(self, steps=steps, resolution=resolution, network=network)

    @property
    def gpu_seconds(self) -> float:
        """Seconds of a machine with a GPU per megapixel of predictions: shipped, whoever measured the rest."""
        return 1 / gpu_rate(self.resolution, self.network, self.views)


def reference(precision: str = "auto", views: Views = "unsure") -> Costs:
    """What is shipped; by default for the settings `predict.precision` and `predict.views` of new projects."""
    rate, more = on_processors(precision, views)
    factor = more * forward(REFERENCE_RESOLUTION, 0) / forward(rate.resolution, rate.network)
    predictions = _times(StepCost(1 / rate.megapixels, PREDICTION_BYTES, f"{_DOC}: {rate}"), factor)
    steps = {**REFERENCE, "predictions": predictions}
    ordered = {name: steps[name] for name in ("landing", *KINDS)}
    return Costs(label=REFERENCE_NAME, steps=ordered, resolution=REFERENCE_RESOLUTION, views=views)


def measured(project: Project, newest: int | None = None) -> Costs:
    """Costs from a project's manifests; from the reference where it has not made that dataset.

    newest: only those of so many partitions, whose tiles were made last. Raises BadConfig when no manifest says what
    anything cost.
    """
    from groundplan.core.manifest import committed, readable

    found: dict[str, list[Manifest]] = {name: [] for name in KINDS}
    for one in _newest(committed(project.store), newest):
        if one.dataset in found and (manifest := readable(project.store, one.found.key)):
            found[one.dataset].append(manifest)
    covered = {
        (manifest.partition, name): float(made.facts.get("covered", 1.0))
        for manifest in found["aerial_tiles"]
        for name, made in manifest.objects.items()
    }
    megapixels, km2 = project.grid.block_size**2 / 1e6, project.grid.span**2 / 1e6
    predict, network = project.settings.predict, project.settings.model.resolution
    shipped = reference(predict.precision, predict.views).at(project.grid.resolution, network)
    steps, known = dict(shipped.steps), set()
    for name, manifests in found.items():
        if KINDS[name].objects == "region":
            ground = {
                manifest.partition: sum((s for (p, _), s in covered.items() if p == manifest.partition), 0.0)
                for manifest in manifests
            }
            cost = _of_regions(manifests, ground)
        else:
            cost = _of_blocks(manifests, covered)
            known |= {(manifest.partition, block) for manifest in manifests for block in manifest.objects if cost}
        if cost:
            unit = megapixels if KINDS[name].per == "megapixel" else km2
            steps[name] = StepCost(cost[0] / unit, cost[1] / unit, f"measured, {cost[2]} objects")
    missing = [KINDS[name].short for name in KINDS if steps[name] is shipped.steps[name]]
    if len(missing) == len(KINDS):
        reason, remedy = "no manifest says what a block cost", "Build something there, or give no --home"
        raise BadConfig(str(project.home), reason, remedy)
    label = f"measured in {project.home.name}: {len(known)} blocks"
    label += f"; {REFERENCE_NAME}, for {', '.join(missing)}" if missing else ""
    return Costs(label=label, steps=steps, resolution=project.grid.resolution, network=network, views=predict.views)


def _newest(listed: Sequence[Committed], count: int | None) -> Sequence[Committed]:
    """All that is committed of the partitions whose tiles were made last."""
    if count is None:
        return listed
    tiles = sorted((one for one in listed if one.dataset == "aerial_tiles"), key=lambda one: one.found.modified)
    paths = {one.path for one in tiles[-count:]}
    return [one for one in listed if one.path in paths]


def _of_blocks(
    manifests: Sequence[Manifest], covered: Mapping[tuple[Partition, str], float]
) -> tuple[float, float, int] | None:
    """Processor seconds and bytes of a full block, and of how many blocks that is known.

    Blocks at the edge of a flight are cheaper: the line through cost over covered share is read at a full block.
    """
    rows = [
        (covered.get((manifest.partition, name), 1.0), made.cpu_seconds, made.bytes)
        for manifest in manifests
        for name, made in manifest.objects.items()
        if made.cpu_seconds > 0  # 0: the run that made it was killed before it wrote the cost down
    ]
    if not rows:
        return None
    share, cpu, size = np.array(rows, float).T
    full = [_at_full(share, cpu), _at_full(share, size)]
    return full[0], full[1], len(rows)


def _at_full(share: np.ndarray, cost: np.ndarray) -> float:
    if (share >= FULL).sum() >= max(2, len(share) / 4):
        return float(cost[share >= FULL].mean())
    if len(share) < 4 or np.ptp(share) < 0.1:
        return float(cost.mean())
    slope, start = np.polyfit(share, cost, 1)
    return float(max(cost.mean(), slope + start))


def _of_regions(manifests: Sequence[Manifest], ground: Mapping[Partition, float]) -> tuple[float, float, int] | None:
    """The same per block of covered ground, where a region is one object."""
    known = [manifest for manifest in manifests if manifest.cpu_seconds > 0 and ground[manifest.partition] > 0]
    blocks = sum(ground[manifest.partition] for manifest in known)
    if not known:
        return None
    cpu, size = sum(m.cpu_seconds for m in known), sum(m.total_bytes for m in known)
    return cpu / blocks, size / blocks, len(known)


def _times(cost: StepCost, factor: float) -> StepCost:
    source = cost.source if math.isclose(factor, 1) else f"{cost.source}, x {factor:.2f} for resolution and views"
    return replace(cost, cpu_seconds=cost.cpu_seconds * factor, source=source)


def edge_reads(block_size: int) -> tuple[float, int]:
    """Reads of the eight neighbors' edges: bytes, as a share of a block's, and requests.

    A request opens each neighbour. The tiles of a corner, a western and an eastern edge cost one each; those of a
    northern and a southern edge lie side by side and are read ahead. Bytes: what overviews take does not count, what is
    read ahead in vain does (measured at 8192 px: 0.215 and 54).
    """
    side = math.ceil(block_size / TILE)
    share = 0.8 * (4 * side + 4) / side**2
    return min(NEIGHBORS, share), NEIGHBORS + 4 + 2 * side + 2 * math.ceil(math.log2(side) + 1)


def sheet_reads(objects: str, block_size: int) -> float:
    """Read amplification: bytes read for each byte of sheets under the region or the block.

    Measured: 1.44 for a catalogue (hashing, and looking); for a block 2.33 at 8192 pixels and 3.33 at 2048, because
    what is read are ranges of 1 MB, and strips of the block share rows of the sheets' tiles.
    """
    return 1.44 if objects == "region" else 2.0 + 2700 / block_size


def uploads(size: float) -> int:
    """Upload requests of an object: one, or one per part and two around them."""
    return 1 if size <= PART else math.ceil(size / PART) + 2

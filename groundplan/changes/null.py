"""The null set: a year compared with itself, recoloured and a little shifted. Whatever it calls a change is false.

Here: the step: which parts of a region are seen again, and how many false changes that gives. Not here: the comparison,
which is that of the years (comparing.py).

The imagery of some parts is shifted by a part of a pixel and recoloured, predicted and outlined anew, and compared with
the year's own footprints. So the figure holds what the network and the outlines do to an unchanged building under
another light and another raster. It does not hold what only years bring: trees, shadows, cars, roofs that lean.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from groundplan.changes import blocks
from groundplan.changes.comparing import ComparedYear, compare
from groundplan.changes.states import GONE, NEW, UNSURE
from groundplan.core.grid import Block
from groundplan.core.manifest import Dataset, Made, Planned, fingerprint, load_object, need_manifest, object_key
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.core.progress import counted
from groundplan.footprints import footprints, predictions
from groundplan.footprints.areas import SECONDS_PER_PIXEL
from groundplan.footprints.outlines import part_side
from groundplan.imagery import tiles
from groundplan.inference.sliding_window import MARGIN, predict_canvas
from groundplan.polygons.geoparquet import read, to_parquet
from groundplan.polygons.instances import Thresholds
from groundplan.polygons.outlines import block_outlines, merge_outlines
from groundplan.project import Project
from groundplan.raster.halo import EDGE, open_with_halo
from groundplan.step import Scope, Step
from groundplan.training import models

if TYPE_CHECKING:
    import geopandas as gpd


class Facts(TypedDict):
    """What a manifest says of an object. per_100: false changes among 100 unchanged buildings, at most `at_most`."""

    unchanged: int
    false_new: int
    false_gone: int
    unsure: int
    per_100: float | None
    at_most: float | None


DATASET: Dataset[Facts] = Dataset("change_null")
VERSION = "1"
ENOUGH, MOST_PARTS = 500, 8  # buildings that are looked at again, and parts of blocks at most
HALO = EDGE - MARGIN  # pixels around a part that tell its buildings apart
CORE = 1024
INSIDE = 5.0  # metres from a part's border within which buildings do not count: they may be cut by it
GAMMA, GAINS = 0.85, (1.06, 1.0, 0.95)  # another light, as of another day
SURE = 0.95

Part = tuple[Block, int, int]
"""A block, and column and row of a part within it."""
Needs: TypeAlias = "tuple[Partition, Made[Any], dict[str, Made[Any]], dict[str, Made[Any]], str, dict[str, float]]"
"""Partition, its footprints, predictions and tiles; SHA-256 and thresholds of its model."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """One table for a region and year. Raises MissingInput."""
    found = need_manifest(project.store, footprints.DATASET, partition).objects["footprints"]
    predicted = need_manifest(project.store, predictions.DATASET, partition)
    images = need_manifest(project.store, tiles.DATASET, partition)
    model = models.model_for(project, partition.year)
    mark = fingerprint(
        version=VERSION,
        footprints=found.fingerprint,
        predictions=predicted.identity(),
        tiles=images.identity(),
        model=model.facts["sha256"],
        pixels=project.settings.changes.null_pixels,
    )
    key = object_key(DATASET, partition, "null", mark, ".parquet")
    args = (partition, found, predicted.objects, images.objects, model.facts["sha256"], model.facts["thresholds"])
    return [Planned(name="null", fingerprint=mark, key=key, inputs=(found.key, model.key), args=args)]


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """Rows of the buildings that lie whole in the chosen parts. In memory are those parts' probabilities."""
    import shapely

    partition, made, predicted, images, *_ = planned.needs
    frame = load_object(project.store, made, read)
    parts = chosen(project, frame, sorted(set(predicted) & set(images)))
    grid = replace(project.grid, block_size=part_side(project.grid.block_size))
    again = _seen_again(project, planned.needs, parts, check)
    ground = np.array([shapely.box(*grid.bounds(_small(project, part))) for part in parts], object)
    touching = np.unique(shapely.STRtree(ground).query(frame.geometry.values, predicate="intersects")[0])
    then = ComparedYear(
        year=partition.year,
        footprints=frame.iloc[touching].reset_index(drop=True),
        blocks={
            _small(project, part): partial(
                blocks.read, project, predicted[part[0].name], images[part[0].name], _window(project, part)
            )
            for part in parts
        },
    )
    rows = compare(again, then, grid, check)
    inner = shapely.STRtree(shapely.buffer(ground, -INSIDE, join_style="mitre"))
    whole = np.unique(inner.query(rows.geometry.values, predicate="within")[0])
    kept = rows.iloc[whole][["state", "q", "q_before", "reason", "geometry"]]
    return Output(to_parquet(kept.reset_index(drop=True)))


def chosen(project: Project, frame: gpd.GeoDataFrame, names: list[str]) -> list[Part]:
    """Parts with most buildings first, until ENOUGH buildings or MOST_PARTS; by name where as many lie in two."""
    side = part_side(project.grid.block_size)
    count = project.grid.block_size // side
    points = frame.geometry.representative_point()
    found: dict[Part, int] = {}
    for x, y in zip(points.x, points.y, strict=True):
        col, row = (int(value // side) for value in project.grid.pixel(x, y))
        part = Block(col // count, row // count), col % count, row % count
        found[part] = found.get(part, 0) + 1
    listed = [part for part in found if part[0].name in names]
    parts: list[Part] = []
    total = 0
    for part in sorted(listed, key=lambda one: (-found[one], one[0].name, one[1:])):
        if total >= ENOUGH or len(parts) == MOST_PARTS:
            break
        parts.append(part)
        total += found[part]
    return parts


def _seen_again(project: Project, needs: Needs, parts: list[Part], check: Cancellation) -> ComparedYear:
    """The year as it would be, had its parts been flown under another light and a part of a pixel beside."""
    partition, _, _, images, _, thresholds = needs
    chosen_ones, resolution = Thresholds(**thresholds), project.grid.resolution
    frames, held = [], {}
    with counted(f"seeing {partition} again", parts, len(parts)) as listed:
        for part in listed:
            said = _predicted_again(project, needs, part, check)
            small = _small(project, part)
            frames.append(block_outlines(said, HALO, small.col, small.row, chosen_ones, resolution))
            inner = slice(HALO, said.shape[1] - HALO)
            seen = blocks.seen(project, images[part[0].name], _window(project, part))
            held[small] = partial(_both, said[0, inner, inner].copy(), seen)
    frame = footprints.shape(merge_outlines(frames, chosen_ones, resolution), project, card={})
    frame["id"] = [f"{x},{y}" for x, y in zip(frame["pixel_x"], frame["pixel_y"], strict=True)]
    frame = frame.assign(image_date=None, model=None)
    return ComparedYear(year=partition.year, footprints=frame, blocks=held)


def _both(probability: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return probability, seen


def _predicted_again(project: Project, needs: Needs, part: Part, check: Cancellation) -> np.ndarray:
    """Probabilities uint8 (2, side + 2 HALO, side + 2 HALO) of a part of altered imagery."""
    partition, _, _, images, sha256, _ = needs
    block, col, row = part
    side = part_side(project.grid.block_size)
    keys = {Block.parse(name): made.key for name, made in images.items()}
    near = {one: keys[one] for one in (block, *block.neighbors()) if one in keys}
    with open_with_halo(project.store, project.grid, block, EDGE, near) as ground:
        pixels, mask = ground.rows(row * side, (row + 1) * side + 2 * EDGE)
    columns = slice(col * side, (col + 1) * side + 2 * EDGE)
    altered = recoloured(shifted(pixels[:, :, columns], project.settings.changes.null_pixels))
    runtime = predictions.runtime_of(project, partition.year, sha256)
    inner = side + 2 * HALO
    core = -(-inner // -(-inner // CORE))
    core += -(core + 2 * MARGIN) % runtime.step
    return predict_canvas(runtime, altered, mask[:, columns], core, MARGIN, check)


def shifted(pixels: np.ndarray, by: float) -> np.ndarray:
    """Imagery uint8 (bands, h, w), bilinearly moved by so many pixels right and down; its edges are continued."""
    from scipy import ndimage

    return np.stack([ndimage.shift(band, (by, by), order=1, mode="nearest") for band in pixels])


def recoloured(pixels: np.ndarray) -> np.ndarray:
    """Imagery uint8 (bands, h, w) under another light: a gamma, and a gain of each band."""
    light = (np.arange(256) / 255) ** GAMMA * 255
    gains = [GAINS[index % len(GAINS)] for index in range(len(pixels))]
    tables = [np.clip(light * gain, 0, 255).round().astype(np.uint8) for gain in gains]
    return np.stack([table[band] for table, band in zip(tables, pixels, strict=True)])


def _small(project: Project, part: Part) -> Block:
    """The part as a block of the grid of parts."""
    count = project.grid.block_size // part_side(project.grid.block_size)
    return Block(part[0].col * count + part[1], part[0].row * count + part[2])


def _window(project: Project, part: Part) -> tuple[int, int, int, int]:
    side = part_side(project.grid.block_size)
    return part[1] * side, part[2] * side, side, side


def upper_bound(wrong: int, of: int) -> float | None:
    """Clopper-Pearson's one-sided upper bound at 95 % of a share, in the hundred; None of nothing."""
    from scipy import stats

    if not of:
        return None
    return 100.0 if wrong >= of else round(100 * float(stats.beta.ppf(SURE, wrong + 1, of - wrong)), 3)


def describe(data: bytes) -> Facts:
    counts = read(data)["state"].value_counts()
    new, gone, unsure = (int(counts.get(state, 0)) for state in (NEW, GONE, UNSURE))
    total = int(counts.sum())
    return {
        "unchanged": total,
        "false_new": new,
        "false_gone": gone,
        "unsure": unsure,
        "per_100": round(100 * (new + gone) / total, 3) if total else None,
        "at_most": upper_bound(new + gone, total),
    }


def facts_of(project: Project, partition: Partition) -> Facts | None:
    """What the null set of a region and year says; None where it was not made."""
    from groundplan.core.manifest import read_manifest

    manifest = read_manifest(project.store, DATASET, partition)
    return manifest.objects["null"].facts if manifest else None


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.REGION,
    reads=(footprints.DATASET, predictions.DATASET, tiles.DATASET, models.DATASET),
    comes_with="building_changes",
    alone=True,
    unmade_seconds=lambda project: MOST_PARTS * part_side(project.grid.block_size) ** 2 * SECONDS_PER_PIXEL,
)

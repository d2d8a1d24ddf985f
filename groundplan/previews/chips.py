"""Chips: the same ground in two years, side by side, with the outline of what changed.

Here: cutting ground out of blocks, and the sheet of pairs. Not here: what changed (changes/), pictures of a partition
(pictures.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from groundplan.changes import changes
from groundplan.changes.states import CHANGED, GONE, NEW
from groundplan.changes.years import need_before
from groundplan.core.grid import Bounds
from groundplan.core.manifest import Made, need_manifest
from groundplan.core.partition import Partition
from groundplan.core.pictures import signed, to_jpeg
from groundplan.imagery import tiles
from groundplan.imagery.credits import credits_of
from groundplan.previews.pictures import LIMIT, rgb, rings
from groundplan.project import Project
from groundplan.raster import cog

if TYPE_CHECKING:
    import geopandas as gpd

SIDE, GAP, HEAD = 200, 4, 16  # pixels of a chip, between chips, of the line above a pair
ACROSS, MOST = 2, 8  # pairs beside each other, and in all
AROUND = 12.0  # metres around a building
COLORS = {NEW: (60, 220, 90), GONE: (255, 60, 60), CHANGED: (255, 200, 40)}


def ground(project: Project, blocks: dict[str, Made], bounds: Bounds) -> np.ndarray:
    """Imagery uint8 (h, w, 3) of a piece of ground, from the blocks that show some of it; black where none does."""
    grid, n = project.grid, project.grid.block_size
    left, top = (math.floor(value) for value in grid.pixel(bounds[0], bounds[3]))
    right, bottom = (math.ceil(value) for value in grid.pixel(bounds[2], bounds[1]))
    canvas: np.ndarray | None = None
    for block in grid.touching(bounds):
        if block.name not in blocks:
            continue
        first = max(left - block.col * n, 0), max(top - block.row * n, 0)
        last = min(right - block.col * n, n), min(bottom - block.row * n, n)
        if first[0] >= last[0] or first[1] >= last[1]:
            continue
        pixels, _ = cog.read_object(
            project.store, blocks[block.name].key, (*first, last[0] - first[0], last[1] - first[1])
        )
        if canvas is None:
            canvas = np.zeros((len(pixels), bottom - top, right - left), np.uint8)
        row, col = first[1] + block.row * n - top, first[0] + block.col * n - left
        canvas[:, row : row + pixels.shape[1], col : col + pixels.shape[2]] = pixels
    return rgb(canvas) if canvas is not None else np.zeros((bottom - top, right - left, 3), np.uint8)


def most_certain(frame: gpd.GeoDataFrame, most: int = MOST) -> gpd.GeoDataFrame:
    """Changes by how far the years' probabilities lie apart, then by area: rows of `building_changes`."""
    changes = frame[frame["state"].isin(COLORS)]
    apart = (changes["q"] - changes["q_before"]).abs().round(1)
    order = changes.assign(apart=apart).sort_values(["apart", "area_m2", "building_id"], ascending=[False, False, True])
    return order.drop(columns="apart").head(most)


def chips_picture(
    project: Project,
    years: tuple[int, int],
    images: tuple[dict[str, Made], dict[str, Made]],
    frame: gpd.GeoDataFrame,
    credit: str | None = None,
) -> bytes | None:
    """Pairs of chips of the most certain changes, the earlier year on the left; JPEG. None where nothing changed.

    years, images: the year before and this one, and their blocks. frame: rows of `building_changes`.
    """
    pairs = [_pair(project, years, images, row) for row in most_certain(frame).itertuples()]
    if not pairs:
        return None
    lines = [pairs[start : start + ACROSS] for start in range(0, len(pairs), ACROSS)]
    blank = np.full_like(pairs[0], 255)
    across = ACROSS if len(pairs) > 1 else 1
    sheet = np.vstack([np.hstack([*line, *[blank] * (across - len(line))]) for line in lines])
    return to_jpeg(signed(sheet, credit), LIMIT)


def _pair(
    project: Project, years: tuple[int, int], images: tuple[dict[str, Made], dict[str, Made]], row: object
) -> np.ndarray:
    """Two chips and the line above them: uint8 (HEAD + SIDE + GAP, 2 * (SIDE + GAP), 3)."""
    import cv2

    shape, state = row.geometry, row.state  # type: ignore[attr-defined]
    center, half = shape.centroid, max(shape.bounds[2] - shape.bounds[0], shape.bounds[3] - shape.bounds[1]) / 2
    half += AROUND
    bounds = center.x - half, center.y - half, center.x + half, center.y + half
    sheet = np.full((HEAD + SIDE + GAP, 2 * (SIDE + GAP), 3), 255, np.uint8)
    for index, blocks in enumerate(images):
        chip = cv2.resize(ground(project, blocks, bounds), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        place = bounds[0], bounds[3], 2 * half / SIDE
        cv2.polylines(chip, rings(np.array([shape], object), place), True, COLORS[state], 2, cv2.LINE_AA, 4)
        sheet[HEAD : HEAD + SIDE, index * (SIDE + GAP) : index * (SIDE + GAP) + SIDE] = chip
        words = f"{years[index]}" if index == 0 else f"{years[index]}: {state}, {row.area_m2:.0f} m2"  # type: ignore[attr-defined]
        at = index * (SIDE + GAP) + 2, HEAD - 4
        cv2.putText(sheet, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
    return sheet


def changes_picture(project: Project, partition: Partition) -> bytes | None:
    """As `chips_picture`, of what is committed of a region and year. Raises MissingInput."""
    before = need_before(project, partition)
    blocks = [need_manifest(project.store, tiles.DATASET, one).objects for one in (before, partition)]
    credit = credits_of(project, partition).imagery_line
    frame = changes.load(project, partition)
    return chips_picture(project, (before.year, partition.year), (blocks[0], blocks[1]), frame, credit)

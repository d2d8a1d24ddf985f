"""Evidence: how probable a building is inside a footprint, in a year's predictions.

Here: the figure for each polygon, block by block. Not here: whose blocks they are (comparing.py), what follows from it
(states.py).

The figure is the mean building probability inside the polygon shrunk by half a metre, the greatest of all places within
a metre around: a wall that is drawn, or stands, a little beside the other year's decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from groundplan.core.grid import Block, Grid

if TYPE_CHECKING:
    pass

SHRUNK = 0.5  # metres
SEARCH = 1.0  # metres around
STEPS = 2  # places between the middle and the end of the search
LEAST_SEEN = 0.5  # share of a polygon that must be seen

Read: TypeAlias = Callable[[], tuple[np.ndarray, np.ndarray]]
"""Probability uint8 (n, n), 0..255 for 0..1, and bool (n, n) where there is imagery, of one block."""


def evidence(shapes: np.ndarray, grid: Grid, blocks: Mapping[Block, Read], check: Callable[[], None]) -> np.ndarray:
    """Probability float (n,) of a building inside each polygon; NaN where less than half of it was seen.

    shapes: polygons (n,) in the grid's CRS. In memory is one block at a time, and 25 sums for each polygon.
    """
    import shapely

    steps = _steps(grid.resolution)
    sums, counts = np.zeros((2, len(shapes), len(steps) ** 2))
    pixels = np.zeros(len(shapes))
    inner = _shrunk(shapes)
    tree = shapely.STRtree(inner)
    for block in sorted(blocks, key=lambda one: (one.row, one.col)):
        near = np.sort(tree.query(shapely.buffer(shapely.box(*grid.bounds(block)), SEARCH + grid.resolution)))
        if not len(near):
            continue
        check()
        probability, seen = blocks[block]()
        for index in near:
            mask, corner = _mask(inner[index], grid)
            pixels[index] = mask.sum()
            place = corner - np.array([block.col, block.row]) * grid.block_size
            total, count = _sums(mask, probability, seen, place, steps)
            sums[index] += total
            counts[index] += count
    enough = (counts >= LEAST_SEEN * pixels[:, None]) & (counts > 0)
    means = np.where(enough, sums / np.maximum(counts, 1) / 255, -1.0).max(axis=1, initial=-1.0)
    return np.where(means < 0, np.nan, means)


def _steps(resolution: float) -> np.ndarray:
    """Places of the search along one axis, in pixels: int (k,), sorted, each once."""
    return np.unique(np.round(np.linspace(-SEARCH, SEARCH, 2 * STEPS + 1) / resolution).astype(int))


def _shrunk(shapes: np.ndarray) -> np.ndarray:
    """Polygons shrunk by SHRUNK; by less where nothing would be left of one."""
    import shapely

    inner = shapely.buffer(shapes, -SHRUNK, join_style="mitre")
    return np.where(shapely.area(inner) > 0.1 * shapely.area(shapes), inner, shapes)


def _mask(shape: object, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Pixels whose centre lies in a polygon, bool (h, w), and the (column, row) of the first; at least one pixel."""
    import shapely

    left, bottom, right, top = shapely.bounds(shape)
    first = np.floor(np.array([left - grid.origin[0], grid.origin[1] - top]) / grid.resolution).astype(int)
    last = np.floor(np.array([right - grid.origin[0], grid.origin[1] - bottom]) / grid.resolution).astype(int)
    wide, high = last - first + 1
    x = grid.origin[0] + (first[0] + np.arange(wide) + 0.5) * grid.resolution
    y = grid.origin[1] - (first[1] + np.arange(high) + 0.5) * grid.resolution
    inside = shapely.contains_xy(shape, *np.meshgrid(x, y))
    return (inside if inside.any() else np.ones((high, wide), bool)), first


def _sums(
    mask: np.ndarray, probability: np.ndarray, seen: np.ndarray, place: np.ndarray, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of a block's probabilities below a mask at each place of the search, and how many pixels were seen.

    Both int (len(steps) ** 2,). place: (column, row) of the mask's first pixel in the block. What lies outside the
    block is not seen: it is another block's.
    """
    reach = int(np.abs(steps).max())
    near = _cut(probability, place - reach, mask.shape, reach)
    sight = _cut(seen, place - reach, mask.shape, reach)
    near *= sight
    at = reach + steps

    def below(raster: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(raster, mask.shape)[at][:, at]
        return np.asarray(windows[:, :, mask].sum(axis=-1, dtype=np.int64).reshape(-1))

    return below(near), np.full(len(steps) ** 2, mask.sum()) if sight.all() else below(sight)


def _cut(raster: np.ndarray, place: np.ndarray, shape: tuple[int, ...], reach: int) -> np.ndarray:
    """A piece of a block, larger than `shape` by `reach` on each side, from (column, row) on; 0 outside the block."""
    (col, row), high, wide = place, shape[0] + 2 * reach, shape[1] + 2 * reach
    piece = np.zeros((high, wide), raster.dtype)
    top, left = max(0, row), max(0, col)
    bottom, right = min(raster.shape[0], row + high), min(raster.shape[1], col + wide)
    if top < bottom and left < right:
        piece[top - row : bottom - row, left - col : right - col] = raster[top:bottom, left:right]
    return piece

"""Spatial split into training, validation and test: which ground belongs to which.

Here: which ground belongs to which split. Not here: windows on it (windows.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from groundplan.core.grid import Block, Grid

SPLITS = ("train", "validation", "test")
TURNS = 7
"""Turns of the pattern: over all of them every cell is test ground once and validation ground once."""


def cell_number(x: np.ndarray, y: np.ndarray, cell: float) -> np.ndarray:
    """Number of the cell that each place lies in, 0 to 6 (uint8). x, y: coordinates in the grid's CRS, metres."""
    return ((np.floor(x / cell).astype(np.int64) + 3 * np.floor(y / cell).astype(np.int64)) % TURNS).astype(np.uint8)


def split_of_number(number: np.ndarray, turn: int = 0) -> np.ndarray:
    """Split of cells by their number, as an index into SPLITS (uint8)."""
    return np.array([2, 0, 0, 1, 0, 0, 0], np.uint8)[(number + turn) % TURNS]


def split_of(x: np.ndarray, y: np.ndarray, cell: float, turn: int = 0) -> np.ndarray:
    """Split of each place, as an index into SPLITS (uint8). x, y: coordinates in the grid's CRS, metres."""
    return split_of_number(cell_number(x, y, cell), turn)


def touches_test(shapes: np.ndarray, cell: float, turn: int = 0) -> np.ndarray:
    """Of each shapely geometry, whether a corner or the middle of it lies on ground of the test split."""
    import shapely

    corners, of = shapely.get_coordinates(shapes, return_index=True)
    middles = shapely.get_coordinates(shapely.point_on_surface(shapes))
    points = np.concatenate([corners, middles])
    found = np.zeros(len(shapes), bool)
    np.logical_or.at(
        found,
        np.concatenate([of, np.arange(len(middles))]),
        split_of(points[:, 0], points[:, 1], cell, turn) == SPLITS.index("test"),
    )
    return found


def split_mask(
    grid: Grid, col: int, row: int, width: int, height: int, cell: float, step: int = 1, turn: int = 0
) -> np.ndarray:
    """Split of pixel centres, uint8 (height / step, width / step); col, row: the upper left pixel of the whole grid."""
    return split_of_number(number_mask(grid, col, row, width, height, cell, step), turn)


def number_mask(grid: Grid, col: int, row: int, width: int, height: int, cell: float, step: int = 1) -> np.ndarray:
    """Cell numbers of pixel centres, as `split_mask`: what all turns of the split follow from."""
    xs = grid.origin[0] + (col + np.arange(width // step) * step + step / 2) * grid.resolution
    ys = grid.origin[1] - (row + np.arange(height // step) * step + step / 2) * grid.resolution
    return cell_number(xs[None, :], ys[:, None], cell)


def split_area(grid: Grid, block: Block, split: str, cell: float, turn: int = 0) -> Any:
    """Ground of a block that belongs to a split, a shapely geometry in the grid's CRS."""
    import shapely

    left, bottom, right, top = grid.bounds(block)
    xs = np.arange(np.floor(left / cell), np.ceil(right / cell))
    ys = np.arange(np.floor(bottom / cell), np.ceil(top / cell))
    x, y = (part.ravel() for part in np.meshgrid(xs, ys))
    chosen = split_of((x + 0.5) * cell, (y + 0.5) * cell, cell, turn) == SPLITS.index(split)
    x, y = x[chosen] * cell, y[chosen] * cell
    cells = shapely.box(x, y, x + cell, y + cell)
    return shapely.intersection(shapely.union_all(cells), grid.polygon(block))

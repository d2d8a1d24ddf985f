"""The cut of a country: squares of ground that never depend on the data, in the order of a Hilbert curve.

Here: which square a building falls into, its place along the curve, and the squares' names. Not here: the buildings
(national_pieces.py, national.py).

A square is a whole number of the grid's blocks wide, so one more region changes the squares that it touches and no
other. A building belongs to the square that holds the middle of its bounding box.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from groundplan.core.grid import Block, Grid
from groundplan.polygons.hilbert import distances
from groundplan.project import Project

BITS = 20
"""Of a square's column and row: half a million squares on each side of the grid's origin."""
FINE = 8
"""More bits of a building's place inside its square."""


def cut_of(project: Project) -> Grid:
    """The squares, as a grid of larger blocks: `nation.part` metres, rounded to whole blocks, one at least."""
    grid = project.grid
    blocks = max(1, round(project.settings.nation.part / grid.span))
    return Grid(grid.crs, grid.resolution, blocks * grid.block_size, grid.origin)


def places(cut: Grid, bounds: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """Column, row and place along the curve (n,) of the square of each box (n, 4). Raises ValueError far off the grid.

    bounds: left, bottom, right, top in the grid's CRS.
    """
    x = ((bounds[:, 0] + bounds[:, 2]) / 2 - cut.origin[0]) / cut.span * 2**FINE
    y = (cut.origin[1] - (bounds[:, 1] + bounds[:, 3]) / 2) / cut.span * 2**FINE
    col, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    middle = 2 ** (BITS + FINE - 1)
    return col >> FINE, row >> FINE, distances(col + middle, row + middle, BITS + FINE)


def name_of(col: int, row: int, place: int) -> str:
    """Of a square: its number along the curve first, so that names sort as the curve goes; then column and row.

    place: along the curve, of any building in it.
    """
    return f"{int(place) >> (2 * FINE):010x}-{Block(int(col), int(row)).name}"


def block_of(name: str) -> Block:
    """Column and row of a square by its name. Raises ValueError."""
    return Block.parse(name.partition("-")[2])

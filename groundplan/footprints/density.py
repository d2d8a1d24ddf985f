"""Density of a country's buildings: how many, and which share of the ground is built, by square cell.

Here: counting, a file at a time, on the same 64 m lattice for all. Not here: the picture (previews/density.py), tiles
(publish/nation_tiles.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundplan.core.grid import Bounds
from groundplan.core.manifest import Made
from groundplan.footprints.national import tables
from groundplan.footprints.national_tables import bounds_of
from groundplan.project import Project

CELL = 64.0  # metres


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells that hold a building, row by row. A building counts where the middle of its box lies, with all its area."""

    cols: NDArray[np.int64]
    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    areas: NDArray[np.float64]
    """m2 of the buildings that count in the cell."""


def cells(project: Project, made: Sequence[Made[Any]], cell: float = CELL) -> Iterator[Cells]:
    """Cells of each file; a cell on the border of two squares comes with both. cell: metres. Raises MissingInput."""
    left, top = project.grid.origin
    for table in tables(project, list(made), ["bbox", "area"]):
        bounds = bounds_of(table)
        cols = np.floor(((bounds[:, 0] + bounds[:, 2]) / 2 - left) / cell).astype(np.int64)
        rows = np.floor((top - (bounds[:, 1] + bounds[:, 3]) / 2) / cell).astype(np.int64)
        yield summed(cols, rows, np.ones(len(cols), np.int64), table["area"].to_numpy())


def summed(
    cols: NDArray[np.int64], rows: NDArray[np.int64], counts: NDArray[np.int64], areas: NDArray[np.float64]
) -> Cells:
    """Each cell once."""
    order = np.lexsort([cols, rows])
    cols, rows, counts, areas = cols[order], rows[order], counts[order], areas[order]
    new = np.flatnonzero(np.r_[True, (np.diff(cols) != 0) | (np.diff(rows) != 0)][: len(cols)])
    if not len(new):
        return Cells(cols, rows, counts, areas)
    return Cells(cols[new], rows[new], np.add.reduceat(counts, new), np.add.reduceat(areas, new))


def raster(project: Project, made: Sequence[Made[Any]], longest: int) -> tuple[NDArray[np.int64], float, Bounds]:
    """Counts (H, W), north up, of a whole country: cells of 64 m or a multiple, at most `longest` on a side.

    Also the cell's side in metres, and the ground: left, bottom, right, top.
    """
    boxes = np.array([one.facts["bounds"] for one in made])
    (left, bottom), (right, top) = boxes[:, :2].min(0).tolist(), boxes[:, 2:].max(0).tolist()
    cell = CELL * max(1.0, np.ceil(max(right - left, top - bottom) / CELL / (longest - 1)))
    west, north = project.grid.origin
    col, row = int((left - west) // cell), int((north - top) // cell)
    shape = int((north - bottom) // cell) - row + 1, int((right - west) // cell) - col + 1
    counts = np.zeros(shape, np.int64)
    for found in cells(project, made, cell):
        np.add.at(counts, (found.rows - row, found.cols - col), found.counts)
    ground = (west + col * cell, north - (row + shape[0]) * cell, west + (col + shape[1]) * cell, north - row * cell)
    return counts, float(cell), ground

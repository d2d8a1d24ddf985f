"""Two results beside each other on the same ground: what differs, and whether this ground can show it.

Here: counts by cell, and the paired bootstrap over cells. Not here: the figures (polygons/metrics.py, figures.py).

Buildings of one street stand or fall together, so it is not buildings that are drawn again but cells of ground, each
with all that both results have there (Efron 1979; paired, since both are judged by the same cells).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

from groundplan.errors import BadConfig
from groundplan.polygons.metrics import match_one_to_one, overlaps, polygons_of

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

CELL = 64.0
"""Metres: the side of the split's cells."""
DRAWS = 2000
SURE = 95.0
"""Per cent of the interval."""
FIGURES = ("F1", "completeness", "correctness", "quality", "IoU of area")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A figure of two results, and the interval of B less A."""

    figure: str
    a: float
    b: float
    low: float
    high: float
    cells: int

    @property
    def verdict(self) -> str:
        if self.low > 0:
            return "B is better"
        return "A is better" if self.high < 0 else "this ground shows no difference"


def compare(
    a: gpd.GeoDataFrame,
    b: gpd.GeoDataFrame,
    truth: gpd.GeoDataFrame,
    ground: shapely.Geometry,
    cell: float = CELL,
    seed: int = 0,
) -> list[Difference]:
    """Figures of two results against one truth, all in one CRS in metres, on the ground where the truth is complete.

    cell: metres. The same files give the same intervals. Raises BadConfig where the ground has fewer than two cells
    with a building, true or found.
    """
    true = polygons_of(truth)
    cells = _cells(ground, cell)
    counts = np.stack([_counts(polygons_of(each), true, ground, cells, cell) for each in (a, b)])
    some = counts.sum(axis=(0, 2)) > 0
    if some.sum() < 2:
        raise BadConfig("extent", f"it has {some.sum()} cells of {cell:g} m with buildings", "Give more ground")
    counts = counts[:, some]
    drawn = np.random.default_rng(seed).integers(0, counts.shape[1], (DRAWS, counts.shape[1]))
    weight = np.apply_along_axis(np.bincount, 1, drawn, minlength=counts.shape[1]).astype(float)
    again = _figures(weight @ counts[1]) - _figures(weight @ counts[0])
    low, high = np.percentile(again, [50 - SURE / 2, 50 + SURE / 2], axis=0)
    first, second = _figures(counts.sum(axis=1))
    rows = zip(FIGURES, first, second, low, high, strict=True)
    number = int(some.sum())
    return [
        Difference(figure=name, a=float(x), b=float(y), low=float(lo), high=float(hi), cells=number)
        for name, x, y, lo, hi in rows
    ]


def _figures(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 5) of FIGURES from sums (..., 7) of `_counts`."""
    right, found, hit, true, both, area, real = np.moveaxis(counts, -1, 0)
    correct, complete = _share(right, found), _share(hit, true)
    f1 = np.where(correct + complete > 0, 2 * correct * complete / np.maximum(correct + complete, 1e-12), 0)
    return np.stack([f1, complete, correct, _share(hit, found + true - hit), _share(both, area + real - both)], axis=-1)


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 1.0)


def _cells(ground: shapely.Geometry, cell: float) -> dict[tuple[int, int], int]:
    """Cells of a lattice from zero that the ground touches, by column and row: their number."""
    left, bottom, right, top = np.floor(np.array(ground.bounds) / cell).astype(int)
    shapely.prepare(ground)
    places = [(x, y) for y in range(bottom, top + 1) for x in range(left, right + 1)]
    boxes = shapely.box(*(np.array(places).T[[0, 1, 0, 1]] + np.array([[0], [0], [1], [1]])) * cell)
    on = shapely.intersects(ground, boxes)
    return {place: number for number, place in enumerate(p for p, some in zip(places, on, strict=True) if some)}


def _counts(
    found: NDArray[np.object_],
    true: NDArray[np.object_],
    ground: shapely.Geometry,
    cells: dict[tuple[int, int], int],
    cell: float,
) -> NDArray[np.float64]:
    """By cell (N, 7): found and right, found, true and hit, true; square metres of both, of found, of true."""
    counts = np.zeros((len(cells), 7))
    matches = match_one_to_one(*overlaps(found, true), 0.5)
    for at, polygons, right in ((0, found, matches[0]), (2, true, matches[1])):
        xy = shapely.get_coordinates(shapely.point_on_surface(polygons))
        inside = shapely.contains_xy(ground, xy)
        place = np.array([cells.get((int(x), int(y)), -1) for x, y in np.floor(xy / cell)], int)
        for column, chosen in ((at, np.isin(np.arange(len(polygons)), right)), (at + 1, np.ones(len(polygons), bool))):
            np.add.at(counts[:, column], place[inside & chosen & (place >= 0)], 1)
    trees = shapely.STRtree(found), shapely.STRtree(true)
    for (x, y), number in cells.items():
        here = shapely.intersection(shapely.box(x * cell, y * cell, (x + 1) * cell, (y + 1) * cell), ground)
        one, other = (
            shapely.intersection(shapely.union_all(tree.geometries[tree.query(here)]), here) for tree in trees
        )
        counts[number, 4:] = shapely.intersection(one, other).area, one.area, other.area
    return counts

"""Figures of buildings found against true ones, in the words and measures of mapping agencies and of research.

Here: every figure beyond those of metrics.py, each with its source: completeness and correctness of objects and of
area, buildings merged and in fragments, distances and angles of outlines, corners, walls that neighbours share. Not
here: pixels and boundaries of pixels (metrics.py), two results beside each other (quality/comparison.py).

All take arrays of valid polygons in metres. A share of nothing is 1; a mean of nothing is nan.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import shapely

from groundplan.polygons.metrics import match_one_to_one, overlaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZES = (15.0, 40.0, 80.0, 160.0)
"""Square metres: lower bounds of the classes of size."""
MOSTLY = 0.5
"""Share of a building's area that counts as all of it, where merged and fragmented ones are told."""
SAMPLED = 0.3
"""Metres between the points of an outline of which tangents are taken."""
STRETCHED = 2.0
"""A piece of outline that grows or shrinks by more when it is projected says nothing of angles."""
STRAIGHT, NEAR_RIGHT = 8.0, 10.0
"""Degrees by which a vertex must turn to be a corner, and by which a corner may miss a right angle."""
REACH = 1.0
"""Metres within which a corner is the same corner."""
WALL, TOUCHING = 1.0, 0.02
"""Metres of a common wall that count as one, and within which outlines touch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Completeness TP / (TP + FN), correctness TP / (TP + FP), quality TP / (TP + FP + FN): Heipke et al. 1997."""

    completeness: float
    """1 - omission."""
    correctness: float
    """1 - commission."""
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of the buildings whose representative point lies in an area."""

    objects: Shares
    """One to one at an IoU of at least 0.5: Rutzinger et al. 2009."""
    area: Shares
    """Of square metres."""
    by_size: dict[str, tuple[int, float]]
    """Class of size: how many true buildings, and the share of them that was found."""
    merged: float
    """Share of true buildings whose ground one found building covers together with another's: Zhan et al. 2005."""
    fragments: float
    """Share of found buildings that lie in a true one beside another found one."""
    polis: float
    """Metres, mean of pairs: Avbelj et al. 2015. And the median."""
    polis_median: float
    n_ratio: float
    """Corners found / corners true, mean of pairs: Zorzi et al. 2022, who take it per image."""
    c_iou: float
    """IoU times 1 - |N - M| / (N + M), mean of pairs: the same."""
    tangent: float
    """Degrees: greatest angle between an outline and the true one, mean of pairs: Girard et al. 2021."""
    boundary_f: float
    """F of the lengths of outline within `tolerance` of each other's: Perazzi et al. 2016."""
    tolerance: float
    corner_rmse: float
    """Metres, of corners within REACH of a true one, one to one."""
    corner_precision: float
    corner_recall: float
    right_angles: float
    """Share of corners, without vertices on a straight line (a neighbour's corner on a wall is one)."""
    corners: float
    """Per building."""
    walls_kept: float
    """Of pairs of true buildings that share a wall and were both found: share of pairs that share half of it."""


def figures(
    found: NDArray[np.object_], true: NDArray[np.object_], ground: shapely.Geometry, tolerance: float = 0.5
) -> Figures:
    """All figures of `found` against `true` on `ground`; tolerance: metres of the boundary figure."""
    found_in, true_in = (_inside(each, ground) for each in (found, true))
    pairs, ious = overlaps(found, true)
    matches = match_one_to_one(pairs, ious, 0.5)
    right = int(found_in[matches[0]].sum())  # a partner may lie outside, on the border
    matches = matches[:, true_in[matches[1]]]
    one, other = found[matches[0]], true[matches[1]]
    near = [corner_distances(a, b) for a, b in zip(one, other, strict=True)]
    close, counted = np.concatenate([d for d, _, _ in near] or [np.zeros(0)]), [(n, m) for _, n, m in near]
    distances = [polis(a, b) for a, b in zip(one, other, strict=True)]
    corners = [corners_of(polygon) for polygon in found[found_in]]
    turns = np.concatenate([turn for _, turn in corners] or [np.zeros(0)])
    return Figures(
        objects=_shares(right, int(found_in.sum()), len(other), int(true_in.sum())),
        area=area_shares(found, true, ground),
        by_size=_by_size(true, true_in, np.isin(np.arange(len(true)), matches[1])),
        merged=merged(found, true, true_in),
        fragments=merged(true, found, found_in),
        polis=_mean(distances),
        polis_median=float(np.median(distances)) if distances else math.nan,
        n_ratio=_mean([n / m for n, m in counted if m]),
        c_iou=_mean(
            [_iou(a, b) * (1 - abs(n - m) / (n + m)) for a, b, (n, m) in zip(one, other, counted, strict=True)]
        ),
        tangent=_mean([tangent_error(a, b) for a, b in zip(one, other, strict=True)]),
        boundary_f=boundary_f(found[found_in], true[true_in], tolerance),
        tolerance=tolerance,
        corner_rmse=float(np.sqrt((close**2).mean())) if len(close) else math.nan,
        corner_precision=_share(len(close), sum(n for n, _ in counted)),
        corner_recall=_share(len(close), sum(m for _, m in counted)),
        right_angles=_share(int((np.abs(turns - 90) <= NEAR_RIGHT).sum()), len(turns)),
        corners=len(turns) / len(corners) if corners else math.nan,
        walls_kept=walls_kept(other, one),
    )


def table(found: Figures) -> list[tuple[str, str]]:
    """Figures as (name, value with its unit), in the words of mapping agencies, in reading order."""
    f = found
    return [
        ("completeness of buildings (1 - omission)", f"{f.objects.completeness:.3f}"),
        ("correctness of buildings (1 - commission)", f"{f.objects.correctness:.3f}"),
        ("quality of buildings", f"{f.objects.quality:.3f}"),
        ("completeness of area", f"{f.area.completeness:.3f}"),
        ("correctness of area", f"{f.area.correctness:.3f}"),
        ("quality of area", f"{f.area.quality:.3f}"),
        *((f"found, {name} ({count})", f"{share:.3f}") for name, (count, share) in f.by_size.items()),
        ("merged with a neighbour", f"{f.merged:.3f}"),
        ("found in fragments", f"{f.fragments:.3f}"),
        ("PoLiS, mean / median", f"{f.polis:.2f} / {f.polis_median:.2f} m"),
        ("corners found / true", f"{f.n_ratio:.2f}"),
        ("complexity-aware IoU", f"{f.c_iou:.3f}"),
        ("greatest tangent angle error", f"{f.tangent:.1f} degrees"),
        (f"boundary F within {f.tolerance:g} m", f"{f.boundary_f:.3f}"),
        (f"RMSE of corners within {REACH:g} m", f"{f.corner_rmse:.2f} m"),
        (f"corners right / found within {REACH:g} m", f"{f.corner_precision:.3f} / {f.corner_recall:.3f}"),
        ("right angles, of corners", f"{f.right_angles:.3f}"),
        ("corners per building", f"{f.corners:.1f}"),
        ("shared walls kept", f"{f.walls_kept:.3f}"),
    ]


# --- objects and area -------------------------------------------------------------------------------------------------


def _shares(right: float, found: float, hit: float, true: float) -> Shares:
    """right: of what was found; hit: of what is true; they are the same where pairs are one to one and all inside."""
    whole = found + true - hit
    return Shares(completeness=_share(hit, true), correctness=_share(right, found), quality=_share(hit, whole))


def area_shares(found: NDArray[np.object_], true: NDArray[np.object_], ground: shapely.Geometry) -> Shares:
    """Shares of square metres on the ground."""
    one, other = (shapely.intersection(shapely.union_all(each), ground) for each in (found, true))
    both = shapely.intersection(one, other).area
    return _shares(both, one.area, both, other.area)


def _by_size(
    true: NDArray[np.object_], inside: NDArray[np.bool_], hit: NDArray[np.bool_]
) -> dict[str, tuple[int, float]]:
    classes = np.digitize(shapely.area(true), SIZES)
    bounds = [0.0, *SIZES]
    names = [f"{a:g}-{b:g} m2" for a, b in pairwise(bounds)] + [f"over {SIZES[-1]:g} m2"]
    chosen = [inside & (classes == each) for each in range(len(names))]
    return {n: (int(c.sum()), _share(int(hit[c].sum()), int(c.sum()))) for n, c in zip(names, chosen, strict=True)}


def merged(over: NDArray[np.object_], under: NDArray[np.object_], counts: NDArray[np.bool_]) -> float:
    """Share of `under`, of those that count, that mostly lie in one of `over` in which another mostly lies too."""
    pairs = shapely.STRtree(under).query(over, predicate="intersects")
    common = shapely.area(shapely.intersection(over[pairs[0]], under[pairs[1]]))
    pairs = pairs[:, common >= MOSTLY * shapely.area(under[pairs[1]])]
    several = np.bincount(pairs[0], minlength=len(over))[pairs[0]] > 1
    lost = np.isin(np.arange(len(under)), pairs[1][several]) & counts
    return int(lost.sum()) / int(counts.sum()) if counts.any() else 0.0


# --- outlines ---------------------------------------------------------------------------------------------------------


def polis(one: shapely.Polygon, other: shapely.Polygon) -> float:
    """Half the mean distance of each polygon's vertices to the other's outline, both ways; a closing vertex once."""
    return sum(
        float(shapely.distance(shapely.points(_vertices(a)), shapely.boundary(b)).mean()) / 2
        for a, b in ((one, other), (other, one))
    )


def tangent_error(one: shapely.Polygon, true: shapely.Polygon) -> float:
    """Greatest angle, degrees 0 to 90, between pieces of an outline and where they come to lie on the true one.

    As in its source, a piece that comes to lie across a corner counts too: a house that was only shifted has some.
    """
    outline, worst = shapely.boundary(true), 0.0
    for ring in _rings(one):
        points = shapely.get_coordinates(shapely.segmentize(ring, SAMPLED))
        there = shapely.line_interpolate_point(outline, shapely.line_locate_point(outline, shapely.points(points)))
        steps, shadows = (np.diff(each, axis=0) for each in (points, shapely.get_coordinates(there)))
        length, shadow = np.hypot(*steps.T), np.hypot(*shadows.T)
        counts = (shadow > length / STRETCHED) & (shadow < length * STRETCHED)
        cosine = np.abs((steps * shadows).sum(axis=1)[counts]) / (length * shadow)[counts]
        worst = max(worst, float(np.degrees(np.arccos(np.clip(cosine, 0, 1))).max(initial=0.0)))
    return worst


def boundary_f(found: NDArray[np.object_], true: NDArray[np.object_], tolerance: float) -> float:
    """F of the shares of outline that lie within the tolerance of an outline of the other kind."""
    precision, recall = (_near(a, b, tolerance) for a, b in ((found, true), (true, found)))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _near(some: NDArray[np.object_], others: NDArray[np.object_], tolerance: float) -> float:
    lines, around = shapely.boundary(some), shapely.boundary(others)
    tree, near = shapely.STRtree(around), 0.0
    for line in lines:
        close = around[tree.query(line, predicate="dwithin", distance=tolerance)]
        near += shapely.intersection(line, shapely.buffer(shapely.union_all(close), tolerance)).length
    return _share(near, float(shapely.length(lines).sum()))


# --- corners ----------------------------------------------------------------------------------------------------------


def corners_of(polygon: shapely.Polygon) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners (N, 2) and by how many degrees, 0 to 180, each turns; vertices on a straight line are none."""
    found = [_turning(shapely.get_coordinates(ring)[:-1]) for ring in _rings(polygon)]
    return np.concatenate([xy for xy, _ in found]), np.concatenate([turn for _, turn in found])


def _turning(xy: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    before, after = xy - np.roll(xy, 1, axis=0), np.roll(xy, -1, axis=0) - xy
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    turn = np.abs(np.degrees(np.arctan2(cross, (before * after).sum(axis=1))))
    return xy[turn > STRAIGHT], turn[turn > STRAIGHT]


def corner_distances(one: shapely.Polygon, true: shapely.Polygon) -> tuple[NDArray[np.float64], int, int]:
    """Distances of corners that are the same within REACH, one to one; how many corners each has."""
    from scipy.optimize import linear_sum_assignment

    a, b = corners_of(one)[0], corners_of(true)[0]
    away = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    pairs = linear_sum_assignment(np.minimum(away, 2 * REACH))
    chosen = away[pairs]
    return chosen[chosen <= REACH], len(a), len(b)


# --- walls ------------------------------------------------------------------------------------------------------------


def walls(polygons: NDArray[np.object_]) -> Iterator[tuple[int, int, float]]:
    """Pairs of polygons, the lower index first, and the metres of wall that they share, of at least WALL."""
    pairs = shapely.STRtree(polygons).query(polygons, predicate="dwithin", distance=TOUCHING)
    for a, b in sorted(tuple(pair) for pair in pairs.T.tolist() if pair[0] < pair[1]):
        if (length := shared(polygons[a], polygons[b])) >= WALL:
            yield a, b, length


def shared(one: shapely.Polygon, other: shapely.Polygon) -> float:
    """Metres of one's outline that lie on the other's. A staircase of pixels is longer than the wall: simplify it."""
    return float(shapely.intersection(shapely.boundary(one), shapely.buffer(shapely.boundary(other), TOUCHING)).length)


def walls_kept(before: NDArray[np.object_], after: NDArray[np.object_]) -> float:
    """Of pairs in `before` that share a wall: share of pairs, by index, that share at least half of it in `after`."""
    found = list(walls(before))
    return _share(sum(shared(after[a], after[b]) >= length / 2 for a, b, length in found), len(found))


# --- parts ------------------------------------------------------------------------------------------------------------


def _rings(polygon: shapely.Polygon) -> NDArray[np.object_]:
    return shapely.get_rings(shapely.get_parts(polygon))


def _vertices(polygon: shapely.Polygon) -> NDArray[np.float64]:
    return np.concatenate([shapely.get_coordinates(ring)[:-1] for ring in _rings(polygon)])


def _inside(polygons: NDArray[np.object_], ground: shapely.Geometry) -> NDArray[np.bool_]:
    return shapely.contains_xy(ground, shapely.get_coordinates(shapely.point_on_surface(polygons)))


def _iou(one: shapely.Polygon, other: shapely.Polygon) -> float:
    return one.intersection(other).area / one.union(other).area


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 1.0

"""Pairing: which outlines of two years are one building, a part of one, or a merger of several.

Here: overlaps of outlines that were brought onto each other, and what they say. Not here: bringing them onto each other
(registration.py), what became of a building (states.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Polygons: TypeAlias = np.ndarray
"""Polygons as an object array (n,)."""

COVERED = 0.3  # share of an outline on the other year's, from which it is not new, or not gone
LINKED = 0.5  # share of the smaller outline on the larger one, from which they are one building or parts of it
ALONE_IOU, ALONE_SHARE = 0.5, 0.6  # from which a pair is one building: IoU, or the shares of both


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlaps:
    """Pairs of polygons that share ground: indices int (k,), the shared area (k,) [m2], areas of both sides."""

    now: np.ndarray
    then: np.ndarray
    shared: np.ndarray
    area_now: np.ndarray
    area_then: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        return self.shared / (self.area_now[self.now] + self.area_then[self.then] - self.shared)

    @property
    def of_now(self) -> np.ndarray:
        """Share of the polygon of this year that lies on that of the other."""
        return self.shared / self.area_now[self.now]

    @property
    def of_then(self) -> np.ndarray:
        return self.shared / self.area_then[self.then]


def overlaps(now: Polygons, then: Polygons) -> Overlaps:
    """Which polygons of two years share ground, sorted by index; touching is not sharing."""
    import shapely

    first, second = shapely.STRtree(then).query(now, predicate="intersects") if len(now) and len(then) else _none()
    shared = shapely.area(shapely.intersection(now[first], then[second]))
    kept = np.flatnonzero(shared > 0)
    order = kept[np.lexsort((second[kept], first[kept]))]
    return Overlaps(
        now=first[order],
        then=second[order],
        shared=shared[order],
        area_now=shapely.area(now),
        area_then=shapely.area(then),
    )


def covered_share(found: Overlaps, now: bool) -> np.ndarray:
    """Share of each polygon of this year (now), or of the other, on all polygons of the other one."""
    which, area = (found.now, found.area_now) if now else (found.then, found.area_then)
    return np.minimum(np.bincount(which, weights=found.shared, minlength=len(area)) / np.maximum(area, 1e-9), 1.0)


def links(found: Overlaps) -> np.ndarray:
    """Bool (k,): pairs that are one building, or of which one is a part of the other.

    A shed where a hall stood is no part of the hall: most of that is gone, and of neither is much left bare.
    """
    return _inside(found) & ~leftovers(found)


def leftovers(found: Overlaps) -> np.ndarray:
    """Bool (k,): pairs of which one lies in the other, and fills so little of it that it is none of its parts."""
    bare_now = covered_share(found, now=True)[found.now] < COVERED
    bare_then = covered_share(found, now=False)[found.then] < COVERED
    return _inside(found) & (bare_now | bare_then)


def _inside(found: Overlaps) -> np.ndarray:
    return np.maximum(found.of_now, found.of_then) >= LINKED


def alone(found: Overlaps) -> np.ndarray:
    """Bool (k,): pairs that are the same building by their outlines, whatever else lies there."""
    return (found.iou >= ALONE_IOU) | (np.minimum(found.of_now, found.of_then) >= ALONE_SHARE)


def one_to_one(found: Overlaps) -> np.ndarray:
    """Bool (k,): linked pairs neither of which is linked to another one, so no part and no merger."""
    linked = links(found)
    many_now = np.bincount(found.now[linked], minlength=len(found.area_now))
    many_then = np.bincount(found.then[linked], minlength=len(found.area_then))
    return linked & (many_now[found.now] == 1) & (many_then[found.then] == 1)


def keepers(found: Overlaps) -> np.ndarray:
    """For each polygon of this year the one of the other year whose place it takes, int (n,); -1: none.

    One building's outlines first, then linked ones by the ground that they share: so of parts and mergers the greatest
    takes the place. None is taken twice.
    """
    linked = np.flatnonzero(links(found))
    order = np.lexsort((found.then[linked], found.now[linked], -found.shared[linked], ~alone(found)[linked]))
    taken, used = np.full(len(found.area_now), -1), np.zeros(len(found.area_then), bool)
    for now, then in zip(found.now[linked[order]], found.then[linked[order]], strict=True):
        if taken[now] < 0 and not used[then]:
            taken[now], used[then] = then, True
    return taken


def centers(shapes: Polygons) -> np.ndarray:
    """Centroids, float (n, 2)."""
    import shapely

    return np.asarray(shapely.get_coordinates(shapely.centroid(shapes))).reshape(-1, 2)


def _none() -> tuple[np.ndarray, np.ndarray]:
    return np.empty(0, int), np.empty(0, int)

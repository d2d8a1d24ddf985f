"""Local registration: by how much one year's buildings lie beside another's, building by building.

Here: pairs of buildings, the shift at a place, what remains after it. Not here: what follows for them (states.py).

Imagery of two years never lies on itself to the pixel, and roofs lean with their height: the shift is a field, not a
number. At a place it is the median of the centroid differences of the nearest paired buildings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from groundplan.changes.pairing import Overlaps, Polygons, centers, overlaps

REACH = 60.0  # metres within which pairs tell of a place's shift
FEWEST = 5  # pairs below which a place, or a region, tells nothing
NEAREST = 30  # pairs that are asked at most
ALIKE = 1.6  # greatest ratio of a pair's areas
PAIRED = 0.3  # least IoU of a pair before the shift is known
ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifts:
    """The field of shifts, as pairs of buildings tell it. Adding a shift brings the earlier year onto the later one."""

    places: np.ndarray
    """Where the pairs are: float (k, 2), in the earlier year."""
    found: np.ndarray
    """Their centroid differences: float (k, 2) [m]."""

    @property
    def known(self) -> bool:
        """Whether there are pairs enough to say anything."""
        return len(self.places) >= FEWEST

    @property
    def residual(self) -> float | None:
        """Median distance of a pair's difference from the field [m]; None where too few pairs tell."""
        if not self.known:
            return None
        return float(np.median(np.linalg.norm(self.found - self.at(self.places)[0], axis=1)))

    def at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shift float (n, 2) and its spread (n,), the median distance of the pairs from it [m].

        Of the pairs near by; of all of them where those are fewer than FEWEST; 0 and NaN where no field is known.
        """
        from scipy.spatial import cKDTree

        if not self.known or not len(places):
            return np.zeros((len(places), 2)), np.full(len(places), np.nan)
        nearest = min(NEAREST, len(self.places))
        away, which = cKDTree(self.places).query(places, k=nearest, distance_upper_bound=REACH)
        away, which = away.reshape(len(places), nearest), which.reshape(len(places), nearest)
        near = np.isfinite(away)
        few = near.sum(axis=1) < FEWEST
        told = self.found[np.where(near, which, 0)]
        told[~near] = np.nan
        told[few] = np.nan
        told[few, 0] = np.median(self.found, axis=0)
        shift = np.nanmedian(told, axis=1)
        spread = np.nanmedian(np.linalg.norm(told - shift[:, None], axis=2), axis=1)
        if few.any():
            everywhere = np.linalg.norm(self.found - np.median(self.found, axis=0), axis=1)
            spread[few] = np.median(everywhere)
        return shift, spread


def register(now: Polygons, then: Polygons) -> Shifts:
    """The shifts that bring the buildings of an earlier year onto those of a later one.

    A pair is two buildings of like area that overlap each other more than any other does. Pairs are looked for again
    after the shift that was found, so that a shift of half a building does not hide its own pairs.
    """
    centers_now, centers_then = centers(now), centers(then)
    shifts = Shifts(places=np.empty((0, 2)), found=np.empty((0, 2)))
    for _ in range(ROUNDS):
        moved = translated(then, shifts.at(centers_then)[0])
        first, second = _pairs(overlaps(now, moved))
        shifts = Shifts(places=centers_then[second], found=centers_now[first] - centers_then[second])
    return shifts


def translated(shapes: Polygons, shift: np.ndarray) -> Polygons:
    """Polygons moved by a shift each: float (n, 2) [m]."""
    import shapely

    points, which = shapely.get_coordinates(shapes, return_index=True)
    return np.asarray(shapely.set_coordinates(shapes.copy(), points + shift[which]))


def _pairs(found: Overlaps) -> tuple[np.ndarray, np.ndarray]:
    iou = found.iou
    best_now, best_then = np.zeros(len(found.area_now)), np.zeros(len(found.area_then))
    np.maximum.at(best_now, found.now, iou)
    np.maximum.at(best_then, found.then, iou)
    ratio = found.area_now[found.now] / found.area_then[found.then]
    mutual = (iou >= best_now[found.now]) & (iou >= best_then[found.then]) & (iou >= PAIRED)
    kept = mutual & (ratio < ALIKE) & (ratio > 1 / ALIKE)
    return found.now[kept], found.then[kept]

"""Squaring: rings with level and upright walls alone, many at a time, and how much ground they share with what they
stand for.

Here: walls of rings without jogs (`walls_of`), polygons of them (`squared`), and shared ground (`common`), arrays in
and out. Not here: which shape a building takes (regularize.py), walls of neighbours (walls.py).

All rings of about one size take each step together; what a ring becomes depends on it alone, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely

AT_ONCE = 1 << 19  # numbers of a piece of work; bounds memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Rings:
    """Walls of rings without jogs: of ring i `place[first[i] : first[i] + count[i]]`, none where it has under four."""

    place: np.ndarray
    """float64: y of a level wall, x of an upright one; a ring's walls alternate"""
    count: np.ndarray
    """int (R,)"""
    level: np.ndarray
    """bool (R,): whether the first is level"""

    @property
    def first(self) -> np.ndarray:
        return np.cumsum(self.count) - self.count


def walls_of(xy: np.ndarray, ring: np.ndarray, jog: float) -> Rings:
    """Walls of closed rings. xy: float64 (V, 2); ring: int (V,), 0..R-1 in order, none left out.

    A wall is a run of edges in one direction, at the mean of their places weighted by length; walls shorter than `jog`
    join the two beside them, the shortest first.
    """
    number = int(ring[-1]) + 1 if len(ring) else 0
    moment, weight, count, level = _runs(xy, ring, number)
    place = moment / weight
    found = np.zeros(number, np.int64)
    parts: list[np.ndarray] = [np.empty(0)] * number
    first = np.cumsum(count) - count
    for some in _pieces_of_work(np.argsort(count, kind="stable"), count):
        some = some[count[some] >= 4]
        if not len(some):
            continue
        wide = int(count[some].max())
        at = np.minimum(first[some, None] + np.arange(wide), len(place) - 1)
        places, sizes, flipped = _without_jogs(place[at], weight[at], count[some], jog)
        found[some], level[some] = sizes, level[some] ^ flipped
        for which, row, size in zip(some.tolist(), places, sizes.tolist(), strict=True):
            parts[which] = row[:size]
    return Rings(place=np.concatenate([*parts, np.empty(0)]), count=found, level=level)


def _runs(xy: np.ndarray, ring: np.ndarray, number: int) -> tuple[np.ndarray, ...]:
    """Runs of edges in one direction: moments, lengths, how many of each ring, and whether its first is level."""
    whole = ring[1:] == ring[:-1]
    owner = ring[1:][whole]
    before, after = xy[:-1][whole], xy[1:][whole]
    across = np.abs(after - before)
    level = across[:, 0] >= across[:, 1]
    length = np.where(level, across[:, 0], across[:, 1])
    place = np.where(level, before[:, 1] + after[:, 1], before[:, 0] + after[:, 0]) / 2
    begins = np.ones(len(owner), bool)
    begins[1:] = (owner[1:] != owner[:-1]) | (level[1:] != level[:-1])
    run = np.cumsum(begins) - 1
    moment, weight = (np.bincount(run, values) for values in (length * place, length))  # adds in order, as a loop does
    of = owner[begins]
    count = np.bincount(of, minlength=number)
    last = np.cumsum(count) - 1
    odd = (count % 2 == 1) & (count > 1)  # the ring began in the middle of a wall
    first = last - count + 1
    moment[first[odd]] += moment[last[odd]]
    weight[first[odd]] += weight[last[odd]]
    keep = np.ones(len(of), bool)
    keep[last[count % 2 == 1]] = False
    begin = np.zeros(number, bool)
    begin[of[::-1]] = level[begins][::-1]  # the last write wins: each ring's first
    return moment[keep], weight[keep], count - count % 2, begin


def _without_jogs(
    place: np.ndarray, weight: np.ndarray, count: np.ndarray, jog: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of walls, the first `count` of each, without those shorter than `jog`; how many are left, and whether the
    first is of the other direction now."""
    place, count, flipped = place.copy(), count.copy(), np.zeros(len(count), bool)
    going = np.flatnonzero(count > 4)
    while len(going):
        wide = int(count[going].max())
        n, some, heavy = count[going, None], place[going, :wide], weight[going, :wide]
        column, row = np.arange(wide), np.arange(len(going))[:, None]
        # an edge's length is the distance of the two walls it joins
        length = np.abs(
            some[row, np.where(column + 1 < n, column + 1, 0)] - some[row, np.where(column, column - 1, n - 1)]
        )
        length[column >= n] = np.inf
        shortest = length.argmin(axis=1)
        short = length[row[:, 0], shortest] < jog
        going, some, heavy, n, shortest = going[short], some[short], heavy[short], n[short], shortest[short]
        if not len(going):
            break
        start = (shortest - 1) % n[:, 0]  # the three walls around it come first, and become one
        turn = (start[:, None] + column) % n
        some, heavy = (np.take_along_axis(values, turn, axis=1) for values in (some, heavy))
        both = heavy[:, 0] + heavy[:, 2]
        some[:, 2] = (some[:, 0] * heavy[:, 0] + some[:, 2] * heavy[:, 2]) / both
        heavy[:, 2] = both
        place[going, : wide - 2], weight[going, : wide - 2] = some[:, 2:], heavy[:, 2:]
        flipped[going] ^= start % 2 == 1
        count[going] -= 2
        going = going[count[going] > 4]
    return place, count, flipped


def _pieces_of_work(order: np.ndarray, size: np.ndarray) -> Iterator[np.ndarray]:
    """`order`, cut so that a piece times its largest size stays below AT_ONCE; sizes must not fall along it."""
    begin = 0
    while begin < len(order):
        rows = np.arange(1, len(order) - begin + 1) * size[order[begin:]]
        taken = max(1, int(np.searchsorted(rows, AT_ONCE)))
        yield order[begin : begin + taken]
        begin += taken


def squared(level: np.ndarray, jog: float) -> np.ndarray:
    """Each polygon with every edge level or upright, without jogs; None when that leaves no polygon. object (N,)."""
    xy, ring, owner = coordinates(level)
    walls = walls_of(xy, ring, jog)
    lost = np.zeros(len(level), bool)
    lost[owner[walls.count < 4]] = True
    keep = ~lost[owner]
    of = np.repeat(np.arange(len(owner)), walls.count)
    number, drawn = (np.cumsum(keep) - 1)[of], keep[of]
    found = np.full(len(level), None, object)
    if keep.any():
        corners = _corners(walls, of)[drawn]
        shapes = shapely.linearrings(corners, indices=number[drawn])
        which, index = np.unique(owner[keep], return_inverse=True)
        found[which] = shapely.polygons(shapes, indices=index)
    found[~(shapely.is_valid(found) & (shapely.area(found) > 0))] = None
    return found


def _corners(walls: Rings, of: np.ndarray) -> np.ndarray:
    """Corners of all rings, (W, 2): each where a wall meets the one before it. of: the ring of each wall."""
    at = np.arange(len(of)) - walls.first[of]
    before = walls.place[np.where(at == 0, walls.first[of] + walls.count[of] - 1, np.arange(len(of)) - 1)]
    level = walls.level[of] ^ (at % 2 == 1)
    return np.stack([np.where(level, before, walls.place), np.where(level, walls.place, before)], axis=1)


def coordinates(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners of polygons: (V, 2), the ring of each (V,), and the polygon of each ring. None has no rings.

    Without a geometry for every ring, which would cost more than all that is done with its corners.
    """
    if not any(polygons):  # of what kind they are can not be told
        return np.empty((0, 2)), np.empty(0, np.int64), np.empty(0, np.int64)
    _, xy, (rings, owners) = shapely.to_ragged_array(polygons, include_z=False)
    return (
        xy,
        np.repeat(np.arange(len(rings) - 1), np.diff(rings)),
        np.repeat(np.arange(len(polygons)), np.diff(owners)),
    )


# --- shared ground ----------------------------------------------------------------------------------------------------


def common(square: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Area that pairs share, float64 (N,), where the first has level and upright edges alone; 0 where it is None.

    By the level edges of the first: the ground below each, within its span, added and taken away. As exact as the
    coordinates, but not to the last bit what GEOS computes.
    """
    (one, a, b, y, _), (two, *edge) = _edges(square, level=True), _edges(other)
    size = np.bincount(one, minlength=len(other)) * np.bincount(two, minlength=len(other))
    shared = np.zeros(len(other))
    starts = [np.searchsorted(owner, np.arange(len(other) + 1)) for owner in (one, two)]
    for some in _pieces_of_work(np.argsort(size, kind="stable"), np.maximum(size, 1)):
        some = some[size[some] > 0]
        if not len(some):
            continue
        pair = np.repeat(np.arange(len(some)), size[some])
        at = np.arange(len(pair)) - np.repeat(np.cumsum(size[some]) - size[some], size[some])
        many = (starts[1][some + 1] - starts[1][some])[pair]
        left, right = starts[0][some][pair] + at // many, starts[1][some][pair] + at % many
        below = _below(a[left], b[left], y[left], *(values[right] for values in edge))
        shared[some] = np.abs(np.bincount(pair, below, minlength=len(some)))
    return shared


def _edges(polygons: np.ndarray, level: bool = False) -> tuple[np.ndarray, ...]:
    """Edges of all rings, outer ones to the right-hand and holes the other way: polygon, x and y of both ends.

    As (polygon, x0, x1, y0, y1). level: only those that run along x.
    """
    xy, ring, ring_owner = coordinates(polygons)
    whole = ring[1:] == ring[:-1]
    of = ring[1:][whole]
    (x0, y0), (x1, y1) = xy[:-1][whole].T, xy[1:][whole].T
    outward = np.bincount(of, (x0 * y1 - x1 * y0), minlength=len(ring_owner)) > 0
    hole = np.diff(ring_owner, prepend=-1) == 0
    back = (outward == hole)[of]
    columns = [np.where(back, last, first) for first, last in ((x0, x1), (x1, x0), (y0, y1), (y1, y0))]
    keep = columns[2] == columns[3] if level else columns[0] != columns[1]
    return ring_owner[of][keep], *(column[keep] for column in columns)


def _below(
    a: np.ndarray, b: np.ndarray, y: np.ndarray, x0: np.ndarray, x1: np.ndarray, y0: np.ndarray, y1: np.ndarray
) -> np.ndarray:
    """What an edge (x0, y0)-(x1, y1) adds to the ground under the level edge from a to b at y, signed by direction."""
    left = np.maximum(np.minimum(a, b), np.minimum(x0, x1))
    wide = np.maximum(np.minimum(np.maximum(a, b), np.maximum(x0, x1)) - left, 0)
    slope = (y1 - y0) / (x1 - x0)
    start = y0 + (left - x0) * slope - y
    end = start + wide * slope
    low, high = np.minimum(start, end), np.maximum(start, end)
    with np.errstate(divide="ignore", invalid="ignore"):
        cut = np.where(high > 0, low * low / (low - high) / 2, (low + high) / 2)
    return np.where(low < 0, cut, 0) * wide * np.sign(b - a) * np.sign(x1 - x0)

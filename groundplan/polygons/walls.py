"""Walls that touching buildings share: squared together, in one direction, with one place for the wall between two.

Belongs here: which outlines touch (`contacts`), and squaring those that do as groups (`together`). Does not belong
here: the shape of a building that touches none, and cutting what overlaps afterwards (`regularize`, `separate`).

Squared one by one, two houses each have a wall of their own where they share one: a sliver between them, or an overlap.
Here touching buildings of about one direction are turned into one frame, squared there, and walls that face each other
across a contact get one place. A group ends `HOPS` contacts away from its largest building, so what a building becomes
depends on ground within a bounded number of neighbours, never on where blocks or regions were cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import shapely

from groundplan.polygons.regularize import (
    PER_VERTEX,
    Regularity,
    directions,
    iou_of,
    moved,
    rectangles,
    regularize,
    simplified,
    sound,
    turned,
)
from groundplan.polygons.squaring import walls_of

CONTACT = 1.0  # metres of outline that two buildings have in common at least
TURN = np.radians(6)  # directions closer than this are one
APART = 0.9  # metres that two walls may be moved together from
BESIDE = 1.0  # metres that two walls must run side by side
GIVE = 0.07  # IoU that a building may lose for its neighbours' walls
HOPS = 8  # contacts between a building and the one that its group is named after
ROUNDS = 8  # of joining walls at most; none of 1,350 drawn towns changed when squared again
STILL = 1e-9  # metres; a wall that moved less has not moved
LIGHTEST = 0.3  # metres; a wall's weight is its length, and no wall's is less than this


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walls:
    """Walls of squared rings, one after the other; a ring's walls alternate between level and upright."""

    place: np.ndarray
    """float64 (W,): y of a level wall, x of an upright one, in the frame of the building's group"""
    is_level: np.ndarray
    """bool (W,)"""
    before: np.ndarray
    """int (W,): the wall before in the ring"""
    after: np.ndarray
    """int (W,): the wall after"""
    ring: np.ndarray
    """int (W,)"""
    owner: np.ndarray
    """int (R,): the building that each ring is of; its outer ring comes first"""


def contacts(raw: np.ndarray, least: float = CONTACT) -> np.ndarray:
    """Pairs of buildings that share at least `least` metres of outline: int (2, P), the lower index first, in order.

    raw: object array (N,) of Polygons with exact pixel edges.
    """
    one, other = shapely.STRtree(raw).query(raw, predicate="touches")
    one, other = one[one < other], other[one < other]
    long = shapely.length(shapely.intersection(raw[one], raw[other])) >= least
    pairs = np.stack([one[long], other[long]])
    return pairs[:, np.lexsort(pairs[::-1])]


def together(raw: np.ndarray, pairs: np.ndarray, regularity: Regularity | None = None) -> np.ndarray:
    """Regularize building outlines, those that touch together, so that they share walls.

    raw: object array (N,) of valid Polygons in a CRS in metres; pairs: int (2, P), which of them touch (`contacts`).
    Returns (N,) valid single Polygons in the same order. A building without contacts, of a direction of its own, or
    that cannot be squared in its group's, is what `regularize` makes of it, to the bit. Neighbours may overlap
    afterwards where walls could not be joined: see `separate`. ValueError when something is not a Polygon.
    """
    rule = regularity or Regularity()
    found = raw.copy()
    joined = np.zeros(len(raw), bool)
    if pairs.shape[1]:
        touching, pairs = np.unique(pairs, return_inverse=True)
        squared = _squared_groups(simplified(raw[touching], rule), pairs.reshape(2, -1), rule)
        there = ~shapely.is_missing(squared)
        found[touching[there]], joined[touching[there]] = squared[there], True
    found[~joined] = regularize(raw[~joined], rule)
    return found


def _squared_groups(plain: np.ndarray, pairs: np.ndarray, rule: Regularity) -> np.ndarray:
    """Buildings squared in the frame of their group, None where that does not fit them."""
    group, angle, origin = _groups(plain, pairs)
    many = np.bincount(group)[group] > 1
    level = plain.copy()
    level[many] = turned(moved(plain[many], -origin[many]), -angle[many])
    chosen, walls = _squared(level, np.flatnonzero(many), rule)
    inside = ~shapely.is_missing(chosen)[pairs].any(axis=0) & (group[pairs[0]] == group[pairs[1]])
    chosen = _with_walls_joined(chosen, level, walls, pairs[:, inside], rule)
    back, there = np.empty(len(plain), object), ~shapely.is_missing(chosen)
    back[there] = moved(turned(chosen[there], angle[there]), origin[there])
    back[there] = np.where(sound(back[there]), back[there], None)
    return back


# --- groups -----------------------------------------------------------------------------------------------------------


def _groups(plain: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The frame of each building: number of its group, int (N,); direction in radians, (N,); origin (x, y), (N, 2).

    A building's leader is the largest within HOPS contacts of like direction. Who lies too far from the mean direction
    of his group is alone.
    """
    x, y = shapely.get_coordinates(shapely.centroid(plain)).T
    round_ = shapely.length(plain)
    own = directions(moved(plain, -np.stack([x, y], axis=1)))
    like = np.abs(_between(own[pairs[0]], own[pairs[1]])) <= TURN
    one, other = pairs[:, like]
    order = np.lexsort([x.round(3), y.round(3), round_.round(6)])  # never by the order in which they are given
    rank = np.argsort(order)
    for _ in range(HOPS):
        seen = rank.copy()
        np.maximum.at(seen, one, rank[other])
        np.maximum.at(seen, other, rank[one])
        rank = seen
    leader = order[rank]
    wave = round_ * np.exp(4j * own)
    real, imaginary = (np.bincount(leader, part, minlength=len(plain)) for part in (wave.real, wave.imag))
    mean = np.arctan2(imaginary, real) / 4
    fits = np.abs(_between(own, mean[leader])) <= TURN
    alone = len(plain) + np.arange(len(plain))  # a number that nobody else has: a leader may have to leave his group
    return np.where(fits, leader, alone), np.where(fits, mean[leader], own), np.stack([x, y], axis=1)[leader]


def _between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Difference of two directions, radians within +-45 degrees."""
    return (one - other + np.pi / 4) % (np.pi / 2) - np.pi / 4


# --- squares ----------------------------------------------------------------------------------------------------------


def _squared(level: np.ndarray, which: np.ndarray, rule: Regularity) -> tuple[np.ndarray, _Walls]:
    """The better of squared outline and rectangle of each, None where neither covers enough, and their walls."""
    box = rectangles(level[which])
    rings = _found(level[which], box, rule.jog)
    walls = _table(rings, which)
    squared = np.full(len(level), None, object)
    squared[which] = _drawn(walls, walls.place, which)
    # GEOS intersects no ring that crosses itself: walls may cross, and turning may round a corner onto a wall
    drawn, plain = squared[which], level[which]
    drawn[~sound(drawn)] = plain[~sound(plain)] = None
    fit = np.stack([iou_of(drawn, plain), iou_of(box, plain)])
    fit[0] = np.where(shapely.is_missing(drawn), -1, fit[0])
    corners = np.stack([shapely.get_num_coordinates(squared[which]) - 1, np.full(len(which), 4)])
    best, each = np.argmax(fit - PER_VERTEX * corners, axis=0), np.arange(len(which))
    for at in np.flatnonzero(best == 1):
        west, south, east, north = shapely.bounds(box[at]).tolist()
        rings[at] = [(True, [south, east, north, west])]
    good = fit[best, each] >= rule.iou
    chosen = np.full(len(level), None, object)
    chosen[which[good]] = np.where(best == 1, box, squared[which])[good]
    return chosen, _table([rings[at] for at in np.flatnonzero(good)], which[good])


def _found(level: np.ndarray, box: np.ndarray, jog: float) -> list[list[tuple[bool, list[float]]]]:
    """Of each building its rings' walls: whether the first is level, and their places; else those of its rectangle."""
    shapes, owner = shapely.get_rings(level, return_index=True)
    xy, ring = shapely.get_coordinates(shapes, return_index=True)
    found = walls_of(xy, ring, jog)
    ends = np.cumsum(found.count).tolist()
    whole = np.bincount(owner, found.count < 4, minlength=len(level)) == 0
    bounds = shapely.bounds(box).tolist()
    rings: list[list[tuple[bool, list[float]]]] = [
        [] if good else [(True, [south, east, north, west])]
        for good, (west, south, east, north) in zip(whole.tolist(), bounds, strict=True)
    ]
    for ring, at in enumerate(owner.tolist()):
        if whole[at]:
            places = found.place[ends[ring] - int(found.count[ring]) : ends[ring]]
            rings[at].append((bool(found.level[ring]), places.tolist()))
    return rings


def _table(rings: list[list[tuple[bool, list[float]]]], which: np.ndarray) -> _Walls:
    flat = [ring for building in rings for ring in building]
    sizes = np.array([len(place) for _, place in flat], np.int64)
    ring = np.repeat(np.arange(len(flat)), sizes)
    first = np.cumsum(sizes) - sizes
    at = np.arange(len(ring)) - first[ring]
    return _Walls(
        place=np.array([place for _, places in flat for place in places], np.float64),
        is_level=np.array([level for level, _ in flat], bool)[ring] ^ (at % 2 == 1),
        before=first[ring] + (at - 1) % sizes[ring],
        after=first[ring] + (at + 1) % sizes[ring],
        ring=ring,
        owner=np.repeat(which, [len(building) for building in rings]),
    )


def _drawn(walls: _Walls, place: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Polygons of the buildings `which` (all that have walls, in order), with their walls at other places."""
    if not len(which):
        return np.empty(0, object)
    across = place[walls.before]
    xy = np.where(walls.is_level[:, None], np.stack([across, place], axis=1), np.stack([place, across], axis=1))
    rings = shapely.linearrings(xy, indices=walls.ring)
    return shapely.polygons(rings, indices=np.searchsorted(which, walls.owner))


# --- walls ------------------------------------------------------------------------------------------------------------


def _with_walls_joined(
    chosen: np.ndarray, level: np.ndarray, walls: _Walls, pairs: np.ndarray, rule: Regularity
) -> np.ndarray:
    """The shapes with one place for all walls that face each other; who would lose too much keeps what he had."""
    which = np.flatnonzero(~shapely.is_missing(chosen))
    if not len(which) or not pairs.shape[1]:
        return chosen
    place = _joined(walls, pairs)
    drawn = _drawn(walls, place, which)
    good = sound(drawn)
    good[good] = iou_of(drawn[good], level[which][good]) >= rule.iou - GIVE
    joined = chosen.copy()
    joined[which[good]] = drawn[good]
    return joined


def _joined(walls: _Walls, pairs: np.ndarray) -> np.ndarray:
    """Places of the walls once none has another to meet: one that moved may have come near one that it did not face."""
    for _ in range(ROUNDS):
        place = _common_places(walls, _facing(walls, pairs))
        if np.abs(place - walls.place).max() < STILL:
            break
        walls = replace(walls, place=place)
    return walls.place


def _facing(walls: _Walls, pairs: np.ndarray) -> np.ndarray:
    """Pairs of walls, int (2, Q), that face each other across a contact, near and side by side."""
    owner = walls.owner[walls.ring]
    start, end = (np.searchsorted(owner, pairs, side=side) for side in ("left", "right"))
    count = end - start
    combined = count[0] * count[1]
    pair = np.repeat(np.arange(len(combined)), combined)
    number = np.arange(len(pair)) - np.repeat(np.cumsum(combined) - combined, combined)
    one = start[0][pair] + number // count[1][pair]
    other = start[1][pair] + number % count[1][pair]
    ends = np.sort(np.stack([walls.place[walls.before], walls.place[walls.after]]), axis=0)
    outward = _outward(walls)
    along = np.minimum(ends[1][one], ends[1][other]) - np.maximum(ends[0][one], ends[0][other])
    facing = (walls.is_level[one] == walls.is_level[other]) & (outward[one] == -outward[other]) & (along >= BESIDE)
    facing &= np.abs(walls.place[one] - walls.place[other]) <= APART
    return np.stack([one[facing], other[facing]])


def _outward(walls: _Walls) -> np.ndarray:
    """The side of each wall that lies outside its building: 1 where the coordinate grows, else -1."""
    step = walls.place[walls.after] - walls.place[walls.before]
    twice = np.bincount(walls.ring, np.where(walls.is_level, -walls.place * step, 0.0))
    outer = np.diff(walls.owner, prepend=-1) != 0
    round_ = np.sign(twice) * np.where(outer, 1, -1)
    return np.sign(step) * np.where(walls.is_level, -1, 1) * round_[walls.ring]


def _common_places(walls: _Walls, facing: np.ndarray) -> np.ndarray:
    """Places, one for each set of walls that face each other: the mean by length.

    A set that lies too far apart, or has two walls of one building, stays as it is.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number = len(walls.place)
    graph = coo_array((np.ones(facing.shape[1]), (facing[0], facing[1])), shape=(number, number))
    group = connected_components(graph, directed=False)[1]
    length = np.maximum(np.abs(walls.place[walls.after] - walls.place[walls.before]), LIGHTEST)
    mean = np.bincount(group, length * walls.place) / np.bincount(group, length)
    spread = np.zeros(len(mean))
    np.maximum.at(spread, group, np.abs(walls.place - mean[group]))
    held, times = np.unique(np.stack([group, walls.owner[walls.ring]]), axis=1, return_counts=True)
    refused = spread > APART
    refused[held[0][times > 1]] = True
    refused |= np.bincount(group) == 1  # to the bit
    return np.where(refused[group], walls.place, mean[group])

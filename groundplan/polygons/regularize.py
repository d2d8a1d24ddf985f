"""Regularization: from pixel staircases to outlines with few corners, right-angled where the building is.

Belongs here: the shape of single buildings (`regularize`) and keeping neighbours off each other afterwards
(`separate`). Does not belong here: finding buildings or gluing them across blocks (`outlines`: always first, since
half a building has other corners than the whole), and judging the result (`evaluate`).

Method: own, after the common recipe of dominant direction and axis-aligned edges (Zorzi et al. 2020 and
buildingregulariser compare it with learned and alignment-based ones). A right angle is not forced upon a building
that has none: the squared outline must still cover what the simplified one covers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from groundplan.polygons.squaring import common, squared

PER_VERTEX = 0.008  # IoU that one more vertex must bring; without it a staircase always beats a rectangle
POLYGON = int(shapely.GeometryType.POLYGON)
CLOSE = 1e-9  # IoU; what differs by less is decided by GEOS
NOTHING = 1e-7  # m2; less shared ground than this is rounding between touching walls
LEAST_LEFT = 0.7  # a building that cutting leaves less than this share of its raw area takes its raw outline back


@dataclass(frozen=True, slots=True)
class Regularity:
    """Parameters of regularization. The defaults lose no measurable accuracy; larger values square more."""

    simplify: float = 0.5
    """Metres that the simplified outline may depart from the raw one; must exceed the pixel size."""
    jog: float = 0.8
    """Steps in a wall shorter than this, in metres, are straightened."""
    iou: float = 0.85
    """The squared outline is taken only when its IoU with the simplified one is at least this."""
    hole: float = 4.0
    """Holes (courtyards) smaller than this, in m2, are filled."""

    def __post_init__(self) -> None:
        if min(self.simplify, self.jog, self.hole) < 0 or not 0 < self.iou <= 1:
            raise ValueError(f"regularity needs lengths and areas >= 0 and an IoU in 0..1, got {self}")


def regularize(raw: np.ndarray, regularity: Regularity | None = None) -> np.ndarray:
    """Regularize building outlines one by one.

    raw: object array (N,) of valid shapely Polygons in a CRS in metres. Returns (N,) valid single Polygons in the
    same order: for each building the better of its squared outline and a rectangle of its area, or its simplified
    outline when neither covers that well enough. Neighbours may overlap afterwards: see `separate`.
    ValueError when something is not a Polygon.
    """
    rule = regularity or Regularity()
    _check(raw)
    if not len(raw):
        return raw.copy()
    plain = simplified(raw, rule)
    # About its own centre: national coordinates have too few digits left for angles.
    center = shapely.get_coordinates(shapely.centroid(plain))
    local = moved(plain, -center)
    candidates, turns, level = _candidates(local, rule)
    best, fits = _chosen(candidates, turns, level, local, rule)
    each = np.arange(len(plain))
    chosen = moved(turned(candidates[best, each], turns[best, each]), center)
    return np.where(fits & sound(chosen), chosen, plain)


def separate(polygons: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """Remove overlaps, so that no two buildings share ground (less than 1e-6 m2 each pair).

    polygons: (N,) Polygons, as regularised; raw: their raw outlines, in the same order. Of two that overlap, the one
    whose raw outline covers more of the shared ground keeps it and the other is cut along its wall. Every cut follows
    from the uncut shapes of a building and its neighbours, so neither order nor what lies further away matters.
    Returns (N,) valid single Polygons; where cutting splits one, the largest part stays. A building that would lose
    too much takes its raw outline back, and its neighbours are cut along that.
    """
    _check(polygons)
    _check(raw)
    if len(polygons) != len(raw):
        raise ValueError(f"separate: {len(polygons)} polygons but {len(raw)} raw outlines")
    is_raw = np.zeros(len(raw), bool)
    while True:
        shapes = np.where(is_raw, raw, polygons)
        cut = _cut(shapes, _lost(shapes, raw, is_raw))
        too_small = ~is_raw & (shapely.area(cut) < LEAST_LEFT * np.minimum(shapely.area(raw), shapely.area(polygons)))
        if not too_small.any():
            return cut
        is_raw |= too_small


# --- one building ---------------------------------------------------------------------------------------------------


def simplified(raw: np.ndarray, rule: Regularity) -> np.ndarray:
    """Outlines without small holes and staircases, (N,) valid Polygons."""
    filled = _fill(raw, rule.hole)
    plain = shapely.simplify(filled, rule.simplify)
    return np.where(sound(plain), plain, filled)


def _candidates(plain: np.ndarray, rule: Regularity) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The shapes that each simplified outline may take, level, (4, N): squared and a rectangle, in two directions.

    And by how much each is turned then, radians (4, N), and the simplified outlines turned likewise, (4, N). Two
    directions, because each fails on its own kind: the walls' mean is dragged along by one slanted wall, the narrowest
    rectangle's by one protruding corner.
    """
    turns = directions(plain), directions(shapely.minimum_rotated_rectangle(plain))
    level = [turned(plain, -turn) for turn in turns]
    shapes = [shape for one in level for shape in (squared(one, rule.jog), rectangles(one))]
    return np.stack(shapes), np.repeat(turns, 2, axis=0), np.repeat(level, 2, axis=0)


def _chosen(
    candidates: np.ndarray, turns: np.ndarray, level: np.ndarray, plain: np.ndarray, rule: Regularity
) -> tuple[np.ndarray, np.ndarray]:
    """The best candidate of each outline, int (N,), and whether it covers enough, bool (N,).

    Against the simplified outline: nearly the raw one, at a tenth of the vertices. By areas as `common` has them, which
    is a hundred times as fast as GEOS; GEOS decides where two shapes are as good as each other, or one is on the edge.
    """
    price = PER_VERTEX * (shapely.get_num_coordinates(candidates) - 1)
    iou = np.stack([_level_iou(*pair) for pair in zip(candidates, level, strict=True)])
    second, first = np.sort(iou - price, axis=0)[-2:]
    best, each = np.argmax(iou - price, axis=0), np.arange(len(plain))
    close = np.flatnonzero((first - second < CLOSE) | (np.abs(iou[best, each] - rule.iou) < CLOSE))
    for at, turn in enumerate(turns):
        iou[at, close] = iou_of(turned(candidates[at, close], turn[close]), plain[close])
    best = np.argmax(iou - price, axis=0)
    return best, iou[best, each] >= rule.iou


def _level_iou(candidate: np.ndarray, target: np.ndarray) -> np.ndarray:
    shared = common(candidate, target)
    return np.nan_to_num(shared / (shapely.area(candidate) + shapely.area(target) - shared), nan=0.0)


def directions(polygons: np.ndarray) -> np.ndarray:
    """The direction of each polygon's walls, in radians within +-45 degrees: the weighted mean modulo 90 degrees."""
    rings, ring_owner = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    whole = np.diff(ring) == 0
    step, owner = np.diff(xy, axis=0)[whole], ring_owner[ring[1:][whole]]
    # Squared lengths: one long wall says more about a building's direction than its length in short bits of noise.
    wave = (step**2).sum(axis=1) * np.exp(4j * np.arctan2(step[:, 1], step[:, 0]))
    real, imaginary = (np.bincount(owner, part, minlength=len(polygons)) for part in (wave.real, wave.imag))
    return np.arctan2(imaginary, real) / 4


def rectangles(level: np.ndarray) -> np.ndarray:
    """Per polygon the level rectangle with its bounds' middle and proportions, shrunk to its area."""
    west, south, east, north = shapely.bounds(level).T
    shrink = np.sqrt(shapely.area(level) / ((east - west) * (north - south))) / 2
    x, y = (west + east) / 2, (south + north) / 2
    half_x, half_y = (east - west) * shrink, (north - south) * shrink
    return shapely.box(x - half_x, y - half_y, x + half_x, y + half_y)


def _fill(polygons: np.ndarray, hole: float) -> np.ndarray:
    """The polygons without holes smaller than `hole` m2."""
    filled = polygons.copy()
    some = np.flatnonzero(shapely.get_num_interior_rings(polygons))
    if len(some):
        rings, owner = shapely.get_rings(polygons[some], return_index=True)
        shell = np.diff(owner, prepend=-1) != 0
        keep = shell | (shapely.area(shapely.polygons(rings)) >= hole)
        filled[some] = shapely.polygons(rings[keep], indices=owner[keep])
    return filled


def turned(polygons: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Each polygon turned by its angle (radians, counterclockwise) about the origin."""
    owner = shapely.get_coordinates(polygons, return_index=True)[1]
    cos, sin = np.cos(angle)[owner], np.sin(angle)[owner]

    def turn(xy: np.ndarray) -> np.ndarray:
        return np.stack([xy[:, 0] * cos - xy[:, 1] * sin, xy[:, 0] * sin + xy[:, 1] * cos], axis=1)

    return shapely.transform(polygons, turn)


def moved(polygons: np.ndarray, by: np.ndarray) -> np.ndarray:
    step = by[shapely.get_coordinates(polygons, return_index=True)[1]]
    return shapely.transform(polygons, lambda xy: xy + step)


def sound(shapes: np.ndarray) -> np.ndarray:
    """Whether each is a valid polygon with an area (turning may round a nearly touching corner onto a wall)."""
    return shapely.is_valid(shapes) & (shapely.area(shapes) > 0) & (shapely.get_type_id(shapes) == POLYGON)


def iou_of(candidate: np.ndarray, target: np.ndarray) -> np.ndarray:
    """IoU of pairs; 0 where there is no candidate."""
    common = shapely.area(shapely.intersection(candidate, target))
    iou = common / (shapely.area(candidate) + shapely.area(target) - common)
    return np.nan_to_num(iou, nan=0.0)


# --- neighbours -----------------------------------------------------------------------------------------------------


def _lost(shapes: np.ndarray, raw: np.ndarray, is_raw: np.ndarray) -> np.ndarray:
    """Who is cut by whom: int (2, P) of (loser, winner), ordered."""
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    one, other = one[one < other], other[one < other]
    shared = shapely.intersection(shapes[one], shapes[other])
    some = shapely.area(shared) > NOTHING
    one, other, shared = one[some], other[some], shared[some]
    # Ties go to the larger, then to the place: never to the order in which buildings happen to be given.
    claims = [
        np.stack(
            [
                is_raw[who],
                shapely.area(shapely.intersection(shared, raw[who])),
                shapely.area(shapes[who]),
                *shapely.bounds(shapes[who]).T,
            ]
        ).round(6)
        for who in (one, other)
    ]
    ahead = claims[0] - claims[1]
    decisive = np.take_along_axis(ahead, np.argmax(ahead != 0, axis=0)[None], axis=0)[0]
    pairs = np.where(decisive < 0, [one, other], [other, one])
    return pairs[:, np.lexsort(pairs[::-1])]


def _cut(shapes: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Cut every loser along its winners' uncut walls."""
    cut = shapes.copy()
    losers, starts, number = np.unique(lost[0], return_index=True, return_counts=True)
    ground = shapes[lost[1][starts]]
    for at in np.flatnonzero(number > 1):
        ground[at] = shapely.union_all(shapes[lost[1][starts[at] : starts[at] + number[at]]])
    left = shapely.difference(shapes[losers], ground)
    for at in np.flatnonzero(shapely.get_type_id(left) != POLYGON):
        left[at] = _largest(left[at])
    cut[losers] = left
    return cut


def _largest(shape: shapely.Geometry) -> shapely.Polygon:
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    return max(parts, key=lambda part: (part.area, part.bounds), default=shapely.Polygon())


def _check(polygons: np.ndarray) -> None:
    wrong = np.flatnonzero(shapely.get_type_id(polygons) != POLYGON)
    if len(wrong):
        raise ValueError(f"only single polygons can be regularised; number {wrong[0]} is {polygons[wrong[0]]!r:.80}")

"""Layout of the synthetic country: what stands where, from one seed.

Here: streets, lots, buildings, gardens, trees, and which buildings come and go. Not here: painting (paint.py),
files (country.py). Axes of a lot: u along its street, v across it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from groundplan.synthetic.place import (
    ALWAYS,
    FLATS,
    METALS,
    RESOLUTION,
    TILES,
    Building,
    Color,
    Frame,
    GroundCover,
    Layout,
    Location,
    Part,
    Ring,
    Street,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely import Polygon


def plan(seed: int, size_m: float, regions: tuple[str, ...], years: tuple[int, ...], location: Location) -> Layout:
    """Lay out the place; the same arguments give the same place."""
    rng = np.random.default_rng([seed, 1])
    frame = _frame(size_m, len(regions), location)
    areas, borders = _regions(size_m, regions, rng, location.origin)
    draft = _Draft(frame=frame, rng=rng)
    for line in borders:
        draft.occupy_line(line, 9.0)
    blocks = list(_streets(draft))
    kinds = _kinds(blocks, areas, size_m, rng)
    for block, kind in zip(blocks, kinds, strict=True):
        FILL[kind](draft, block)
    _scatter_trees(draft)
    buildings = _lives(draft.buildings, years, np.random.default_rng([seed, 2]))
    return Layout(
        seed=seed,
        frame=frame,
        regions=areas,
        water=tuple(borders),
        streets=tuple(draft.streets),
        grounds=tuple(draft.grounds),
        hedges=tuple(draft.hedges),
        buildings=buildings,
        trees=tuple(draft.trees),
        cars=tuple(draft.cars),
    )


def _frame(size_m: float, regions: int, location: Location) -> Frame:
    """The picture: all regions and a margin, wide enough for the sheet that is turned by two degrees."""
    margin = max(40, round(0.06 * size_m / RESOLUTION))
    width, height = round(size_m / RESOLUTION), round(0.825 * size_m / RESOLUTION) * regions
    left, top = location.origin[0] - margin * RESOLUTION, location.origin[1] + (height + margin) * RESOLUTION
    return Frame(
        left=round(left, 3), top=round(top, 3), height=height + 2 * margin, width=width + 2 * margin, location=location
    )


def _regions(
    size_m: float, names: tuple[str, ...], rng: np.random.Generator, origin: tuple[float, float]
) -> tuple[dict[str, Polygon], list[Ring]]:
    """Abutting regions, and the crooked borders between them, along which a brook runs."""
    import shapely

    high = round(0.825 * size_m / RESOLUTION) * RESOLUTION
    wide = round(size_m / RESOLUTION) * RESOLUTION
    xs = np.linspace(0, wide, 9)
    lines = []
    for level in range(len(names), -1, -1):
        crook = np.zeros(9) if level in (0, len(names)) else np.cumsum(rng.normal(0, 0.022 * size_m, 9))
        rise = [round(origin[1] + level * high + c, 2) for c in crook - crook.mean()]
        lines.append(list(zip((origin[0] + xs).tolist(), rise, strict=True)))
    areas = {n: shapely.Polygon([*lines[i], *lines[i + 1][::-1]]) for i, n in enumerate(names)}
    # The brook goes on to the edges of the picture.
    inner = [((line[0][0] - 500, line[0][1]), *line, (line[-1][0] + 500, line[-1][1])) for line in lines[1:-1]]
    return areas, [tuple(line) for line in inner]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """The land between four streets: a rectangle in bent axes (a along, b across), and how they are bent."""

    a0: float
    b0: float
    a1: float
    b1: float
    bend: _Bend

    def at(self, a: float, b: float) -> tuple[float, float, float]:
        """x, y and direction of the street axis at a point of the block."""
        return self.bend.at(a, b)

    def ring(self, u0: float = 0.0, v0: float = 0.0, u1: float = 1.0, v1: float = 1.0) -> Ring:
        """The outline of a share of the block."""
        a = [self.a0 + s * (self.a1 - self.a0) for s in (u0, u1)]
        b = [self.b0 + s * (self.b1 - self.b0) for s in (v0, v1)]
        sides = [(x, b[0]) for x in np.linspace(a[0], a[1], 6)] + [(x, b[1]) for x in np.linspace(a[1], a[0], 6)]
        return tuple(self.at(*p)[:2] for p in sides)


@dataclass(frozen=True, slots=True)
class _Bend:
    """A street grid turned about a point and bent by long waves."""

    x: float
    y: float
    turn: float
    phase: tuple[float, float]

    def at(self, a: float, b: float) -> tuple[float, float, float]:
        """x, y in CRS and the direction of the a axis at grid coordinates in metres."""
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        long, short = a / 52 + self.phase[1], a / 27 + self.phase[0]
        p = a + 8 * math.sin(b / 55 + self.phase[0]) + 3 * math.sin(b / 24 + self.phase[1])
        q = b + 7 * math.sin(long) + 2 * math.sin(short)
        lean = 7 / 52 * math.cos(long) + 2 / 27 * math.cos(short)
        return self.x + cos * p - sin * q, self.y + sin * p + cos * q, self.turn + math.atan(lean)


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A plan in the making: lists that grow, and a raster of 0.5 m cells that says which land is taken."""

    frame: Frame
    rng: np.random.Generator
    streets: list[Street] = field(default_factory=list)
    grounds: list[GroundCover] = field(default_factory=list)
    hedges: list[Ring] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    trees: list[tuple[float, float, float]] = field(default_factory=list)
    cars: list[tuple[float, float, float]] = field(default_factory=list)
    taken: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        scale = self.frame.resolution / 0.5
        self.taken = np.zeros((int(self.frame.height * scale) + 2, int(self.frame.width * scale) + 2), np.uint8)

    def cells(self, points: Iterable[tuple[float, float]]) -> NDArray[np.int32]:
        """World points as (column, row) of the raster of taken land."""
        scale = self.frame.resolution / 0.5
        return np.round(self.frame.pixels(np.array(list(points))) * scale).astype(np.int32)

    def occupy_line(self, line: Ring, width: float) -> None:
        """Keep a strip of this width in metres along a line free of buildings."""
        import cv2

        cv2.polylines(self.taken, [self.cells(line)], False, 1, round(width / 0.5))

    def build(self, group: list[Building], gap: float = 1.2) -> bool:
        """Put up a group that stands together, if its land is free and wholly in the picture."""
        import cv2
        import shapely

        hull = shapely.union_all([b.footprint() for b in group]).buffer(gap, join_style="mitre")
        cells = self.cells(shapely.convex_hull(hull).exterior.coords)
        (c0, r0), (c1, r1) = cells.min(0), cells.max(0)
        if c0 < 3 or r0 < 3 or r1 >= self.taken.shape[0] - 3 or c1 >= self.taken.shape[1] - 3:
            return False
        stamp = np.zeros((r1 - r0 + 1, c1 - c0 + 1), np.uint8)
        cv2.fillPoly(stamp, [cells - (c0, r0)], 1)
        window = self.taken[r0 : r1 + 1, c0 : c1 + 1]
        if (stamp & window).any():
            return False
        window |= stamp
        self.buildings += [replace(b, key=len(self.buildings) + i) for i, b in enumerate(group)]
        return True

    def pick(self, colors: Sequence[Color]) -> Color:
        """One of the colours, a little off."""
        base = colors[int(self.rng.integers(len(colors)))]
        tone = self.rng.normal(0, 6)
        red, green, blue = (int(np.clip(c + tone + self.rng.normal(0, 2.5), 20, 235)) for c in base)
        return red, green, blue


def _streets(draft: _Draft) -> Iterator[_Block]:
    """Streets along a bent grid, and the blocks of land between them."""
    frame, rng = draft.frame, draft.rng
    x = frame.left + frame.width * frame.resolution / 2
    y = frame.top - frame.height * frame.resolution / 2
    bend = _Bend(x, y, rng.uniform(-0.3, 0.3), (rng.uniform(0, 6), rng.uniform(0, 6)))
    reach = math.hypot(frame.width, frame.height) * frame.resolution / 2 + 40  # the grid is turned: cover the corners
    across, along = _spaced(reach, 52, 92, rng), _spaced(reach, 42, 50, rng)
    for is_long, levels in ((False, across), (True, along)):
        for level in levels:
            steps = np.arange(-reach, reach, 6.0)
            line = tuple(bend.at(s, level)[:2] if is_long else bend.at(level, s)[:2] for s in steps)
            street = Street(line, float(rng.choice([3.8, 4.6, 6.2])), str(rng.choice(["asphalt", "asphalt", "brick"])))
            draft.streets.append(street)
            draft.occupy_line(line, street.width + 2.4)
            for s in np.arange(-reach, reach, 7.0):
                draft.cars.append(_kerb(bend, s, level, is_long, street.width / 2 - 1.0, rng))
    for b0, b1 in pairwise(along):
        for a0, a1 in pairwise(across):
            block = _Block(a0=a0 + 4.2, b0=b0 + 4.2, a1=a1 - 4.2, b1=b1 - 4.2, bend=bend)
            corners = frame.pixels(np.array(block.ring()))
            if (corners.max(0) > 0).all() and (corners.min(0) < (frame.width, frame.height)).all():
                yield block


def _spaced(reach: float, least: float, most: float, rng: np.random.Generator) -> list[float]:
    """Levels from -reach to reach with irregular steps."""
    levels = [-reach]
    while levels[-1] < reach:
        levels.append(levels[-1] + rng.uniform(least, most))
    return levels


def _kerb(
    bend: _Bend, s: float, level: float, is_long: bool, aside: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """A spot for a car at one kerb of a street."""
    side = aside * rng.choice([-1, 1])
    s += rng.uniform(-2, 2)
    x, y, angle = bend.at(s, level + side) if is_long else bend.at(level + side, s)
    return x, y, angle + (0.0 if is_long else math.pi / 2)


def _kinds(blocks: list[_Block], areas: dict[str, Polygon], size_m: float, rng: np.random.Generator) -> list[str]:
    """What each block is filled with; a large enough region has a school with a courtyard: a footprint with a hole."""
    names = ["terraces", "houses", "flats", "halls", "field", "parking"]
    kinds = [str(k) for k in rng.choice(names, len(blocks), p=[0.29, 0.43, 0.07, 0.07, 0.09, 0.05])]
    if size_m < 200:  # a tiny country is for quick tests: houses only, so that it is sure to have some
        return [("houses", "terraces")[i % 2] for i in range(len(blocks))]
    for area in areas.values():
        middles = [block.at((block.a0 + block.a1) / 2, (block.b0 + block.b1) / 2) for block in blocks]
        far = [math.hypot(x - area.centroid.x, y - area.centroid.y) for x, y, _ in middles]
        for kind, rank in (("school", 0), ("parking", 4), ("halls", 7), ("field", 9)):
            kinds[int(np.argsort(far)[min(rank, len(blocks) - 1)])] = kind
    return kinds


def _fill_terraces(draft: _Draft, block: _Block) -> None:
    """Rows of houses that share their walls, back to back, with sheds at the ends of their gardens."""
    rng = draft.rng
    for front, sign in ((block.b0, 1), (block.b1, -1)):
        wide, deep = rng.uniform(5.2, 6.4), rng.uniform(8.0, 9.6)
        start, color = block.a0 + 1, draft.pick(TILES)
        while (room := int((block.a1 - 1 - start) / wide)) > 1:
            size = min(room, int(rng.integers(3, 7)))
            for setback in (2.2, 3.4, 4.8):  # where the street bends into the row, the row stands back
                middle = block.at(start + size * wide / 2, front + sign * (setback + deep / 2))
                row = [_unit(draft, middle, (i + 0.5 - size / 2) * wide, wide, deep, sign, color) for i in range(size)]
                if draft.build(row, 0.5):
                    _gardens(draft, block, start, size, wide, front + sign * (setback + deep), sign)
                    break
            start += size * wide + rng.choice([1.4, 3.0])
    draft.grounds.append(GroundCover("paved", block.ring(0, 0.47, 1, 0.53), block.at(block.a0, block.b0)[2]))


def _unit(
    draft: _Draft, middle: tuple[float, float, float], u: float, wide: float, deep: float, sign: int, color: Color
) -> Building:
    """One house of a row, u metres from the row's middle; a third have a flat extension behind."""
    rng = draft.rng
    x, y, angle = middle
    half = wide / 2
    parts = [Part(u0=-half, v0=-deep / 2, u1=half, v1=deep / 2, roof="gable_u", height=5.4)]
    if rng.random() < 0.35:
        back = (deep / 2, deep / 2 + rng.uniform(2.2, 3.2))
        v0, v1 = back if sign > 0 else (-back[1], -back[0])
        parts.append(Part(u0=-half, v0=v0, u1=half if rng.random() < 0.5 else 0.3, v1=v1, roof="flat", height=2.9))
    shade = draft.pick([color] if rng.random() < 0.75 else TILES)
    return Building(
        key=0,
        x=x + u * math.cos(angle),
        y=y + u * math.sin(angle),
        angle=angle,
        parts=tuple(parts),
        color=shade,
        row=True,
    )


def _gardens(draft: _Draft, block: _Block, start: float, count: int, wide: float, back: float, sign: int) -> None:
    """What lies behind a row: gardens of differing cover, hedges between them, sheds at their ends."""
    rng = draft.rng
    end = (block.b0 + block.b1) / 2 - sign * 1.5
    for i in range(count):
        a0, a1 = start + i * wide, start + (i + 1) * wide
        corners = [(a0, back), (a1, back), (a1, end), (a0, end)]
        ring = tuple(block.at(*c)[:2] for c in corners)
        angle = block.at(a0, back)[2]
        draft.grounds.append(GroundCover(str(rng.choice(["lawn", "lawn", "paved", "soil", "terrace"])), ring, angle))
        if rng.random() < 0.7:
            draft.hedges.append((ring[0], ring[3]))
        if rng.random() < 0.5:
            _shed(draft, block, (a0 + a1) / 2, end - sign * 1.8)


def _shed(draft: _Draft, block: _Block, a: float, b: float) -> None:
    """A shed or garage of 8 to 20 square metres."""
    rng = draft.rng
    x, y, angle = block.at(a, b)
    u, v = rng.uniform(1.4, 2.2), rng.uniform(1.4, 2.6)
    roof = str(rng.choice(["flat", "flat", "gable_u", "metal"]))
    draft.build(
        [
            Building(
                key=0,
                x=x,
                y=y,
                angle=angle,
                parts=(Part(u0=-u, v0=-v, u1=u, v1=v, roof=roof, height=2.4),),
                color=draft.pick(FLATS + TILES[2:]),
            )
        ],
        0.3,
    )


def _fill_houses(draft: _Draft, block: _Block) -> None:
    """Houses on their own lots along two streets: plain, L and T, under gable, hip and flat roofs."""
    rng = draft.rng
    for front, sign in ((block.b0, 1), (block.b1, -1)):
        a = block.a0
        while (lot := rng.uniform(11.5, 16)) < block.a1 - a + 1:
            if rng.random() < 0.96:
                _house(draft, block, a + lot / 2, front, sign, lot)
            a += lot


def _house(draft: _Draft, block: _Block, a: float, front: float, sign: int, lot: float) -> None:
    """A house with its garden, drive, hedges and perhaps a shed."""
    rng = draft.rng
    u, v = rng.uniform(3.8, min(6.2, lot / 2 - 1.2)), rng.uniform(3.4, 5.0)
    setback = rng.uniform(2.5, 5.5)
    x, y, angle = block.at(a, front + sign * (setback + v))
    back = (block.b0 + block.b1) / 2
    ring = tuple(
        block.at(*c)[:2] for c in ((a - lot / 2, front), (a + lot / 2, front), (a + lot / 2, back), (a - lot / 2, back))
    )
    draft.grounds.append(
        GroundCover(str(rng.choice(["lawn", "lawn", "lawn", "soil", "gravel", "terrace"])), ring, angle)
    )
    drive = tuple(
        block.at(*c)[:2]
        for c in ((a + u - 1, front), (a + u + 2, front), (a + u + 2, front + sign * 9), (a + u - 1, front + sign * 9))
    )
    draft.grounds.append(GroundCover(str(rng.choice(["paved", "gravel", "terrace"])), drive, angle))
    house = Building(
        key=0, x=x, y=y, angle=angle + rng.normal(0, 0.04), parts=_shape(rng, u, v), color=draft.pick(TILES)
    )
    if house.parts[0].roof == "flat":
        house = replace(house, color=draft.pick(FLATS))
    draft.build([house])
    draft.hedges += [(ring[1], ring[2])] * (rng.random() < 0.6) + [(ring[2], ring[3])] * (rng.random() < 0.5)
    draft.cars.append((*block.at(a + u + 0.5, front + sign * 4)[:2], angle + math.pi / 2))
    if rng.random() < 0.55:
        _shed(draft, block, a + rng.uniform(-0.3, 0.3) * lot, back - sign * rng.uniform(2.8, 5))
    elif rng.random() < 0.2:
        x, y, _ = block.at(a, back - sign * 2.8)
        draft.grounds.append(GroundCover("pool", _rectangle(x, y, angle, 3.5, 1.8), angle))


def _shape(rng: np.random.Generator, u: float, v: float) -> tuple[Part, ...]:
    """The parts of a house that is 2u wide and 2v deep."""
    roof = str(rng.choice(["gable_u", "gable_v", "hip", "flat"], p=[0.4, 0.2, 0.22, 0.18]))
    eaves = float(rng.choice([3.0, 5.2, 5.8])) + 0.2 * rng.random()
    main = Part(u0=-u, v0=-v, u1=u, v1=v, roof=roof, height=eaves)
    form = rng.random()
    if form < 0.45:
        return (main,)
    wing, out = rng.uniform(1.6, 2.4), rng.uniform(2.0, 3.4) * rng.choice([-1, 1])
    if form < 0.72:  # L: a wing flush with one side
        middle = (u - wing) * rng.choice([-1, 1])
    elif form < 0.85:  # T
        middle = rng.uniform(-0.2, 0.2) * u
    else:  # a garage beside
        return (main, Part(u0=u, v0=-v * 0.6, u1=u + 2.8, v1=v * 0.7, roof="flat", height=2.7))
    v0, v1 = sorted((math.copysign(v * 0.2 if roof != "flat" else v, out), math.copysign(v, out) + out))
    return (
        main,
        Part(
            u0=middle - wing, v0=v0, u1=middle + wing, v1=v1, roof="flat" if roof == "flat" else "gable_v", height=eaves
        ),
    )


def _rectangle(x: float, y: float, angle: float, u: float, v: float) -> Ring:
    """The ring of a rectangle 2u by 2v about a point."""
    cos, sin = math.cos(angle), math.sin(angle)
    return tuple((x + cos * p - sin * q, y + sin * p + cos * q) for p, q in ((-u, -v), (u, -v), (u, v), (-u, v)))


def _fill_flats(draft: _Draft, block: _Block) -> None:
    """Blocks of flats on a lawn with a parking strip."""
    rng = draft.rng
    angle = block.at(block.a0, block.b0)[2]
    draft.grounds.append(GroundCover("lawn", block.ring(), angle))
    draft.grounds.append(GroundCover("asphalt", block.ring(0.05, 0.42, 0.95, 0.58), angle))
    for side in (0.23, 0.77):
        b = block.b0 + side * (block.b1 - block.b0)
        x, y, angle = block.at((block.a0 + block.a1) / 2, b)
        for share in (0.42, 0.34, 0.26):  # as long as the bends of the streets allow
            u, high = (block.a1 - block.a0) * share, rng.uniform(8, 12)
            parts = (
                Part(u0=-u, v0=-4.6, u1=u, v1=4.6, roof="flat", height=high),
                Part(u0=-2, v0=-5.8, u1=2, v1=5.8, roof="flat", height=high - 1),
            )
            if draft.build([Building(key=0, x=x, y=y, angle=angle, parts=parts, color=draft.pick(FLATS))]):
                break
    _park(draft, block, 0.5)


def _fill_halls(draft: _Draft, block: _Block) -> None:
    """One or two big halls on a paved yard."""
    rng = draft.rng
    x, y, angle = block.at((block.a0 + block.a1) / 2, (block.b0 + block.b1) / 2)
    draft.grounds.append(GroundCover(str(rng.choice(["asphalt", "gravel", "paved"])), block.ring(), angle))
    v = (block.b1 - block.b0) / 2 - 5
    for share in (0.27, 0.76):
        x, y, angle = block.at(block.a0 + share * (block.a1 - block.a0), (block.b0 + block.b1) / 2)
        u = (block.a1 - block.a0) * rng.uniform(0.15, 0.2)
        parts = [
            Part(
                u0=-u,
                v0=-v,
                u1=u,
                v1=v * rng.uniform(0.2, 0.9),
                roof=str(rng.choice(["metal", "flat"])),
                height=rng.uniform(5, 8),
            )
        ]
        parts += [Part(u0=-u - 3, v0=-v * 0.8, u1=-u, v1=-v * 0.2, roof="flat", height=3.4)] * (rng.random() < 0.6)
        draft.build([Building(key=0, x=x, y=y, angle=angle, parts=tuple(parts), color=draft.pick(METALS))])
    _park(draft, block, 0.9)


def _fill_school(draft: _Draft, block: _Block) -> None:
    """A school about a courtyard, with a playground whose red surface is no roof."""
    x, y, angle = block.at(block.a0 + 0.4 * (block.a1 - block.a0), (block.b0 + block.b1) / 2)
    draft.grounds.append(GroundCover("paved", block.ring(), angle))
    draft.grounds.append(GroundCover("red", block.ring(0.72, 0.15, 0.97, 0.85), angle))
    u, v, deep = 15.0, 11.5, 7.5
    wings = ((-u, -v, u, deep - v), (-u, v - deep, u, v), (-u, -v, deep - u, v), (u - deep, -v, u, v))
    parts = tuple(
        Part(u0=u0, v0=v0, u1=u1, v1=v1, roof="flat", height=height)
        for (u0, v0, u1, v1), height in zip(wings, (6.8, 6.6, 4.4, 4.2), strict=True)
    )
    draft.build([Building(key=0, x=x, y=y, angle=angle, parts=parts, color=draft.pick(FLATS))])
    draft.cars.append((*block.at(block.a0 + 2, block.b0 + 3)[:2], angle))


def _fill_field(draft: _Draft, block: _Block) -> None:
    """Land without buildings: crops, foil tunnels that look like roofs, bare red soil, or a park."""
    rng = draft.rng
    angle = block.at(block.a0, block.b0)[2]
    edge = rng.uniform(0.35, 0.65)
    kinds = rng.choice(["crop", "soil", "tunnels", "red", "meadow"], 2, replace=False)
    for kind, (left, right) in zip(kinds, ((0.0, edge), (edge, 1.0)), strict=True):
        draft.grounds.append(GroundCover(str(kind), block.ring(left, 0, right, 1), angle))
    x, y, angle = block.at(block.a0 + edge * (block.a1 - block.a0), block.b0 + 6)
    barn = (Part(u0=-5, v0=-4, u1=5, v1=4, roof=str(rng.choice(["metal", "gable_u"])), height=4.0),)
    draft.build([Building(key=0, x=x, y=y, angle=angle, parts=barn, color=draft.pick(METALS + TILES))])
    for _ in range(int(rng.integers(4, 14))):
        a, b = rng.uniform(block.a0, block.a1), rng.choice([block.b0, block.b1]) + rng.normal(0, 2)
        draft.trees.append((*block.at(a, b)[:2], rng.uniform(2, 4.5)))


def _fill_parking(draft: _Draft, block: _Block) -> None:
    """A car park, flat and grey like a roof, with a shop beside it."""
    angle = block.at(block.a0, block.b0)[2]
    draft.grounds.append(GroundCover("parking", block.ring(0, 0, 0.64, 1), angle))
    draft.grounds.append(GroundCover("paved", block.ring(0.64, 0, 1, 1), angle))
    x, y, angle = block.at(block.a0 + 0.83 * (block.a1 - block.a0), (block.b0 + block.b1) / 2)
    u, v = 0.14 * (block.a1 - block.a0), (block.b1 - block.b0) / 2 - 3
    draft.build(
        [
            Building(
                key=0,
                x=x,
                y=y,
                angle=angle,
                parts=(Part(u0=-u, v0=-v, u1=u, v1=v, roof="flat", height=5.0),),
                color=draft.pick(FLATS),
            )
        ]
    )
    for share in (0.14, 0.38, 0.52, 0.86):
        _park(draft, block, share, 0.62)


def _park(draft: _Draft, block: _Block, share: float, until: float = 1.0) -> None:
    """A line of parking bays across the street axis."""
    b = block.b0 + share * (block.b1 - block.b0)
    for a in np.arange(block.a0 + 2, block.a0 + until * (block.a1 - block.a0) - 1, 2.6):
        x, y, angle = block.at(a, b)
        draft.cars.append((x, y, angle + math.pi / 2))


FILL = {
    "terraces": _fill_terraces,
    "houses": _fill_houses,
    "flats": _fill_flats,
    "halls": _fill_halls,
    "school": _fill_school,
    "field": _fill_field,
    "parking": _fill_parking,
}


def _scatter_trees(draft: _Draft) -> None:
    """Trees wherever a trunk can stand; their crowns may hang over a roof."""
    frame, rng = draft.frame, draft.rng
    area = frame.width * frame.height * frame.resolution**2
    for x, y, size in zip(*rng.random((3, int(area / 105))), strict=True):
        point = (frame.left + x * frame.width * frame.resolution, frame.top - y * frame.height * frame.resolution)
        column, row = draft.cells([point])[0]
        if not draft.taken[row, column]:
            draft.trees.append((*point, 0.9 + 3.6 * size**2.2))


def _lives(buildings: list[Building], years: tuple[int, ...], rng: np.random.Generator) -> tuple[Building, ...]:
    """Let some buildings come and some go between the years; some went before the first one."""
    free = [b.key for b in buildings if not b.row] or [b.key for b in buildings]
    order = iter(rng.permutation(free))
    lives = {b.key: ALWAYS for b in buildings}
    few = max(1, round(0.025 * len(buildings)))
    for _, key in zip(range(max(1, few // 2)), order, strict=False):
        lives[key] = (ALWAYS[0], years[0])
    for year in years[1:]:
        for _, gone, new in zip(range(few), order, order, strict=False):
            lives[gone], lives[new] = (ALWAYS[0], year), (year, ALWAYS[1])
    return tuple(replace(b, since=lives[b.key][0], until=lives[b.key][1]) for b in buildings)

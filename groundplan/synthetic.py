"""A small invented country: what stands where, and the files that its suppliers deliver.

Here belong the plan of the place (streets, lots, buildings, trees, all from one seed), the delivery of its sheets, its
registers with their errors and its exact truth. The same seed gives the same bytes in every file. Not here: painting
(synthetic_draw.py), and anything that a real country would need too; only the demo and tests may depend on this module.

The place lies in EPSG:28992 (metres, x east, y north). Axes of a lot: u along its street, v across it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from numpy.typing import NDArray
    from rasterio import Affine
    from shapely import Geometry, Polygon

CRS = "EPSG:28992"
FOREIGN_CRS = "EPSG:25831"  # UTM 31N: turned by 2 degrees against EPSG:28992 here, so a lazy copy of pixels shows
RESOLUTION = 0.30  # metres
ORIGIN = (182_400.0, 447_600.0)  # lower left corner of the regions; whole multiples of RESOLUTION
REGIONS = ("noorderveld", "zuiderhout")  # north to south
YEARS = (2023, 2024)
ALWAYS = (0, 9999)  # (since, until) of a building that no year of the demo sees come or go

Ring = tuple[tuple[float, float], ...]
Colour = tuple[int, int, int]

TILES: tuple[Colour, ...] = ((158, 98, 76), (142, 86, 68), (128, 86, 70), (96, 78, 68), (84, 84, 88), (104, 102, 100))
FLATS: tuple[Colour, ...] = ((158, 154, 146), (126, 124, 120), (92, 92, 94), (186, 182, 174), (140, 132, 122))
METALS: tuple[Colour, ...] = ((176, 180, 182), (206, 206, 202), (142, 148, 152), (96, 122, 148), (150, 96, 78))


@dataclass(frozen=True, slots=True)
class Frame:
    """The picture's place on the ground; row 0 lies north."""

    left: float
    top: float
    height: int
    width: int
    resolution: float = RESOLUTION

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """World coordinates (n, 2) to (column, row), where 0.0 is the corner of the first pixel, not its centre."""
        return (np.asarray(points) - (self.left, self.top)) / (self.resolution, -self.resolution)

    def transform(self, row: int = 0, column: int = 0) -> Affine:
        """The affine of a window of the picture that starts at this row and column."""
        from rasterio import Affine

        step = self.resolution
        return Affine(step, 0.0, round(self.left + column * step, 3), 0.0, -step, round(self.top - row * step, 3))


@dataclass(frozen=True, slots=True)
class Part:
    """One rectangle of a building in its own axes, in metres, with its roof."""

    u0: float
    v0: float
    u1: float
    v1: float
    roof: str
    """gable_u (ridge along u), gable_v, hip, flat or metal."""
    height: float
    """Height of the eaves above the ground."""


@dataclass(frozen=True, slots=True)
class Building:
    """A building with the years that it stands: since <= year < until."""

    key: int
    x: float
    y: float
    angle: float
    """Direction of u, in radians counterclockwise from east."""
    parts: tuple[Part, ...]
    colour: Colour
    since: int = ALWAYS[0]
    until: int = ALWAYS[1]
    row: bool = False
    """One of a row of houses that share their walls."""

    def stands(self, year: int) -> bool:
        """Whether this year's picture shows it."""
        return self.since <= year < self.until

    def footprint(self) -> Polygon:
        """The outline on the ground, in CRS, to the millimetre."""
        import shapely

        plan = shapely.union_all([shapely.box(p.u0, p.v0, p.u1, p.v1) for p in self.parts])
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        turn = np.array([[cos, sin], [-sin, cos]])
        return shapely.transform(plan, lambda uv: np.round(uv @ turn + (self.x, self.y), 3))


@dataclass(frozen=True, slots=True)
class Ground:
    """A patch of ground cover."""

    kind: str
    ring: Ring
    angle: float


@dataclass(frozen=True, slots=True)
class Street:
    """A street's centre line, the width of its carriageway in metres, and what it is paved with."""

    line: Ring
    width: float
    paving: str


@dataclass(frozen=True, slots=True)
class Place:
    """What stands where: all that a painter must know, in CRS."""

    seed: int
    frame: Frame
    regions: dict[str, Polygon]
    water: tuple[Ring, ...]
    streets: tuple[Street, ...]
    grounds: tuple[Ground, ...]
    hedges: tuple[Ring, ...]
    buildings: tuple[Building, ...]
    trees: tuple[tuple[float, float, float], ...]
    """x, y, radius of the crown."""
    cars: tuple[tuple[float, float, float], ...]
    """x, y, angle of the spots where a car may stand."""


@dataclass(frozen=True, slots=True)
class Country:
    """The files of one drawn country. All of them follow from seed, size and the names of regions and years."""

    folder: Path
    seed: int
    size_m: float
    crs: str
    resolution: float
    regions: Path
    """GeoJSON in EPSG:4326 with a polygon and a "name" per region."""
    sheets: dict[tuple[str, int], list[Path]]
    registers: dict[int, tuple[Path, Path]]
    """year: (building register, the area in which it claims to be complete)."""
    errors: dict[int, dict[str, int]]
    """year: kind of error in the register: how many."""
    truth: dict[int, Path]
    """year: GeoParquet in crs with id, region and the exact footprint of all that the picture shows."""

    @property
    def names(self) -> tuple[str, ...]:
        """The regions, north to south."""
        return tuple(dict.fromkeys(region for region, _ in self.sheets))

    @property
    def years(self) -> tuple[int, ...]:
        """The years, in order."""
        return tuple(self.truth)


def draw(
    folder: Path,
    seed: int = 7,
    size_m: float = 400.0,
    regions: Sequence[str] = REGIONS,
    years: Sequence[int] = YEARS,
) -> Country:
    """Draw a country into a folder; a region is size_m wide and 0.825 * size_m high (tests: 90; 60 may stay empty)."""
    place = plan(seed, size_m, tuple(regions), tuple(years))
    folder.mkdir(parents=True, exist_ok=True)
    sheets: dict[tuple[str, int], list[Path]] = {}
    registers, errors, truth = {}, {}, {}
    for year in years:
        sheets |= {(region, year): paths for region, paths in _deliver(place, folder, year, tuple(years))}
        truth[year] = _write_truth(place, folder, year)
        # The last register of a country is seldom done for all regions: the others must do with the year's model.
        covered = tuple(regions)[: 1 if len(years) > 1 and year == years[-1] else None]
        registers[year], errors[year] = _write_register(place, folder, year, covered, size_m, tuple(years))
    return Country(
        folder, seed, size_m, CRS, RESOLUTION, _write_regions(place, folder), sheets, registers, errors, truth
    )


def late_sheet(
    country: Country,
    region: str,
    year: int,
    part: tuple[float, float, float, float] = (0.05, 0.05, 0.45, 0.45),
) -> Path:
    """Deliver one more sheet, flown later and lighter, over a part (left, top, right, bottom as shares) of a region."""
    from groundplan.synthetic_draw import paint

    place = plan(country.seed, country.size_m, country.names, country.years)
    r0, r1, c0, c1 = _window(place, region)
    height, width = r1 - r0, c1 - c0
    window = (
        r0 + int(part[1] * height),
        r0 + int(part[3] * height),
        c0 + int(part[0] * width),
        c0 + int(part[2] * width),
    )
    picture = paint(place, year, country.years.index(year))
    path = country.folder / "imagery" / region / str(year) / f"{_name(place, year, window)}_reflight.tif"
    _write_sheet(path, place, _exposed(picture.rgb, window, 1.04), window, f"{year}:09:03 12:41:00", "jpeg")
    return path


# --- the plan: what stands where -------------------------------------------------------------------------------------


def plan(seed: int, size_m: float, regions: tuple[str, ...], years: tuple[int, ...]) -> Place:
    """Lay out the place; the same arguments give the same place."""
    rng = np.random.default_rng([seed, 1])
    frame = _frame(size_m, len(regions))
    areas, borders = _regions(size_m, regions, rng)
    draft = _Draft(frame, rng)
    for line in borders:
        draft.occupy_line(line, 9.0)
    blocks = list(_streets(draft))
    kinds = _kinds(blocks, areas, size_m, rng)
    for block, kind in zip(blocks, kinds, strict=True):
        FILL[kind](draft, block)
    _scatter_trees(draft)
    buildings = _lives(draft.buildings, years, np.random.default_rng([seed, 2]))
    return Place(
        seed, frame, areas, tuple(borders), tuple(draft.streets), tuple(draft.grounds), tuple(draft.hedges),
        buildings, tuple(draft.trees), tuple(draft.cars),
    )  # fmt: skip


def _frame(size_m: float, regions: int) -> Frame:
    """The picture: all regions and a margin, wide enough for the sheet that is turned by two degrees."""
    margin = max(40, round(0.06 * size_m / RESOLUTION))
    width, height = round(size_m / RESOLUTION), round(0.825 * size_m / RESOLUTION) * regions
    left, top = ORIGIN[0] - margin * RESOLUTION, ORIGIN[1] + (height + margin) * RESOLUTION
    return Frame(round(left, 3), round(top, 3), height + 2 * margin, width + 2 * margin)


def _regions(size_m: float, names: tuple[str, ...], rng: np.random.Generator) -> tuple[dict[str, Polygon], list[Ring]]:
    """Abutting regions, and the crooked borders between them, along which a brook runs."""
    import shapely

    high = round(0.825 * size_m / RESOLUTION) * RESOLUTION
    wide = round(size_m / RESOLUTION) * RESOLUTION
    xs = np.linspace(0, wide, 9)
    lines = []
    for level in range(len(names), -1, -1):
        crook = np.zeros(9) if level in (0, len(names)) else np.cumsum(rng.normal(0, 0.022 * size_m, 9))
        lines.append(
            [
                (ORIGIN[0] + x, round(ORIGIN[1] + level * high + c, 2))
                for x, c in zip(xs, crook - crook.mean(), strict=True)
            ]
        )
    areas = {n: shapely.Polygon([*lines[i], *lines[i + 1][::-1]]) for i, n in enumerate(names)}
    # The brook goes on to the edges of the picture.
    inner = [((line[0][0] - 500, line[0][1]), *line, (line[-1][0] + 500, line[-1][1])) for line in lines[1:-1]]
    return areas, [tuple(line) for line in inner]


@dataclass(frozen=True, slots=True)
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


@dataclass(slots=True)
class _Draft:
    """A plan in the making: lists that grow, and a raster of 0.5 m cells that says which land is taken."""

    frame: Frame
    rng: np.random.Generator
    streets: list[Street] = field(default_factory=list)
    grounds: list[Ground] = field(default_factory=list)
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

    def pick(self, colours: Sequence[Colour]) -> Colour:
        """One of the colours, a little off."""
        base = colours[int(self.rng.integers(len(colours)))]
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
            block = _Block(a0 + 4.2, b0 + 4.2, a1 - 4.2, b1 - 4.2, bend)
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
        start, colour = block.a0 + 1, draft.pick(TILES)
        while (room := int((block.a1 - 1 - start) / wide)) > 1:
            size = min(room, int(rng.integers(3, 7)))
            for setback in (2.2, 3.4, 4.8):  # where the street bends into the row, the row stands back
                middle = block.at(start + size * wide / 2, front + sign * (setback + deep / 2))
                row = [_unit(draft, middle, (i + 0.5 - size / 2) * wide, wide, deep, sign, colour) for i in range(size)]
                if draft.build(row, 0.5):
                    _gardens(draft, block, start, size, wide, front + sign * (setback + deep), sign)
                    break
            start += size * wide + rng.choice([1.4, 3.0])
    draft.grounds.append(Ground("paved", block.ring(0, 0.47, 1, 0.53), block.at(block.a0, block.b0)[2]))


def _unit(
    draft: _Draft, middle: tuple[float, float, float], u: float, wide: float, deep: float, sign: int, colour: Colour
) -> Building:
    """One house of a row, u metres from the row's middle; a third have a flat extension behind."""
    rng = draft.rng
    x, y, angle = middle
    half = wide / 2
    parts = [Part(-half, -deep / 2, half, deep / 2, "gable_u", 5.4)]
    if rng.random() < 0.35:
        back = (deep / 2, deep / 2 + rng.uniform(2.2, 3.2))
        v0, v1 = back if sign > 0 else (-back[1], -back[0])
        parts.append(Part(-half, v0, half if rng.random() < 0.5 else 0.3, v1, "flat", 2.9))
    shade = draft.pick([colour] if rng.random() < 0.75 else TILES)
    return Building(0, x + u * math.cos(angle), y + u * math.sin(angle), angle, tuple(parts), shade, row=True)


def _gardens(draft: _Draft, block: _Block, start: float, count: int, wide: float, back: float, sign: int) -> None:
    """What lies behind a row: gardens of differing cover, hedges between them, sheds at their ends."""
    rng = draft.rng
    end = (block.b0 + block.b1) / 2 - sign * 1.5
    for i in range(count):
        a0, a1 = start + i * wide, start + (i + 1) * wide
        corners = [(a0, back), (a1, back), (a1, end), (a0, end)]
        ring = tuple(block.at(*c)[:2] for c in corners)
        angle = block.at(a0, back)[2]
        draft.grounds.append(Ground(str(rng.choice(["lawn", "lawn", "paved", "soil", "terrace"])), ring, angle))
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
    draft.build([Building(0, x, y, angle, (Part(-u, -v, u, v, roof, 2.4),), draft.pick(FLATS + TILES[2:]))], 0.3)


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
    draft.grounds.append(Ground(str(rng.choice(["lawn", "lawn", "lawn", "soil", "gravel", "terrace"])), ring, angle))
    drive = tuple(
        block.at(*c)[:2]
        for c in ((a + u - 1, front), (a + u + 2, front), (a + u + 2, front + sign * 9), (a + u - 1, front + sign * 9))
    )
    draft.grounds.append(Ground(str(rng.choice(["paved", "gravel", "terrace"])), drive, angle))
    house = Building(0, x, y, angle + rng.normal(0, 0.04), _shape(rng, u, v), draft.pick(TILES))
    if house.parts[0].roof == "flat":
        house = replace(house, colour=draft.pick(FLATS))
    draft.build([house])
    draft.hedges += [(ring[1], ring[2])] * (rng.random() < 0.6) + [(ring[2], ring[3])] * (rng.random() < 0.5)
    draft.cars.append((*block.at(a + u + 0.5, front + sign * 4)[:2], angle + math.pi / 2))
    if rng.random() < 0.55:
        _shed(draft, block, a + rng.uniform(-0.3, 0.3) * lot, back - sign * rng.uniform(2.8, 5))
    elif rng.random() < 0.2:
        x, y, _ = block.at(a, back - sign * 2.8)
        draft.grounds.append(Ground("pool", _rectangle(x, y, angle, 3.5, 1.8), angle))


def _shape(rng: np.random.Generator, u: float, v: float) -> tuple[Part, ...]:
    """The parts of a house that is 2u wide and 2v deep."""
    roof = str(rng.choice(["gable_u", "gable_v", "hip", "flat"], p=[0.4, 0.2, 0.22, 0.18]))
    eaves = float(rng.choice([3.0, 5.2, 5.8])) + 0.2 * rng.random()
    main = Part(-u, -v, u, v, roof, eaves)
    form = rng.random()
    if form < 0.45:
        return (main,)
    wing, out = rng.uniform(1.6, 2.4), rng.uniform(2.0, 3.4) * rng.choice([-1, 1])
    if form < 0.72:  # L: a wing flush with one side
        middle = (u - wing) * rng.choice([-1, 1])
    elif form < 0.85:  # T
        middle = rng.uniform(-0.2, 0.2) * u
    else:  # a garage beside
        return (main, Part(u, -v * 0.6, u + 2.8, v * 0.7, "flat", 2.7))
    v0, v1 = sorted((math.copysign(v * 0.2 if roof != "flat" else v, out), math.copysign(v, out) + out))
    return (main, Part(middle - wing, v0, middle + wing, v1, "flat" if roof == "flat" else "gable_v", eaves))


def _rectangle(x: float, y: float, angle: float, u: float, v: float) -> Ring:
    """The ring of a rectangle 2u by 2v about a point."""
    cos, sin = math.cos(angle), math.sin(angle)
    return tuple((x + cos * p - sin * q, y + sin * p + cos * q) for p, q in ((-u, -v), (u, -v), (u, v), (-u, v)))


def _fill_flats(draft: _Draft, block: _Block) -> None:
    """Blocks of flats on a lawn with a parking strip."""
    rng = draft.rng
    angle = block.at(block.a0, block.b0)[2]
    draft.grounds.append(Ground("lawn", block.ring(), angle))
    draft.grounds.append(Ground("asphalt", block.ring(0.05, 0.42, 0.95, 0.58), angle))
    for side in (0.23, 0.77):
        b = block.b0 + side * (block.b1 - block.b0)
        x, y, angle = block.at((block.a0 + block.a1) / 2, b)
        for share in (0.42, 0.34, 0.26):  # as long as the bends of the streets allow
            u, high = (block.a1 - block.a0) * share, rng.uniform(8, 12)
            parts = (Part(-u, -4.6, u, 4.6, "flat", high), Part(-2, -5.8, 2, 5.8, "flat", high - 1))
            if draft.build([Building(0, x, y, angle, parts, draft.pick(FLATS))]):
                break
    _park(draft, block, 0.5)


def _fill_halls(draft: _Draft, block: _Block) -> None:
    """One or two big halls on a paved yard."""
    rng = draft.rng
    x, y, angle = block.at((block.a0 + block.a1) / 2, (block.b0 + block.b1) / 2)
    draft.grounds.append(Ground(str(rng.choice(["asphalt", "gravel", "paved"])), block.ring(), angle))
    v = (block.b1 - block.b0) / 2 - 5
    for share in (0.27, 0.76):
        x, y, angle = block.at(block.a0 + share * (block.a1 - block.a0), (block.b0 + block.b1) / 2)
        u = (block.a1 - block.a0) * rng.uniform(0.15, 0.2)
        parts = [Part(-u, -v, u, v * rng.uniform(0.2, 0.9), str(rng.choice(["metal", "flat"])), rng.uniform(5, 8))]
        parts += [Part(-u - 3, -v * 0.8, -u, -v * 0.2, "flat", 3.4)] * (rng.random() < 0.6)
        draft.build([Building(0, x, y, angle, tuple(parts), draft.pick(METALS))])
    _park(draft, block, 0.9)


def _fill_school(draft: _Draft, block: _Block) -> None:
    """A school about a courtyard, with a playground whose red surface is no roof."""
    x, y, angle = block.at(block.a0 + 0.4 * (block.a1 - block.a0), (block.b0 + block.b1) / 2)
    draft.grounds.append(Ground("paved", block.ring(), angle))
    draft.grounds.append(Ground("red", block.ring(0.72, 0.15, 0.97, 0.85), angle))
    u, v, deep = 15.0, 11.5, 7.5
    wings = ((-u, -v, u, deep - v), (-u, v - deep, u, v), (-u, -v, deep - u, v), (u - deep, -v, u, v))
    parts = tuple(Part(*wing, "flat", height) for wing, height in zip(wings, (6.8, 6.6, 4.4, 4.2), strict=True))
    draft.build([Building(0, x, y, angle, parts, draft.pick(FLATS))])
    draft.cars.append((*block.at(block.a0 + 2, block.b0 + 3)[:2], angle))


def _fill_field(draft: _Draft, block: _Block) -> None:
    """Land without buildings: crops, foil tunnels that look like roofs, bare red soil, or a park."""
    rng = draft.rng
    angle = block.at(block.a0, block.b0)[2]
    edge = rng.uniform(0.35, 0.65)
    kinds = rng.choice(["crop", "soil", "tunnels", "red", "meadow"], 2, replace=False)
    for kind, (left, right) in zip(kinds, ((0.0, edge), (edge, 1.0)), strict=True):
        draft.grounds.append(Ground(str(kind), block.ring(left, 0, right, 1), angle))
    x, y, angle = block.at(block.a0 + edge * (block.a1 - block.a0), block.b0 + 6)
    barn = (Part(-5, -4, 5, 4, str(rng.choice(["metal", "gable_u"])), 4.0),)
    draft.build([Building(0, x, y, angle, barn, draft.pick(METALS + TILES))])
    for _ in range(int(rng.integers(4, 14))):
        a, b = rng.uniform(block.a0, block.a1), rng.choice([block.b0, block.b1]) + rng.normal(0, 2)
        draft.trees.append((*block.at(a, b)[:2], rng.uniform(2, 4.5)))


def _fill_parking(draft: _Draft, block: _Block) -> None:
    """A car park, flat and grey like a roof, with a shop beside it."""
    angle = block.at(block.a0, block.b0)[2]
    draft.grounds.append(Ground("parking", block.ring(0, 0, 0.64, 1), angle))
    draft.grounds.append(Ground("paved", block.ring(0.64, 0, 1, 1), angle))
    x, y, angle = block.at(block.a0 + 0.83 * (block.a1 - block.a0), (block.b0 + block.b1) / 2)
    u, v = 0.14 * (block.a1 - block.a0), (block.b1 - block.b0) / 2 - 3
    draft.build([Building(0, x, y, angle, (Part(-u, -v, u, v, "flat", 5.0),), draft.pick(FLATS))])
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


# --- the delivery: sheets, regions, registers, truth -----------------------------------------------------------------


def _window(place: Place, region: str) -> tuple[int, int, int, int]:
    """Rows and columns of the picture (r0, r1, c0, c1) that a region's sheets cover: 3 m more than the region."""
    west, south, east, north = place.regions[region].buffer(3.0).bounds
    corners = place.frame.pixels(np.array([(west, north), (east, south)]))
    (c0, r0), (c1, r1) = np.floor(corners[0]).astype(int), np.ceil(corners[1]).astype(int)
    return max(0, r0), min(place.frame.height, r1), max(0, c0), min(place.frame.width, c1)


def _deliver(place: Place, folder: Path, year: int, years: tuple[int, ...]) -> Iterator[tuple[str, list[Path]]]:
    """Write a year's sheets, four to a region: three plain ones and an odd one, overlapping by 6 m."""
    from groundplan.synthetic_draw import paint

    rgb = paint(place, year, years.index(year)).rgb
    names = list(place.regions)
    for index, region in enumerate(names):
        r0, r1, c0, c1 = _window(place, region)
        lap, row, column = 10, (r0 + r1) // 2, (c0 + c1) // 2
        forms = ["jpeg"] * 4
        if index == 0:
            forms[1] = "striped"
        if index == len(names) - 1:
            forms[2] = "foreign"
        paths = []
        for number, form in enumerate(forms):
            rows = (r0, row + lap) if number < 2 else (row - lap, r1)
            columns = (c0, column + lap) if number % 2 == 0 else (column - lap, c1)
            window = (*rows, *columns)
            path = folder / "imagery" / region / str(year) / f"{_name(place, year, window)}.tif"
            flown = f"{year}:{5 + index:02d}:{11 + year % 7:02d} 11:{10 + 7 * number:02d}:00"
            exposed = rgb if form == "foreign" else _exposed(rgb, window, 1 + 0.012 * (number - 1.5))
            _write_sheet(path, place, exposed, window, flown, form)
            paths.append(path)
        yield region, paths


def _name(place: Place, year: int, window: tuple[int, int, int, int]) -> str:
    """A supplier's name for a sheet: year and lower left corner in whole metres."""
    x, y = place.frame.transform(window[1], window[2]) @ (0, 0)
    return f"{year}_{int(x):06d}_{int(y):06d}_RGB_30cm"


def _exposed(rgb: NDArray[np.uint8], window: tuple[int, int, int, int], gain: float) -> NDArray[np.uint8]:
    """A window of the picture under another exposure, so that neighbouring sheets differ a little."""
    r0, r1, c0, c1 = window
    return np.clip(rgb[r0:r1, c0:c1] * np.float32(gain) + 0.5, 0, 255).astype(np.uint8)


def _write_sheet(
    path: Path, place: Place, rgb: NDArray[np.uint8], window: tuple[int, int, int, int], flown: str, form: str
) -> None:
    """Write pixels (rows, columns, 3) as a GeoTIFF: "jpeg" tiled, "striped" deflate, or "foreign" in another CRS."""
    import rasterio

    crs, transform = CRS, place.frame.transform(window[0], window[2])
    options: dict[str, Any] = {"tiled": True, "blockxsize": 512, "blockysize": 512}
    if form == "foreign":
        rgb, transform = _turned(place, rgb, window)
        crs = FOREIGN_CRS
    if form == "striped":
        options = {"tiled": False, "compress": "deflate", "predictor": 2, "photometric": "RGB"}
    else:
        options |= {"compress": "jpeg", "photometric": "YCBCR", "jpeg_quality": 92}
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": rgb.shape[0], "width": rgb.shape[1]}
    with rasterio.open(path, "w", crs=crs, transform=transform, **profile, **options) as sheet:
        sheet.update_tags(TIFFTAG_DATETIME=flown, TIFFTAG_COPYRIGHT="invented; CC0")
        sheet.write(rgb.transpose(2, 0, 1))


def _turned(
    place: Place, rgb: NDArray[np.uint8], window: tuple[int, int, int, int]
) -> tuple[NDArray[np.uint8], Affine]:
    """The whole picture's pixels resampled to a box of FOREIGN_CRS that holds the window; no pixel stays empty."""
    from rasterio import Affine
    from rasterio.warp import Resampling, reproject, transform_bounds

    frame = place.frame
    west, north = frame.transform(window[0], window[2]) @ (0, 0)
    east, south = frame.transform(window[1], window[3]) @ (0, 0)
    left, bottom, right, top = transform_bounds(CRS, FOREIGN_CRS, west, south, east, north)
    step = frame.resolution
    left, top = math.floor(left / step) * step, math.ceil(top / step) * step
    turned = np.zeros((3, math.ceil((top - bottom) / step), math.ceil((right - left) / step)), np.uint8)
    transform = Affine(step, 0, round(left, 3), 0, -step, round(top, 3))
    reproject(
        rgb.transpose(2, 0, 1), turned, src_crs=CRS, src_transform=frame.transform(), dst_crs=FOREIGN_CRS,
        dst_transform=transform, resampling=Resampling.cubic,
    )  # fmt: skip
    return turned.transpose(1, 2, 0), transform


def _write_regions(place: Place, folder: Path) -> Path:
    import geopandas

    path = folder / "regions.geojson"
    frame = geopandas.GeoDataFrame({"name": list(place.regions)}, geometry=list(place.regions.values()), crs=CRS)
    frame.to_crs(4326).to_file(path, driver="GeoJSON")
    return path


def _write_truth(place: Place, folder: Path, year: int) -> Path:
    import geopandas

    path = folder / f"truth_{year}.parquet"
    standing = [b for b in place.buildings if b.stands(year)]
    shapes = [b.footprint() for b in standing]
    rows = {"id": [b.key for b in standing], "region": [_region_of(place, shape) for shape in shapes]}
    geopandas.GeoDataFrame(rows, geometry=shapes, crs=CRS).to_parquet(path)
    return path


def _region_of(place: Place, shape: Polygon) -> str | None:
    """The region that holds the shape's centre; None in the margin of the picture."""
    return next((name for name, area in place.regions.items() if area.contains(shape.centroid)), None)


def _write_register(
    place: Place, folder: Path, year: int, covered: tuple[str, ...], size_m: float, years: tuple[int, ...]
) -> tuple[tuple[Path, Path], dict[str, int]]:
    """The register of some regions and the area in which it claims to be complete, which leaves out a western strip."""
    import geopandas
    import pyogrio
    import shapely

    land = shapely.union_all([place.regions[name] for name in covered])
    west, south, east, north = land.bounds
    extent = land & shapely.box(west + 0.09 * size_m, south, east, north)
    rows, errors = register_rows(place, year, land, extent)
    # The first register comes as a GeoPackage in CRS, later ones as GeoJSON in degrees: suppliers change their minds.
    first = year == years[0]
    paths = folder / f"register_{year}.{'gpkg' if first else 'geojson'}", folder / f"extent_{year}.geojson"
    geopandas.GeoDataFrame({"name": [f"register {year}"]}, geometry=[extent], crs=CRS).to_crs(4326).to_file(
        paths[1], driver="GeoJSON"
    )
    # A GeoPackage notes when it was written: a fixed moment keeps its bytes the same.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": f"{year}-01-01T00:00:00.000Z"})
    try:
        paths[0].unlink(missing_ok=True)
        (rows if first else rows.to_crs(4326)).to_file(paths[0], driver="GPKG" if first else "GeoJSON")
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    return paths, errors


def register_rows(place: Place, year: int, land: Polygon, extent: Polygon) -> tuple[GeoDataFrame, dict[str, int]]:
    """The register's rows in CRS with the errors of real ones, and how many there are of each kind."""
    import geopandas

    rng = np.random.default_rng([place.seed, year, 3])
    shapes: dict[int, Geometry] = {}
    stale = 0
    for b in place.buildings:
        shape = b.footprint()
        known = shape.intersects(extent) or (shape.intersects(land) and rng.random() < 0.5)
        if known and b.stands(year):
            shapes[b.key] = shape
        elif known and b.until <= year and rng.random() < 0.6:
            shapes[b.key], stale = shape, stale + 1
    twice, errors = _spoil(shapes, {b.key for b in place.buildings if b.stands(year)}, rng)
    keys = list(shapes) + twice
    errors |= {"stale": stale, "hole": sum(1 for k in keys if len(getattr(shapes[k], "interiors", ())))}
    rows = {
        "identification": [f"0999100{key:09d}" for key in keys],
        "built": [max(1952 + key * 37 % 68, place.buildings[key].since) for key in keys],
        "status": ["in use"] * len(keys),
    }
    return geopandas.GeoDataFrame(rows, geometry=[shapes[k] for k in keys], crs=CRS), errors


def _spoil(
    shapes: dict[int, Geometry], standing: set[int], rng: np.random.Generator
) -> tuple[list[int], dict[str, int]]:
    """Put errors into the shapes, each into another building; say which are to be entered twice, and count by kind."""
    import shapely

    whole = [key for key in sorted(standing & set(shapes)) if not shapes[key].interiors]  # a courtyard is rare: keep it
    order = [int(key) for key in rng.permutation(whole)]
    few = len(order)
    missing, moved, high, twice = (
        [order.pop() for _ in range(min(len(order), max(1, round(share * few))))] for share in (0.03, 0.04, 0.06, 0.01)
    )
    for key in missing:
        del shapes[key]
    for key in moved:
        turn, far = rng.uniform(0, 2 * math.pi), rng.uniform(0.8, 1.8)
        shift = np.array((far * math.cos(turn), far * math.sin(turn)))
        shapes[key] = shapely.transform(shapes[key], lambda xy, by=shift: xy + by)
    for key in high:
        shapes[key] = shapely.force_3d(shapes[key], round(rng.uniform(8, 14), 2))
    plain = [k for k in order if len(shapes[k].exterior.coords) == 5]
    for key in sorted(plain, key=lambda k: float(shapes[k].area))[:1]:
        a, b, c, d, _ = shapes[key].exterior.coords
        shapes[key] = shapely.Polygon([a, c, b, d, a])
        order.remove(key)
    counts = {"missing": len(missing), "offset": len(moved), "z": len(high), "duplicate": len(twice)}
    return twice, counts | {"bowtie": len(plain[:1]), "multipolygon": _double(shapes, order)}


def _double(shapes: dict[int, Geometry], order: list[int]) -> int:
    """Enter a house and the nearest building that it does not touch as one; 1 if there was such a pair."""
    import shapely

    for first in order:
        others = [k for k in order if k != first and 0.3 < shapes[first].distance(shapes[k]) < 25]
        if others:
            second = min(others, key=lambda k: float(shapes[first].distance(shapes[k])))
            shapes[first] = shapely.MultiPolygon([shapes[first], shapes.pop(second)])
            return 1
    return 0

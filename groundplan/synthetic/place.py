"""Model of the synthetic country: its frame, buildings, ground, streets, and the layout that holds them.

Here: values only. Not here: deciding what stands where (layout.py), painting (paint.py), files
(country.py). Metres, x east, y north, in the site's CRS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rasterio import Affine
    from shapely import Polygon


CRS = "EPSG:28992"
FOREIGN_CRS = "EPSG:25831"  # UTM 31N: turned by 2 degrees against EPSG:28992 here, so a lazy copy of pixels shows
RESOLUTION = 0.30  # metres
REGIONS = ("noorderveld", "zuiderhout")  # north to south
YEARS = (2023, 2024)
ALWAYS = (0, 9999)  # (since, until) of a building that no year of the demo sees come or go

Ring = tuple[tuple[float, float], ...]
Color = tuple[int, int, int]

TILES: tuple[Color, ...] = ((158, 98, 76), (142, 86, 68), (128, 86, 70), (96, 78, 68), (84, 84, 88), (104, 102, 100))
FLATS: tuple[Color, ...] = ((158, 154, 146), (126, 124, 120), (92, 92, 94), (186, 182, 174), (140, 132, 122))
METALS: tuple[Color, ...] = ((176, 180, 182), (206, 206, 202), (142, 148, 152), (96, 122, 148), (150, 96, 78))


@dataclass(frozen=True, slots=True)
class Location:
    """Location on Earth where the country is laid. Nothing else of it depends on that."""

    crs: str
    foreign: str
    """CRS of the sheets of a supplier who did not ask; turned a little against `crs`."""
    origin: tuple[float, float]
    """Lower left corner of the regions; whole multiples of RESOLUTION."""


DUTCH = Location(CRS, FOREIGN_CRS, (182_400.0, 447_600.0))
ZANZIBAR = Location("EPSG:32737", "EPSG:32736", (529_800.0, 9_330_000.0))
"""On the island, UTM zone 37 south; the other zone is turned by 0.65 degrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The picture's place on the ground; row 0 lies north."""

    left: float
    top: float
    height: int
    width: int
    location: Location
    resolution: float = RESOLUTION

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """World coordinates (n, 2) to (column, row), where 0.0 is the corner of the first pixel, not its centre."""
        return (np.asarray(points) - (self.left, self.top)) / (self.resolution, -self.resolution)

    def transform(self, row: int = 0, column: int = 0) -> Affine:
        """The affine of a window of the picture that starts at this row and column."""
        from rasterio import Affine

        step = self.resolution
        return Affine(step, 0.0, round(self.left + column * step, 3), 0.0, -step, round(self.top - row * step, 3))


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """A building with the years that it stands: since <= year < until."""

    key: int
    x: float
    y: float
    angle: float
    """Direction of u, in radians counterclockwise from east."""
    parts: tuple[Part, ...]
    color: Color
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
class GroundCover:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Layout: what stands where, and all that a painter must know, in CRS."""

    seed: int
    frame: Frame
    regions: dict[str, Polygon]
    water: tuple[Ring, ...]
    streets: tuple[Street, ...]
    grounds: tuple[GroundCover, ...]
    hedges: tuple[Ring, ...]
    buildings: tuple[Building, ...]
    trees: tuple[tuple[float, float, float], ...]
    """x, y, radius of the crown."""
    cars: tuple[tuple[float, float, float], ...]
    """x, y, angle of the spots where a car may stand."""

    @property
    def crs(self) -> str:
        return self.frame.location.crs

"""The grid: where blocks and pixels lie on the ground.

Here: the arithmetic between columns, rows, pixels and coordinates, all in the project's own projected CRS. Not here:
which region owns a block (imagery/regions.py), reading or writing pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from affine import Affine

from groundplan.core.datum import transformer

if TYPE_CHECKING:
    import morecantile
    from shapely import Polygon


ALIGNED = 1e-2  # a sheet within this share of a pixel of the grid's lattice is not resampled

Bounds = tuple[float, float, float, float]
"""left, bottom, right, top in CRS units"""


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """One cell of the grid: column counted eastward, row counted southward from the grid's origin."""

    col: int
    row: int

    @property
    def name(self) -> str:
        return f"x{self.col:02d}y{self.row:02d}"

    @classmethod
    def parse(cls, name: str) -> Block:
        match = re.fullmatch(r"x(-?\d+)y(-?\d+)", name)
        if not match:
            raise ValueError(f"{name!r} is not a block name such as x12y07")
        return cls(int(match[1]), int(match[2]))

    def neighbors(self) -> list[Block]:
        """The eight blocks around this one, row by row."""
        return [Block(self.col + dx, self.row + dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dx, dy) != (0, 0)]


@dataclass(frozen=True)
class Grid:
    """An OGC tile matrix in a projected CRS: square pixels, square blocks, fixed origin at the upper left.

    resolution: metres per pixel. block_size: pixels per block side. origin: CRS units.
    """

    crs: str
    resolution: float
    block_size: int
    origin: tuple[float, float]

    @property
    def span(self) -> float:
        """Side of a block, metres."""
        return self.resolution * self.block_size

    def bounds(self, block: Block, margin: int = 0) -> Bounds:
        """Ground of a block, grown by `margin` pixels."""
        left, top = self.corner(block.col * self.block_size - margin, block.row * self.block_size - margin)
        side = self.block_size + 2 * margin
        right, bottom = self.corner(
            block.col * self.block_size - margin + side, block.row * self.block_size - margin + side
        )
        return left, bottom, right, top

    def corner(self, col: float, row: float) -> tuple[float, float]:
        """Coordinates of the upper left corner of a pixel of the whole grid."""
        return self.origin[0] + col * self.resolution, self.origin[1] - row * self.resolution

    def transform(self, block: Block, margin: int = 0) -> Affine:
        """Pixel (col, row) of the block's array, grown by `margin`, to coordinates."""
        left, top = self.corner(block.col * self.block_size - margin, block.row * self.block_size - margin)
        return Affine(self.resolution, 0, left, 0, -self.resolution, top)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Coordinates to fractional (col, row) pixels of the whole grid."""
        return (x - self.origin[0]) / self.resolution, (self.origin[1] - y) / self.resolution

    def at(self, x: float, y: float) -> Block:
        """The block that a point lies in; a point on a border belongs to the block east and south of it."""
        col, row = self.pixel(x, y)
        return Block(math.floor(_steady(col / self.block_size)), math.floor(_steady(row / self.block_size)))

    def touching(self, bounds: Bounds, margin: int = 0) -> list[Block]:
        """Blocks that share ground, not only a border, with `bounds` grown by `margin` pixels; row by row."""
        left, bottom, right, top = bounds
        col0, row0 = self.pixel(left, top)
        col1, row1 = self.pixel(right, bottom)
        n = self.block_size
        cols = range(math.floor(_steady((col0 - margin) / n)), math.ceil(_steady((col1 + margin) / n)))
        rows = range(math.floor(_steady((row0 - margin) / n)), math.ceil(_steady((row1 + margin) / n)))
        return [Block(col, row) for row in rows for col in cols]

    def polygon(self, block: Block) -> Polygon:
        from shapely import box

        return box(*self.bounds(block))

    def aligned(self, transform: Affine) -> bool:
        """Whether pixels of `transform` are pixels of this grid, shifted by whole pixels."""
        if not all(math.isfinite(value) for value in tuple(transform)[:6]):
            return False
        if abs(transform.b) > 1e-9 or abs(transform.d) > 1e-9:
            return False
        if abs(transform.a / self.resolution - 1) > 1e-6 or abs(-transform.e / self.resolution - 1) > 1e-6:
            return False
        return all(abs(value - round(value)) < ALIGNED for value in self.pixel(transform.c, transform.f))

    def identity(self) -> dict[str, object]:
        """What of the grid decides a block's pixels; part of every fingerprint."""
        return {"crs": self.crs, "resolution": self.resolution, "block": self.block_size, "origin": list(self.origin)}

    @cached_property
    def tms(self) -> morecantile.TileMatrixSet:
        """The grid as an OGC TileMatrixSet of one level, for tile servers and as an oracle in tests."""
        import morecantile
        import pyproj

        crs = pyproj.CRS.from_user_input(self.crs)
        matrix = morecantile.models.TileMatrix(
            id="0",
            scaleDenominator=self.resolution / 0.28e-3,  # OGC's standard pixel is 0.28 mm
            cellSize=self.resolution,
            pointOfOrigin=self.origin,
            cornerOfOrigin="topLeft",
            tileWidth=self.block_size,
            tileHeight=self.block_size,
            matrixWidth=2**20,
            matrixHeight=2**20,
        )
        code = crs.to_epsg()
        name = f"http://www.opengis.net/def/crs/EPSG/0/{code}" if code else crs.to_wkt()
        return morecantile.TileMatrixSet(crs=name, tileMatrices=[matrix], id="groundplan")


def _steady(value: float) -> float:
    """Coordinates carry rounding in the last digits; a border must not fall to either side by chance."""
    nearest = round(value)
    return nearest if abs(value - nearest) < 1e-9 * max(1.0, abs(value)) + 1e-7 else value


@lru_cache(maxsize=64)
def area_of_use(crs: str) -> Bounds | None:
    """The ground that a CRS is meant for, in its own units; None where PROJ does not say."""
    import pyproj

    proj = pyproj.CRS.from_user_input(crs)
    if proj.area_of_use is None:
        return None
    # west > east where it crosses the 180th meridian; pyproj goes by that
    bounds: Bounds = transformer("EPSG:4326", crs).transform_bounds(*proj.area_of_use.bounds, densify_pts=21)
    return bounds if all(math.isfinite(value) for value in bounds) else None


def default_origin(crs: str, resolution: float, block_size: int) -> tuple[float, float]:
    """An origin north-west of the CRS's area of use, on a whole number of blocks from (0, 0).

    So block numbers are positive, and imagery whose pixel corners are multiples of the resolution, as national
    deliveries are, is aligned without resampling.
    """
    bounds = area_of_use(crs)
    if bounds is None:
        return 0.0, 0.0
    span = resolution * block_size
    return round(math.floor(bounds[0] / span) * span, 9), round(math.ceil(bounds[3] / span) * span, 9)


def unique(blocks: Iterable[Block]) -> list[Block]:
    """Blocks sorted by row, then column, each once: the order in which work is listed everywhere."""
    return sorted(set(blocks), key=lambda block: (block.row, block.col))

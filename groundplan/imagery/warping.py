"""Sheets that do not lie on the grid's pixels, brought onto a block by coordinates on a mesh.

Here: the way from the grid to a sheet's pixels, which tiles of a block show it, painting one. Not here: the mesh and
kernels (raster/mesh.py), which sheets are brought so and in which order (direct.py), GDAL's warper (placement.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from groundplan.core.grid import Block
from groundplan.imagery.placement import SheetWindow, open_window
from groundplan.imagery.sheet import Sheet
from groundplan.project import Project
from groundplan.raster.jpeg_cog import TILE
from groundplan.raster.mesh import MOST_FINER, SPACING, Bent, Box, Exact, Mesh, mesh_of, resampled

WIDER = 2  # pixels of the grid by which a sheet's outline may bulge between its corners, and a 64th of its size
Ask = Callable[[int, Box], tuple[np.ndarray, np.ndarray | None]]
"""A window of a sheet, by the number of the tile that it is for: uint8 (h, w, 3) in blue, green, red, and where the
sheet shows something, bool (h, w), None for everywhere."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Warp:
    """How a sheet lies on a block. windows: of the sheet, by number of the tile of TILE pixels that is made of them."""

    width: int
    height: int
    mesh: Mesh
    kernel: str
    across: int
    windows: Mapping[int, Box]

    def number(self, area: Box) -> int:
        return area[1] // TILE * self.across + area[0] // TILE

    def covers(self, area: Box) -> bool:
        """Whether the sheet has pixels everywhere in a tile."""
        return self.number(area) in self.windows and not self._leaves(area)

    def _leaves(self, area: Box) -> bool:
        x, y = self.mesh.nodes(area)
        far = x.max() >= self.width - 0.5 or y.max() >= self.height - 0.5
        return bool(far or x.min() < -0.5 or y.min() < -0.5)

    def paint(self, area: Box, canvas: np.ndarray, ask: Ask) -> np.ndarray | None:
        """Paint a tile's area (left, top, right, bottom) where the sheet shows something; where that is, bool (h, w).

        None where it shows nothing. Raises what `ask` raises.
        """
        window = self.windows.get(number := self.number(area))
        if window is None:
            return None
        x, y = self.mesh.coordinates(area, window[:2])
        part, inside = self._inside(area, window, x, y)
        if inside is not None and not inside.any():
            return None
        pixels, shown = ask(number, window)
        made, known = resampled(pixels, shown, x[part], y[part], self.kernel, self.mesh.finer)
        valid = np.zeros(canvas.shape[:2], bool)
        valid[part] = True if inside is None else inside[part]
        if known is not None:
            valid[part] &= known
        if valid.all():
            canvas[:] = made
        elif valid.any():
            np.copyto(canvas[part], made, where=valid[part][..., None])
        else:
            return None
        return valid

    def _inside(
        self, area: Box, window: Box, x: np.ndarray, y: np.ndarray
    ) -> tuple[tuple[slice, slice], np.ndarray | None]:
        """The part of an area that the sheet reaches, and which pixels' middles lie in it; None for all."""
        if not self._leaves(area):
            return (slice(None), slice(None)), None
        low, high = -0.5 - window[0], self.width - 0.5 - window[0]
        inside = (x >= low) & (x < high) & (y >= -0.5 - window[1]) & (y < self.height - 0.5 - window[1])
        rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not len(rows):
            return (slice(0), slice(0)), inside
        return (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)), inside


def warp_of(project: Project, block: Block, sheet: Sheet) -> Warp | None:
    """How a sheet lies on a block; None where GDAL must say: no mesh is fine enough, or the sheet is too fine."""
    n, kernel = project.grid.block_size, project.settings.imagery.resampling
    area = _area(project, block, sheet)
    try:
        mesh = mesh_of(exact_way(project, block, sheet), area)
    except Bent:
        return None
    if max(mesh.finer) > MOST_FINER:
        return None
    across, windows = -(-n // TILE), dict[int, Box]()
    for top in range(area[1], area[3], TILE):
        for left in range(area[0], area[2], TILE):
            tile = left, top, min(left + TILE, n), min(top + TILE, n)
            west, north, east, south = mesh.window(tile, kernel)
            window = max(0, west), max(0, north), min(sheet.width, east), min(sheet.height, south)
            if window[0] < window[2] and window[1] < window[3]:
                windows[top // TILE * across + left // TILE] = window
    return Warp(width=sheet.width, height=sheet.height, mesh=mesh, kernel=kernel, across=across, windows=windows)


def _area(project: Project, block: Block, sheet: Sheet) -> Box:
    """Tiles of a block that a sheet may show something of, as pixels of the block."""
    grid, n = project.grid, project.grid.block_size
    corners = np.array([grid.pixel(x, y) for x, y in sheet.outline]) - (block.col * n, block.row * n)
    more = WIDER + np.ptp(corners, axis=0) / 64
    low, high = np.floor(corners.min(axis=0) - more), np.ceil(corners.max(axis=0) + more)
    left, top = (max(0, int(value)) // SPACING * SPACING for value in low)
    right, bottom = (min(n, max(int(value), start + 1)) for value, start in zip(high, (left, top), strict=True))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def exact_way(project: Project, block: Block, sheet: Sheet) -> Exact:
    """Pixels of a block to those of a sheet, as GDAL's warper takes them: by the same library and the same PROJ."""
    from affine import Affine
    from rasterio import warp
    from rasterio.crs import CRS

    whence, whither = CRS.from_user_input(project.grid.crs), CRS.from_user_input(sheet.crs)
    ground: Any = project.grid.transform(block)  # of arrays too, which its types do not say
    back: Any = ~Affine(*sheet.transform)

    def exact(cols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = ground @ (cols, rows)
        if whence != whither:
            x, y = (np.array(one) for one in warp.transform(whence, whither, x, y))
        found = back @ (x, y)
        return found[0], found[1]

    return exact


class Held:
    """A sheet that stays open while a block is cut: GDAL keeps decoded tiles as long, so that none is decoded twice.

    To be used within one `rasterio.Env`, since sheets close in any order.
    """

    def __init__(self, project: Project, sheet: Sheet, whole: bool) -> None:
        self._open = lambda: open_window(project, sheet, whole=whole)
        self._window: SheetWindow | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Held:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def ask(self, what: Callable[[SheetWindow], T]) -> T:
        """What the sheet shows. Raises BadSheet and StoreFailed as `sheet.opened` does; the sheet is closed then."""
        try:
            with ExitStack() as on_error:
                on_error.push(self._stack)
                window = self._window = self._window or self._stack.enter_context(self._open())
                found = what(window)
                on_error.pop_all()
        except BaseException:
            self._window, self._stack = None, ExitStack()
            raise
        return found

    def pixels(self, _: int, box: Box) -> tuple[np.ndarray, np.ndarray | None]:
        """A window of the sheet's own pixels (an `Ask`)."""
        import cv2
        from rasterio.windows import Window

        left, top, right, bottom = box
        bands, shown = self.ask(lambda window: window(Window(left, top, right - left, bottom - top)))
        return cv2.merge([bands[2], bands[1], bands[0]]), None if shown.all() else shown

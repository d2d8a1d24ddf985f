"""Placement: a sheet's pixels brought onto the grid.

Here: copying or warping the wanted bands and their mask, and leaving out the collar. Not here: opening a sheet
(sheet.py), what its bands mean (bands.py), where its collar lies (collar.py), which sheet lies on top (tiles.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from groundplan.core.grid import Bounds
from groundplan.core.manifest import fingerprint
from groundplan.imagery.bands import BandReading, Pixels, read_window, reading_of, to_uint8
from groundplan.imagery.collar import Collar, Remembered, find_collar
from groundplan.imagery.decoded_once import once
from groundplan.imagery.sheet import Sheet, crs_name, opened
from groundplan.project import Project

if TYPE_CHECKING:
    import rasterio
    from affine import Affine
    from rasterio.windows import Window

WARPED_AT_ONCE = 1 << 27  # bytes of a sheet that are held while a piece of the grid is made from it
MARGIN = 8  # pixels of a sheet that are read beyond what a piece of the grid sees: a kernel reaches so far

_collars = Remembered()


def read_onto(
    project: Project, sheet: Sheet, bounds: Bounds, shape: tuple[int, int], *, whole: bool = False
) -> tuple[np.ndarray, np.ndarray] | None:
    """A sheet's pixels on a piece of the grid: uint8 (bands, h, w) and mask bool (h, w); None where it has none.

    A sheet aligned with the grid is copied, any other is warped with the configured kernel. Ground in a colour of
    imagery.nodata that joins the sheet's edge is masked; in the sheet's own flat colours too, but not if `whole`.
    Raises BadSheet when its pixels cannot be decoded after all.
    """
    with open_window(project, sheet, whole=whole) as window:
        return onto(project, sheet, window, bounds, shape)


def onto(
    project: Project, sheet: Sheet, window: SheetWindow, bounds: Bounds, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """`read_onto` of a sheet that is open."""
    from affine import Affine

    transform = Affine(*sheet.transform)
    if on_grid(project, sheet):
        return _copy(project, window, transform, bounds, shape)
    if window.reading.plain and window.collar is None:
        return _warp_plain(project, sheet, window.source, window.reading, transform, bounds, shape)
    return _warp(project, sheet, window, transform, bounds, shape)


def on_grid(project: Project, sheet: Sheet) -> bool:
    """Whether a sheet's pixels are pixels of the grid, so that it need not be resampled."""
    from affine import Affine

    return sheet.crs == crs_name(project.grid.crs) and project.grid.aligned(Affine(*sheet.transform))


@contextmanager
def open_window(project: Project, sheet: Sheet, *, whole: bool = False) -> Iterator[SheetWindow]:
    """A sheet, opened. Raises BadSheet, also for what cannot be decoded within."""
    with opened(project, sheet.key, [name for name, _ in sheet.beside], known=True) as source:
        reading = reading_of(source, project.settings.imagery, sheet.key)
        pixels = once(sheet, source)
        yield SheetWindow(source, reading, _collar(project, sheet, pixels, reading, whole), pixels)


def _collar(project: Project, sheet: Sheet, source: Pixels, reading: BandReading, whole: bool) -> Collar | None:
    settings = project.settings.imagery
    named = tuple((value,) * len(reading.indexes) for value in settings.nodata)
    colors = (*named, *(() if whole else sheet.fill))
    if not colors:
        return None
    name = fingerprint(sheet=sheet.identity, colors=colors, reading=repr(reading), within=settings.nodata_tolerance)
    return _collars.get(name, lambda: find_collar(source, reading, colors, settings.nodata_tolerance))


@dataclass(frozen=True, slots=True)
class SheetWindow:
    """What a sheet shows in windows of its own pixels."""

    source: rasterio.DatasetReader
    reading: BandReading
    collar: Collar | None
    pixels: Pixels

    def __call__(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (bands, h, w) and bool (h, w)."""
        pixels, shown = read_window(self.pixels, self.reading, window)
        return pixels, shown if self.collar is None else shown & ~self.collar.within(window)


def _copy(
    project: Project, window: SheetWindow, transform: Affine, bounds: Bounds, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    from rasterio.windows import Window

    source = window.source
    col = round((bounds[0] - transform.c) / project.grid.resolution)
    row = round((transform.f - bounds[3]) / project.grid.resolution)
    left, top = max(col, 0), max(row, 0)
    right, bottom = min(col + shape[1], source.width), min(row + shape[0], source.height)
    if left >= right or top >= bottom:
        return None
    pixels, mask = np.zeros((len(window.reading.indexes), *shape), np.uint8), np.zeros(shape, bool)
    part = (slice(top - row, bottom - row), slice(left - col, right - col))
    pixels[(slice(None), *part)], mask[part] = window(Window(left, top, right - left, bottom - top))
    return pixels, mask


def _warp_plain(
    project: Project,
    sheet: Sheet,
    source: rasterio.DatasetReader,
    reading: BandReading,
    transform: Affine,
    bounds: Bounds,
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray] | None:
    """A sheet all of whose bands are wanted: GDAL reads what it needs, and adds the mask as an alpha band."""
    with _warped(project, source, sheet.crs, transform, bounds, shape) as warped:
        mask = warped.read(warped.count) > 0
        if not mask.any():
            return None
        return to_uint8(warped.read(list(reading.indexes)), reading), mask


def _warp(
    project: Project, sheet: Sheet, window: SheetWindow, transform: Affine, bounds: Bounds, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """A sheet with other bands or a mask of its own: only the wanted bands are warped, with our mask as their alpha.

    Piece by piece, so that what is held of the sheet stays bounded.
    """
    seen = _seen(project, sheet, window.source, transform, bounds, shape)
    if seen is None:
        return None
    each = len(window.reading.indexes) + 1
    if seen.width * seen.height * each > WARPED_AT_ONCE and max(shape) > 1:
        return _warp_halves(project, sheet, window, transform, bounds, shape)
    return _warp_piece(project, sheet, window, seen, transform, bounds, shape)


def _warp_halves(
    project: Project, sheet: Sheet, window: SheetWindow, transform: Affine, bounds: Bounds, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    (left, _, _, top), (high, wide) = bounds, shape
    size = project.grid.resolution
    pixels, mask = np.zeros((len(window.reading.indexes), *shape), np.uint8), np.zeros(shape, bool)
    rows, cols = (high // 2, wide) if high >= wide else (high, wide // 2)
    for row, col in ((0, 0), (rows if rows < high else 0, cols if cols < wide else 0)):
        lower, further = (rows if row == 0 else high), (cols if col == 0 else wide)
        ground = (left + col * size, top - lower * size, left + further * size, top - row * size)
        part = _warp(project, sheet, window, transform, ground, (lower - row, further - col))
        if part is not None:
            pixels[:, row:lower, col:further], mask[row:lower, col:further] = part
    return (pixels, mask) if mask.any() else None


def _warp_piece(
    project: Project,
    sheet: Sheet,
    window: SheetWindow,
    seen: Window,
    transform: Affine,
    bounds: Bounds,
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray] | None:
    from affine import Affine
    from rasterio.enums import ColorInterp
    from rasterio.io import MemoryFile

    pixels, shown = window(seen)
    if not shown.any():
        return None
    bands, high, wide = pixels.shape
    place = transform @ Affine.translation(seen.col_off, seen.row_off)
    told = {"driver": "GTiff", "dtype": "uint8", "count": bands + 1, "height": high, "width": wide, "transform": place}
    with MemoryFile() as memory:
        with memory.open(crs=sheet.crs, **told) as target:
            target.colorinterp = [*[ColorInterp.undefined] * bands, ColorInterp.alpha]
            target.write(pixels, list(range(1, bands + 1)))
            target.write(np.where(shown, np.uint8(255), np.uint8(0)), bands + 1)
        with memory.open() as source, _warped(project, source, sheet.crs, place, bounds, shape) as warped:
            mask = warped.read(bands + 1) >= 128
            return (warped.read(list(range(1, bands + 1))), mask) if mask.any() else None


@contextmanager
def _warped(
    project: Project,
    source: rasterio.DatasetReader,
    crs: str,
    transform: Affine,
    bounds: Bounds,
    shape: tuple[int, int],
) -> Iterator[rasterio.vrt.WarpedVRT]:
    """A dataset as it lies on a piece of the grid; its last band is its alpha, added where it has none."""
    from affine import Affine
    from rasterio.crs import CRS
    from rasterio.enums import ColorInterp, Resampling
    from rasterio.vrt import WarpedVRT

    settings, grid = project.settings.imagery, project.grid
    alpha = {} if ColorInterp.alpha in source.colorinterp else {"add_alpha": True}
    with WarpedVRT(
        source,
        src_crs=CRS.from_user_input(crs),
        src_transform=transform,
        crs=CRS.from_user_input(grid.crs),
        transform=Affine(grid.resolution, 0, bounds[0], 0, -grid.resolution, bounds[3]),
        width=shape[1],
        height=shape[0],
        resampling=Resampling[settings.resampling],
        warp_mem_limit=128,
        **alpha,
    ) as warped:
        yield warped


def _seen(
    project: Project,
    sheet: Sheet,
    source: rasterio.DatasetReader,
    transform: Affine,
    bounds: Bounds,
    shape: tuple[int, int],
) -> Window | None:
    """The window of a sheet that a piece of the grid sees, with a margin; None where it sees none of it."""
    from rasterio import warp
    from rasterio.crs import CRS
    from rasterio.windows import Window

    xs, ys = np.meshgrid(np.linspace(bounds[0], bounds[2], 17), np.linspace(bounds[1], bounds[3], 17))
    to = CRS.from_user_input(sheet.crs)
    x, y = warp.transform(CRS.from_user_input(project.grid.crs), to, xs.ravel(), ys.ravel())
    cols, rows = ~transform @ (np.array(x), np.array(y))
    there = np.isfinite(cols) & np.isfinite(rows)
    if not there.any():
        return None
    cols, rows = cols[there], rows[there]
    margin = MARGIN * (1 + max(np.ptp(cols), np.ptp(rows)) / max(shape))
    left, right = max(0, int(cols.min() - margin)), min(source.width, int(np.ceil(cols.max() + margin)))
    top, bottom = max(0, int(rows.min() - margin)), min(source.height, int(np.ceil(rows.max() + margin)))
    return Window(left, top, right - left, bottom - top) if left < right and top < bottom else None

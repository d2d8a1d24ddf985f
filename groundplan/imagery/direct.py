"""Blocks put together from sheets without GDAL where that is possible, and written as they are put together.

Here: which sheets are read by their own chunks, the order of layers, strips, what is held. Not here: chunks
(raster/tiff_chunks.py), writing (raster/jpeg_cog.py), sheets that GDAL reads (placement.py), the tile step (tiles.py).

A sheet is read by its own chunks where what GDAL says of it leaves no question: three bands of 8 bits, all of them
valid. Else GDAL reads it, and it stays open as long as the block is made. What does not lie on the grid's pixels is
resampled on a mesh (warping.py). What GDAL itself brings onto the grid comes a strip at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from groundplan.core.grid import Block, Bounds
from groundplan.core.stopwatch import timed
from groundplan.errors import BadSheet
from groundplan.imagery.bands import POSITIONS, reading_of
from groundplan.imagery.placement import on_grid, onto
from groundplan.imagery.sheet import Sheet, check_unchanged, located, opened
from groundplan.imagery.tiff_header import Paged
from groundplan.imagery.warping import Held, Warp, warp_of
from groundplan.polygons.vector_files import NO_NETWORK
from groundplan.project import Project
from groundplan.raster.chunk_windows import ChunkWindows
from groundplan.raster.copied_tiles import as_coded
from groundplan.raster.jpeg_cog import TILE, JpegCog
from groundplan.raster.tiff_chunks import ChunkReader, Chunks, Undecodable, chunks_of
from groundplan.raster.tiff_layout import FAR_GAP, GAP, Part

CACHE = 128 << 20  # bytes of decoded tiles that GDAL may keep: two rows of a JP2's, all across a block, of 8192 pixels
STRIP = 1024  # rows that are put together at once where GDAL reads a sheet; a multiple of TILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How a block was cut. read: sheets by what read them. lost: names of sheets that could not be decoded.

    direct: by their own chunks, copied. mesh: by those, and resampled on a mesh. gdal_mesh: by GDAL, and resampled so.
    gdal: by GDAL alone.
    """

    read: dict[str, int]
    lost: tuple[str, ...]


Area = tuple[int, int, int, int]
"""left, top, width, height"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A sheet as it lies on the block.

    reader: of its own chunks, where it lies on the grid's pixels; windows: of them, where it does not. With neither,
    GDAL reads it. warp: how it is resampled on a mesh.
    """

    sheet: Sheet
    held: Held
    left: int = 0
    top: int = 0
    reader: ChunkReader | None = None
    warp: Warp | None = None
    windows: ChunkWindows | None = None

    @property
    def kind(self) -> str:
        if self.warp:
            return "mesh" if self.windows else "gdal_mesh"
        return "direct" if self.reader else "gdal"

    def shared(self, area: Area) -> Area:
        """What of a (left, top, width, height) of the block the sheet covers: left, top, right, bottom."""
        left, top, wide, high = area
        if self.warp:
            return left, top, left + wide, top + high
        return (
            max(left, self.left),
            max(top, self.top),
            min(left + wide, self.left + self.sheet.width),
            min(top + high, self.top + self.sheet.height),
        )

    def reaches(self, area: Area) -> bool:
        """Whether it may show something of an area."""
        left, top, right, bottom = self.shared(area)
        return left < right and top < bottom

    def covers(self, area: Area) -> bool:
        """Whether it hides what lies below it in an area."""
        box = area[0], area[1], area[0] + area[2], area[1] + area[3]
        if self.warp:
            return self.windows is not None and self.warp.covers(box)
        return self.shared(area) == box

    def asked(self, number: int, window: Area) -> tuple[np.ndarray, np.ndarray | None]:
        """A window of its pixels (warping.Ask)."""
        with timed("read"):
            return self.held.pixels(number, window) if self.windows is None else (self.windows.pixels(number), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """A block in the making. lost: names of sheets that could not be decoded."""

    project: Project
    block: Block
    layers: Sequence[_Layer]
    check: Callable[[], None]
    lost: set[str]

    def gave_up(self, sheet: Sheet) -> None:
        """A sheet cannot be decoded, which is found only now, as a catalogue does not decode all: the others go on."""
        check_unchanged(self.project, sheet.key, sheet.sha256)
        self.lost.add(sheet.name)


def cut(project: Project, block: Block, touching: Sequence[Sheet], check: Callable[[], None]) -> tuple[JpegCog, Cut]:
    """The block, coded but not yet placed. Later sheets lie on top; those with flat colours also below all others.

    Raises what reading raises, but a sheet whose pixels cannot be decoded is left out where that is so.
    """
    by_gdal: set[str] = set()
    while True:
        try:
            with _layers(project, block, touching, by_gdal) as layers:
                return _cut(_Work(project=project, block=block, layers=layers, check=check, lost=set()))
        except _NotDirect as error:  # its header promised more than its pixels keep: from the beginning, without
            by_gdal.add(error.identity)


class _NotDirect(Exception):
    """A sheet cannot be read directly after all."""

    def __init__(self, identity: str) -> None:
        super().__init__(identity)
        self.identity = identity


@contextmanager
def _layers(project: Project, block: Block, touching: Sequence[Sheet], by_gdal: set[str]) -> Iterator[Sequence[_Layer]]:
    """All layers from the lowest up; what GDAL opens for them is closed in the end."""
    import rasterio

    order = [*((sheet, True) for sheet in touching if sheet.fill), *((sheet, False) for sheet in touching)]
    with rasterio.Env(**NO_NETWORK, GDAL_CACHEMAX=CACHE), ExitStack() as stack:
        with timed("read"):
            layers = [
                _layer(
                    project, block, sheet, stack.enter_context(Held(project, sheet, whole)), sheet.identity in by_gdal
                )
                for sheet, whole in order
            ]
        yield layers


def _layer(project: Project, block: Block, sheet: Sheet, held: Held, by_gdal: bool) -> _Layer:
    own = None if by_gdal else _own_chunks(project, sheet)
    if not on_grid(project, sheet):
        warp = warp_of(project, block, sheet)
        windows = ChunkWindows(*own, warp.windows, _gap(project, sheet)) if warp and own else None
        return _Layer(sheet=sheet, held=held, warp=warp, windows=windows)
    if own is None:
        return _Layer(sheet=sheet, held=held)
    bounds, n, size = project.grid.bounds(block), project.grid.block_size, project.grid.resolution
    left = round((sheet.transform[2] - bounds[0]) / size)
    top = round((bounds[3] - sheet.transform[5]) / size)
    columns, rows = (range(max(0, -at), min(side, n - at)) for at, side in ((left, sheet.width), (top, sheet.height)))
    return _Layer(
        sheet=sheet, held=held, left=left, top=top, reader=ChunkReader(*own, columns, rows, _gap(project, sheet))
    )


def _gap(project: Project, sheet: Sheet) -> int:
    store, path = located(project, sheet.key)
    return FAR_GAP if store.local_path(path) is None else GAP


def _own_chunks(project: Project, sheet: Sheet) -> tuple[Chunks, Part] | None:
    """Where a sheet's chunks lie, and what reads them; None where it must be read otherwise."""
    if sheet.fill or project.settings.imagery.nodata or sheet.bands != 3 or sheet.dtype != "uint8":
        return None
    if not _plain(project, sheet):
        return None
    store, path = located(project, sheet.key)

    def part(start: int, length: int) -> bytes:
        return store.part(path, start, length)

    chunks = chunks_of(Paged(part))
    if chunks is None or (chunks.width, chunks.height) != (sheet.width, sheet.height):
        return None
    return chunks, part


def _plain(project: Project, sheet: Sheet) -> bool:
    """Whether GDAL sees three colours of 8 bits, valid everywhere, in a TIFF."""
    from rasterio.enums import MaskFlags

    try:
        with opened(project, sheet.key, [name for name, _ in sheet.beside], known=True) as source:
            reading = reading_of(source, project.settings.imagery, sheet.key)
            whole = all(MaskFlags.all_valid in flags for flags in source.mask_flag_enums)
            same = (source.driver, source.width, source.height) == ("GTiff", sheet.width, sheet.height)
            usual = reading.plain and reading.limits is None and not reading.inverted and reading.indexes == POSITIONS
            return bool(whole and same and usual)
    except BadSheet:
        return False


def _cut(work: _Work) -> tuple[JpegCog, Cut]:
    n, settings = work.project.grid.block_size, work.project.settings.imagery
    coded = JpegCog(n, settings.quality, settings.copy_tiles)
    by_tiles = all(layer.reader or layer.warp for layer in work.layers)
    canvas = np.zeros((TILE, TILE, 3) if by_tiles else (min(STRIP, n), n, 3), np.uint8)
    for top in range(0, n, len(canvas)):
        work.check()
        high = min(len(canvas), n - top)
        for layer in work.layers:
            if layer.reader:
                with timed("read"):
                    layer.reader.advance(top - layer.top, top + high - layer.top)
        if by_tiles:
            near = [layer for layer in work.layers if layer.warp or _beside(layer, top, high)]
            for left in range(0, n, TILE):
                area = left, top, min(TILE, n - left), high
                tile, own = canvas[: area[3], : area[2]], _own_tile(work, near, area, coded.tables)
                shown = _paint(work, near, area, tile)
                with timed("write"):
                    coded.add(tile, shown, own)
        else:
            strip = canvas[:high]
            valid = _lay(work, top, strip)
            for area in _tiles(top, strip):
                part = np.s_[area[1] - top : area[1] - top + area[3], area[0] : area[0] + area[2]]
                with timed("write"):
                    coded.add(strip[part], None if valid[part].all() else valid[part])
    return coded, Cut(read=_read(work.layers), lost=tuple(sorted(work.lost)))


def _own_tile(work: _Work, layers: Sequence[_Layer], area: Area, tables: bytes) -> bytes | None:
    """The stream of a sheet's own tile where it is the block's: nothing lies upon it, and it is coded the same way."""
    if not work.project.settings.imagery.copy_tiles:
        return None
    top = next((layer for layer in reversed(layers) if layer.reaches(area)), None)
    if top is None or top.reader is None or not top.covers(area):
        return None
    data = top.reader.coded(area[0] - top.left, area[1] - top.top, area[2], area[3])
    return None if data is None else as_coded(data, top.reader.chunks, tables)


def _beside(layer: _Layer, top: int, high: int) -> bool:
    return layer.top < top + high and layer.top + layer.sheet.height > top


def _tiles(top: int, strip: np.ndarray) -> Iterator[Area]:
    """Tiles of a strip that begins at a row of the block."""
    high, wide = strip.shape[:2]
    for row in range(0, high, TILE):
        for left in range(0, wide, TILE):
            yield left, top + row, min(TILE, wide - left), min(TILE, high - row)


def _read(layers: Sequence[_Layer]) -> dict[str, int]:
    """Sheets by what read them. Kinds of resampled sheets are named where there are any: others stay as they were."""
    kinds = {layer.sheet.identity: layer.kind for layer in layers}
    names = ["direct", "gdal", *(name for name in ("mesh", "gdal_mesh") if name in kinds.values())]
    return {name: list(kinds.values()).count(name) for name in names}


def _paint(work: _Work, layers: Sequence[_Layer], area: Area, canvas: np.ndarray) -> np.ndarray | None:
    """Fill a tile from sheets none of which GDAL brings onto the grid. Returns where it is valid; None where all is.

    What lies below a sheet that covers the whole tile is not decoded.
    """
    lowest = max((number for number, layer in enumerate(layers) if layer.covers(area)), default=None)
    valid = None
    if lowest is None:
        canvas[:] = 0
        valid = np.zeros(canvas.shape[:2], bool)
    for layer in layers[lowest or 0 :]:
        _painted(work, layer, area, canvas, valid)
    return None if valid is None or valid.all() else valid


def _painted(work: _Work, layer: _Layer, area: Area, canvas: np.ndarray, valid: np.ndarray | None) -> None:
    """Paint one sheet's share of an area, and mark in `valid` where that is. Raises _NotDirect."""
    try:
        if layer.warp:
            found = layer.warp.paint((area[0], area[1], area[0] + area[2], area[1] + area[3]), canvas, layer.asked)
            if found is not None and valid is not None:
                valid |= found
            return
        left, top, right, bottom = layer.shared(area)
        if left >= right or top >= bottom or layer.reader is None:
            return
        part = slice(top - area[1], bottom - area[1]), slice(left - area[0], right - area[0])
        with timed("read"):
            layer.reader.paint(canvas[part], left - layer.left, top - layer.top)
        if valid is not None:
            valid[part] = True
    except Undecodable as error:
        raise _NotDirect(layer.sheet.identity) from error
    except BadSheet:
        work.gave_up(layer.sheet)


def _lay(work: _Work, top: int, strip: np.ndarray) -> np.ndarray:
    """Fill a strip of the block, and return where it is valid."""
    grid, (high, n) = work.project.grid, strip.shape[:2]
    left, _, right, upper = grid.bounds(work.block)
    bounds = (left, upper - (top + high) * grid.resolution, right, upper - top * grid.resolution)
    strip[:] = 0
    valid = np.zeros((high, n), bool)
    for layer in work.layers:
        work.check()
        if layer.reader:
            _painted(work, layer, (0, top, n, high), strip, valid)
        elif layer.warp:
            for area in _tiles(top, strip):
                part = np.s_[area[1] - top : area[1] - top + area[3], area[0] : area[0] + area[2]]
                _painted(work, layer, area, strip[part], valid[part])
        else:
            _lay_by_gdal(work, layer, bounds, strip, valid)
    return valid


def _lay_by_gdal(work: _Work, layer: _Layer, bounds: Bounds, strip: np.ndarray, valid: np.ndarray) -> None:
    shape = strip.shape[0], strip.shape[1]
    try:
        with timed("read"):
            read = layer.held.ask(lambda window: onto(work.project, layer.sheet, window, bounds, shape))
    except BadSheet:
        work.gave_up(layer.sheet)
        return
    if read is not None:
        pixels, known = read
        np.copyto(strip, pixels[::-1].transpose(1, 2, 0), where=known[..., None])
        valid |= known

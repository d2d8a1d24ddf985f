"""Blocks put together from sheets without GDAL where that is possible, and written as they are put together.

Here: which sheets are read by their own chunks, the order of layers, strips, what is held. Not here: chunks
(raster/tiff_chunks.py), writing (raster/jpeg_cog.py), sheets that GDAL reads (placement.py), the tile step (tiles.py).

A sheet is read directly where it lies on the grid's pixels and what GDAL says of it leaves no question: three bands of
8 bits, all of them valid. Else GDAL reads it, a strip at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from groundplan.core.grid import Block
from groundplan.errors import BadSheet
from groundplan.imagery import catalog
from groundplan.imagery.bands import POSITIONS, reading_of
from groundplan.imagery.sheet import Sheet, check_unchanged, crs_name, located, opened
from groundplan.imagery.tiff_header import Paged
from groundplan.project import Project
from groundplan.raster.jpeg_cog import TILE, JpegCog
from groundplan.raster.tiff_chunks import ChunkReader, Undecodable, chunks_of

STRIP = 1024  # rows that are put together at once where GDAL reads a sheet; a multiple of TILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How a block was cut. direct, gdal: sheets by what read them. lost: names of sheets that could not be decoded."""

    direct: int
    gdal: int
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A sheet as it lies on the block; reader is None where GDAL reads it. whole: flat colour is imagery too."""

    sheet: Sheet
    whole: bool
    left: int = 0
    top: int = 0
    reader: ChunkReader | None = None

    def shared(self, area: Area) -> tuple[int, int, int, int]:
        """What of a (left, top, width, height) of the block the sheet covers: left, top, right, bottom."""
        left, top, wide, high = area
        return (
            max(left, self.left),
            max(top, self.top),
            min(left + wide, self.left + self.sheet.width),
            min(top + high, self.top + self.sheet.height),
        )


Area = tuple[int, int, int, int]


def cut(project: Project, block: Block, touching: Sequence[Sheet], check: Callable[[], None]) -> tuple[JpegCog, Cut]:
    """The block, coded but not yet placed. Later sheets lie on top; those with flat colours also below all others.

    Raises what reading raises, but a sheet whose pixels cannot be decoded is left out where that is so.
    """
    by_gdal: set[str] = set()
    while True:
        layers = _layers(project, block, touching, by_gdal)
        try:
            return _cut(project, block, layers, check)
        except _NotDirect as error:  # its header promised more than its pixels keep: from the beginning, without
            by_gdal.add(error.identity)


class _NotDirect(Exception):
    """A sheet cannot be read directly after all."""

    def __init__(self, identity: str) -> None:
        super().__init__(identity)
        self.identity = identity


def _layers(project: Project, block: Block, touching: Sequence[Sheet], by_gdal: set[str]) -> list[_Layer]:
    below = [_Layer(sheet=sheet, whole=True) for sheet in touching if sheet.fill]
    above = [
        (None if sheet.identity in by_gdal else _direct(project, block, sheet)) or _Layer(sheet=sheet, whole=False)
        for sheet in touching
    ]
    return [*below, *above]


def _direct(project: Project, block: Block, sheet: Sheet) -> _Layer | None:
    """The sheet read by its own chunks; None where it must be read otherwise."""
    from affine import Affine

    grid, transform = project.grid, Affine(*sheet.transform)
    if sheet.fill or project.settings.imagery.nodata or sheet.bands != 3 or sheet.dtype != "uint8":
        return None
    if sheet.crs != crs_name(grid.crs) or not grid.aligned(transform) or not _plain(project, sheet):
        return None
    store, path = located(project, sheet.key)

    def part(start: int, length: int) -> bytes:
        return store.part(path, start, length)

    chunks = chunks_of(Paged(part))
    if chunks is None or (chunks.width, chunks.height) != (sheet.width, sheet.height):
        return None
    bounds, n = grid.bounds(block), grid.block_size
    left = round((transform.c - bounds[0]) / grid.resolution)
    top = round((bounds[3] - transform.f) / grid.resolution)
    columns, rows = (range(max(0, -at), min(side, n - at)) for at, side in ((left, sheet.width), (top, sheet.height)))
    return _Layer(sheet=sheet, whole=False, left=left, top=top, reader=ChunkReader(chunks, part, columns, rows))


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


def _cut(project: Project, block: Block, layers: Sequence[_Layer], check: Callable[[], None]) -> tuple[JpegCog, Cut]:
    n = project.grid.block_size
    coded, lost = JpegCog(n, project.settings.imagery.quality), set[str]()
    direct = all(layer.reader for layer in layers)
    canvas = np.zeros((TILE, TILE, 3) if direct else (min(STRIP, n), n, 3), np.uint8)
    for top in range(0, n, len(canvas)):
        check()
        high = min(len(canvas), n - top)
        for layer in layers:
            if layer.reader:
                layer.reader.advance(top - layer.top, top + high - layer.top)
        if direct:
            near = [layer for layer in layers if layer.top < top + high and layer.top + layer.sheet.height > top]
            for left in range(0, n, TILE):
                area = left, top, min(TILE, n - left), high
                coded.add(canvas[: area[3], : area[2]], _paint(near, area, canvas[: area[3], : area[2]]))
        else:
            strip = canvas[:high]
            valid = _lay(project, block, layers, top, strip, lost, check)
            for row in range(0, high, TILE):
                for left in range(0, n, TILE):
                    part = np.s_[row : row + TILE, left : left + TILE]
                    coded.add(strip[part], None if valid[part].all() else valid[part])
    sheets = {layer.sheet.identity: layer.reader is not None for layer in layers}
    found = sum(sheets.values())
    return coded, Cut(direct=found, gdal=len(sheets) - found, lost=tuple(sorted(lost)))


def _paint(layers: Sequence[_Layer], area: Area, canvas: np.ndarray) -> np.ndarray | None:
    """Fill a tile from sheets that are all read directly. Returns where it is valid; None where all of it is.

    What lies below a sheet that covers the whole tile is not decoded.
    """
    whole = (area[0], area[1], area[0] + area[2], area[1] + area[3])
    shared = [layer.shared(area) for layer in layers]
    lowest = max((number for number, box in enumerate(shared) if box == whole), default=None)
    valid = None
    if lowest is None:
        canvas[:] = 0
        valid = np.zeros(canvas.shape[:2], bool)
    for layer, box in list(zip(layers, shared, strict=True))[lowest or 0 :]:
        part = _painted(layer, box, area, canvas)
        if part is not None and valid is not None:
            valid[part] = True
    return None if valid is None or valid.all() else valid


def _painted(layer: _Layer, box: Area, area: Area, canvas: np.ndarray) -> tuple[slice, slice] | None:
    """Paint one directly read sheet's share `box` of an area; where it lies on the canvas. Raises _NotDirect."""
    left, top, right, bottom = box
    if left >= right or top >= bottom or layer.reader is None:
        return None
    part = slice(top - area[1], bottom - area[1]), slice(left - area[0], right - area[0])
    try:
        layer.reader.paint(canvas[part], left - layer.left, top - layer.top)
    except Undecodable as error:
        raise _NotDirect(layer.sheet.identity) from error
    return part


def _lay(
    project: Project,
    block: Block,
    layers: Sequence[_Layer],
    top: int,
    strip: np.ndarray,
    lost: set[str],
    check: Callable[[], None],
) -> np.ndarray:
    """Fill a strip of the block, and return where it is valid. Names of sheets that cannot be decoded join `lost`."""
    grid, (high, n) = project.grid, strip.shape[:2]
    left, _, right, upper = grid.bounds(block)
    bounds = (left, upper - (top + high) * grid.resolution, right, upper - top * grid.resolution)
    area = 0, top, n, high
    strip[:] = 0
    valid = np.zeros((high, n), bool)
    for layer in layers:
        check()
        if layer.reader:
            part = _painted(layer, layer.shared(area), area, strip)
            if part is not None:
                valid[part] = True
            continue
        try:
            read = catalog.read_onto(project, layer.sheet, bounds, (high, n), whole=layer.whole)
        except BadSheet:  # found only now, since a catalogue does not decode all of a sheet: the others go on
            check_unchanged(project, layer.sheet.key, layer.sheet.sha256)
            lost.add(layer.sheet.name)
            continue
        if read is not None:
            pixels, known = read
            np.copyto(strip, pixels[::-1].transpose(1, 2, 0), where=known[..., None])
            valid |= known
    return valid

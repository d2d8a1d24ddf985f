"""JPEG tiles of a block, decoded into an array by libjpeg-turbo, each once and many at a time.

Here: the blocks that we write, windows of them, masks. Not here: other codings, which GDAL reads (cog.py), and writing.
Needs numpy and OpenCV alone. Pixels differ from GDAL's by 0.2 of 255 on average (at most 9 seen) where GDAL comes with
IJG's library, as in rasterio's wheel: that one widens colours otherwise.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from groundplan.errors import MissingInput
from groundplan.raster.tiff_layout import Part as Part
from groundplan.raster.tiff_layout import Tags, directories, one, read_chunks

BEGIN = 1 << 16
"""Bytes at the beginning of a block in which its directories lie."""
JPEG, DEFLATE, YCBCR, MASK = 7, 8, 6, 4
_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiled:
    """One raster of a file: tiles in rows."""

    width: int
    height: int
    tile: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    tables: bytes

    @property
    def across(self) -> int:
        return -(-self.width // self.tile)


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegBlock:
    """The pixels of a block and, where not all are valid, its mask."""

    pixels: Tiled
    mask: Tiled | None


def parse(begin: bytes | memoryview) -> JpegBlock | None:
    """The block whose file begins so; None where it is no file of three bands as JPEG tiles, or begins otherwise."""
    try:
        all_ = list(directories(lambda at, length: begin[at : at + length]))
        first = all_[0]
        if one(first, 259) != JPEG or one(first, 262) != YCBCR or one(first, 277) != 3 or one(first, 284, 1) != 1:
            return None
        masks = [tags for tags in all_ if one(tags, 254, 0) == MASK and one(tags, 256) == one(first, 256)]
        if any(one(tags, 259) != DEFLATE for tags in masks):
            return None
        return JpegBlock(pixels=_tiled(first), mask=_tiled(masks[0]) if masks else None)
    except (struct.error, KeyError, IndexError, ValueError):
        return None


def read_into(
    block: JpegBlock,
    part: Part,
    window: tuple[int, int, int, int],
    out: np.ndarray,
    pool: Executor,
    check: Callable[[], None] = lambda: None,
    name: str = "a block",
) -> np.ndarray | None:
    """Fill `out`, uint8 (height, width, 3), with a window (col, row, width, height); 0 where the mask says so.

    Returns the window's mask, bool (height, width), or None where all is valid. Rows of tiles are read and decoded in
    the pool's threads. Raises MissingInput, with the block's `name`, for a tile that is damaged.
    """
    mask = None if block.mask is None else np.zeros(out.shape[:2], bool)

    def row(number: int) -> None:
        check()
        for place, inside, data in _cells(block.pixels, part, window, number):
            out[place] = decoded(data, block.pixels.tables, name)[inside] if len(data) else 0
        if mask is not None and block.mask is not None:
            for place, inside, data in _cells(block.mask, part, window, number):
                mask[place] = bits(data, block.mask.tile, name)[inside] if len(data) else False
            band = _span(block.pixels, window, number)
            if not mask[band].all():
                out[band] *= mask[band][..., None]

    tile = block.pixels.tile
    list(pool.map(row, range(window[1] // tile, -(-(window[1] + window[3]) // tile))))
    return None if mask is None or mask.all() else mask


def decoded(data: bytes | memoryview, tables: bytes = b"", name: str = "a block") -> np.ndarray:
    """RGB uint8 (H, W, 3) of a JPEG stream, or of one whose tables stand elsewhere. Raises MissingInput."""
    whole = np.frombuffer(b"".join((tables[:-2], data[2:])) if tables else data, np.uint8)
    found: Any = cv2.imdecode(whole, _RGB if _RGB is not None else cv2.IMREAD_COLOR)
    if found is None:
        raise _damaged(name)
    return found if _RGB is not None else found[..., ::-1]


def bits(data: bytes | memoryview, tile: int, name: str = "a block") -> np.ndarray:
    """A tile's mask, bool (tile, tile). Raises MissingInput."""
    try:
        return np.unpackbits(np.frombuffer(zlib.decompress(data), np.uint8)).reshape(tile, tile).view(bool)
    except (zlib.error, ValueError) as error:
        raise _damaged(name) from error


def _damaged(name: str) -> MissingInput:
    return MissingInput(name, "a tile of it is damaged", "Remove it and build again: only it is made anew")


def _span(raster: Tiled, window: tuple[int, int, int, int], number: int) -> slice:
    """Rows of the window that a row of tiles covers."""
    top = max(0, number * raster.tile - window[1])
    return slice(top, min(window[3], (number + 1) * raster.tile - window[1]))


def _cells(
    raster: Tiled, part: Part, window: tuple[int, int, int, int], number: int
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], bytes | memoryview]]:
    """Tiles of one row that a window touches: where in the window, which part of the tile, and its bytes."""
    tile, (col, row, wide, _) = raster.tile, window
    rows = _span(raster, window, number)
    high = slice(rows.start + row - number * tile, rows.stop + row - number * tile)
    across = range(col // tile, min(-(-(col + wide) // tile), raster.across))
    at = [number * raster.across + place for place in across]
    for place, data in zip(across, read_chunks(part, raster.offsets, raster.counts, at), strict=True):
        left = max(0, place * tile - col)
        right = min(wide, (place + 1) * tile - col)
        yield (rows, slice(left, right)), (high, slice(left + col - place * tile, right + col - place * tile)), data


def _tiled(tags: Tags) -> Tiled:
    if one(tags, 322) != one(tags, 323):
        raise ValueError("tiles are not square")
    return Tiled(
        width=one(tags, 256),
        height=one(tags, 257),
        tile=one(tags, 322),
        offsets=tags[324],
        counts=tags[325],
        tables=bytes(tags.get(347, ())),
    )

"""JPEG tiles of a block, decoded into an array by libjpeg-turbo, each once and many at a time.

Here: a TIFF's directories, ranges of tiles, masks. Not here: other codings, which GDAL reads (cog.py), and writing.
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

Part = Callable[[int, int], bytes | memoryview]
"""Bytes of a file: offset and length in."""
BEGIN = 1 << 16
"""Bytes at the beginning of a block in which its directories lie."""
JPEG, DEFLATE, YCBCR, MASK = 7, 8, 6, 4
GAP = 1 << 15
"""Bytes between two tiles that are read rather than left out."""
_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)
_FORMATS = {1: "B", 2: "c", 3: "H", 4: "I", 7: "B", 12: "d", 16: "Q"}


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
        directories = list(_directories(begin))
        first = directories[0]
        if _one(first, 259) != JPEG or _one(first, 262) != YCBCR or _one(first, 277) != 3 or _one(first, 284, 1) != 1:
            return None
        masks = [_tiled(one) for one in directories if _one(one, 254, 0) == MASK and _one(one, 256) == _one(first, 256)]
        if any(_one(one, 259) != DEFLATE for one in directories if _one(one, 254, 0) == MASK):
            return None
        return JpegBlock(pixels=_tiled(first), mask=masks[0] if masks else None)
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
                mask[place] = _bits(data, block.mask.tile, name)[inside] if len(data) else False
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


def _bits(data: bytes | memoryview, tile: int, name: str) -> np.ndarray:
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
    at = [number * raster.across + one for one in across]
    for one, data in zip(across, _read(raster, part, at), strict=True):
        left = max(0, one * tile - col)
        right = min(wide, (one + 1) * tile - col)
        yield (rows, slice(left, right)), (high, slice(left + col - one * tile, right + col - one * tile)), data


def _read(raster: Tiled, part: Part, at: list[int]) -> list[bytes | memoryview]:
    """Bytes of tiles; those that lie near each other in one request."""
    found: dict[int, bytes | memoryview] = {}
    runs: list[list[int]] = []
    for one in sorted(at, key=lambda number: raster.offsets[number]):
        last = runs[-1][-1] if runs else None
        if last is not None and 0 <= raster.offsets[one] - raster.offsets[last] - raster.counts[last] <= GAP:
            runs[-1].append(one)
        elif raster.counts[one]:
            runs.append([one])
    for run in runs:
        start = raster.offsets[run[0]]
        data = memoryview(part(start, raster.offsets[run[-1]] + raster.counts[run[-1]] - start))
        for one in run:
            found[one] = data[raster.offsets[one] - start :][: raster.counts[one]]
    return [found.get(one, b"") for one in at]


# --- directories ------------------------------------------------------------------------------------------------------


def _directories(data: bytes | memoryview) -> Iterator[dict[int, tuple[Any, ...]]]:
    """Tags of each directory; their values lie in `data` too."""
    if bytes(data[:2]) != b"II":
        raise ValueError("not little-endian")
    big = struct.unpack_from("<H", data, 2)[0] == 43
    (at,) = struct.unpack_from("<Q", data, 8) if big else struct.unpack_from("<I", data, 4)
    size, count, word = (20, "<Q", "<Q") if big else (12, "<H", "<I")
    while at:
        (entries,) = struct.unpack_from(count, data, at)
        at += struct.calcsize(count)
        tags = {}
        for _ in range(entries):
            tag, kind = struct.unpack_from("<HH", data, at)
            (many,) = struct.unpack_from(word, data, at + 4)
            if kind in _FORMATS:
                form = f"<{many}{_FORMATS[kind]}"
                inside = at + size - struct.calcsize(word)
                fits = struct.calcsize(form) <= struct.calcsize(word)
                tags[tag] = struct.unpack_from(
                    form, data, inside if fits else struct.unpack_from(word, data, inside)[0]
                )
            at += size
        yield tags
        (at,) = struct.unpack_from(word, data, at)


def _one(tags: dict[int, tuple[Any, ...]], tag: int, default: int | None = None) -> int:
    return int(tags[tag][0]) if default is None or tag in tags else default


def _tiled(tags: dict[int, tuple[Any, ...]]) -> Tiled:
    if _one(tags, 322) != _one(tags, 323):
        raise ValueError("tiles are not square")
    return Tiled(
        width=_one(tags, 256),
        height=_one(tags, 257),
        tile=_one(tags, 322),
        offsets=tags[324],
        counts=tags[325],
        tables=bytes(tags.get(347, ())),
    )

"""Pixels of a three-band TIFF by its own chunks (tiles or strips), each decoded once and kept until it is painted.

Here: which files can be read so, decoding a chunk, painting what a canvas shows of them. Not here: directories
(tiff_layout.py), whether a sheet may be read so (imagery/direct.py), all other files, which GDAL reads.

JPEG by libjpeg-turbo, deflate by zlib, or not compressed. Pixels are blue, green, red, as OpenCV has them. Those of
JPEG in RGB are GDAL's to the bit; those in YCbCr differ by 0.5 of 255 on average where GDAL comes with IJG's library,
as in rasterio's wheel: that one widens colours otherwise. A bound is tested.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from groundplan.raster.tiff_layout import GAP, Part, Tags, directories, one, read_chunks

NONE, JPEG, DEFLATE, ADOBE_DEFLATE = 1, 7, 32946, 8
YCBCR = 6
MOST_CHUNK = 1 << 26
"""Bytes of a decoded chunk: a file in one strip is better read otherwise."""
MOST_CHUNKS = 1 << 20
AT_ONCE = 1 << 22
"""Bytes of chunks that are asked for together, some rows of them ahead: requests cost more than bytes do."""
NEAR_AT_ONCE = 1 << 20
"""The same where no request crosses a network: what was read is decoded while it is still in the processor's cache."""
MOST_HEAD = 1 << 11
"""Bytes of a stream in which its pixels usually begin."""
_SCAN = b"\xff\xda"
_COLOR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


class Undecodable(Exception):
    """A chunk cannot be decoded here; GDAL may be able to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunks:
    """A raster of three bands of 8 bits, interleaved, in chunks of one size; the last ones may reach beyond it."""

    width: int
    height: int
    wide: int
    high: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    compression: int
    predictor: int
    ycbcr: bool
    tables: bytes
    tiled: bool

    @property
    def across(self) -> int:
        return -(-self.width // self.wide)


def chunks_of(part: Part) -> Chunks | None:
    """The raster of a file; None where it is not of the kind that is read here, or holds a mask."""
    try:
        first, *others = directories(part)
        whole = one(first, 256), one(first, 257)
        if any(one(tags, 254, 0) & 4 and (one(tags, 256), one(tags, 257)) == whole for tags in others):
            return None
        return _chunks(first)
    except (struct.error, KeyError, IndexError, ValueError, OverflowError, MemoryError):
        return None


def _chunks(tags: Tags) -> Chunks | None:
    plain = one(tags, 277, 1) == 3 and tags.get(258) == (8, 8, 8) and one(tags, 284, 1) == 1 and one(tags, 266, 1) == 1
    plain &= set(tags.get(339, (1,))) == {1} and 338 not in tags and one(tags, 254, 0) in (0, 2)
    compression, predictor, space = one(tags, 259, 1), one(tags, 317, 1), one(tags, 262)
    known = (JPEG,) if space == YCBCR else (NONE, JPEG, DEFLATE, ADOBE_DEFLATE)
    if not plain or compression not in known or space not in (1, 2, YCBCR):
        return None
    if predictor != 1 and (predictor != 2 or compression not in (DEFLATE, ADOBE_DEFLATE)):
        return None
    tiled, width, height = 322 in tags, one(tags, 256), one(tags, 257)
    wide, high = (one(tags, 322), one(tags, 323)) if tiled else (width, min(one(tags, 278, height), height))
    offsets, counts = (tags[324], tags[325]) if tiled else (tags[273], tags[279])
    many = -(-width // wide) * -(-height // high)
    if not len(offsets) == len(counts) == many <= MOST_CHUNKS or wide * high * 3 > MOST_CHUNK or not all(counts):
        return None
    return Chunks(
        width=width,
        height=height,
        wide=wide,
        high=high,
        offsets=offsets,
        counts=counts,
        compression=compression,
        predictor=predictor,
        ycbcr=space == YCBCR,
        tables=bytes(tags.get(347, ())),
        tiled=tiled,
    )


class ChunkReader:
    """What a window of a file shows, from the top down and in each piece of rows from the left. Each chunk is decoded
    at most once. Held: the decoded chunks that the rows in hand touch, and AT_ONCE (NEAR_AT_ONCE) of coded ones.

    columns, rows: of the file, within it. gap: bytes between chunks that are read rather than left out.
    """

    def __init__(self, chunks: Chunks, part: Part, columns: range, rows: range, gap: int = GAP) -> None:
        self.chunks, self._part, self._columns, self._gap = chunks, part, columns, gap
        self._at_once = NEAR_AT_ONCE if gap <= GAP else AT_ONCE
        self._end = -(-rows.stop // chunks.high)  # the first row of chunks that nobody will ask for
        self._coded: dict[int, bytes | memoryview] = {}
        self._held: dict[int, np.ndarray] = {}
        self._read = 0  # rows of chunks that were asked for

    def advance(self, top: int, bottom: int) -> None:
        """Read what the rows top..bottom - 1 need, and forget what lies above them. Raises what the store raises."""
        chunks = self.chunks
        first, last = max(0, top // chunks.high), min(-(-bottom // chunks.high), self._end)
        gone = first * chunks.across
        self._coded = {number: data for number, data in self._coded.items() if number >= gone}
        self._held = {number: pixels for number, pixels in self._held.items() if number >= gone}
        across = range(self._columns.start // chunks.wide, -(-self._columns.stop // chunks.wide))
        self._read = max(self._read, first)
        while self._read < last:
            wanted, size = list[int](), 0
            while self._read < self._end and (not wanted or size < self._at_once):
                row = [self._read * chunks.across + col for col in across]
                wanted, size = wanted + row, size + sum(chunks.counts[number] for number in row)
                self._read += 1
            found = read_chunks(self._part, chunks.offsets, chunks.counts, wanted, self._gap)
            self._coded |= zip(wanted, found, strict=True)

    def coded(self, col: int, row: int, wide: int, high: int) -> bytes | memoryview | None:
        """The stored bytes of a chunk that was read and not decoded yet; None where these pixels are no whole chunk."""
        chunks = self.chunks
        if (wide, high) != (chunks.wide, chunks.high) or col % wide or row % high:
            return None
        return self._coded.get(row // high * chunks.across + col // wide)

    def paint(self, canvas: np.ndarray, col: int, row: int) -> None:
        """Fill `canvas`, uint8 (h, w, 3), with the pixels from (col, row) on; all of it must lie in the file.

        Raises Undecodable.
        """
        chunks, (high, wide) = self.chunks, canvas.shape[:2]
        for down in range(row // chunks.high, -(-(row + high) // chunks.high)):
            top, bottom = max(row, down * chunks.high), min(row + high, (down + 1) * chunks.high)
            for right in range(col // chunks.wide, -(-(col + wide) // chunks.wide)):
                left, end = max(col, right * chunks.wide), min(col + wide, (right + 1) * chunks.wide)
                number, y, x = down * chunks.across + right, down * chunks.high, right * chunks.wide
                pixels = self._chunk(number)
                canvas[top - row : bottom - row, left - col : end - col] = pixels[
                    top - y : bottom - y, left - x : end - x
                ]
                if bottom == min(y + chunks.high, chunks.height) and end == min(x + chunks.wide, self._columns.stop):
                    del self._held[number]  # its last corner: the next one is decoded into the same, still warm, memory

    def _chunk(self, number: int) -> np.ndarray:
        if number not in self._held:
            self._held[number] = whole_chunk(self._coded.pop(number), number, self.chunks)
        return self._held[number]


def whole_chunk(data: bytes | memoryview, number: int, chunks: Chunks) -> np.ndarray:
    """`decoded`, and as large as it must be. Raises Undecodable."""
    if len(data) != chunks.counts[number]:
        raise Undecodable("the file ends before it")
    pixels = decoded(data, chunks)
    rest = chunks.height - number // chunks.across * chunks.high
    if pixels.shape[0] < min(rest, chunks.high) or pixels.shape[1] != chunks.wide:
        raise Undecodable("a chunk is of another size")
    return pixels


def decoded(data: bytes | memoryview, chunks: Chunks) -> np.ndarray:
    """A chunk's pixels, uint8 (h, w, 3) in blue, green, red. Raises Undecodable."""
    if chunks.compression == JPEG:
        found = cv2.imdecode(np.frombuffer(jpeg_stream(data, chunks), np.uint8), _COLOR)
        if found is None:
            raise Undecodable("a JPEG stream is damaged")
        return np.asarray(found)
    try:
        plain = np.frombuffer(data if chunks.compression == NONE else zlib.decompress(data), np.uint8)
        rows = plain.reshape(-1, chunks.wide, 3)
    except (zlib.error, ValueError) as error:
        raise Undecodable(str(error)) from error
    if chunks.predictor == 2:
        rows = np.cumsum(rows, axis=1, dtype=np.uint8)
    return np.asarray(cv2.cvtColor(rows, cv2.COLOR_RGB2BGR))


def jpeg_stream(data: bytes | memoryview, chunks: Chunks) -> bytes:
    """A stream that stands for itself: with the tables of the file, and saying which colours it has.

    What else it says about itself is left out: in a TIFF it is the tags that count. Raises Undecodable.
    """
    begin = bytes(data[:MOST_HEAD])
    known = _head(begin[: begin.find(_SCAN) + 1], chunks.tables, chunks.ycbcr)
    head, at, framed = known or _headed(data, chunks.tables, chunks.ycbcr)
    if not framed or begin[:2] != b"\xff\xd8":
        raise Undecodable("no JPEG stream of three colours of 8 bits")
    return b"".join((head, data[at:]))


@lru_cache(maxsize=64)
def _head(begin: bytes, tables: bytes, ycbcr: bool) -> tuple[bytes, int, bool] | None:
    """`_headed` of what ends with the first byte of the scan's marker, the same for most chunks of a file.

    None where the marker was not one, but bytes within a table.
    """
    found = _headed(begin[:-1] + _SCAN + b"\0\0", tables, ycbcr)
    return found if found[1] == len(begin) - 1 else None


def _headed(data: bytes | memoryview, tables: bytes, ycbcr: bool) -> tuple[bytes, int, bool]:
    """What stands before the pixels of the stream, where they begin, and whether its frame is one that is read here."""
    parts: list[bytes | memoryview] = [
        b"\xff\xd8\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00",
        b"\x01" if ycbcr else b"\x00",
        tables[2:-2],
    ]
    at, framed = 2, False
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] in (0xC0, 0xC1, 0xC2):
            framed = bytes(data[at + 4 : at + 5]) == b"\x08" and bytes(data[at + 9 : at + 10]) == b"\x03"
        if not 0xE0 <= data[at + 1] <= 0xEF:
            parts.append(data[at:end])
        at = end
    return b"".join(parts), at, framed

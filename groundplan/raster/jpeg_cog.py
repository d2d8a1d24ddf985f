"""A COG of JPEG tiles, written by libjpeg-turbo as its rows come.

Here: coding tiles, overviews made of the rows in hand, masks, what can be said of such a file. Not here: the file
around coded tiles (coded_cog.py), GDAL's writer for everything else (cog.py). Needs numpy and OpenCV alone.

Pixels are blue, green, red, as OpenCV codes them without turning them round. An overview's pixel is the mean of the
valid ones of four, rounded, and valid where one of them is: both are GDAL's rules.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np

from groundplan.raster.coded_cog import JPEG, Coded, Level, Tag, pieces
from groundplan.raster.edges import DIRECTIONS, EDGE, edge_window
from groundplan.raster.jpeg_tiles import YCBCR

TILE = 512
"""Pixels along a tile's side."""
MCU = 16
"""Pixels along a side of what JPEG codes together, where colours have half the resolution."""
MOST_HEAD = 4096
"""Bytes of a stream before its pixels."""
QUANTISATION, HUFFMAN = 0xDB, 0xC4
"""Tables of a stream. Those that are the same for all tiles stand once in the file."""


class JpegCog:
    """A square raster that comes as tiles, row by row from the upper left one on."""

    def __init__(self, side: int, quality: int, copies: bool = False) -> None:
        """copies: some tiles come coded, with Huffman tables of their own. Then all have them: libtiff takes one tile's
        for the next one where that has none."""
        self._quality = quality
        self._shared = (QUANTISATION,) if copies else (QUANTISATION, HUFFMAN)
        self._tables = split(_stream(np.zeros((MCU, MCU, 3), np.uint8), quality), self._shared)[0]
        self._head = b"", b""
        """What stands before the pixels of a stream, and what is kept of it: the same for all tiles."""
        self.copied = 0
        """Tiles that came coded."""
        self._edges, self._valid = _Edges(side, quality), 0
        self._spare: list[np.ndarray] = []
        """Tiles of overviews that were coded: the next ones are made in their memory."""
        self._levels = [_Rows(side=side)]
        while self._levels[-1].side > TILE:
            self._levels.append(_Rows(side=self._levels[-1].side // 2))

    def add(self, tile: np.ndarray, valid: np.ndarray | None = None, coded: bytes | None = None) -> None:
        """The next tile, uint8 (h, w, 3), smaller than TILE only at the raster's end; valid: bool (h, w), None for all.

        Pixels that are not valid must be 0. coded: the tile's stream where it is coded already, by the same tables.
        """
        rows = self._levels[0]
        self.copied += coded is not None
        self._edges.add(tile, valid, rows.left, rows.top, b"" if coded is None else b"coded before")
        self._valid += tile.shape[0] * tile.shape[1] if valid is None else int(np.count_nonzero(valid))
        self._put(0, tile, valid, coded)

    @property
    def covered(self) -> float:
        """Share of the pixels that are valid."""
        return self._valid / self._levels[0].side ** 2

    @property
    def edges(self) -> dict[str, str]:
        """Digests of what each neighbour can see; direction to hash.

        They are of the pixels before coding, 16 more than EDGE: those that decoded pixels depend on. So nothing has to
        be decoded for them.
        """
        return self._edges.digests()

    def finish(self, place: Mapping[int, Tag]) -> bytes:
        """The file's bytes. place: tags of `coded_cog.placed`."""
        tables = b"\xff\xd8" + self._tables + b"\xff\xd9"
        tags = {
            262: (3, 1, struct.pack("<H", YCBCR)),
            317: None,
            338: None,
            347: (7, len(tables), tables),
            530: (3, 2, struct.pack("<2H", 2, 2)),  # colours at half the resolution
            532: (5, 6, struct.pack("<12I", 0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1)),  # all of 8 bits is used
        }
        masked = any(self._levels[0].masks)
        levels = [Level(rows.side, rows.tiles, rows.all_masks() if masked else ()) for rows in self._levels]
        return b"".join(pieces(levels, 3, TILE, JPEG, place, tags))

    @property
    def tables(self) -> bytes:
        """That all tiles share."""
        return self._tables

    def _put(self, number: int, tile: np.ndarray, valid: np.ndarray | None, coded: bytes | None = None) -> None:
        rows = self._levels[number]
        high, wide = tile.shape[:2]
        rows.tiles.append(self._coded(tile) if coded is None else coded)
        rows.masks.append(b"" if valid is None else coded_mask(valid))
        left, rows.left = rows.left, (rows.left + wide) % rows.side
        rows.top += 0 if rows.left else high
        if number + 1 < len(self._levels):
            self._pass_on(number + 1, tile, valid, left // 2)

    def _pass_on(self, number: int, tile: np.ndarray, valid: np.ndarray | None, left: int) -> None:
        """A tile of the level above, for this overview: a tile of it is coded as soon as it is whole."""
        rows = self._levels[number]
        place = left - left % TILE
        begun = rows.begun.get(place) or self._begin(number, place)
        right, bottom = begun.take(tile, valid, left - place, rows.ready)
        ends = rows.top + bottom == rows.side or bottom == TILE
        if ends and (place + right == rows.side or right == TILE):
            del rows.begun[place]
            self._put(number, begun.pixels[:bottom, :right], begun.known(bottom, right))
            self._spare.append(begun.pixels)
        if place + right == rows.side:
            rows.ready = 0 if ends else bottom

    def _begin(self, number: int, place: int) -> _Begun:
        pixels = self._spare.pop() if self._spare else np.empty((TILE, TILE, 3), np.uint8)
        self._levels[number].begun[place] = begun = _Begun(pixels)
        return begun

    def _coded(self, tile: np.ndarray) -> Coded:
        high, wide = tile.shape[:2]
        if (high, wide) != (TILE, TILE):
            tile = cv2.copyMakeBorder(tile, 0, TILE - high, 0, TILE - wide, cv2.BORDER_REPLICATE)
        stream = _stream(tile, self._quality)
        long, short = self._head
        if not long or stream[: len(long)].tobytes() != long:
            _, short, at = _parted(stream, self._shared)
            self._head = long, short = stream[:at].tobytes(), short
        begin = len(long) - len(short)
        stream[begin : len(long)] = np.frombuffer(short, np.uint8)  # in place of the longer head: nothing is copied
        return stream[begin:].data


def _stream(tile: np.ndarray, quality: int) -> np.ndarray:
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)
    done, data = cv2.imencode(".jpg", tile, (cv2.IMWRITE_JPEG_QUALITY, quality, *sampling))
    if not done:
        raise ValueError("a tile cannot be coded")
    return np.asarray(data)


class _Edges:
    """Digests of the edges, as tiles come."""

    def __init__(self, side: int, quality: int) -> None:
        wide = min(EDGE + MCU, side)
        self._inner = range(wide, side - wide)
        self._windows = {direction: edge_window(direction, side, wide) for direction in DIRECTIONS}
        self._hashes = {direction: hashlib.sha256(f"{quality}".encode()) for direction in DIRECTIONS}

    def add(self, tile: np.ndarray, valid: np.ndarray | None, left: int, top: int, mark: bytes) -> None:
        """mark: how the tile is coded, where that is not by the quality alone; it counts where it lies on an edge."""
        corners = (left, top, left + tile.shape[1] - 1, top + tile.shape[0] - 1)
        if all(corner in self._inner for corner in corners):  # most tiles
            return
        for direction, (col, row, wide, high) in self._windows.items():
            rows = slice(max(0, row - top), max(0, row + high - top))
            cols = slice(max(0, col - left), max(0, col + wide - left))
            if (part := tile[rows, cols]).size:
                self._hashes[direction].update(np.ascontiguousarray(part).data)
                self._hashes[direction].update(mark)
                if valid is not None:
                    self._hashes[direction].update(np.packbits(valid[rows, cols]).data)

    def digests(self) -> dict[str, str]:
        return {direction: found.hexdigest()[:16] for direction, found in self._hashes.items()}


@dataclass(slots=True)
class _Begun:
    """A tile of an overview that is not whole yet. valid: None as long as all is."""

    pixels: np.ndarray
    valid: np.ndarray | None = None

    def take(self, tile: np.ndarray, valid: np.ndarray | None, left: int, top: int) -> tuple[int, int]:
        """Put a tile of the level above, halved, to its place. Returns where that ends: right, bottom."""
        right, bottom = left + tile.shape[1] // 2, top + tile.shape[0] // 2
        part = np.s_[top:bottom, left:right]
        if valid is None:
            cv2.resize(tile, None, self.pixels[part], 0.5, 0.5, cv2.INTER_AREA)
        else:
            if self.valid is None:
                self.valid = np.ones((TILE, TILE), bool)
            self.pixels[part], self.valid[part] = halved(tile, valid)
        return right, bottom

    def known(self, high: int, wide: int) -> np.ndarray | None:
        """Where it is valid, bool (high, wide); None where all is."""
        valid = None if self.valid is None else self.valid[:high, :wide]
        return None if valid is None or valid.all() else valid


@dataclass(slots=True, kw_only=True)
class _Rows:
    """One level: what is coded of it, and of an overview the tiles that are begun, by their left side."""

    side: int
    left: int = 0
    top: int = 0
    ready: int = 0  # rows of the tiles in hand that are there all across
    tiles: list[Coded] = field(default_factory=list)
    masks: list[bytes] = field(default_factory=list)
    begun: dict[int, _Begun] = field(default_factory=dict)

    def all_masks(self) -> list[bytes]:
        """A mask for each tile; of one that is valid as a whole too. What lies beyond the raster is not valid."""
        starts = range(0, self.side, TILE)
        whole = [(min(TILE, self.side - top), min(TILE, self.side - left)) for top in starts for left in starts]
        return [mask or _whole_mask(*size) for mask, size in zip(self.masks, whole, strict=True)]


def halved(pixels: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half the resolution: uint8 (h, w, 3) and bool (h, w), to (h / 2, w / 2, 3) and (h / 2, w / 2); h and w even.

    Pixels that are not valid must be 0.
    """
    high, wide = pixels.shape[0] // 2, pixels.shape[1] // 2
    count = valid.reshape(high, 2, wide, 2).sum((1, 3), dtype=np.uint16)
    total = pixels.reshape(high, 2, wide, 2, 3).sum((1, 3), dtype=np.uint16)
    least = np.maximum(count, 1)[..., None]
    return ((total + least // 2) // least).astype(np.uint8), count > 0


def split(stream: np.ndarray, shared: tuple[int, ...] = (QUANTISATION, HUFFMAN)) -> tuple[bytes, bytes]:
    """Tables of a JPEG stream, of these kinds, and the stream without them and what programs say about themselves."""
    tables, others, at = _parted(stream, shared)
    return tables, b"".join((others, stream[at:].data))


def _parted(stream: np.ndarray, shared: tuple[int, ...]) -> tuple[bytes, bytes, int]:
    """The same of what stands before the pixels; and where they begin."""
    head = stream[:MOST_HEAD].tobytes()
    at, tables, others = 2, b"", b"\xff\xd8"
    while head[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(head[at + 2 : at + 4], "big")
        if head[at + 1] in shared:
            tables += head[at:end]
        elif not 0xE0 <= head[at + 1] <= 0xEF:
            others += head[at:end]
        at = end
    return tables, others, at


def coded_mask(valid: np.ndarray) -> bytes:
    """A tile's mask, bool (h, w), as it stands in the file: a bit a pixel, deflated."""
    whole = np.zeros((TILE, TILE), bool)
    whole[: valid.shape[0], : valid.shape[1]] = valid
    return zlib.compress(np.packbits(whole).tobytes(), 6)


@lru_cache(maxsize=8)
def _whole_mask(high: int, wide: int) -> bytes:
    return coded_mask(np.ones((high, wide), bool))

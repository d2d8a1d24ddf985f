"""Tiles of JPEG 2000 sheets, decoded once for all blocks of a partition, and kept on disk as long as one needs them.

Here: which sheets, the files that hold decoded tiles, their bound, reading windows of them. Not here: opening a sheet
(sheet.py), what its bands mean (bands.py), cutting (direct.py, tiles.py).

JPEG 2000 decodes at less than a tenth of JPEG's rate, and a tile at the border of blocks is wanted by each of them. So
what one block decodes is kept, as it is, in a file that has no name: it takes no room once the run has ended, whichever
way. Where `run.scratch` is used up, tiles are decoded again, as without it; pixels are the same either way.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from groundplan.imagery.bands import Pixels
from groundplan.imagery.sheet import Sheet

if TYPE_CHECKING:
    import rasterio
    from rasterio.windows import Window

DRIVER = "JP2OpenJPEG"
FREE = 0.5  # share of the free disk that is taken at most: others write there too

Tile = tuple[str, int, int]
"""Identity of a sheet, row and column of what its decoder decodes at once."""


@dataclass(kw_only=True)
class Scratch:
    """Decoded tiles of the sheets that several blocks of a run show, in one file.

    last: of each such sheet, by its identity, the name of the last block that shows it. Blocks begin in the order of
    their names, and a sheet's tiles are given up when all that may want them are done. most: bytes on the disk.
    """

    last: Mapping[str, str]
    most: int
    kept: int = 0
    passed: set[Tile] = field(default_factory=set)
    """Tiles that were kept, and those for which there was no room."""
    _file: IO[bytes] | None = None
    _end: int = 0
    _places: dict[Tile, tuple[int, int]] = field(default_factory=dict)  # first byte, and how many
    _free: dict[int, list[int]] = field(default_factory=dict)  # places that were given up, by their bytes
    _hands: Counter[str] = field(default_factory=Counter)
    _busy: dict[Tile, threading.Lock] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def block(self, name: str) -> Iterator[None]:
        """A block in hand."""
        with self._turn:
            self._hands[name] += 1
        try:
            yield
        finally:
            with self._turn:
                self._hands[name] -= 1
                self._hands = +self._hands
                begun = min(self._hands, default=None)
                self._give_up(lambda last: last <= name if begun is None else last < begun)

    def alone(self, tile: Tile) -> threading.Lock:
        """Who decodes a tile holds this: a second block waits for it."""
        with self._turn:
            return self._busy.setdefault(tile, threading.Lock())

    def place(self, tile: Tile) -> int | None:
        """First byte of a tile that is kept."""
        with self._turn:
            found = self._places.get(tile)
        return None if found is None else found[0]

    def room(self, tile: Tile, size: int) -> int | None:
        """First byte of so many for a tile; None, and it is written down, where there is no room."""
        with self._turn:
            if again := self._free.get(size):
                return again.pop()
            if self._end + size > self.most:
                self.passed.add(tile)
                return None
            self._end += size
            return self._end - size

    def keep(self, tile: Tile, at: int, data: np.ndarray) -> None:
        """Write a tile to its place. Where the disk is full after all, none is kept from then on."""
        view, done = np.ascontiguousarray(data).data.cast("B"), 0
        try:
            with self._turn:
                self._file = self._file or tempfile.TemporaryFile(prefix="groundplan-")  # noqa: SIM115 (`close` does)
            while done < len(view):
                done += os.pwrite(self._file.fileno(), view[done:], at + done)
        except OSError:
            with self._turn:
                self.most = 0
                self.passed.add(tile)
            return
        with self._turn:
            self.kept, self._places[tile] = self.kept + 1, (at, len(view))

    def read(self, at: int, size: int) -> bytes:
        assert self._file is not None
        return os.pread(self._file.fileno(), size, at)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _give_up(self, done: Callable[[str], bool]) -> None:
        for tile in [tile for tile in self._places if done(self.last[tile[0]])]:
            at, size = self._places.pop(tile)
            self._free.setdefault(size, []).append(at)
            self._busy.pop(tile, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedOnce:
    """An open sheet whose tiles are decoded once: as much of a dataset as bands.py and collar.py ask for."""

    source: rasterio.DatasetReader
    scratch: Scratch
    sheet: str

    @property
    def mask_flag_enums(self) -> Any:
        return self.source.mask_flag_enums

    @property
    def width(self) -> int:
        return int(self.source.width)

    @property
    def height(self) -> int:
        return int(self.source.height)

    @property
    def block_shapes(self) -> Any:
        return self.source.block_shapes

    def read(self, indexes: int | Sequence[int], window: Window) -> np.ndarray:
        """The bands `indexes`, counted from 1, of a window within the sheet. Raises what reading the sheet raises."""
        return self._bands(indexes, 0, window)

    def read_masks(self, indexes: Sequence[int], window: Window) -> np.ndarray:
        return np.asarray(self._bands(indexes, self.source.count, window), np.uint8)

    def _bands(self, indexes: int | Sequence[int], before: int, window: Window) -> np.ndarray:
        left, top = int(window.col_off), int(window.row_off)
        right, bottom = left + int(window.width), top + int(window.height)
        chosen = [before + number - 1 for number in ([indexes] if isinstance(indexes, int) else indexes)]
        found = np.empty((len(chosen), bottom - top, right - left), self.source.dtypes[0])
        high, wide = self.source.block_shapes[0]
        for row in range(top // high, -(-bottom // high)):
            rows = slice(max(top, row * high), min(bottom, (row + 1) * high))
            for col in range(left // wide, -(-right // wide)):
                cols = slice(max(left, col * wide), min(right, (col + 1) * wide))
                part = self._part(row, col, slice(rows.start - row * high, rows.stop - row * high))
                inside = part[chosen, :, cols.start - col * wide : cols.stop - col * wide]
                found[:, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left] = inside
        return found[0] if isinstance(indexes, int) else found

    def _part(self, row: int, col: int, rows: slice) -> np.ndarray:
        """Some rows of a tile, all its bands and masks."""
        from rasterio.windows import Window

        tile, (high, wide), masks = (self.sheet, row, col), self.source.block_shapes[0], self._masks()
        top, left, bands = row * high, col * wide, self.source.count + masks
        high, wide = min(high, self.source.height - top), min(wide, self.source.width - left)
        dtype = np.dtype(self.source.dtypes[0])
        with self.scratch.alone(tile):
            if (at := self.scratch.place(tile)) is None:
                at = self.scratch.room(tile, bands * high * wide * dtype.itemsize)
                if at is None:
                    return decoded(self.source, Window(left, top + rows.start, wide, rows.stop - rows.start), masks)
                whole = decoded(self.source, Window(left, top, wide, high), masks)
                self.scratch.keep(tile, at, whole)
                return whole[:, rows]
        line = wide * dtype.itemsize
        size, start = (rows.stop - rows.start) * line, at + rows.start * line
        parts = [self.scratch.read(start + band * high * line, size) for band in range(bands)]
        return np.frombuffer(b"".join(parts), dtype).reshape(bands, -1, wide)

    def _masks(self) -> int:
        """Masks that are kept beside the bands: none where all is valid."""
        from rasterio.enums import MaskFlags

        whole = all(MaskFlags.all_valid in flags for flags in self.source.mask_flag_enums)
        return 0 if whole else int(self.source.count)


def decoded(source: rasterio.DatasetReader, window: Window, masks: int) -> np.ndarray:
    """A window's bands and so many masks, (bands + masks, h, w), in the type of the bands."""
    bands = source.read(window=window)
    if not masks:
        return np.asarray(bands)
    return np.concatenate([bands, np.asarray(source.read_masks(window=window), bands.dtype)])


# ------------------------------------------------------------------------------------------------------- of a run

_SCRATCH: ContextVar[Scratch | None] = ContextVar("scratch", default=None)


@contextmanager
def shared(wanted: Mapping[str, Sequence[Sheet]], most: float) -> Iterator[Scratch]:
    """What blocks that are made in this context, and in copies of it, decode of JPEG 2000 sheets, they decode once.

    wanted: sheets of each block that may be made, by its name. most: GiB on the disk; 0 for none.
    """
    uses = Counter(name for sheets in wanted.values() for name in {sheet.identity for sheet in sheets})
    last = {sheet.identity: name for name in sorted(wanted) for sheet in wanted[name] if uses[sheet.identity] > 1}
    free = FREE * shutil.disk_usage(tempfile.gettempdir()).free
    scratch = Scratch(last=last, most=int(min(most * 2**30, free)))
    token = _SCRATCH.set(scratch if last and most else None)
    try:
        yield scratch
    finally:
        _SCRATCH.reset(token)
        scratch.close()


@contextmanager
def block(name: str) -> Iterator[None]:
    """A block of such a run, while it is made."""
    scratch = _SCRATCH.get()
    if scratch is None:
        yield
        return
    with scratch.block(name):
        yield


def once(sheet: Sheet, source: rasterio.DatasetReader) -> Pixels:
    """What an open sheet's windows are read from."""
    scratch = _SCRATCH.get()
    if scratch is None or sheet.identity not in scratch.last or source.driver != DRIVER or len(set(source.dtypes)) > 1:
        return source
    return DecodedOnce(source=source, scratch=scratch, sheet=sheet.identity)

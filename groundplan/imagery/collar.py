"""The collar of a sheet: ground that it shows in a colour which is no imagery, joined to its edge.

Here: where it lies, by a flood from the edge over the whole sheet, so that a black roof inside stays. Not here: which
colours are none (samples.py, imagery.nodata), what becomes of the collar (sheet.py, tiles.py).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from groundplan.imagery.bands import BandReading, Pixels, read_window

if TYPE_CHECKING:
    from rasterio.windows import Window

AT_ONCE = 1 << 23  # pixels of a sheet that are decoded together
MOST_KEPT = 256 * 2**20  # bytes of collars that are remembered: a block comes back to its sheets a strip at a time

Colors = tuple[tuple[int, ...], ...]
"""Colours of ground without imagery, 8 bits a band; each with a value per wanted band."""


@dataclass(frozen=True, slots=True)
class Collar:
    """Bits, uint8 (height, width / 8), a bit a pixel of the sheet: 1 in the collar."""

    bits: np.ndarray
    width: int

    def within(self, window: Window) -> np.ndarray:
        """The collar in a window of the sheet, bool (h, w)."""
        top, left, high, wide = (int(v) for v in (window.row_off, window.col_off, window.height, window.width))
        rows = np.unpackbits(self.bits[top : top + high], axis=1, count=self.width)
        return np.asarray(rows[:, left : left + wide], bool)


def find_collar(source: Pixels, reading: BandReading, colors: Colors, tolerance: int) -> Collar:
    """Pixels within `tolerance` of a colour in every band that join the edge, also across ground that is masked.

    Decodes the whole sheet once, a strip at a time, and holds a bit or two a pixel.
    """
    open_ = np.concatenate([_pack(_passable(source, reading, window, colors, tolerance)) for window in _strips(source)])
    return Collar(_flooded(open_, source.width, [int(window.height) for window in _strips(source)]), source.width)


def _strips(source: Pixels) -> Iterator[Window]:
    from rasterio.windows import Window

    high = source.block_shapes[0][0]
    step = max(1, AT_ONCE // (source.width * high)) * high
    for top in range(0, source.height, step):
        yield Window(0, top, source.width, min(step, source.height - top))


def _passable(source: Pixels, reading: BandReading, window: Window, colors: Colors, tolerance: int) -> np.ndarray:
    pixels, shown = read_window(source, reading, window)
    found = ~shown
    for color in colors:
        low = np.clip(np.array(color)[:, None, None] - tolerance, 0, 255).astype(np.uint8)
        high = np.clip(np.array(color)[:, None, None] + tolerance, 0, 255).astype(np.uint8)
        found |= ((pixels >= low) & (pixels <= high)).all(axis=0)
    return found


def _pack(rows: np.ndarray) -> np.ndarray:
    return np.packbits(rows, axis=1)


def _flooded(open_: np.ndarray, width: int, heights: list[int]) -> np.ndarray:
    """Open pixels that join the edge by their sides: sweeps down and up, a strip at a time, until none is new."""
    found = np.zeros_like(open_)
    ends = np.cumsum(heights)
    strips = [(int(end - high), int(end)) for end, high in zip(ends, heights, strict=True)]
    before = -1
    while (reached := int(np.bitwise_count(found).sum())) != before:
        before = reached
        for top, bottom in (*strips, *strips[::-1]):
            _flood_strip(open_, found, width, top, bottom)
    return found


def _flood_strip(open_: np.ndarray, found: np.ndarray, width: int, top: int, bottom: int) -> None:
    from scipy.ndimage import label

    free = np.unpackbits(open_[top:bottom], axis=1, count=width).astype(bool)
    seeds = np.unpackbits(found[top:bottom], axis=1, count=width).astype(bool)
    seeds[:, [0, -1]] = True
    seeds[0] |= _row(found, top - 1, width)
    seeds[-1] |= _row(found, bottom, width)
    labels, count = label(free)
    joined = np.zeros(count + 1, bool)
    joined[labels[seeds & free]] = True
    found[top:bottom] = _pack(joined[labels])


def _row(found: np.ndarray, row: int, width: int) -> np.ndarray:
    """A row of what was found; beyond the sheet lies what the flood comes from."""
    if not 0 <= row < len(found):
        return np.ones(width, bool)
    return np.unpackbits(found[row], count=width).astype(bool)


# -------------------------------------------------------------------------------------------------- remembering


class Remembered:
    """Collars by what decides them, the oldest dropped. A sheet's is looked for once, also when threads ask for it."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most, self._lock = most, threading.Lock()
        self._found: OrderedDict[str, Collar] = OrderedDict()
        self._busy: dict[str, threading.Lock] = {}

    def get(self, name: str, find: Callable[[], Collar]) -> Collar:
        with self._lock:
            busy = self._busy.setdefault(name, threading.Lock())
        with busy:
            if (known := self._found.get(name)) is None:
                known = find()
            self._keep(name, known)
        return known

    def _keep(self, name: str, collar: Collar) -> None:
        with self._lock:
            self._found[name] = collar
            self._found.move_to_end(name)
            while len(self._found) > 1 and sum(one.bits.nbytes for one in self._found.values()) > self._most:
                old, _ = self._found.popitem(last=False)
                self._busy.pop(old, None)

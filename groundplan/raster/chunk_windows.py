"""Windows of a three-band TIFF by its own chunks, in a known order: each chunk is read and decoded once.

Here: when a chunk is needed for the last time, reading ahead with few requests. Not here: windows that follow each
other from the top down (`tiff_chunks.ChunkReader`), decoding (tiff_chunks.py).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import numpy as np

from groundplan.raster.mesh import Box
from groundplan.raster.tiff_chunks import AT_ONCE, Chunks, whole_chunk
from groundplan.raster.tiff_layout import GAP, Part, read_chunks


class ChunkWindows:
    """What windows of a file show. Held: decoded chunks that a later window needs too, and AT_ONCE of coded ones.

    windows: by a number that tells the order in which they are asked for. Some need not be asked for.
    """

    def __init__(self, chunks: Chunks, part: Part, windows: Mapping[int, Box], gap: int = GAP) -> None:
        self.chunks, self._part, self._windows, self._gap = chunks, part, windows, gap
        self._order = sorted(windows)
        self._ahead = 0  # how many windows' chunks were read
        self._last: dict[int, int] = {}
        for number in self._order:
            self._last.update(dict.fromkeys(self._needed(windows[number]), number))
        self._coded: dict[int, bytes | memoryview] = {}
        self._held: dict[int, np.ndarray] = {}
        self._seen = set[int]()  # chunks that were read

    def pixels(self, number: int) -> np.ndarray:
        """The window, uint8 (h, w, 3) in blue, green, red. Raises Undecodable, and what the store raises."""
        left, top, right, bottom = self._windows[number]
        self._forget(number)
        self._read(number)
        chunks, found = self.chunks, np.empty((bottom - top, right - left, 3), np.uint8)
        for chunk in self._needed(self._windows[number]):
            y, x = chunk // chunks.across * chunks.high, chunk % chunks.across * chunks.wide
            rows = max(top, y), min(bottom, y + chunks.high)
            cols = max(left, x), min(right, x + chunks.wide)
            found[rows[0] - top : rows[1] - top, cols[0] - left : cols[1] - left] = self._chunk(chunk)[
                rows[0] - y : rows[1] - y, cols[0] - x : cols[1] - x
            ]
        return found

    def _needed(self, window: Box) -> list[int]:
        left, top, right, bottom = window
        chunks = self.chunks
        return [
            row * chunks.across + col
            for row in range(top // chunks.high, -(-bottom // chunks.high))
            for col in range(left // chunks.wide, -(-right // chunks.wide))
        ]

    def _forget(self, number: int) -> None:
        """What no window from this one on needs."""
        self._coded = {chunk: data for chunk, data in self._coded.items() if self._last[chunk] >= number}
        self._held = {chunk: pixels for chunk, pixels in self._held.items() if self._last[chunk] >= number}

    def _read(self, number: int) -> None:
        """What this window needs, if it is not there yet, and with it what the next ones need."""
        if self._ahead == len(self._order) or self._order[self._ahead] > number:
            return
        self._ahead = bisect_left(self._order, number)  # those before were passed over
        wanted, size = dict[int, None](), 0
        while self._ahead < len(self._order) and size < AT_ONCE:
            needed = self._needed(self._windows[self._order[self._ahead]])
            new = [chunk for chunk in needed if chunk not in self._seen]
            self._seen.update(new)
            wanted.update(dict.fromkeys(new))
            size += sum(self.chunks.counts[chunk] for chunk in new)
            self._ahead += 1
        found = read_chunks(self._part, self.chunks.offsets, self.chunks.counts, list(wanted), self._gap)
        self._coded |= zip(wanted, found, strict=True)

    def _chunk(self, number: int) -> np.ndarray:
        if number not in self._held:
            self._held[number] = whole_chunk(self._coded.pop(number), number, self.chunks)
        return self._held[number]

"""The tiles of a whole block by a few large ranges, asked for together, so that a network's wait is paid once.

Here: which ranges, the requests. Not here: decoding (jpeg_tiles.py), what lies around (footprints/on_device.py).
Overviews, a third of a block's bytes, are not read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

from groundplan.raster.jpeg_tiles import JpegBlock
from groundplan.raster.tiff_layout import Part

MOST_REQUESTS = 16
LEAST_BYTES = 1 << 21
"""Of a request: less is asked for in fewer of them, since each has its price."""
MOST_WASTE = 2.0
"""Times the tiles' own bytes: where their rows lie wider apart than that, they are not read so."""


def ranges(block: JpegBlock) -> list[tuple[int, int]]:
    """Where the rows of tiles lie with their masks: first byte and the one behind, sorted, none of them overlapping.

    Empty where a file holds its tiles in another order.
    """
    rows: list[tuple[int, int]] = []
    levels, own = [block.pixels, *([block.mask] if block.mask else [])], 0
    for first in range(0, len(block.pixels.offsets), block.pixels.across):
        places = [
            (level.offsets[at], level.offsets[at] + level.counts[at])
            for level in levels
            for at in range(first, min(first + block.pixels.across, len(level.offsets)))
            if level.counts[at]
        ]
        if places:
            rows.append((min(start for start, _ in places), max(end for _, end in places)))
            own += sum(end - start for start, end in places)
    if any(after[0] < before[1] for before, after in pairwise(rows)):
        return []
    if sum(end - start for start, end in rows) > MOST_WASTE * own:
        return []
    return _joined(rows)


def _joined(rows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Rows that follow each other, as few ranges of about the same size."""
    if not rows:
        return []
    least = max(LEAST_BYTES, -(-(rows[-1][1] - rows[0][0]) // MOST_REQUESTS))
    found = [rows[0]]
    for start, end in rows[1:]:
        first, last = found[-1]
        if last - first < least:
            found[-1] = first, end
        else:
            found.append((start, end))
    return found


@contextmanager
def read_ahead(block: JpegBlock, part: Part) -> Iterator[Part]:
    """`part` of the block's file, whose tiles are on their way; what lies elsewhere it asks for. Raises as `part`."""
    places = ranges(block)
    if not places:
        yield part
        return
    starts = [start for start, _ in places]
    pool = ThreadPoolExecutor(len(places), thread_name_prefix="ranges")
    try:
        coming = [pool.submit(part, start, end - start) for start, end in places]

        def known(at: int, length: int) -> bytes | memoryview:
            number = bisect_right(starts, at) - 1
            if number < 0 or at + length > places[number][1]:
                return part(at, length)
            return memoryview(coming[number].result())[at - starts[number] :][:length]

        yield known
    finally:
        pool.shutdown(cancel_futures=True)

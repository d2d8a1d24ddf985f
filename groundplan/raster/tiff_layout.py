"""Where the pixels of a TIFF lie: its directories and its chunks, which are tiles or strips.

Here: directories of either byte order, BigTIFF too, by ranges of bytes; ranges of chunks with few requests. Not here:
decoding (jpeg_tiles.py, tiff_chunks.py), what tags mean for a sheet (imagery/).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Part = Callable[[int, int], bytes | memoryview]
"""Bytes of a file: offset and length in."""
Tags = dict[int, tuple[Any, ...]]
"""Of a directory: the values of each tag."""
GAP = 1 << 15
"""Bytes between two chunks that are read rather than left out."""
FAR_GAP = 1 << 19
"""The same where each request crosses a network: a new one takes as long as so many bytes."""
MOST_DIRECTORIES = 256
MOST_VALUES = 1 << 25
"""Bytes of one tag's values."""
_FORMATS = {1: "B", 2: "c", 3: "H", 4: "I", 7: "B", 12: "d", 16: "Q"}


def directories(part: Part) -> Iterator[Tags]:
    """Tags of each directory, the first image first. Raises ValueError or struct.error for what is no sound TIFF."""
    start = bytes(part(0, 16))
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None:
        raise ValueError("no TIFF")
    big = struct.unpack_from(f"{order}H", start, 2)[0] == 43
    (at,) = struct.unpack_from(f"{order}Q", start, 8) if big else struct.unpack_from(f"{order}I", start, 4)
    form = _Form(order, big)
    seen = set[int]()
    while at:
        if at in seen or len(seen) >= MOST_DIRECTORIES:
            raise ValueError("its directories name each other")
        seen.add(at)
        tags, at = form.read(part, at)
        yield tags


@dataclass(frozen=True, slots=True)
class _Form:
    """How numbers stand in a directory: in a plain TIFF or in a BigTIFF, of either byte order."""

    order: str
    big: bool

    def read(self, part: Part, at: int) -> tuple[Tags, int]:
        """Tags of the directory at a byte, and where the next one begins."""
        size, count, word = (20, "Q", "Q") if self.big else (12, "H", "I")
        before, width = struct.calcsize(f"={count}"), struct.calcsize(f"={word}")
        (entries,) = struct.unpack_from(self.order + count, part(at, before))
        if entries > MOST_VALUES // size:
            raise ValueError("a directory names too many fields")
        body = part(at + before, entries * size + width)
        tags: Tags = {}
        for entry in range(0, entries * size, size):
            tag, kind = struct.unpack_from(f"{self.order}HH", body, entry)
            (many,) = struct.unpack_from(self.order + word, body, entry + 4)
            if kind in _FORMATS:
                tags[tag] = self._values(part, body, entry + size - width, f"{self.order}{many}{_FORMATS[kind]}", word)
        return tags, int(struct.unpack_from(self.order + word, body, entries * size)[0])

    def _values(self, part: Part, body: bytes | memoryview, inside: int, form: str, word: str) -> tuple[Any, ...]:
        length = struct.calcsize(form)
        if length > MOST_VALUES:
            raise ValueError("a tag has too many values")
        if length <= struct.calcsize(f"={word}"):
            return struct.unpack_from(form, body, inside)
        return struct.unpack_from(form, part(struct.unpack_from(self.order + word, body, inside)[0], length))


def one(tags: Tags, tag: int, default: int | None = None) -> int:
    """The first value of a tag. Raises KeyError where it is not there and no default is given."""
    return int(tags[tag][0]) if default is None or tag in tags else default


def read_chunks(
    part: Part, offsets: Sequence[int], counts: Sequence[int], at: Sequence[int], gap: int = GAP
) -> list[bytes | memoryview]:
    """Bytes of the chunks `at`, those within `gap` of each other in one request. b"" for one that is not stored."""
    found: dict[int, bytes | memoryview] = {}
    runs: list[list[int]] = []
    for number in sorted(at, key=lambda number: offsets[number]):
        last = runs[-1][-1] if runs else None
        if last is not None and 0 <= offsets[number] - offsets[last] - counts[last] <= gap:
            runs[-1].append(number)
        elif counts[number]:
            runs.append([number])
    for run in runs:
        start = offsets[run[0]]
        data = memoryview(part(start, offsets[run[-1]] + counts[run[-1]] - start))
        for number in run:
            found[number] = data[offsets[number] - start :][: counts[number]]
    return [found.get(number, b"") for number in at]

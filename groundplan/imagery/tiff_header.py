"""What a TIFF's directories say, read before a decoder opens the file.

Here: the few tags that GDAL passes over in silence, and bounds on the number of fields and directories. Not here: what
follows from them for a sheet (validation.py), pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from groundplan.errors import BadSheet

MOST_FIELDS = 512  # of one directory; a TIFF with geometry, colours and camera has fewer than a hundred
MOST_DIRECTORIES = 256  # pages, overviews, masks
MOST_BYTES = 1 << 63  # of a file, on any disk and in any store
PAGE = 1 << 16  # bytes per read: all directories of a COG lie in the first
KNOWN = {
    "bits": 258,
    "compression": 259,
    "photometric": 262,
    "orientation": 274,
    "samples": 277,
    "rows_per_strip": 278,
    "extra": 338,
}

Part = Callable[[int, int], bytes]
"""Bytes of the file from an offset, at most so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TiffHeader:
    """The first directory's tags by the names in KNOWN: the first value of each; absent where the file says nothing."""

    said: dict[str, int]

    def get(self, name: str, default: int) -> int:
        return self.said.get(name, default)


def read_header(part: Part, key: str) -> TiffHeader | None:
    """The first directory; None for what is no TIFF, or ends before it (a decoder says so better).

    Raises BadSheet when directories or their fields are so many that only opening the file would take long.
    """
    paged = Paged(part)
    start = paged(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 16 or start[2:4] not in (b"*\0", b"\0*", b"+\0", b"\0+"):
        return None
    layout = _Layout(order, big=start[2:4] in (b"+\0", b"\0+"))
    first: dict[str, int] = {}
    offset, seen = layout.first(start), set[int]()
    while offset and offset not in seen:
        if len(seen) >= MOST_DIRECTORIES:
            raise BadSheet(key, f"it holds more than {MOST_DIRECTORIES} images", "Deliver one image a file")
        fields = layout.fields(paged, offset)
        if fields > MOST_FIELDS:
            raise BadSheet(
                key,
                f"a directory of it names {fields:,} fields, more than {MOST_FIELDS}",
                "Write it again, such as `gdal_translate -of COG`",
            )
        if not seen:
            first = layout.tags(paged, offset, fields)
        seen.add(offset)
        offset = layout.following(paged, offset, fields)
    return TiffHeader(said=first)


class Paged:
    """Reads of a few bytes here and there as reads of pages, each once."""

    def __init__(self, part: Part) -> None:
        self._part, self._pages = part, dict[int, bytes]()

    def __call__(self, offset: int, length: int) -> bytes:
        found = b""
        for page in range(offset // PAGE, (offset + length - 1) // PAGE + 1):
            if page not in self._pages:  # a spoiled offset can name a place where no file can have a byte
                self._pages[page] = self._part(page * PAGE, PAGE) if page * PAGE < MOST_BYTES else b""
            found += self._pages[page]
        return found[offset % PAGE :][:length]


class _Layout:
    """Where things stand in a directory: in a plain TIFF or in a BigTIFF, of either byte order."""

    def __init__(self, order: str, *, big: bool) -> None:
        self.order, self.big = order, big
        self.count, self.offset, self.field = ("Q", "Q", 20) if big else ("H", "I", 12)

    def _number(self, kind: str, data: bytes) -> int:
        size = struct.calcsize(kind)
        return int(struct.unpack(self.order + kind, data[:size])[0]) if len(data) >= size else 0

    def first(self, start: bytes) -> int:
        return self._number(self.offset, start[8 if self.big else 4 :])

    def fields(self, part: Part, offset: int) -> int:
        return self._number(self.count, part(offset, 8))

    def tags(self, part: Part, offset: int, fields: int) -> dict[str, int]:
        body = part(offset + struct.calcsize(self.count), fields * self.field)
        names = {number: name for name, number in KNOWN.items()}
        found: dict[str, int] = {}
        for at in range(0, len(body) - self.field + 1, self.field):
            number, kind = self._number("H", body[at:]), self._number("H", body[at + 2 :])
            if number in names and kind in (3, 4):
                value = self._value(part, body[at : at + self.field], kind)
                found.setdefault(names[number], value)
        return found

    def _value(self, part: Part, field: bytes, kind: int) -> int:
        """First value of a field: in the field itself where all of them fit."""
        width, count = (2 if kind == 3 else 4), self._number("Q" if self.big else "I", field[4:])
        room, start = (8, 12) if self.big else (4, 8)
        data = field[start:]
        if count * width > room:
            data = part(self._number(self.offset, field[start:]), 8)
        return self._number("H" if kind == 3 else "I", data)

    def following(self, part: Part, offset: int, fields: int) -> int:
        return self._number(self.offset, part(offset + struct.calcsize(self.count) + fields * self.field, 8))

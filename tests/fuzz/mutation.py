"""Mutation: bytes spoiled at random, at the places that say how the rest is to be read, and anywhere.

Here: where a format keeps its lengths, tags and types, and what is done to them. Not here: which files are spoiled, and
who reads them (sheets.py, registers.py, pictures.py).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

ODD = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    2**20,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
)
Order = Literal["little", "big"]


@dataclass(frozen=True, slots=True)
class Spot:
    """A number in a file: where, how many bytes, in which order."""

    at: int
    size: int
    order: Order


def mutated(data: bytes, random: np.random.Generator, spots: list[Spot]) -> bytes:
    """The file with one to four changes. spots: of this file, as `spots_of` finds them."""
    for _ in range(1 + int(random.choice(4, p=[0.55, 0.25, 0.12, 0.08]))):
        if spots and random.random() < 0.6:
            data = _renumbered(data, random, spots[random.integers(len(spots))])
        else:
            data = CHANGES[random.integers(len(CHANGES))](data, random)
    return _checked_again(data) if data.startswith(b"\x89PNG") and random.random() < 0.5 else data


def _renumbered(data: bytes, random: np.random.Generator, spot: Spot) -> bytes:
    if spot.at + spot.size > len(data):
        return data
    old = int.from_bytes(data[spot.at : spot.at + spot.size], spot.order)
    bits = 8 * spot.size
    new = [
        ODD[random.integers(len(ODD))],
        old + int(random.integers(-4, 5)),
        old ^ (1 << int(random.integers(bits))),
        old * int(random.integers(2, 300)),
        len(data) + int(random.integers(-8, 9)),
        int(random.integers(2**16)),
    ][random.integers(6)]
    return data[: spot.at] + (new % 2**bits).to_bytes(spot.size, spot.order) + data[spot.at + spot.size :]


# ---------------------------------------------------------------------------------------------------- anywhere


def _flip(data: bytes, random: np.random.Generator) -> bytes:
    out = bytearray(data)
    for at in random.integers(max(1, len(out)), size=random.integers(1, 9)):
        if out:
            out[at] ^= 1 << int(random.integers(8))
    return bytes(out)


def _stretch(data: bytes, random: np.random.Generator) -> tuple[int, int]:
    """Beginning and end of a piece, mostly a short one."""
    start = int(random.integers(len(data) + 1))
    return start, min(len(data), start + int(2 ** (random.random() * 10)))


def _cut(data: bytes, random: np.random.Generator) -> bytes:
    return data[: random.integers(len(data) + 1)]


def _without(data: bytes, random: np.random.Generator) -> bytes:
    start, end = _stretch(data, random)
    return data[:start] + data[end:]


def _twice(data: bytes, random: np.random.Generator) -> bytes:
    start, end = _stretch(data, random)
    return data[:end] + data[start:]


def _noise(data: bytes, random: np.random.Generator) -> bytes:
    start, end = _stretch(data, random)
    return data[:start] + random.bytes(end - start) + data[end:]


def _flat(data: bytes, random: np.random.Generator) -> bytes:
    start, end = _stretch(data, random)
    return data[:start] + bytes([random.choice([0, 255, 32, 65])]) * (end - start) + data[end:]


def _inserted(data: bytes, random: np.random.Generator) -> bytes:
    start, end = _stretch(data, random)
    return data[:start] + random.bytes(end - start) + data[start:]


def _moved(data: bytes, random: np.random.Generator) -> bytes:
    start, end = _stretch(data, random)
    to = int(random.integers(len(data) + 1))
    return data[:to] + data[start:end] + data[to + end - start :]


CHANGES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    _flip,
    _flip,
    _cut,
    _without,
    _twice,
    _noise,
    _flat,
    _inserted,
    _moved,
)


# --------------------------------------------------------------------------------------- where formats keep numbers


def spots_of(data: bytes) -> list[Spot]:
    """Numbers of a sound file that say how the rest is read: lengths, counts, types, tags."""
    for begin, find in FORMATS.items():
        if data.startswith(begin):
            return [spot for spot in find(data) if spot.at + spot.size <= len(data)]
    return []


def _tiff(data: bytes) -> Iterator[Spot]:
    order: Order = "little" if data[:2] == b"II" else "big"
    big = data[2:4] in (b"+\0", b"\0+")
    wide, head = (8, 8) if big else (4, 2)  # bytes of an offset, and of a directory's count

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    at = 8 if big else 4
    yield Spot(at, wide, order)
    while (start := number(at, wide)) and start + head <= len(data):
        yield Spot(start, head, order)
        count = number(start, head)
        for entry in range(start + head, start + head + count * (4 + 2 * wide), 4 + 2 * wide):
            yield from (Spot(entry, 2, order), Spot(entry + 2, 2, order), Spot(entry + 4, wide, order))
            yield from [Spot(entry + 4 + wide, wide, order)] * 3
            size = {3: 2, 4: 4, 12: 8, 16: 8}.get(number(entry + 2, 2), 1)
            many, value = number(entry + 4, wide), entry + 4 + wide
            if many * size > wide:
                value = number(value, wide)
            yield from (Spot(value + i * size, size, order) for i in range(min(many, 6)))
        at = start + head + count * (4 + 2 * wide)


def _jpeg(data: bytes) -> Iterator[Spot]:
    at = 2
    while at + 4 < len(data) and data[at] == 0xFF:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield from (Spot(at + 1, 1, "big"), Spot(at + 2, 2, "big"), Spot(at + 2, 2, "big"))
        yield from (Spot(at + 4 + i, 1, "big") for i in range(min(12, length)))
        if data[at + 1] == 0xDA:
            return
        at += 2 + length


def _png(data: bytes) -> Iterator[Spot]:
    at = 8
    while at + 8 < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield from (Spot(at, 4, "big"), Spot(at + 4 + int(length % 4), 1, "big"))
        yield from (Spot(at + 8 + i, 4 if i < 8 else 1, "big") for i in (0, 4, 8, 9, 10, 11, 12) if i < length)
        at += 12 + length


def _riff(data: bytes) -> Iterator[Spot]:
    yield Spot(4, 4, "little")
    at = 12
    while at + 8 < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield from [Spot(at + 4, 4, "little")] * 3
        yield from (Spot(at + 3, 1, "little"), *(Spot(at + 8 + i, 1, "little") for i in range(min(10, length))))
        at += 8 + length + (length & 1)


def _boxes(data: bytes) -> Iterator[Spot]:
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield from (Spot(at, 4, "big"), Spot(at, 4, "big"), Spot(at + 4, 4, "big"))
        yield from (Spot(at + 8 + i, 4, "big") for i in range(0, min(32, max(0, length - 8)), 4))
        if length < 8:
            break
        at += length
    if (start := data.find(b"\xff\x4f\xff\x51")) >= 0:  # a JPEG 2000 codestream: its sizes, and what follows
        yield from (Spot(start + 6 + i, 2, "big") for i in range(0, 60, 2))


def _head(data: bytes) -> Iterator[Spot]:
    """GIF, BMP, Shapefile, SQLite: what matters lies at the beginning."""
    yield from (Spot(at, size, "little") for size in (1, 2, 4) for at in range(2, min(len(data), 112), size))


def _zip(data: bytes) -> Iterator[Spot]:
    for found in re.finditer(rb"PK(\x03\x04|\x01\x02|\x05\x06)", data):
        yield from (Spot(found.start() + at, 2, "little") for at in range(4, 46, 2))


def _parquet(data: bytes) -> Iterator[Spot]:
    length = int.from_bytes(data[-8:-4], "little")
    yield Spot(len(data) - 8, 4, "little")
    yield from (Spot(at, 1, "little") for at in range(max(4, len(data) - 8 - length), len(data) - 8))


FORMATS: dict[bytes, Callable[[bytes], Iterator[Spot]]] = {
    b"II": _tiff,
    b"MM": _tiff,
    b"\xff\xd8": _jpeg,
    b"\x89PNG": _png,
    b"RIFF": _riff,
    b"\0\0\0\x0cjP": _boxes,
    b"GIF8": _head,
    b"BM": _head,
    b"SQLite": _head,
    b"\0\0\x27\x0a": _head,
    b"fgb": _head,
    b"PK": _zip,
    b"PAR1": _parquet,
}


def _checked_again(data: bytes) -> bytes:
    """A PNG whose chunks have the sums that they should have: what is wrong must then be seen by other means."""
    out, at = [data[:8]], 8
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        if len(body) < 4 + length:
            break
        out.append(data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join([*out, data[at:]])


# ------------------------------------------------------------------------------------------------------------ JSON

NUMBERS = (0, -1, 2**31, 2**64, 10**400, 1e308, float("nan"), float("inf"))
TEXTS = ("", "x", "\ud800", "2024", "../../x", "\u202e|\n", "x" * 300)
VALUES: tuple[Any, ...] = (*NUMBERS, *TEXTS, None, True, [], {}, [[]], {"": None}, [None], [1, 2, 3], {"a": {"b": []}})


def revalued(raw: Any, random: np.random.Generator) -> Any:
    """The value with one change, at any depth."""
    odd = VALUES[random.integers(len(VALUES))]
    if not isinstance(raw, (dict, list)) or not raw or random.random() < 0.15:
        return odd
    if isinstance(raw, list):
        at = int(random.integers(len(raw)))
        way = random.integers(5)
        if way == 0:
            return raw[:at] + raw[at + 1 :]
        if way == 1:
            return [*raw, odd]
        return [*raw[:at], revalued(raw[at], random), *raw[at + 1 :]]
    name = sorted(raw)[random.integers(len(raw))]
    way = random.integers(6)
    if way == 0:
        return {key: value for key, value in raw.items() if key != name}
    if way == 1:
        return {**raw, "from a newer version": odd}
    if way == 2:
        return {**{key: value for key, value in raw.items() if key != name}, "another": raw[name]}
    return {**raw, name: revalued(raw[name], random)}

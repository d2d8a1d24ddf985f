"""Colour profiles without their texts: who made them, of which device, when, under which licence.

Here: an ICC profile reduced to the tags that say what colours mean. Not here: where a file has it (metadata.py,
chunks.py). Source: ICC.1:2022 (profile header, tag table, types XYZ, curv, para, sf32).
"""

from __future__ import annotations

import struct

_HEADER = 128
_KEPT = {
    *(b"wtpt", b"bkpt", b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC", b"chad", b"lumi", b"gamt"),
    *(b"A2B0", b"A2B1", b"A2B2", b"B2A0", b"B2A1", b"B2A2"),
}
_BLANK = ((4, 8), (24, 36), (40, 44), (48, 56), (80, 128))  # of the header: program, date, platform, device, maker, sum
_PARAMETERS = (1, 3, 4, 5, 7)  # numbers of a parametric curve, by its kind


def plain_profile(profile: bytes) -> bytes:
    """The profile with nothing but colours in it, the same each time; b'' where it cannot be followed."""
    try:
        (count,) = struct.unpack_from(">I", profile, _HEADER)
        if profile[36:40] != b"acsp" or count > 100:
            return b""
        entries = [struct.unpack_from(">4sII", profile, _HEADER + 4 + 12 * number) for number in range(count)]
        tags = {name: _exact(profile, start, length) for name, start, length in entries if name in _KEPT}
        return _written(profile[:_HEADER], tags)
    except (struct.error, ValueError, IndexError):
        return b""


def _exact(profile: bytes, start: int, length: int) -> bytes:
    """A tag as long as its type says. Raises ValueError where it does not fit."""
    body = profile[start : start + length]
    if len(body) != length or start < _HEADER:
        raise ValueError("a tag lies outside of the profile")
    kind, size = body[:4], length
    if kind == b"XYZ ":
        size = 20
    elif kind == b"curv":
        size = 12 + 2 * int(struct.unpack_from(">I", body, 8)[0])
    elif kind == b"para":
        size = 12 + 4 * _PARAMETERS[struct.unpack_from(">H", body, 8)[0]]
    elif kind == b"sf32":
        size = 44
    if size > length:
        raise ValueError("a tag is shorter than it says")
    return kind + bytes(4) + body[8:size]


def _written(header: bytes, tags: dict[bytes, bytes]) -> bytes:
    blank = bytearray(header)
    for start, end in _BLANK:
        blank[start:end] = bytes(end - start)
    blank[68:80] = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)  # D50, as every profile has it
    at, table, bodies, places = _HEADER + 4 + 12 * len(tags), b"", b"", dict[bytes, int]()
    for name in sorted(tags):
        body = tags[name]
        if body not in places:  # curves of three channels are often one
            places[body] = at + len(bodies)
            bodies += body + bytes(-len(body) % 4)
        table += struct.pack(">4sII", name, places[body], len(body))
    blank[0:4] = struct.pack(">I", at + len(bodies))
    return bytes(blank) + struct.pack(">I", len(tags)) + table + bodies

"""A file's own JPEG tiles as tiles of a block, without coding them again.

Here: whether a stream is coded as a block's tiles are, so that it can stand among them. Not here: where a sheet's tiles
lie on a block's (imagery/direct.py), coding (jpeg_cog.py).
"""

from __future__ import annotations

import numpy as np

from groundplan.raster.jpeg_cog import QUANTISATION, TILE, split
from groundplan.raster.tiff_chunks import JPEG, Chunks

_FRAME = b"\x08" + TILE.to_bytes(2, "big") * 2 + b"\x03"  # 8 bits, height, width, three colours
_SAMPLING = b"\x22\x11\x11"  # colours at half the resolution, both ways


def as_coded(data: bytes | memoryview, chunks: Chunks, tables: bytes) -> bytes | None:
    """A chunk's stream as it can stand in a block with these tables of quantisation; None where it has others."""
    if chunks.compression != JPEG or not chunks.ycbcr or (chunks.wide, chunks.high) != (TILE, TILE):
        return None
    whole = b"".join((b"\xff\xd8", chunks.tables[2:-2], data[2:]))
    if whole[-2:] != b"\xff\xd9":
        return None
    try:
        own, stream = split(np.frombuffer(whole, np.uint8), (QUANTISATION,))
        same = _by_number(own) == _by_number(tables) and _framed(stream)
    except (IndexError, ValueError):
        return None
    return stream if same else None


def _framed(stream: bytes) -> bool:
    """Whether it is a baseline stream of TILE pixels, its colours at half the resolution."""
    at = 2
    while stream[at + 1] != 0xDA:
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at + 1] in (0xC0, 0xC1, 0xC2):
            frame = stream[at + 4 : at + 2 + length]
            return stream[at + 1] == 0xC0 and frame[:6] == _FRAME and frame[7::3] == _SAMPLING
        at += 2 + length
    return False


def _by_number(tables: bytes) -> dict[int, bytes]:
    """Tables of quantisation, of 8 bits; several may share a segment. Raises IndexError, ValueError."""
    found, at = dict[int, bytes](), 0
    while at < len(tables):
        end, at = at + 2 + int.from_bytes(tables[at + 2 : at + 4], "big"), at + 4
        while at < end:
            found[tables[at]] = tables[at + 1 : at + 65]
            at += 65
        if at != end or max(found) > 15:
            raise ValueError("no tables of 8 bits")
    return found

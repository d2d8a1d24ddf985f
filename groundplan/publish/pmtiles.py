"""PMTiles 3: a pyramid of tiles in one file, of which a map reads the ranges that it shows.

Here: the archive's header and directories. Not here: what a tile holds (polygons/vector_tile.py).
https://github.com/protomaps/PMTiles/blob/main/spec/v3/spec.md
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np

from groundplan.core.grid import Bounds
from groundplan.polygons.hilbert import distances
from groundplan.polygons.vector_tile import varints

LEAF_ENTRIES = 4096
HEADER = 127  # bytes
MOST_ROOT = 16_384 - HEADER  # bytes: a reader asks for header and root at once
GZIP, MVT = 2, 1


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile of the web's usual scheme (x east, y south) and its bytes, not yet compressed."""

    zoom: int
    x: int
    y: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    at: int
    length: int


def write_pmtiles(path: Path, tiles: Iterable[Tile], bounds: Bounds, words: Mapping[str, Any]) -> int:
    """Write an archive of vector tiles in any order; the same tiles give the same bytes. Returns their number.

    bounds: west, south, east, north in degrees. words: the metadata. Tiles wait in a file of their own, not in memory.
    Raises OSError, ValueError without a tile.
    """
    with tempfile.TemporaryFile(dir=path.parent) as waiting, path.open("wb") as out:
        entries, zooms = [], set()
        for tile in tiles:
            packed = gzip.compress(tile.data, 6, mtime=0)
            entries.append(_Entry(tile_number(tile.zoom, tile.x, tile.y), waiting.tell(), len(packed)))
            zooms.add(tile.zoom)
            waiting.write(packed)
        if not entries:
            raise ValueError("there is no tile to write")
        entries.sort(key=lambda entry: entry.number)
        root, leaves = _directories(entries)
        told = gzip.compress(json.dumps(words, ensure_ascii=False).encode(), 6, mtime=0)
        size = sum(entry.length for entry in entries)
        parts = (len(root), len(told), len(leaves), size)
        out.write(_header(parts, len(entries), (min(zooms), max(zooms)), bounds))
        out.write(root + told + leaves)
        for entry in entries:
            waiting.seek(entry.at)
            out.write(waiting.read(entry.length))
    return len(entries)


def tile_number(zoom: int, x: int, y: int) -> int:
    """Of a tile: zooms one after the other, each along a Hilbert curve."""
    if zoom == 0:
        return 0
    along = distances(np.array([x]), np.array([y]), zoom)[0]
    return (4**zoom - 1) // 3 + int(along)


def _directories(entries: list[_Entry]) -> tuple[bytes, bytes]:
    """The root directory, and the leaves that it leads to where it would be too long."""
    offsets, at = [], 0
    for entry in entries:
        offsets.append(at)
        at += entry.length
    numbers, lengths = [entry.number for entry in entries], [entry.length for entry in entries]
    whole = _directory(numbers, [1] * len(entries), lengths, offsets)
    if len(whole) <= MOST_ROOT:
        return whole, b""
    first, leaves = [], []
    for start in range(0, len(entries), LEAF_ENTRIES):
        part = slice(start, start + LEAF_ENTRIES)
        leaves.append(_directory(numbers[part], [1] * len(numbers[part]), lengths[part], offsets[part]))
        first.append(numbers[start])
    sizes = [len(leaf) for leaf in leaves]
    begins = [sum(sizes[:index]) for index in range(len(sizes))]
    return _directory(first, [0] * len(first), sizes, begins), b"".join(leaves)


def _directory(numbers: list[int], runs: list[int], lengths: list[int], offsets: list[int]) -> bytes:
    steps = np.diff(np.array([0, *numbers], np.int64))
    places = [offset + 1 for offset in offsets]
    for index in range(1, len(places)):
        if offsets[index] == offsets[index - 1] + lengths[index - 1]:
            places[index] = 0  # right behind the one before
    words = np.concatenate([[len(numbers)], steps, runs, lengths, places]).astype(np.int64)
    return gzip.compress(varints(words)[0], 6, mtime=0)


def _header(parts: tuple[int, int, int, int], count: int, zooms: tuple[int, int], bounds: Bounds) -> bytes:
    at, places = HEADER, []
    for length in parts:
        places += [at, length]
        at += length
    west, south, east, north = (round(side * 1e7) for side in bounds)
    middle = (west + east) // 2, (south + north) // 2
    head = b"PMTiles\x03" + pack("<11Q", *places, count, count, count)
    head += pack("<6B", 1, GZIP, GZIP, MVT, *zooms)
    return head + pack("<4i", west, south, east, north) + pack("<B2i", zooms[0], *middle)

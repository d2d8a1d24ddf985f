"""A COG out of tiles that are coded already, without a raster in between.

Here: the file around them. Not here: making and coding the tiles, GDAL's writer (cog.py), what the pixels mean.
Needs the standard library alone; the place on the ground, as tags, comes from GDAL where it is there (`placed`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from affine import Affine

Tag = tuple[int, int, bytes]
"""Of a TIFF: type, number of values, and these."""
Coded = bytes | memoryview
"""A tile's bytes; what a view has is one byte each."""
ZSTD, DEFLATE, JPEG = 50000, 8, 7
MASK = 4
"""Of a mask: its kind of directory, and its photometric interpretation."""
SHORT, LONG, LONG8 = 3, 4, 16
_SIZES = {SHORT: "H", LONG: "I", LONG8: "Q"}
_PLACE = (33550, 33922, 34264, 34735, 34736, 34737, 42112)
"""Tags of scale, tie point, matrix, CRS, and of descriptions and GDAL's metadata."""
MOST = 2**32 - 2**20
"""Bytes from which on a file needs 64 bit offsets."""


@dataclass(frozen=True, slots=True)
class Level:
    """The raster, or an overview of it: its side in pixels and its coded tiles in rows.

    masks: of each tile, a bit a pixel, deflated; none where all is valid.
    """

    side: int
    tiles: Sequence[Coded]
    masks: Sequence[bytes] = ()


def pieces(
    levels: Sequence[Level],
    bands: int,
    tile: int,
    compression: int,
    place: Mapping[int, Tag],
    more: Mapping[int, Tag | None] | None = None,
) -> list[Coded]:
    """A COG, one piece behind the other: what stands before the tiles, and each tile.

    levels: the raster first, then overviews, each half of the one before; uint8, bands interleaved, rows as differences
    (TIFF's predictor 2). more: tags of all levels in place of these, None for one to leave out.
    """
    rasters = [
        _Raster(level.tiles, _tags(level, bands, tile, compression, int(n > 0), more)) for n, level in _all(levels)
    ]
    masks = [_Raster(level.masks, _mask_tags(level, tile, int(n > 0))) for n, level in _all(levels) if level.masks]
    rasters[0] = replace(rasters[0], tags={**rasters[0].tags, **place})
    chain = [rasters[0], *masks[:1], *rasters[1:], *masks[1:]]
    total = sum(len(data) + 32 for raster in chain for data in raster.tiles)
    big = total + 2**16 > MOST
    head = b"II" + (struct.pack("<HHHQ", 43, 8, 0, 16) if big else struct.pack("<HI", 42, 8))
    blank = [_directory(raster.tags, 0, 0, big, [0] * len(raster.tiles)) for raster in chain]
    order = _order(levels, rasters, masks)
    offsets = _offsets(order, len(head) + sum(len(one) for one in blank))
    parts, start = [head], len(head)
    for number, raster in enumerate(chain):
        following = 0 if number == len(chain) - 1 else start + len(blank[number])
        parts.append(_directory(raster.tags, start, following, big, offsets[id(raster)]))
        start += len(blank[number])
    return [b"".join(parts), *(data for _, data in order)]


@dataclass(frozen=True, slots=True, eq=False)
class _Raster:
    """One directory and what it points to."""

    tiles: Sequence[Coded]
    tags: Mapping[int, Tag]


def _all(levels: Sequence[Level]) -> list[tuple[int, Level]]:
    return list(enumerate(levels))


def _order(
    levels: Sequence[Level], rasters: Sequence[_Raster], masks: Sequence[_Raster]
) -> list[tuple[_Raster, Coded]]:
    """Tiles as they lie in the file: the smallest overview first, since who asks for a picture reads the beginning
    alone; each tile's mask right behind it, since who reads the one needs the other."""
    order, spare = list[tuple[_Raster, Coded]](), list(masks)
    for level, raster in zip(reversed(levels), reversed(rasters), strict=True):
        mask = spare.pop() if level.masks else None
        for number, data in enumerate(level.tiles):
            order.append((raster, data))
            if mask is not None:
                order.append((mask, level.masks[number]))
    return order


def _offsets(order: Sequence[tuple[_Raster, Coded]], at: int) -> dict[int, list[int]]:
    """Where the tiles of each raster begin, by its identity."""
    found: dict[int, list[int]] = {}
    for raster, data in order:
        found.setdefault(id(raster), []).append(at)
        at += len(data)
    return found


def _short(*values: int) -> Tag:
    return SHORT, len(values), struct.pack(f"<{len(values)}H", *values)


def _long(*values: int) -> Tag:
    return LONG, len(values), struct.pack(f"<{len(values)}I", *values)


def _tags(
    level: Level, bands: int, tile: int, compression: int, overview: int, more: Mapping[int, Tag | None] | None
) -> dict[int, Tag]:
    found: dict[int, Tag | None] = {
        254: _long(overview),
        256: _long(level.side),
        257: _long(level.side),
        258: _short(*[8] * bands),
        259: _short(compression),
        262: _short(1),
        277: _short(bands),
        284: _short(1),
        317: _short(2),
        322: _short(tile),
        323: _short(tile),
        325: _long(*(len(data) for data in level.tiles)),
        338: _short(*[0] * (bands - 1)) if bands > 1 else None,
        339: _short(*[1] * bands),
        **(more or {}),
    }
    return {tag: value for tag, value in found.items() if value is not None}


def _mask_tags(level: Level, tile: int, overview: int) -> dict[int, Tag]:
    found = _tags(replace(level, tiles=level.masks), 1, tile, DEFLATE, MASK + overview, {317: None})
    return found | {258: _short(1), 262: _short(MASK)}


def _directory(tags: Mapping[int, Tag], start: int, following: int, big: bool, offsets: Sequence[int]) -> bytes:
    """A directory that begins at byte `start`, and behind it the values that do not fit into it."""
    word, count, kind = ("<Q", "<Q", LONG8) if big else ("<I", "<H", LONG)
    width = struct.calcsize(word)
    tags = {**tags, 324: (kind, len(offsets), struct.pack(f"<{len(offsets)}{_SIZES[kind]}", *offsets))}
    beyond = start + struct.calcsize(count) + len(tags) * (4 + 2 * width) + width
    lines, more = [struct.pack(count, len(tags))], []
    for tag, (form, many, values) in sorted(tags.items()):
        if len(values) <= width:
            value = values.ljust(width, b"\0")
        else:
            value = struct.pack(word, beyond)
            more.append(values + b"\0" * (len(values) % 2))
            beyond += len(more[-1])
        lines.append(struct.pack("<HH", tag, form) + struct.pack(word, many) + value)
    return b"".join([*lines, struct.pack(word, following), *more])


def placed(transform: Affine, crs: str, descriptions: Sequence[str], tags: Mapping[str, str]) -> dict[int, Tag]:
    """Tags that put a raster on the ground and name its bands, as GDAL writes them."""
    from rasterio.io import MemoryFile

    profile: dict[str, Any] = {"driver": "GTiff", "count": len(descriptions), "height": 16, "width": 16}
    with MemoryFile() as memory:
        with memory.open(**profile, dtype="uint8", crs=crs, transform=transform) as target:
            for index, text in enumerate(descriptions, 1):
                if text:
                    target.set_band_description(index, text)
            target.update_tags(**tags)
        data = bytes(memory.getbuffer())
    return {tag: value for tag, value in raw_tags(data).items() if tag in _PLACE}


def raw_tags(data: bytes) -> dict[int, Tag]:
    """Tags of the first directory of a little-endian TIFF with 32 bit offsets."""
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 11: 4, 12: 8}
    (at,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, at)
    found = {}
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        tag, form, many, value = struct.unpack_from("<HHII", data, entry)
        size = sizes.get(form, 1) * many
        found[tag] = (form, many, data[entry + 8 : entry + 8 + size] if size <= 4 else data[value : value + size])
    return found

"""Mapbox Vector Tile 2.1 of many polygons at once: arrays in, a layer's bytes out.

Here: outlines in tile units and their properties to bytes, by numpy. Not here: which polygons a tile shows
(publish/nation_tiles.py), tiles of a few features (serving/ogc/mvt.py).
https://github.com/mapbox/vector-tile-spec/tree/master/2.1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import pack
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXTENT = 4096
MOVE_ONE, CLOSE, LINE = 9, 15, 2
POLYGON = b"\x18\x03"

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Outlines:
    """Polygons (n,) as ragged arrays: the points of all rings, closed, an outer ring before its holes."""

    points: NDArray[np.float64]
    """x, y (p, 2)."""
    rings: Ints
    """Where each ring begins in `points`, and the end (r + 1,)."""
    polygons: Ints
    """Where each polygon begins in `rings`, and the end (n + 1,)."""

    @classmethod
    def of(cls, shapes: NDArray[np.object_]) -> Outlines:
        """Of shapely polygons, none of them empty."""
        import shapely

        kind, points, offsets = shapely.to_ragged_array(shapes)
        if kind != shapely.GeometryType.POLYGON:
            raise ValueError(f"{kind.name} is no outline")
        return cls(points[:, :2], offsets[0].astype(np.int64), offsets[1].astype(np.int64))

    def take(self, rows: Ints) -> Outlines:
        """Some polygons, in this order."""
        ring, polygons = _gathered(self.polygons, rows)
        point, rings = _gathered(self.rings, ring)
        return Outlines(self.points[point], rings, polygons)

    def bounds(self) -> NDArray[np.float64]:
        """Boxes (n, 4): least x and y, most x and y."""
        starts = self.rings[self.polygons[:-1]]
        return np.hstack([np.minimum.reduceat(self.points, starts), np.maximum.reduceat(self.points, starts)])


def _gathered(offsets: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Members of ragged rows, and the offsets of those rows by themselves."""
    lengths = offsets[rows + 1] - offsets[rows]
    ends = np.cumsum(lengths)
    begin = np.repeat(offsets[rows] - (ends - lengths), lengths)
    return begin + np.arange(len(begin)), np.r_[0, ends]


def layer(name: str, outlines: Outlines, properties: Mapping[str, NDArray[Any]]) -> tuple[bytes, int]:
    """A tile's layer, and how many features are in it; what has no area in tile units is left out. b'' without any.

    outlines: in tile units, y down, not yet rounded. properties: texts, whole numbers or floats (n,); of texts None
    is no property.
    """
    shapes, ends = _geometry(outlines)
    tags, tag_ends, values = _tags(properties, len(outlines.polygons) - 1)
    features = []
    start = tag_start = 0
    for end, tag_end in zip(ends.tolist(), tag_ends.tolist(), strict=True):
        if end > start:
            words, shape = tags[tag_start:tag_end], shapes[start:end]
            body = b"\x12" + _varint(len(words)) + words + POLYGON + b"\x22" + _varint(len(shape)) + shape
            features.append(b"\x12" + _varint(len(body)) + body)
        start, tag_start = end, tag_end
    if not features:
        return b"", 0
    keys = [_field(3, key.encode()) for key in properties]
    told = [_field(4, value) for value in values]
    head = b"\x78\x02" + _field(1, name.encode())
    return _field(3, head + b"".join([*features, *keys, *told]) + b"\x28" + _varint(EXTENT)), len(features)


def _geometry(outlines: Outlines) -> tuple[bytes, Ints]:
    """Commands of all polygons, one after the other, and where each polygon's end (n,)."""
    count = len(outlines.polygons) - 1
    rings, owner, outer = _rings(outlines)
    xy, starts, area = rings
    length = np.diff(starts)
    turned = np.where(outer, area < 0, area > 0)
    inside = np.arange(len(xy)) - np.repeat(starts[:-1], length)
    mirrored = np.repeat(starts[:-1] + starts[1:] - 1, length) - np.arange(len(xy)) + np.repeat(starts[:-1], length)
    xy = xy[np.where(np.repeat(turned, length), mirrored - np.repeat(starts[:-1], length), np.arange(len(xy)))]
    first = np.zeros(len(xy), bool)
    first[starts[:-1][outer]] = True  # the pen begins at 0, 0 in each polygon
    step = xy - np.where(first[:, None], 0, np.roll(xy, 1, axis=0))
    zigzag = (step << 1) ^ (step >> 63)
    size = 2 * length + 3
    ends = np.cumsum(size)
    begin = ends - size
    words = np.empty(ends[-1] if len(ends) else 0, np.int64)
    words[begin], words[begin + 3], words[ends - 1] = MOVE_ONE, (length - 1) << 3 | LINE, CLOSE
    at = np.repeat(begin, length) + 2 * inside + np.where(inside == 0, 1, 2)
    words[at], words[at + 1] = zigzag[:, 0], zigzag[:, 1]
    data, byte_ends = varints(words)
    of_polygon = np.zeros(count, np.int64)
    of_polygon[owner] = byte_ends[ends - 1]  # a polygon's last ring counts
    return data, np.maximum.accumulate(of_polygon)


def _rings(outlines: Outlines) -> tuple[tuple[Ints, Ints, NDArray[np.float64]], Ints, NDArray[np.bool_]]:
    """Rings that keep an area when rounded: points, starts, twice the area; which polygon's; which are outer ones."""
    xy = np.rint(outlines.points).astype(np.int64)
    lengths = np.diff(outlines.rings)
    ring = np.repeat(np.arange(len(lengths)), lengths)
    new = np.r_[True, (np.diff(xy, axis=0) != 0).any(1) | (np.diff(ring) != 0)][: len(xy)]
    xy, ring = xy[new], ring[new]
    # a ring is stored closed: its last point is its first
    last = np.r_[np.diff(ring) != 0, True][: len(ring)]
    xy, ring = xy[~last], ring[~last]
    kept, starts, sizes = np.unique(ring, return_index=True, return_counts=True)
    following = np.arange(len(xy)) + 1
    following[starts + sizes - 1] = starts
    cross = xy[:, 0] * xy[following, 1] - xy[following, 0] * xy[:, 1]
    area = np.zeros(len(lengths))
    area[kept] = np.add.reduceat(cross, starts) if len(starts) else 0
    whole = area != 0
    owner = np.repeat(np.arange(len(outlines.polygons) - 1), np.diff(outlines.polygons))
    outer = np.zeros(len(lengths), bool)
    outer[outlines.polygons[:-1]] = True
    whole &= whole[outlines.polygons[:-1]][owner]  # a hole in nothing
    point = whole[ring]
    counts = np.bincount(ring[point], minlength=len(lengths))[whole]
    return (xy[point], np.r_[0, np.cumsum(counts)], area[whole]), owner[whole], outer[whole]


def _tags(properties: Mapping[str, NDArray[Any]], count: int) -> tuple[bytes, Ints, list[bytes]]:
    """Pairs of key and value of all features, one after the other; where each feature's end; the values."""
    import pandas as pd

    values: list[bytes] = []
    pairs = np.full((count, len(properties), 2), -1, np.int64)
    for key, column in enumerate(properties.values()):
        codes, distinct = pd.factorize(column)
        pairs[:, key, 0] = np.where(codes < 0, -1, key)
        pairs[:, key, 1] = np.where(codes < 0, -1, codes + len(values))
        values += [_value(value) for value in distinct]
    there = pairs >= 0
    data, byte_ends = varints(pairs[there])
    words = there.reshape(count, -1).sum(1)
    return data, np.r_[0, byte_ends][np.cumsum(words)], values


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return _field(1, value.encode())
    if isinstance(value, (int, np.integer)):
        return b"\x28" + _varint(int(value))
    return b"\x15" + pack("<f", float(value))


def varints(words: Ints) -> tuple[bytes, Ints]:
    """Whole numbers, 0 or more, in groups of seven bits; and where each ends (n,)."""
    sizes = np.ones(len(words), np.int64)
    for bits in (7, 14, 21, 28):
        sizes += words >> bits > 0
    ends = np.cumsum(sizes)
    data = np.empty(ends[-1] if len(ends) else 0, np.uint8)
    for byte in range(5):
        here = sizes > byte
        more = np.where(sizes[here] > byte + 1, 128, 0)
        data[(ends - sizes)[here] + byte] = (words[here] >> (7 * byte)) & 127 | more
    return data.tobytes(), ends


def _varint(number: int) -> bytes:
    if number < 128:
        return bytes((number,))
    return bytes((number & 127 | 128,)) + _varint(number >> 7)


def _field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(data)) + data

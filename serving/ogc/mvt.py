"""Mapbox Vector Tile 2.1, written: polygons with properties as one layer.

Here: the encoding, for databases that cannot write tiles themselves. Not here: which features, and where they lie on
the tile (vector_tiles.py). https://github.com/mapbox/vector-tile-spec/tree/master/2.1
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from struct import pack
from typing import Any

import numpy as np

EXTENT = 4096
MOVE, LINE, CLOSE = 1, 2, 7
POLYGON = 3


def layer(name: str, features: Iterable[tuple[Any, Mapping[str, Any]]]) -> bytes:
    """A tile with one layer. features: shapely polygons in whole tile units (y down), with texts and numbers.

    b'' without a feature.
    """
    keys: dict[str, int] = {}
    values: dict[Any, int] = {}
    parts = []
    for shape, properties in features:
        tags: list[int] = []
        for key, value in properties.items():
            if value is not None:
                tags += [keys.setdefault(key, len(keys)), values.setdefault((type(value), value), len(values))]
        commands = geometry(shape)
        if commands:
            parts.append(_field(2, _packed(2, tags) + _number(3, POLYGON) + _packed(4, commands)))
    if not parts:
        return b""
    words = [_field(3, key.encode()) for key in keys] + [_field(4, _value(value)) for _, value in values]
    return _field(3, _number(15, 2) + _field(1, name.encode()) + b"".join([*parts, *words]) + _number(5, EXTENT))


def geometry(shape: Any) -> list[int]:
    """Commands of a polygon or several: outer rings clockwise as the tile is seen, inner ones the other way."""
    import shapely

    commands: list[int] = []
    at = np.zeros(2, np.int64)
    for polygon in shapely.get_parts(shape):
        if polygon.geom_type != "Polygon":
            continue
        for place, ring in enumerate(shapely.get_rings(polygon)):
            points = np.rint(shapely.get_coordinates(ring)).astype(np.int64)[:-1]
            points = points[np.any(points != np.roll(points, 1, axis=0), axis=1)]
            area = _doubled_area(points) if len(points) >= 3 else 0
            if not area:
                if place == 0:
                    break  # too small for this tile, and its holes with it
                continue
            if (area > 0) != (place == 0):
                points = points[::-1]
            steps = np.diff(points, axis=0, prepend=at[None])
            zigzag = ((steps << 1) ^ (steps >> 63)).ravel().tolist()
            commands += [MOVE | 1 << 3, *zigzag[:2], LINE | (len(points) - 1) << 3, *zigzag[2:], CLOSE | 1 << 3]
            at = points[-1]
    return commands


def _doubled_area(points: np.ndarray) -> int:
    """Of a ring, positive where it goes clockwise on a tile, whose y goes down."""
    x, y = points.T
    return int(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return _field(1, value.encode())
    return _varint(3 << 3 | 1) + pack("<d", value)


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _packed(number: int, values: Sequence[int]) -> bytes:
    return _field(number, b"".join(map(_varint, values)))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

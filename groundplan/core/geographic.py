"""Longitude and latitude: shapes of the grid's CRS on the whole earth, the 180th meridian included.

Here: transforming to degrees, cutting at the meridian, boxes across it. Not here: files in degrees
(footprints/export.py).
RFC 7946 says how: a shape that crosses is cut in two, a box that crosses has west > east.
https://www.rfc-editor.org/rfc/rfc7946#section-3.1.9
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from groundplan.core.datum import transformer
from groundplan.core.grid import Bounds

WGS84 = "EPSG:4326"
DIGITS = 9  # of a degree: a tenth of a millimetre


def geographic(shapes: Any, crs: str) -> np.ndarray:
    """Geometries (n,) in a CRS to EPSG:4326, x is longitude; cut where they cross the 180th meridian."""
    import shapely

    to = transformer(crs, WGS84)

    def place(points: np.ndarray) -> np.ndarray:
        return np.column_stack(to.transform(points[:, 0], points[:, 1]))

    there = cut_at_180(shapely.transform(np.asarray(shapes, object), place))
    return np.asarray(shapely.transform(there, lambda points: points.round(DIGITS)), object)


def cut_at_180(shapes: np.ndarray) -> np.ndarray:
    """Geometries in degrees, each with its points on the nearer side of its neighbours, cut at the 180th meridian.

    A shape is taken to cross where it would otherwise be more than half the earth wide.
    """
    import shapely

    west, _, east, _ = shapely.bounds(shapes).T if len(shapes) else np.empty((4, 0))
    out = shapes.copy()
    for index in np.flatnonzero((east - west > 180) | (east > 180) | (west < -180)):
        out[index] = _cut(shapes[index])
    return out


def _cut(shape: Any) -> Any:
    import shapely

    shape = shapely.transform(shape, lambda points: np.column_stack([points[:, 0] % 360, points[:, 1]]))
    if not shape.is_valid:
        shape = shapely.make_valid(shape)
    here = shapely.intersection(shape, shapely.box(0, -90, 180, 90))
    there = shapely.intersection(shape, shapely.box(180, -90, 360, 90))
    there = shapely.transform(there, lambda points: points - np.array([360, 0]))
    whole = shapely.union_all(
        [part for part in (_same_kind(here, shape), _same_kind(there, shape)) if not part.is_empty]
    )
    return shapely.orient_polygons(whole)  # outer rings counter-clockwise


def _same_kind(part: Any, whole: Any) -> Any:
    """Of a cut, what has as many dimensions as the whole: a shape that only touches the meridian leaves lines there."""
    import shapely

    parts = shapely.get_parts(part)
    return shapely.union_all(parts[shapely.get_dimensions(parts) == shapely.get_dimensions(whole)])


def box_of(shapes: Sequence[Any] | np.ndarray) -> Bounds | None:
    """West, south, east, north of geometries in degrees: the narrowest box; across the 180th meridian west > east.

    None without any geometry.
    """
    import shapely

    parts = shapely.get_parts(shapely.get_parts(np.asarray(shapes, object)))
    if not len(parts):
        return None
    bounds = shapely.bounds(parts)
    south, north = float(bounds[:, 1].min()), float(bounds[:, 3].max())
    order = np.argsort(bounds[:, 0])
    starts, ends = bounds[order, 0], np.maximum.accumulate(bounds[order, 2])
    gaps = np.append(starts[1:] - ends[:-1], starts[0] + 360 - ends[-1])
    widest = int(np.argmax(gaps))
    if widest == len(gaps) - 1:
        return float(starts[0]), south, float(ends[-1]), north
    return float(starts[widest + 1]), south, float(ends[widest]), north


def unwrapped(box: Bounds) -> Bounds:
    """The same box with east > west, as maps want it that count on beyond 180 degrees."""
    west, south, east, north = box
    return west, south, east + 360 if east < west else east, north

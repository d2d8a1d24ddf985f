"""Where a single image lies: a CRS and an affine map from its pixels.

Here: that value, from a box, a world file or a TIFF's tags; metres on the ground. Not here: sheets of a project, which
GDAL reads (imagery/sheet.py). Source: OGC GeoTIFF 1.1 (19-008r4), sections 7.1 and 7.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundplan.errors import BadConfig

_SCALE, _TIEPOINT, _MATRIX, _KEYS = 33550, 33922, 34264, 34735
_MODEL, _RASTER, _GEODETIC, _PROJECTED = 1024, 1025, 2048, 3072
_POINT, _OWN = 2, 32767  # pixels are points, not areas; a CRS of the user's own


@dataclass(frozen=True, slots=True)
class Georeference:
    """x = a column + b row + c, y = d column + e row + f, in `crs`; of a pixel's upper left corner.

    affine: (a, b, c, d, e, f). x is east or longitude whatever the CRS's own order of axes.
    """

    crs: str
    affine: tuple[float, float, float, float, float, float]

    def scaled(self, across: float, down: float) -> Georeference:
        """The same ground with pixels that are so many times as wide and high."""
        a, b, c, d, e, f = self.affine
        return Georeference(self.crs, (a * across, b * down, c, d * across, e * down, f))

    def moved(self, left: float, top: float) -> Georeference:
        """Of a picture that begins at that column and row of this one."""
        a, b, c, d, e, f = self.affine
        return Georeference(self.crs, (a, b, c + a * left + b * top, d, e, f + d * left + e * top))

    def apply(self, points: np.ndarray) -> np.ndarray:
        """float64 (n, 2) of columns and rows to x and y."""
        a, b, c, d, e, f = self.affine
        return points @ np.array([[a, d], [b, e]]) + np.array([c, f])

    def metres(self, width: int, height: int) -> tuple[float, float]:
        """Metres on the ground of one pixel across and one down, in the middle of a picture of that size.

        Measured on the ellipsoid, so degrees and Web Mercator are right too. Raises BadConfig where nothing leads from
        the CRS to the earth there.
        """
        from pyproj import Geod

        from groundplan.core.datum import transformer

        middle = np.array([[width / 2, height / 2], [width / 2 + 1, height / 2], [width / 2, height / 2 + 1]])
        x, y = self.apply(middle).T
        east, north = transformer(self.crs, "EPSG:4326").transform(x, y)
        if not (np.isfinite(east).all() and np.isfinite(north).all()):
            raise BadConfig("place of the image", f"it does not lie where {self.crs} is used", "Give another CRS")
        _, _, far = Geod(ellps="WGS84").inv(east[[0, 0]], north[[0, 0]], east[1:], north[1:])
        if min(far) <= 0:
            raise BadConfig("place of the image", "its pixels have no size on the ground", "Check the box")
        return float(far[0]), float(far[1])


def of_box(bounds: Sequence[float], crs: str, width: int, height: int) -> Georeference:
    """Of an upright picture that fills a box (west, south, east, north) in a CRS. Raises BadConfig."""
    west, south, east, north = bounds
    if not all(map(math.isfinite, bounds)) or not (west < east and south < north):
        raise BadConfig("box", "it is not west, south, east, north with west < east and south < north", "Mend it")
    return Georeference(known_crs(crs), ((east - west) / width, 0.0, west, 0.0, -(north - south) / height, north))


def of_world_file(text: str, crs: str) -> Georeference:
    """Of six lines of a world file, whose last two are of the first pixel's middle. Raises BadConfig."""
    try:
        a, d, b, e, x, y = (float(line) for line in text.split())
    except ValueError as error:
        raise BadConfig("world file", "it is not six numbers", "Send the file as it was written") from error
    if not all(map(math.isfinite, (a, b, d, e, x, y))) or a * e == b * d:
        raise BadConfig("world file", "its pixels have no size", "Send the file as it was written")
    return Georeference(known_crs(crs), (a, b, x - (a + b) / 2, d, e, y - (d + e) / 2))


def known_crs(text: str) -> str:
    """The CRS as EPSG:NNNN where it is one. Raises BadConfig for what PROJ does not know by an authority's number.

    Nothing else is taken from a stranger: a pipeline or a file's name could be in it.
    """
    name, _, number = str(text)[:40].strip().upper().partition(":")
    if name != "EPSG" or not (number.isascii() and number.isdigit()):
        raise BadConfig("crs", "it is not of the form EPSG:28992", "Give it so")
    if not _is_known(int(number)):
        raise BadConfig("crs", f"PROJ knows no EPSG:{int(number)}", "Check the number")
    return f"EPSG:{int(number)}"


def _is_known(number: int) -> bool:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        found = CRS.from_epsg(number)
    except CRSError:
        return False
    return bool(found.is_projected or found.is_geographic)


def of_tiff(image: Any) -> Georeference | None:
    """What a GeoTIFF's tags say of an image that Pillow opened; None where they say nothing that is understood."""
    tags = image.tag_v2
    affine = _affine(tags)
    keys = _geokeys(tags.get(_KEYS, ()))
    number = keys.get(_PROJECTED, 0) if keys.get(_MODEL) == 1 else keys.get(_GEODETIC, 0)
    if affine is None or number in (0, _OWN) or not _is_known(number):
        return None
    found = Georeference(f"EPSG:{number}", affine)
    return found.moved(-0.5, -0.5) if keys.get(_RASTER) == _POINT else found


def _affine(tags: Any) -> tuple[float, float, float, float, float, float] | None:
    matrix, scale, tie = tags.get(_MATRIX, ()), tags.get(_SCALE, ()), tags.get(_TIEPOINT, ())
    if len(matrix) == 16:
        found = (matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7])
    elif len(scale) >= 2 and len(tie) == 6:
        found = (scale[0], 0.0, tie[3] - tie[0] * scale[0], 0.0, -scale[1], tie[4] + tie[1] * scale[1])
    else:
        return None
    a, b, c, d, e, f = map(float, found)
    whole = all(map(math.isfinite, (a, b, c, d, e, f))) and a * e != b * d
    return (a, b, c, d, e, f) if whole else None


def _geokeys(directory: Sequence[int]) -> dict[int, int]:
    """Keys whose value stands in the directory itself."""
    rows = [directory[at : at + 4] for at in range(4, len(directory) - 3, 4)]
    return {int(key): int(value) for key, where, _, value in rows if where == 0}

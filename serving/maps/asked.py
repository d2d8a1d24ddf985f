"""What may be asked of the preview server: places, names, boxes, and bodies that are kept.

Here: reading an address, and refusing what no address may say. Not here: routes (app.py, vectors.py).
"""

from __future__ import annotations

import math
import re

from starlette.requests import Request

from groundplan.core.partition import FIRST_YEAR, LAST_YEAR, Partition
from groundplan.errors import BadConfig
from groundplan.imagery.landing import check_region_name
from serving.maps.http import Refused

LONGEST_NAME = 255  # bytes of a name on a disk
LONGEST_PATH = 900  # bytes; an object's key has at most 1,024
NAME = re.compile(r"[a-z][a-z_]{0,39}")


def clean(path: str) -> str:
    """A path of plain names that a store can hold. Raises Refused: nothing above or beside it can be asked for."""
    parts = path.split("/")
    plain = not any(part in ("", ".", "..") or re.search(r"[\x00-\x1f\x7f\\]", part) for part in parts)
    fits = len(path.encode()) <= LONGEST_PATH and all(len(part.encode()) <= LONGEST_NAME for part in parts)
    if not (plain and fits):
        raise Refused(404, "there is no such file")
    return path


def place(request: Request) -> Partition:
    """Raises Refused for a name that no region can have, and for a year that is none."""
    year, region = request.path_params["year"], request.path_params.get("region", "")
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise Refused(404, "there is no such year")
    try:
        return Partition(year, check_region_name(region) if region else "")
    except BadConfig as error:
        raise Refused(404, f"{error.reason}. {error.remedy}") from error


def named(request: Request) -> str:
    name: str = request.path_params["dataset"]
    if not NAME.fullmatch(name):
        raise Refused(404, "there is no such dataset")
    return name


def box_of(text: str) -> tuple[float, float, float, float] | None:
    """west,south,east,north in degrees (west > east across the 180th meridian); None: all ground. Raises Refused."""
    if not text:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise Refused(400, "bbox is west,south,east,north in degrees") from error
    if not all(map(math.isfinite, (west, south, east, north))) or not (
        max(abs(west), abs(east)) <= 180
        and (west < east or east + 360 - west <= 180)  # further around, they were more likely swapped
        and -90 <= south < north <= 90
    ):
        raise Refused(400, "bbox is west,south,east,north in degrees, west of east and south of north")
    return west, south, east, north


def zoom_of(text: str) -> float:
    """Raises Refused."""
    try:
        zoom = float(text)
    except ValueError as error:
        raise Refused(400, "zoom is a number") from error
    if not 0 <= zoom <= 25:
        raise Refused(400, "zoom is 0 to 25")
    return zoom

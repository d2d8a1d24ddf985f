"""What a request for footprints asks: a selection, a page, a CRS, out of the query's parameters.

Here: reading and refusing parameters. Not here: answering (features.py, vector_tiles.py, downloads.py).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import sqlalchemy as sa

from groundplan.core.datum import transformer
from groundplan.core.geographic import WGS84
from groundplan.database import queries
from groundplan.database.tables import footprint
from serving.api.problems import Problem
from serving.ogc import filters
from serving.ogc.results import CRS84, EPSG, Box, Collection, Results

MOST, USUAL = 10_000, 10
CQL2 = "cql2-text"
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
SELECTING = frozenset({"bbox", "bbox-crs", "datetime", "filter", "filter-lang", "filter-crs", "region"})
PAGING = frozenset({"limit", "after", "crs", "f"})
WORDS = {
    "bbox": "west,south,east,north; with heights six numbers",
    "bbox-crs": "CRS of `bbox`, a URI that the collection names; else longitude and latitude",
    "datetime": "a day, or two with / between them; .. for an open end",
    "filter": "CQL2 text",
    "filter-lang": f"{CQL2}, the only one",
    "filter-crs": "CRS of places in `filter`",
    "region": "name of a region",
    "limit": f"footprints of a page, at most {MOST:,}",
    "after": "where a page begins, as a `next` link says",
    "crs": "CRS of the answer",
    "f": "ignored: the address says which form is answered",
}
Query = Mapping[str, str]


def described(names: frozenset[str]) -> list[dict[str, Any]]:
    """Parameters, as the API's description has them."""
    number = {"type": "integer", "minimum": 1}
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": WORDS[name],
            "schema": number if name == "limit" else {"type": "string"},
        }
        for name in sorted(names)
    ]


def bad(detail: str) -> Problem:
    return Problem(400, "parameter", detail)


def check_names(query: Query, known: frozenset[str]) -> None:
    """Raises Problem for a parameter that would be passed over in silence."""
    if strange := sorted(set(query) - known):
        raise bad(f"There is no parameter {strange[0][:60]}; there are {', '.join(sorted(known))}")


def limit_of(query: Query) -> int:
    text = query.get("limit", str(USUAL))
    if not text.isascii() or not text.isdigit() or not int(text[:9]) >= 1 or len(text) > 9:
        raise bad("limit is a number from 1 on")
    return min(int(text), MOST)


def after_of(query: Query) -> queries.Key | None:
    """The key behind which a page begins: of a `next` link, and of nowhere else."""
    if "after" not in query:
        return None
    try:
        region, building = json.loads(base64.urlsafe_b64decode(query["after"].encode()))
        if isinstance(region, str) and isinstance(building, str) and "\0" not in region + building:
            return region, building
    except (ValueError, TypeError, binascii.Error):
        pass
    raise bad("after is what a next link has")


def after(key: queries.Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode()


def crs_of(results: Results, query: Query) -> str:
    """URI of the CRS that coordinates are wanted in."""
    return _uri(results, query.get("crs", CRS84), "crs")


def selection_of(results: Results, collection: Collection, query: Query) -> queries.Selection | None:
    """The footprints that are asked for; None where none can be: a box beside them all. Raises Problem."""
    where = [*_filtered(results, collection, query), *_days(query)]
    area = area_asked(results, collection, query)
    if area == b"":
        return None
    region = query.get("region")
    if region is not None and region not in collection.regions:
        return None
    return queries.Selection(year=collection.year, srid=results.srid, region=region, area=area, where=tuple(where))


def area_asked(results: Results, collection: Collection, query: Query) -> bytes | None:
    """WKB in the grid's CRS of the box that a query names; None without one, b'' where nothing can lie in it."""
    if "bbox" not in query:
        return None
    values = _numbers(query["bbox"])
    uri = _uri(results, query.get("bbox-crs", CRS84), "bbox-crs")
    if uri == results.crs:
        import shapely

        if values[0] > values[2] or values[1] > values[3]:
            raise bad("bbox is minx,miny,maxx,maxy")
        return bytes(shapely.to_wkb(shapely.box(*values)))
    west, south, east, north = values if uri == CRS84 else (values[1], values[0], values[3], values[2])
    if not (-90 <= south <= north <= 90 and max(abs(west), abs(east)) <= 180):
        raise bad("bbox is west,south,east,north, in degrees if bbox-crs says nothing else")
    return b"" if collection.box is None else area_of(results, (west, south, east, north), collection.box)


def _numbers(text: str) -> tuple[float, float, float, float]:
    """Of a bbox, without heights. Raises Problem."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise bad("bbox is four numbers") from error
    if len(values) == 6:
        values = [values[0], values[1], values[3], values[4]]
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise bad("bbox is four numbers, or six with heights")
    return values[0], values[1], values[2], values[3]


def area_of(results: Results, box: Box, around: Box) -> bytes | None:
    """WKB in the grid's CRS of a box in degrees; None where it holds all that lies `around`, b'' where nothing.

    What lies beyond is cut away first: a CRS need not have a place for the other side of the earth.
    """
    import shapely

    west, south, east, north = box
    parts = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    edge = 1e-6
    left, bottom, right, top = around[0] - edge, around[1] - edge, around[2] + edge, around[3] + edge
    if any(one <= left and other >= right for one, other in parts) and south <= bottom and north >= top:
        return None
    whole = shapely.union_all([shapely.box(one, south, other, north) for one, other in parts])
    return in_grid(results, shapely.intersection(whole, shapely.box(left, bottom, right, top)))


def in_grid(results: Results, shape: Any) -> bytes:
    """WKB in the grid's CRS of a shape in degrees, its edges bent as the CRS bends them; b'' of an empty one."""
    import shapely

    if shape.is_empty:
        return b""
    west, south, east, north = shape.bounds
    longest = max(east - west, north - south, 1e-9) / 32
    to = transformer(WGS84, results.project.grid.crs)
    bent = shapely.transform(
        shapely.segmentize(shape, longest), lambda points: np.column_stack(to.transform(points[:, 0], points[:, 1]))
    )
    if not np.isfinite(shapely.get_coordinates(bent)).all():
        raise bad("a place lies where the grid's CRS has none")
    return bytes(shapely.to_wkb(bent))


def _filtered(results: Results, collection: Collection, query: Query) -> list[filters.Condition]:
    if query.get("filter-lang", CQL2) != CQL2:
        raise bad(f"filter-lang is {CQL2}")
    if "filter" not in query:
        return []
    uri = _uri(results, query.get("filter-crs", CRS84), "filter-crs")

    def meets(shape: Any) -> filters.Condition:
        import shapely

        if uri not in (CRS84, f"{EPSG}4326"):
            area = bytes(shapely.to_wkb(shape))
        else:
            if uri != CRS84:
                shape = shapely.transform(shape, lambda points: points[:, ::-1])
            west, south, east, north = collection.box or (0.0, 0.0, 0.0, 0.0)
            near = shapely.box(west - 0.001, south - 0.001, east + 0.001, north + 0.001)
            area = in_grid(results, shapely.intersection(shape, near))
        if not area:
            return sa.false()
        return sa.and_(*queries.meets(results.engine.dialect.name, area, collection.year, results.srid))

    try:
        return [filters.condition_of(query["filter"], meets)]
    except filters.BadFilter as error:
        raise Problem(400, "filter", f"The filter is no CQL2 text that is read here: {error}") from error


def _days(query: Query) -> list[filters.Condition]:
    """Of a datetime: footprints whose day is not known belong to every interval, as the standard has it."""
    if "datetime" not in query:
        return []
    parts = query["datetime"].split("/")
    days = [part[:10] for part in parts]
    known = all(DAY.fullmatch(day) or part in ("..", "") for part, day in zip(parts, days, strict=True))
    if not known or len(parts) > 2 or not any(map(DAY.fullmatch, days)):
        raise bad("datetime is a day, or two with / between them, .. for an open end")
    first, last = days[0], days[-1]
    column = footprint.c.image_date
    conditions = [column >= first] if DAY.fullmatch(first) else []
    conditions += [column <= last] if DAY.fullmatch(last) else []
    return [sa.or_(column.is_(None), sa.and_(*conditions))]


def _uri(results: Results, uri: str, name: str) -> str:
    found = uri.strip("<>[]")
    if found not in results.crss:
        raise bad(f"{name} is one of {', '.join(results.crss)}")
    return found

"""Asking the copy of the footprints: pages in a steady order, bounded counts, what lies in a box.

Here: one selection, said for PostGIS and for SQLite's R*Tree. Not here: what a request may ask (serving/ogc), geometry
in other CRSs. A page goes on behind the last key of the one before it, so the hundredth costs what the first does; and
nothing is counted beyond MOST_COUNTED: a count of a country would cost more than all its pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from groundplan.database.tables import footprint, loaded

MOST_COUNTED = 10_000
Key = tuple[str, str]
"""Region and id."""
Condition = sa.ColumnElement[bool]

_BOX = sa.table("footprint_box", *map(sa.column, ("row", "west", "east", "south", "north", "from_year", "to_year")))
_ROW: sa.ColumnElement[int] = sa.literal_column("footprint.row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which footprints: of a year, and each of the others where it is given."""

    year: int
    srid: int
    region: str | None = None
    area: bytes | None = None
    """WKB of a polygon in the grid's CRS that they meet."""
    where: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """rows: of `footprint`, by region and id. more: whether others follow. matched: None: too many to say."""

    rows: Sequence[Row[Any]]
    more: bool
    matched: int | None


def page(connection: Connection, selection: Selection, limit: int, after: Key | None = None) -> Page:
    """The first `limit` footprints behind a key."""
    if selection.area is not None and (found := _of_few(connection, selection, limit, after)) is not None:
        return found
    counted = selection.area is None and not selection.where
    asked = _behind(select(connection, selection, footprint), footprint.c, after)
    rows = connection.execute(asked.order_by(footprint.c.region, footprint.c.id).limit(limit + 1)).all()
    return Page(rows[:limit], len(rows) > limit, _loaded_rows(connection, selection) if counted else None)


def _of_few(connection: Connection, selection: Selection, limit: int, after: Key | None) -> Page | None:
    """A page of what lies in an area: found by place, counted and put in order at once; None of more than MOST_COUNTED.

    By the key one would look at every building of the year for few; of many, the next of them is never far.
    """
    found = select(connection, selection, footprint).limit(MOST_COUNTED + 1).cte("found").prefix_with("MATERIALIZED")
    count = sa.select(sa.func.count()).select_from(found).scalar_subquery().label("matched")
    asked = _behind(sa.select(found, count), found.c, after).order_by(found.c.region, found.c.id)
    rows = connection.execute(asked.limit(limit + 1)).all()
    if not rows and after is not None:
        return None  # whether these were all, no row says
    matched = rows[0].matched if rows else 0
    return Page(rows[:limit], len(rows) > limit, matched) if matched <= MOST_COUNTED else None


def _behind(asked: sa.Select[Any], columns: Any, key: Key | None) -> sa.Select[Any]:
    if key is None:
        return asked
    return asked.where(sa.tuple_(columns.region, columns.id) > sa.tuple_(*map(sa.literal, key)))


def _loaded_rows(connection: Connection, selection: Selection) -> int:
    rows = sa.select(sa.func.coalesce(sa.func.sum(loaded.c.rows), 0)).where(loaded.c.year == selection.year)
    if selection.region is not None:
        rows = rows.where(loaded.c.region == selection.region)
    return int(connection.scalar(rows) or 0)


def one(connection: Connection, year: int, building: str) -> Row[Any] | None:
    """The footprint of an id: each region is asked by the key's index. None where there is none."""
    regions = connection.scalars(sa.select(loaded.c.region).where(loaded.c.year == year)).all()
    asked = sa.select(footprint).where(footprint.c.year == year, footprint.c.id == building)
    return connection.execute(asked.where(footprint.c.region.in_(regions)).limit(1)).one_or_none()


def select(connection: Connection, selection: Selection, *columns: Any) -> sa.Select[Any]:
    """Of these columns, without order or end. They may be SQL over `footprint.geom`."""
    asked = sa.select(*columns).select_from(footprint).where(footprint.c.year == selection.year, *selection.where)
    if selection.region is not None:
        asked = asked.where(footprint.c.region == selection.region)
    if selection.area is None:
        return asked
    return asked.where(*meets(connection.dialect.name, selection.area, selection.year, selection.srid))


def meets(dialect: str, area: bytes, year: int, srid: int) -> tuple[Condition, ...]:
    """Whether a footprint meets a polygon (WKB in the grid's CRS): by the index, then exactly."""
    shape = sa.literal(area, sa.LargeBinary)
    if dialect == "postgresql":
        return (sa.func.ST_Intersects(footprint.c.geom, sa.func.ST_GeomFromWKB(shape, srid)),)
    west, south, east, north = bounds_of(area)
    box = sa.select(_BOX.c.row).where(_BOX.c.west <= east, _BOX.c.east >= west, _BOX.c.south <= north)
    box = box.where(_BOX.c.north >= south, _BOX.c.from_year <= year, _BOX.c.to_year >= year)
    return _ROW.in_(box), sa.func.meets(footprint.c.geom, shape) == 1


def bounds_of(area: bytes) -> tuple[float, float, float, float]:
    import shapely

    west, south, east, north = shapely.bounds(shapely.from_wkb(area)).tolist()
    return west, south, east, north

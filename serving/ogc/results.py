"""What the OGC routes share: the database, the project's CRS, and which collections there are.

Here: collections as the table `loaded` tells them. Not here: routes, documents, queries.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from groundplan.core.geographic import WGS84
from groundplan.database import load
from groundplan.database.tables import loaded
from groundplan.project import Project
from serving.api.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
EPSG = "http://www.opengis.net/def/crs/EPSG/0/"
PREFIX = "footprints-"
SECONDS = 10.0  # after which a file in the home folder is compared with the manifests again
MOST_SECONDS = 30.0  # that a statement may take: a filter that nothing passes would read every building of a year
STEPS = 2000  # of SQLite's between two looks at the clock
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """The footprints of a year. box: in longitude and latitude, None without a building."""

    year: int
    rows: int
    regions: tuple[str, ...]
    box: Box | None
    days: tuple[str | None, str | None]
    attribution: str | None
    licence: str | None

    @property
    def id(self) -> str:
        return f"{PREFIX}{self.year}"


@dataclass
class Results:
    """A project and the copy of its footprints. crs: as a URI, None where EPSG knows no number for it.

    A file in the home folder is kept current by whoever is asked; a server's database by Dagster, or by the command.
    """

    open_engine: Callable[[], Engine]
    project: Project
    looked: float = -SECONDS
    looking: threading.Lock = field(default_factory=threading.Lock)

    @property
    def engine(self) -> Engine:
        """Raises GroundplanError."""
        return self.open_engine()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose statements end in time. Raises Problem 504 where one did not, GroundplanError."""
        with self.engine.connect() as connection:
            try:
                with _bounded(connection):
                    yield connection
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", "") == "57014" or str(error.orig) == "interrupted":
                    words = f"It would take more than {MOST_SECONDS:g} s: ask by bbox or region, or by another filter"
                    raise Problem(504, "too-long", words) from error
                raise

    def refresh(self) -> None:
        """Copy what was made since, where nothing else does. One does so, and the first time all others wait."""
        if self.engine.dialect.name != "sqlite" or time.monotonic() - self.looked < SECONDS:
            return
        if not self.looking.acquire(blocking=self.looked < 0):
            return
        try:
            if time.monotonic() - self.looked >= SECONDS:
                load.sync(self.engine, self.project)
                self.looked = time.monotonic()
        finally:
            self.looking.release()

    @property
    def srid(self) -> int:
        return load.srid_of(self.project.grid.crs)

    @property
    def crs(self) -> str | None:
        return f"{EPSG}{self.srid}" if self.srid else None

    @property
    def crss(self) -> dict[str, str]:
        """URIs that coordinates may be asked in, and the CRS behind each; CRS84 is x before y, 4326 is not."""
        return {CRS84: WGS84, f"{EPSG}4326": WGS84, **({self.crs: self.project.grid.crs} if self.crs else {})}

    def root(self, request: Request) -> str:
        """The address above `ogc/`: as set, else as the request came. Without a slash at its end."""
        return self.project.settings.serving.url or str(request.base_url).rstrip("/")


@contextmanager
def _bounded(connection: Connection) -> Iterator[None]:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, round(MOST_SECONDS * 1000))}")
        yield
        return
    driver: Any = connection.connection.driver_connection
    end = time.monotonic() + MOST_SECONDS
    driver.set_progress_handler(lambda: time.monotonic() > end, STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


def collections_of(connection: Connection, year: int | None = None, region: str | None = None) -> list[Collection]:
    """By year. A whole country has a thousand rows a year here: that is little."""
    asked = sa.select(loaded).order_by(loaded.c.year, loaded.c.region)
    for column, value in ((loaded.c.year, year), (loaded.c.region, region)):
        asked = asked if value is None else asked.where(column == value)
    years: dict[int, list[Any]] = {}
    for row in connection.execute(asked):
        years.setdefault(row.year, []).append(row)
    return [_collection(each, rows) for each, rows in years.items()]


def collection_of(connection: Connection, name: str, region: str | None = None) -> Collection:
    """Raises Problem 404."""
    year = name.removeprefix(PREFIX)
    plain = name.startswith(PREFIX) and year.isascii() and year.isdigit() and len(year) == 4
    found = collections_of(connection, int(year), region) if plain else []
    if not found:
        raise Problem(404, "no-collection", "There is no such collection; /ogc/collections lists them")
    return found[0]


def _collection(year: int, rows: list[Any]) -> Collection:
    full = [row for row in rows if row.west is not None]
    box = None
    if full:
        across = any(row.west > row.east for row in full)  # the 180th meridian lies in it: all longitudes then
        box = (
            -180.0 if across else min(row.west for row in full),
            min(row.south for row in full),
            180.0 if across else max(row.east for row in full),
            max(row.north for row in full),
        )
    return Collection(
        year=year,
        rows=sum(row.rows for row in rows),
        regions=tuple(row.region for row in rows),
        box=box,
        days=(
            min((row.first_day for row in rows if row.first_day), default=None),
            max((row.last_day for row in rows if row.last_day), default=None),
        ),
        attribution=_joined(row.attribution for row in rows),
        licence=_joined(row.licence for row in rows),
    )


def _joined(texts: Any) -> str | None:
    return "; ".join(dict.fromkeys(text for text in texts if text)) or None

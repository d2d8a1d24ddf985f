"""Databases for tests: PostgreSQL with PostGIS, started once, and an empty database with the tables for each test.

Here: finding or installing PostGIS, and copies of a template. Not here: starting PostgreSQL (kubernetes/servers.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from host import bring_packages
from servers import Postgres, serve_postgres

from groundplan.database import connect

TEMPLATE = "with_tables"


@dataclass(frozen=True)
class PostGIS:
    """A running server. `server` says where, and with which name and password."""

    server: Postgres
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str) -> str:
        here = self.server
        return f"postgresql://{here.user}:{here.password}@{here.host}:{here.port}/{database}"

    def empty(self) -> str:
        """The URL of a new database with nothing in it."""
        return self._new("template1")

    def migrated(self) -> str:
        """The URL of a new database with the tables, copied in some 50 ms."""
        if next(self.numbers) == 0:
            self._run(f"CREATE DATABASE {TEMPLATE}")
            engine = connect.engine(self.url(TEMPLATE))
            connect.migrate(engine)
            engine.dispose()
        return self._new(TEMPLATE)

    def _new(self, template: str) -> str:
        name = f"test_{next(self.numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self.url(name)

    def _run(self, statement: str) -> None:
        engine = sa.create_engine(
            self.url("postgres").replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()


@contextmanager
def serve_postgis() -> Iterator[PostGIS]:
    """Raises ClusterError where PostGIS is not installed and cannot be."""
    bring_packages({"initdb": "postgresql"} if not _versions() else {})
    for version in _versions()[-1:]:
        if not Path(f"/usr/share/postgresql/{version}/extension/postgis.control").exists():
            bring_packages({"no program, and so not found": f"postgresql-{version}-postgis-3"})
    with serve_postgres() as server:
        yield PostGIS(server)


def _versions() -> list[int]:
    return sorted(int(folder.parent.name) for folder in Path("/usr/lib/postgresql").glob("*/bin"))

"""Connections: an engine for a database's address, and tables of the version that this code knows.

Here: SQLite's pragmas, PostgreSQL's limits, migrations, who may write. Not here: the tables (tables.py).

    from groundplan.database import connect
    engine = connect.open_database(project)      # ready: [database] url, or database.sqlite in the home
    with engine.connect() as reading: ...        # a consistent look
    with connect.writing(engine) as connection:  # one transaction: committed at the end, or nothing of it happened
        connection.execute(tables.job.insert(), {...})

Names and passwords come from the environment, by PostgreSQL's own names (PGUSER, PGPASSWORD, PGHOST, PGSSLMODE ...).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from groundplan.errors import BadConfig, MissingInput, NewerFormat

if TYPE_CHECKING:
    from alembic.config import Config

    from groundplan.project import Project

FILE = "database.sqlite"
MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 7_203_611_849  # of PostgreSQL's advisory locks: who migrates
AHEAD = 1  # versions by which a database may be newer: the old pods of a rolling update read and write on


def address(project: Project) -> str:
    """The database's URL: as set, or of the file in the home folder."""
    return project.settings.database.url or f"sqlite:///{project.home / FILE}"


def open_database(project: Project) -> Engine:
    """An engine whose database has the tables. A file is made and migrated on the way; a server's database is not.

    Raises BadConfig, MissingInput (no tables yet), NewerFormat.
    """
    made = engine(address(project))
    if made.dialect.name == "sqlite":
        migrate(made)
    else:
        check_version(made)
    return made


def engine(url: str) -> Engine:
    """An engine for `sqlite:///FILE` or `postgresql://HOST/DATABASE`; asks the database nothing yet. Raises BadConfig.

    Of SQLite many may read while one writes, and what is committed is on the disk. Idle connections are five at most.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise BadConfig("database.url", "it is no database's address", _REMEDY) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _sqlite(parsed)
    if backend != "postgresql":
        raise BadConfig("database.url", f"'{backend}' is no database that is known", _REMEDY)
    limits = {"connect_timeout": 10, "application_name": "groundplan"}
    parsed = parsed.set(drivername="postgresql+psycopg")
    return sa.create_engine(parsed, pool_pre_ping=True, pool_recycle=1800, max_overflow=15, connect_args=limits)


_REMEDY = "Give one such as postgresql://db.example.org/groundplan, or leave it empty for a file in the home folder"


def _sqlite(url: sa.URL) -> Engine:
    made = sa.create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(made, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is said below: the driver's own would come too late for DDL and reads
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "mmap_size=268435456"):
            connection.execute(f"PRAGMA {pragma}")
        connection.create_function("meets", 2, _meets, deterministic=True)

    @event.listens_for(made, "begin")
    def begin(connection: Connection) -> None:
        # a writer takes its turn at once: one that has read before it writes could find the ground changed below it
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return made


def _meets(geom: bytes, area: bytes) -> bool:
    """SQLite's word for ST_Intersects, over WKB."""
    import shapely

    return bool(shapely.intersects(_area(area), shapely.from_wkb(geom)))


@lru_cache(maxsize=32)
def _area(wkb: bytes) -> Any:
    import shapely

    shape = shapely.from_wkb(wkb)
    shapely.prepare(shape)
    return shape


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction of a writer: committed at the end, undone when anything is raised."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


# ------------------------------------------------------------------------------- versions of the tables


def migrate(engine: Engine, to: str = "head") -> None:
    """Bring the tables to a version, in one transaction; another who does so waits. A newer database stays as it is.

    to: 'head', '0001' or 'base' (no tables). Raises BadConfig where the extension PostGIS may not be made, NewerFormat.
    """
    from alembic import command
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    if to == "head" and _number(version(engine)) >= _number(newest()):
        check_version(engine)
        return
    try:
        with writing(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            down = to == "base" or _number(to if to != "head" else newest()) < _number(_version(connection))
            (command.downgrade if down else command.upgrade)(_alembic(connection), to)
    except CommandError as error:
        raise BadConfig(f"version '{to}' of the database", "there is none", "Give 'head'") from error
    except DBAPIError as error:
        reason = str(error.orig).splitlines()[0][:200]
        raise BadConfig(
            "the database",
            f"its tables cannot be made ({reason})",
            "Install PostGIS: CREATE EXTENSION postgis",
        ) from error


def version(engine: Engine) -> str:
    """Of the tables that are there; '' where there are none."""
    with engine.connect() as connection:
        return _version(connection)


def newest() -> str:
    """The version that this code knows."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_alembic(None)).get_current_head() or ""


def check_version(engine: Engine) -> None:
    """Raises MissingInput where tables are missing or old, NewerFormat where they are newer by more than AHEAD."""
    there, known = version(engine), newest()
    if _number(there) < _number(known):
        reason = f"its tables are of version {there}, not {known}" if there else "it has no tables yet"
        raise MissingInput("the database", reason, "Run `groundplan database migrate`")
    if _number(there) > _number(known) + AHEAD:
        raise NewerFormat("the database", f"its tables are of version {there}, this code knows {known}", "Update it")


def _version(connection: Connection) -> str:
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() or ""


def _number(version: str) -> int:
    return int(version) if version.isdigit() else 0


def _alembic(connection: Connection | None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config

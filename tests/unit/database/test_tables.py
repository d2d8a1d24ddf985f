"""Tables in both databases: made, taken away, and one version ahead of the program."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from made_footprints import commit_houses, houses
from sqlalchemy.engine import Engine

from groundplan.core.partition import Partition
from groundplan.database import connect, load
from groundplan.database.tables import METADATA, footprint, inbox
from groundplan.errors import BadConfig, MissingInput, NewerFormat


def tables_of(engine: Any) -> set[str]:
    return set(sa.inspect(engine).get_table_names()) - {"alembic_version", "spatial_ref_sys"}


def set_version(engine: Any, version: str) -> None:
    with connect.writing(engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :version"), {"version": version})


pytestmark = pytest.mark.filterwarnings("ignore:Did not recognize type 'geometry'")

CATALOG = """
    SELECT c.relname, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        (SELECT collname FROM pg_collation WHERE oid = a.attcollation), pg_get_expr(d.adbin, d.adrelid),
        pg_get_partkeydef(c.oid), pg_get_indexdef(c.oid)
    FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE 'alembic_version%%'
        AND c.relname NOT LIKE 'spatial_ref_sys%%' AND c.relkind IN ('r', 'p', 'i', 'I', 'S')
    UNION ALL SELECT conname, conrelid::regclass::text, pg_get_constraintdef(oid), '', true, '', '', '', ''
    FROM pg_constraint WHERE conrelid::regclass::text NOT IN ('spatial_ref_sys', 'alembic_version', '-')
        AND connamespace = 'public'::regnamespace"""


def catalog(engine: Engine) -> set[tuple[Any, ...]]:
    """All that is there, in the database's own words: tables, columns, constraints, indexes, sequences."""
    sqlite = "SELECT name, sql FROM sqlite_master WHERE tbl_name <> 'alembic_version'"
    with engine.connect() as connection:
        found = connection.exec_driver_sql(sqlite if engine.dialect.name == "sqlite" else CATALOG)
        return {tuple(row) for row in found}


def differences(engine: Engine) -> list[Any]:
    """What Alembic would change to make the database what tables.py says, beside what no metadata can say."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def ours(_: Any, name: str | None, *__: Any) -> bool:
        if engine.dialect.name == "sqlite":
            return not str(name).startswith("footprint")
        return name not in {"spatial_ref_sys", "footprint_by_place"}

    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"include_object": ours}), METADATA))


def test_migrations_are_written_out_and_make_what_the_tables_say(database: Engine) -> None:
    assert differences(database) == []
    migrated = catalog(database)
    columns = {each["name"]: each["nullable"] for each in sa.inspect(database).get_columns("footprint")}
    assert columns.pop("row", True), "SQLite finds a footprint by the number of its box"
    assert columns == {each.name: each.nullable for each in footprint.columns}
    connect.migrate(database, "base")
    METADATA.create_all(database)
    extra = "footprint" if database.dialect.name == "sqlite" else "footprint_by_place"
    assert {row for row in migrated if extra not in row[0]} == {row for row in catalog(database) if extra not in row[0]}


def test_downgrades_leave_nothing_and_all_is_made_again(database: Engine, tmp_path: Path, make_project: Any) -> None:
    project, here = make_project(tmp_path / "home"), Partition(2024, "north")
    commit_houses(project, here, houses(5, (182361.0, 447600.0, 182600.0, 447771.0)))
    load.load_partition(database, project, here)
    connect.migrate(database, "base")
    assert (catalog(database), connect.version(database)) == (set(), "")
    connect.migrate(database)
    assert load.load_partition(database, project, here).changed
    assert load.state(database, project).whole


def test_a_program_one_version_behind_goes_on_and_one_of_two_behind_does_not(database: Any) -> None:
    set_version(database, f"{int(connect.newest()) + 1:04}")
    connect.check_version(database)
    connect.migrate(database)  # an old pod that starts late changes nothing
    with connect.writing(database) as connection:
        connection.execute(inbox.insert(), {"id": "a", "at": datetime.now(UTC)})
    set_version(database, f"{int(connect.newest()) + 2:04}")
    with pytest.raises(NewerFormat, match="Update it"):
        connect.check_version(database)
    set_version(database, "0000")
    with pytest.raises(MissingInput, match="database migrate"):
        connect.check_version(database)


def test_moments_are_aware_and_in_utc(database: Any) -> None:
    noon = datetime(2026, 7, 1, 12, 0, 0, 5, timezone(timedelta(hours=2)))
    with connect.writing(database) as connection:
        connection.execute(inbox.insert(), [{"id": "a", "at": noon}, {"id": "b", "at": noon + timedelta(seconds=1)}])
        assert connection.scalar(sa.select(inbox.c.at).where(inbox.c.at <= noon)) == noon
        assert connection.scalar(sa.select(inbox.c.at)).utcoffset() == timedelta(0)
    with pytest.raises(sa.exc.StatementError, match="without a time zone"), connect.writing(database) as connection:
        connection.execute(inbox.insert(), {"id": "c", "at": datetime(2026, 7, 1)})


def test_what_a_writer_did_before_it_failed_did_not_happen(database: Any) -> None:
    def fails() -> None:
        with connect.writing(database) as connection:
            connection.execute(inbox.insert(), {"id": "a", "at": datetime.now(UTC)})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    with database.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(inbox)) == 0


@pytest.mark.bad_input
@pytest.mark.parametrize("url", ["mysql://host/name", "no address", "postgresql//x"])
def test_an_address_that_is_none_is_said_to_be(url: str) -> None:
    with pytest.raises(BadConfig, match=r"database\.url"):
        connect.engine(url)


def test_a_file_of_an_older_home_gets_its_tables_when_it_is_opened(tmp_path: Path, make_project: Any) -> None:
    project = make_project(tmp_path / "home")
    engine = connect.open_database(project)
    assert (tmp_path / "home" / connect.FILE).is_file()
    assert set(METADATA.tables) <= tables_of(engine)

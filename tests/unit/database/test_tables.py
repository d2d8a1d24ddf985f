"""Tables in both databases: made, taken away, and one version ahead of the program."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from groundplan.database import connect
from groundplan.database.tables import METADATA, inbox
from groundplan.errors import BadConfig, MissingInput, NewerFormat


def tables_of(engine: Any) -> set[str]:
    return set(sa.inspect(engine).get_table_names()) - {"alembic_version", "spatial_ref_sys"}


def set_version(engine: Any, version: str) -> None:
    with connect.writing(engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :version"), {"version": version})


def test_migrations_make_what_the_tables_say_and_take_it_away(database: Any) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
    ours = set(METADATA.tables)
    # what SQLite keeps its boxes in, and what only one of both has
    strange = ("footprint_box", "spatial_ref_sys", "footprint_by_place", "'row'", "BLOB()", "remove_constraint")
    assert [each for each in differences if not any(word in repr(each) for word in strange)] == []
    assert ours <= tables_of(database)
    connect.migrate(database, "base")
    assert tables_of(database) == set()
    connect.migrate(database)
    assert ours <= tables_of(database)


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

"""Back-up and restore, and the disaster: what comes back, what is refused, and what the store alone brings back."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from groundplan.core.partition import Partition
from groundplan.database import connect, load
from groundplan.database.tables import inbox
from groundplan.errors import BadConfig, Damaged, MissingInput
from groundplan.operations import status
from groundplan.operations.backup import LIST, backup, restore
from groundplan.pipeline import ALWAYS, asset_state, partitions_of, run_asset
from groundplan.project import Project, open_project
from orchestration.cli.build import materialize, show_partitions
from orchestration.cli.in_process import open_instance
from orchestration.cli.recall import recall

NORTH = "manifests/building_footprints"


@pytest.fixture
def project(built_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return open_project(shutil.copytree(built_home, tmp_path / "home"))


def storage(folder: Path) -> str:
    """A Dagster's folder with one file that says something."""
    (folder / "history").mkdir(parents=True)
    with closing(sqlite3.connect(folder / "history/runs.db")) as connection:
        connection.execute("CREATE TABLE runs (id TEXT)")
        connection.execute("INSERT INTO runs VALUES ('a run')")
        connection.commit()
    return str(folder)


def runs(folder: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(folder / "history/runs.db")) as connection:
        return connection.execute("SELECT id FROM runs").fetchall()


def contents(project: Project) -> dict[str, str]:
    return {found.key: project.store.digest(found.key) for found in project.store.list()}


def test_what_people_gave_and_models_come_back_and_a_build_makes_the_rest(project: Project, tmp_path: Path) -> None:
    with connect.writing(connect.open_database(project)) as connection:
        connection.execute(inbox.insert(), {"id": "a", "at": datetime.now(UTC)})
    done = backup(project, tmp_path / "kept", storage(tmp_path / "dagster"))
    assert done.databases == ("dagster/history/runs.db", f"database/{connect.FILE}")
    restore(tmp_path / "kept", tmp_path / "new", str(tmp_path / "other"))
    new = open_project(tmp_path / "new")
    before, after = contents(project), contents(new)
    assert {key: before[key] for key in after} == after
    rooms = {key.split("/")[0] for key in after}
    assert {"landing", "registers", "trained_model", "manifests"} <= rooms
    assert not rooms & {"aerial_tiles", "predictions", "building_footprints", "digests", "journal"}
    with connect.open_database(new).connect() as connection:
        assert connection.scalar(sa.select(inbox.c.id)) == "a"
    assert runs(tmp_path / "other") == [("a run",)]
    assert asset_state(new, "trained_model", Partition(2024)).state != "missing"
    tiles = partitions_of(new, "aerial_tiles")[0]
    for each in partitions_of(new, "sheets"):
        run_asset(new, "sheets", each)
    run_asset(new, "aerial_tiles", tiles)
    made = {found.key for found in new.store.list(f"aerial_tiles/{tiles.path}")}
    assert made == {key for key in before if key.startswith(f"aerial_tiles/{tiles.path}")}


def test_a_second_backup_copies_what_is_new_and_forgets_what_is_gone(project: Project, tmp_path: Path) -> None:
    first = backup(project, tmp_path / "kept", str(tmp_path / "dagster"), whole=True)
    assert (first.objects, first.unchanged) == (len(contents(project)), 0)
    gone = project.store.list("landing")[0].key
    project.store.delete([gone])
    project.store.put("registers/2024/note.txt", b"new")
    second = backup(project, tmp_path / "kept", str(tmp_path / "dagster"), whole=True)
    assert (second.objects, second.unchanged) == (1, first.objects - 1)
    assert not (tmp_path / "kept/store" / gone).exists()
    restore(tmp_path / "kept", tmp_path / "new", str(tmp_path / "dagster"))
    new = open_project(tmp_path / "new")
    assert contents(new) == contents(project)


@pytest.mark.bad_input
def test_what_is_no_backup_or_a_spoiled_one_or_would_lie_over_another_is_refused(
    project: Project, tmp_path: Path
) -> None:
    dagster = str(tmp_path / "dagster")
    with pytest.raises(MissingInput, match="holds no backup"):
        restore(tmp_path / "nothing", tmp_path / "new", dagster)
    backup(project, tmp_path / "kept", dagster)
    key = project.store.list("registers")[0].key
    other = open_project(shutil.copytree(project.home, tmp_path / "other"))
    other.store.put(key, b"something else")
    before = contents(other)
    with pytest.raises(BadConfig, match="something else is there"):
        restore(tmp_path / "kept", other.home, dagster)
    assert contents(other) == before
    path = tmp_path / "kept/store" / key
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(Damaged, match="not what was copied"):
        restore(tmp_path / "kept", tmp_path / "new", dagster)
    assert not (tmp_path / "new").exists()


@pytest.mark.kill
def test_a_backup_that_was_stopped_leaves_the_one_before(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(project, tmp_path / "kept", str(tmp_path / "dagster"))
    listed = (tmp_path / "kept" / LIST).read_bytes()
    project.store.put("registers/2024/note.txt", b"new")

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("groundplan.operations.backup._save", stopped)
    with pytest.raises(KeyboardInterrupt):
        backup(project, tmp_path / "kept", str(tmp_path / "dagster"))
    assert (tmp_path / "kept" / LIST).read_bytes() == listed
    restore(tmp_path / "kept", tmp_path / "new", str(tmp_path / "dagster"))


@pytest.mark.slow  # a PostgreSQL of its own, unless another test of the process has one
def test_postgresql_is_saved_by_its_own_programs(
    project: Project, tmp_path: Path, postgis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(url: str) -> Project:
        monkeypatch.setenv("GROUNDPLAN_DATABASE__URL", without_name(url, postgis, monkeypatch))
        return open_project(project.home)

    here = at(postgis.migrated())
    engine = connect.engine(connect.address(here))
    load.sync(engine, here)
    with engine.connect() as connection:
        expected = connection.execute(sa.text("SELECT count(*) FROM footprint")).scalar()
    engine.dispose()
    done = backup(here, tmp_path / "kept", str(tmp_path / "dagster"))
    assert done.databases == ("database/dump",)
    new = at(postgis.empty())
    restore(tmp_path / "kept", new.home, str(tmp_path / "dagster"))
    engine = connect.engine(connect.address(new))
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM footprint")).scalar() == expected
    assert load.state(engine, new).whole
    engine.dispose()
    with pytest.raises(BadConfig, match="pg_restore"):  # tables are there: nothing is laid over them
        restore(tmp_path / "kept", new.home, str(tmp_path / "dagster"))


def without_name(url: str, postgis: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address as settings may hold it: name and password are in the environment."""
    monkeypatch.setenv("PGUSER", postgis.server.user)
    monkeypatch.setenv("PGPASSWORD", postgis.server.password)
    return url.replace(f"{postgis.server.user}:{postgis.server.password}@", "")


# ------------------------------------------------------------------------------- the disaster


def test_the_database_and_dagsters_storage_are_lost_and_the_store_brings_everything_back(
    project: Project, tmp_path: Path
) -> None:
    """The drill of docs/operations.md: `groundplan database sync`, `groundplan sync --made`, `groundplan status`."""
    before = status.take(project)
    assert {entry.state for entry in before} == {status.MADE}
    first = connect.open_database(project)
    load.sync(first, project)
    with first.connect() as connection:
        rows = connection.execute(sa.text("SELECT id, area FROM footprint ORDER BY id")).all()
    first.dispose()
    with open_instance(project) as instance:
        show_partitions(project, instance)
        recall(project, instance)
        first_known = known(instance, project)
    for lost in (project.home / "dagster", *project.home.glob("database.sqlite*")):
        shutil.rmtree(lost) if lost.is_dir() else lost.unlink()

    assert status.take(project) == before
    engine = connect.open_database(project)
    assert load.sync(engine, project)[1] == []
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT id, area FROM footprint ORDER BY id")).all() == rows
    engine.dispose()
    with open_instance(project) as instance:
        show_partitions(project, instance)
        assert recall(project, instance) == (len(before), 0)
        assert known(instance, project) == first_known
        assert sum(map(len, first_known.values())) == len(before)
        assert recall(project, instance) == (0, 0), "what Dagster knows is not told again"
        event = instance.get_latest_materialization_event(dg.AssetKey("building_footprints"))
        assert event is not None
        told = event.asset_materialization
        assert told is not None
        assert told.metadata["blocks"].value == 1
        assert str(told.metadata["dagster/uri"].value).startswith("file://")


def known(instance: dg.DagsterInstance, project: Project) -> dict[str, set[str]]:
    return {name: set(instance.get_materialized_partitions(dg.AssetKey(name))) for name in ALWAYS}


@pytest.mark.slow  # a run of Dagster
def test_verdicts_of_checks_are_told_again_and_a_broken_manifest_is_passed_over(project: Project) -> None:
    partition = partitions_of(project, "sheets")[0]
    with open_instance(project) as instance:
        show_partitions(project, instance)
        assert materialize(project, instance, "sheets", partition).outcome == "made"
    shutil.rmtree(project.home / "dagster")
    broken = project.store.list(NORTH)[0].key
    project.store.put(broken, b"{")
    with open_instance(project) as instance:
        show_partitions(project, instance)
        partitions, checks = recall(project, instance)
        assert partitions == len(status.take(project)) - 1
        assert checks == len(said := verdicts(instance, "sheets_usable") + verdicts(instance, "sheets_plausible"))
        assert {one.passed for one in said} == {True}


def verdicts(instance: dg.DagsterInstance, name: str) -> list[dg.AssetCheckEvaluation]:
    key = dg.AssetCheckKey(dg.AssetKey("sheets"), name)
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    found = [one.event.dagster_event.asset_check_evaluation_data for one in records if one.event]  # type: ignore[union-attr]
    return [one for one in found if one]

"""Footprints in the database are what the manifests name: loaded once, whole, and made anew after any loss."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import sqlalchemy as sa
from made_footprints import commit_houses, houses

from groundplan.core.partition import Partition
from groundplan.database import connect, copies, load
from groundplan.database.tables import footprint, loaded
from groundplan.errors import BadConfig, MissingInput

BOX = (182361.0, 447600.0, 182600.0, 447771.0)
NORTH, SOUTH = Partition(2024, "north"), Partition(2024, "south")


@pytest.fixture
def project(tmp_path: Path, make_project: Any) -> Any:
    words = {"footprints": "Town of Anywhere", "footprints_licence": "CC-BY-4.0"}
    made = make_project(tmp_path / "home", credits=words)
    commit_houses(made, NORTH, houses(200, BOX))
    commit_houses(made, SOUTH, houses(30, BOX, seed=8))
    return made


def rows_of(engine: Any, partition: Partition) -> list[Any]:
    asked = sa.select(footprint).where(footprint.c.region == partition.region, footprint.c.year == partition.year)
    with engine.connect() as connection:
        return list(connection.execute(asked.order_by(footprint.c.id)))


def test_every_building_and_every_column_arrives(database: Any, project: Any) -> None:
    assert load.load_partition(database, project, NORTH) == load.Loaded(NORTH, 200, True)
    frame, rows = houses(200, BOX), rows_of(database, NORTH)
    for name in ("id", "block", "sheet", "model", "fingerprint"):
        assert [getattr(row, name) for row in rows] == frame[name].to_list()
    assert [row.image_date for row in rows] == [None if isinstance(day, float) else day for day in frame["image_date"]]
    np.testing.assert_allclose([row.confidence for row in rows], frame["confidence"], rtol=1e-6)
    np.testing.assert_allclose([row.area for row in rows], frame["area"], rtol=1e-6)
    shapes = shapely.from_wkb(np.array([row.geom for row in rows], object))
    assert shapely.equals_exact(shapes, frame.geometry.values).all()
    if database.dialect.name == "postgresql":
        assert set(shapely.get_srid(shapes)) == {28992}
    with database.connect() as connection:
        told = connection.execute(sa.select(loaded)).one()
    assert (told.rows, told.crs, told.first_day) == (200, "EPSG:28992", "2024-05-17")
    assert told.licence == "CC-BY-4.0"
    assert "Town of Anywhere" in told.attribution
    assert 5.7 < told.west < told.east < 5.8
    assert 52.0 < told.south < told.north < 52.1


def test_a_partition_is_loaded_once_until_it_is_made_anew(database: Any, project: Any) -> None:
    load.load_partition(database, project, NORTH)
    load.load_partition(database, project, SOUTH)
    assert not load.load_partition(database, project, NORTH).changed
    commit_houses(project, NORTH, houses(150, BOX, seed=9))
    assert load.state(database, project).stale == (NORTH,)
    assert load.load_partition(database, project, NORTH).rows == 150
    assert [row.id for row in rows_of(database, NORTH)] == houses(150, BOX, seed=9)["id"].to_list()
    assert len(rows_of(database, SOUTH)) == 30, "others stay"
    if database.dialect.name == "sqlite":
        with database.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM footprint_box").scalar() == 180


def test_an_empty_region_and_a_multipolygon_are_loaded_too(database: Any, project: Any) -> None:
    commit_houses(project, SOUTH, houses(0, BOX))
    assert load.load_partition(database, project, SOUTH) == load.Loaded(SOUTH, 0, True)
    frame = houses(2, BOX)
    frame.loc[1, "geometry"] = shapely.multipolygons(frame.geometry.values[:2])
    commit_houses(project, NORTH, frame)
    load.load_partition(database, project, NORTH)
    shapes = shapely.from_wkb(np.array([row.geom for row in rows_of(database, NORTH)], object))
    assert list(shapely.get_type_id(shapes)) == [3, 6]


def test_a_load_that_fails_halfway_leaves_what_was_there(
    database: Any, project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    load.load_partition(database, project, NORTH)
    before = rows_of(database, NORTH)
    commit_houses(project, NORTH, houses(150, BOX, seed=9))

    def broken(*_: Any) -> Any:
        raise ConnectionError("the network is gone")

    with monkeypatch.context() as patched:
        patched.setattr(copies, "tuples" if database.dialect.name == "sqlite" else "packed", broken)
        with pytest.raises(ConnectionError):
            load.load_partition(database, project, NORTH)
    assert rows_of(database, NORTH) == before
    assert load.load_partition(database, project, NORTH).changed


def test_two_loaders_at_once_load_once(database: Any, project: Any) -> None:
    done: list[Any] = []
    threads = [
        threading.Thread(target=lambda: done.append(load.load_partition(database, project, NORTH))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.rows for one in done] == [200] * 4
    assert len(rows_of(database, NORTH)) == 200
    assert load.state(database, project).wrong == ()


def test_a_loader_that_read_what_was_made_anew_meanwhile_reads_again(
    database: Any, project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, times = load._read, []

    def slow(*args: Any) -> Any:
        found = read(*args)
        if not times:
            commit_houses(project, NORTH, houses(150, BOX, seed=9))
        times.append(found)
        return found

    monkeypatch.setattr(load, "_read", slow)
    assert load.load_partition(database, project, NORTH).rows == 150
    assert len(times) == 2


def test_sync_mends_every_kind_of_loss(database: Any, project: Any) -> None:
    done, failed = load.sync(database, project)
    assert ([one.partition for one in done], failed) == ([NORTH, SOUTH], [])
    assert load.state(database, project).whole
    assert load.sync(database, project) == ([], [])
    with connect.writing(database) as connection:
        connection.execute(footprint.delete().where(footprint.c.id == houses(200, BOX)["id"][0]))
        connection.execute(loaded.delete().where(loaded.c.region == "south"))
    project.store.delete(["manifests/building_footprints/2024/south.json"])
    west = Partition(2023, "west")
    commit_houses(project, west, houses(10, BOX, seed=3))
    found = load.state(database, project)
    assert (found.missing, found.wrong) == ((west,), (NORTH, SOUTH))
    load.sync(database, project)
    assert load.state(database, project).current == (west, NORTH)
    assert rows_of(database, SOUTH) == []


def test_what_is_damaged_is_told_and_the_rest_is_loaded(database: Any, project: Any) -> None:
    key = project.store.list("building_footprints/2024/north")[0].key
    project.store.put(key, b"spoiled")
    done, failed = load.sync(database, project)
    assert [one.partition for one in done] == [SOUTH]
    assert [partition for partition, _ in failed] == [NORTH]


def test_other_credits_are_loaded_anew(database: Any, project: Any, make_project: Any, tmp_path: Path) -> None:
    load.sync(database, project)
    other = make_project(tmp_path / "home", credits={"footprints_licence": "ODbL-1.0"})
    assert load.state(database, other).stale == (NORTH, SOUTH)
    load.sync(database, other)
    with database.connect() as connection:
        assert set(connection.scalars(sa.select(loaded.c.licence))) == {"ODbL-1.0"}


@pytest.mark.bad_input
def test_a_database_holds_one_crs(database: Any, project: Any, make_project: Any, tmp_path: Path) -> None:
    load.load_partition(database, project, NORTH)
    grid = {"crs": "EPSG:32631"}
    other = make_project(tmp_path / "other", grid=grid)
    commit_houses(other, SOUTH, houses(3, BOX, crs="EPSG:32631"))
    with pytest.raises(BadConfig, match="EPSG:28992"):
        load.load_partition(database, other, SOUTH)
    with pytest.raises(MissingInput, match="has not been made"):
        load.load_partition(database, project, Partition(2020, "north"))

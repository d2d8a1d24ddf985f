"""Loading: a copy in the database of what manifests of footprints name, and whether it still is one.

Here: one partition at a time, whole or not at all; what is loaded, stale, or loaded and gone. Not here: packing
(copies.py), asking (queries.py). Whoever loads twice, or beside another, loads once: a lock in the database gives
turns, and within its turn each looks at the manifest as it then stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from groundplan.core.geographic import box_of, geographic
from groundplan.core.manifest import (
    Committed,
    Manifest,
    committed,
    fingerprint,
    need_manifest,
    read_manifest,
    read_object,
)
from groundplan.core.parallel import in_parallel
from groundplan.core.partition import Partition
from groundplan.database import copies, into_postgis, into_sqlite
from groundplan.database.connect import writing
from groundplan.database.tables import footprint, loaded
from groundplan.errors import BadConfig, Damaged, MissingInput
from groundplan.footprints import footprints
from groundplan.imagery.credits import credits_of
from groundplan.project import Project

if TYPE_CHECKING:
    import pyarrow as pa

DATASET = footprints.DATASET
Failed = list[tuple[Partition, str]]
"""What could not be loaded, and why."""
TIMES = 5  # that a manifest may change under a loader before it gives up


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a partition. changed: whether anything was written."""

    partition: Partition
    rows: int
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyState:
    """How the copy stands beside the manifests."""

    current: tuple[Partition, ...]
    missing: tuple[Partition, ...]
    """Made, and not loaded."""
    stale: tuple[Partition, ...]
    """Loaded, and made anew since, or given other credits."""
    gone: tuple[Partition, ...]
    """Loaded, and no longer in the store."""
    wrong: tuple[Partition, ...]
    """Of another number of rows than was loaded."""

    @property
    def whole(self) -> bool:
        return not (self.missing or self.stale or self.gone or self.wrong)


# ------------------------------------------------------------------------------- one partition


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    """A partition in memory, to be loaded. identity: of what it is a copy of."""

    partition: Partition
    identity: str
    table: pa.Table
    facts: dict[str, Any]


def load_partition(engine: Engine, project: Project, partition: Partition) -> Loaded:
    """The footprints of a region and year as its manifest names them; nothing is written where they are loaded.

    One transaction: readers see what was there, or all of the new. Raises MissingInput, Damaged, BadConfig.
    """
    for _ in range(TIMES):
        identity = identity_of(project, need_manifest(project.store, DATASET, partition))
        with engine.connect() as connection:
            known = connection.execute(_one(partition)).one_or_none()
        if known and known.manifest == identity:
            return Loaded(partition, known.rows, False)
        copy = _read(project, partition)
        with writing(engine) as connection:
            _take_turn(connection, partition)
            if _is_old(project, copy):
                continue
            _check_crs(connection, project)
            _remove(connection, partition)
            _insert(connection, project, partition.year, [copy])
        return Loaded(partition, copy.table.num_rows, True)
    raise MissingInput(f"{DATASET} of {partition}", f"it was made anew {TIMES} times meanwhile", "Load it later")


def identity_of(project: Project, manifest: Manifest[Partition, Any]) -> str:
    """Of what is loaded: the objects, and the words that go with them."""
    words = project.settings.credits.of(manifest.partition.region, manifest.partition.year)
    return fingerprint(manifest=manifest.identity(), credits=words.model_dump())


def drop_partition(engine: Engine, partition: Partition) -> int:
    """Remove a region and year from the database, not from the store. Returns its rows."""
    with writing(engine) as connection:
        _take_turn(connection, partition)
        return _remove(connection, partition)


def _read(project: Project, partition: Partition) -> _Copy:
    manifest = need_manifest(project.store, DATASET, partition)
    table = copies.table_of(read_object(project.store, manifest.objects["footprints"]))
    facts = _facts(project, partition, table)
    return _Copy(partition=partition, identity=identity_of(project, manifest), table=table, facts=facts)


def _is_old(project: Project, copy: _Copy) -> bool:
    """Whether it was made anew while we read."""
    return identity_of(project, need_manifest(project.store, DATASET, copy.partition)) != copy.identity


def _insert(connection: Connection, project: Project, year: int, given: Iterable[_Copy]) -> list[Loaded]:
    """Rows of partitions of a year, and what is said of them; nothing of them is there yet."""
    done: list[dict[str, Any]] = []

    def rows() -> Iterator[tuple[pa.Table, Partition]]:
        for copy in given:
            done.append({**_key(copy.partition), "manifest": copy.identity, **copy.facts})
            yield copy.table, copy.partition

    if connection.dialect.name == "sqlite":
        into_sqlite.insert(connection, rows())
    else:
        into_postgis.insert(connection, year, rows(), srid_of(project.grid.crs))
    if done:
        connection.execute(loaded.insert(), done)
    return [Loaded(Partition(one["year"], one["region"]), one["rows"], True) for one in done]


def _remove(connection: Connection, partition: Partition) -> int:
    here = (footprint.c.year == partition.year, footprint.c.region == partition.region)
    if connection.dialect.name == "sqlite":
        into_sqlite.forget_boxes(connection, partition)
    removed = connection.execute(footprint.delete().where(*here)).rowcount
    connection.execute(loaded.delete().where(*_is(partition)))
    return removed


def _take_turn(connection: Connection, partition: Partition) -> None:
    """One loader of a partition at a time, until its transaction ends. SQLite has one writer in any case."""
    if connection.dialect.name == "postgresql":
        digest = hashlib.sha256(f"{DATASET}/{partition.path}".encode()).digest()
        lock = int.from_bytes(digest[:8], "big", signed=True)
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})


def _check_crs(connection: Connection, project: Project) -> None:
    other = connection.execute(sa.select(loaded.c.crs).where(loaded.c.crs != project.grid.crs).limit(1)).scalar()
    if other is not None:
        reason = f"it holds footprints in {other}, and this project's grid is in {project.grid.crs}"
        raise BadConfig(
            "the database", reason, "Give each project a database of its own, or `groundplan database drop`"
        )


def _facts(project: Project, partition: Partition, table: pa.Table) -> dict[str, Any]:
    """What `loaded` says of a partition: place, days, and who is to be named."""
    import pyarrow.compute as pc
    import shapely

    days = pc.min_max(table.column("image_date")).as_py()
    crs, box = project.grid.crs, None
    if table.num_rows:
        west, south, east, north = _bounds(table)
        box = box_of(geographic([shapely.segmentize(shapely.box(west, south, east, north), 1000.0)], crs))
    told = credits_of(project, partition)
    return {
        "rows": table.num_rows,
        "at": datetime.now(UTC),
        "crs": crs,
        **dict(zip(("west", "south", "east", "north"), box or (None,) * 4, strict=True)),
        "first_day": days["min"],
        "last_day": days["max"],
        "attribution": told.line,
        "licence": told.footprints.licence,
    }


def _bounds(table: pa.Table) -> tuple[float, ...]:
    import numpy as np
    import shapely

    shapes = shapely.from_wkb(np.asarray(table.column("geometry").to_pylist(), object))
    return tuple(shapely.total_bounds(shapes).tolist())


def srid_of(crs: str) -> int:
    """The CRS's number in EPSG's list; 0 where it has none."""
    from pyproj import CRS

    return CRS.from_user_input(crs).to_epsg(100) or 0


def _key(partition: Partition) -> dict[str, Any]:
    return {"dataset": str(DATASET), "region": partition.region, "year": partition.year}


def _is(partition: Partition) -> list[Any]:
    return [loaded.c[name] == value for name, value in _key(partition).items()]


def _one(partition: Partition) -> Any:
    return sa.select(loaded.c.manifest, loaded.c.rows).where(*_is(partition))


# ------------------------------------------------------------------------------- all of them


def listed(engine: Engine) -> list[Partition]:
    """The regions and years that are loaded."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(loaded.c.year, loaded.c.region).where(loaded.c.dataset == DATASET))
        return sorted(Partition(row.year, row.region) for row in rows)


def state(engine: Engine, project: Project, count: bool = True) -> CopyState:
    """How the copy stands. count: also the rows that are there, which reads an index of all of them."""
    rows = sa.select(loaded.c.region, loaded.c.year, loaded.c.manifest, loaded.c.rows).where(
        loaded.c.dataset == DATASET
    )
    grouped = sa.select(footprint.c.region, footprint.c.year, sa.func.count()).group_by("region", "year")
    with engine.connect() as connection:
        known = {Partition(row.year, row.region): row for row in connection.execute(rows)}
        there = {Partition(row[1], row[0]): row[2] for row in connection.execute(grouped)} if count else {}
    now = dict(in_parallel(lambda one: _identity(project, one), committed(project.store, DATASET)))
    now = {partition: identity for partition, identity in now.items() if identity}
    wrong = [one for one, row in known.items() if count and there.get(one, 0) != row.rows]
    wrong += [one for one in there if one not in known]
    return CopyState(
        current=_sorted(one for one, row in known.items() if now.get(one) == row.manifest and one not in wrong),
        missing=_sorted(one for one in now if one not in known),
        stale=_sorted(one for one, row in known.items() if one in now and now[one] != row.manifest),
        gone=_sorted(one for one in known if one not in now),
        wrong=_sorted(wrong),
    )


def _identity(project: Project, one: Committed) -> tuple[Partition, str]:
    manifest = read_manifest(project.store, DATASET, one.partition)
    return one.partition, identity_of(project, manifest) if manifest else ""


def _sorted(partitions: Iterable[Partition]) -> tuple[Partition, ...]:
    return tuple(sorted(partitions))


def sync(
    engine: Engine, project: Project, told: Callable[[Loaded], None] = lambda _: None
) -> tuple[list[Loaded], Failed]:
    """Make the copy what the manifests say. Returns what was written, and what could not be, with the reason."""
    found = state(engine, project)
    for partition in (*found.gone, *found.wrong):
        drop_partition(engine, partition)
    todo = sorted({*found.missing, *found.stale, *found.wrong} - {*found.gone})
    done: list[Loaded] = []
    failed: Failed = []
    for year in [year for year in sorted({one.year for one in todo}) if _is_new(engine, year)]:
        first, bad = _fill_year(engine, project, [one for one in todo if one.year == year])
        done, failed = done + first, failed + bad
        for one in first:
            told(one)
    for partition in [one for one in todo if one not in {each.partition for each in done} | {bad[0] for bad in failed}]:
        try:
            done.append(load_partition(engine, project, partition))
            told(done[-1])
        except (Damaged, MissingInput) as error:
            failed.append((partition, str(error)))
    if done:
        _learn(engine)
    return done, failed


def _is_new(engine: Engine, year: int) -> bool:
    """Whether PostgreSQL has no table of a year yet."""
    with engine.connect() as connection:
        return engine.dialect.name == "postgresql" and not into_postgis.has_year(connection, year)


def _fill_year(engine: Engine, project: Project, partitions: list[Partition]) -> tuple[list[Loaded], Failed]:
    """A year's first regions in one transaction. What is made anew meanwhile is stale, and loaded by the next call."""
    failed: Failed = []

    def copies_of() -> Iterator[_Copy]:
        for partition in partitions:
            try:
                yield _read(project, partition)
            except (Damaged, MissingInput) as error:
                failed.append((partition, str(error)))

    with writing(engine) as connection:
        for partition in partitions:
            _take_turn(connection, partition)
        _check_crs(connection, project)
        known = {
            Partition(row.year, row.region) for row in connection.execute(sa.select(loaded.c.region, loaded.c.year))
        }
        if known & set(partitions):  # another was faster
            return [], []
        return _insert(connection, project, partitions[0].year, copies_of()), failed


def _learn(engine: Engine) -> None:
    """Let the planner know what came."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE footprint" if engine.dialect.name == "postgresql" else "PRAGMA optimize")

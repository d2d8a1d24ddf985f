"""Footprints into PostGIS: COPY into the table of a year, which is made when its first region comes.

Here: what only PostgreSQL needs to take rows. Not here: packing them (copies.py), turns and transactions (load.py).
A year's first rows go into a table without indexes, which gets them afterwards and is attached: an index that is built
at once costs a third of one that grows row by row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from groundplan.core.partition import Partition
from groundplan.database import copies

if TYPE_CHECKING:
    import pyarrow as pa

LOCK = 7_203_620_000  # of PostgreSQL's advisory locks, and the year: who makes its table
Rows = Iterable[tuple["pa.Table", Partition]]


def insert(connection: Connection, year: int, rows: Rows, srid: int) -> None:
    """Add the rows of partitions of one year. srid: of their CRS, 0 where it has no number."""
    if _is_missing(connection, year):
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK + year})
    if not _is_missing(connection, year):  # made by another while this one waited, or long ago
        _copy(connection, "footprint", rows, srid)
        return
    name = f"footprint_{year:d}"
    for statement in (
        f"CREATE TABLE {name} (LIKE footprint INCLUDING DEFAULTS, CONSTRAINT {name}_year CHECK (year = {year:d}))",
        None,
        f"ALTER TABLE {name} ADD CONSTRAINT {name}_pk PRIMARY KEY (year, region, id)",
        f"CREATE INDEX {name}_by_place ON {name} USING gist (geom)",
        f"ALTER TABLE footprint ATTACH PARTITION {name} FOR VALUES IN ({year:d})",
    ):
        if statement is None:
            _copy(connection, name, rows, srid)
        else:
            connection.exec_driver_sql(statement)


def has_year(connection: Connection, year: int) -> bool:
    return not _is_missing(connection, year)


def _is_missing(connection: Connection, year: int) -> bool:
    return connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": f"footprint_{year:d}"}) is None


def _copy(connection: Connection, name: str, rows: Rows, srid: int) -> None:
    driver: Any = connection.connection.driver_connection
    with driver.cursor().copy(f"COPY {name} ({', '.join(copies.COLUMNS)}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(copies.START)
        for table, partition in rows:
            for part in copies.packed(table, partition, srid):
                copy.write(part)
        copy.write(copies.END)

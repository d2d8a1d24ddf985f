"""Footprints into SQLite: rows, and their boxes in an R*Tree.

Here: what only SQLite needs to take rows. Not here: turns and transactions (load.py). https://www.sqlite.org/rtree.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection

from groundplan.core.partition import Partition
from groundplan.database import copies

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = "INSERT INTO footprint (row, year, region, {}, confidence, area, geom) VALUES ({})"
BOXES = "INSERT INTO footprint_box (row, west, east, south, north, from_year, to_year) VALUES (?,?,?,?,?,?,?)"
NUMBERED = (("row", "footprint"), ("rowid", "footprint_box_rowid"))  # a box whose row somebody removed keeps its number
FORGET = "DELETE FROM footprint_box WHERE row IN (SELECT row FROM footprint WHERE year = ? AND region = ?)"


def insert(connection: Connection, given: Iterable[tuple[pa.Table, Partition]]) -> None:
    """Add the rows of partitions."""
    last = max(connection.exec_driver_sql(f"SELECT max({name}) FROM {table}").scalar() or 0 for name, table in NUMBERED)
    for table, partition in given:
        rows, boxes = copies.tuples(table, partition, last + 1)
        last += len(rows)
        if rows:
            connection.exec_driver_sql(ROWS.format(", ".join(copies.TEXTS), ",".join("?" * 12)), rows)
            connection.exec_driver_sql(BOXES, boxes)


def forget_boxes(connection: Connection, partition: Partition) -> None:
    """Before a partition's rows are removed."""
    connection.exec_driver_sql(FORGET, (partition.year, partition.region))

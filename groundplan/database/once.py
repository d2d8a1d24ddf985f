"""Rows that are written once: a second one of the same key changes nothing, in both databases.

Here: that statement. Not here: what is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection


def insert_once(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert rows that break no unique key; how many did. Rows of one call have the same columns.

    Who writes the same rows at the same time waits for the other: give rows of several keys in one order everywhere.
    """
    if not rows:
        return 0
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    done = connection.execute(insert(table).on_conflict_do_nothing(), [dict(row) for row in rows])
    return max(0, done.rowcount)

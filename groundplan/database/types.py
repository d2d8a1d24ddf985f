"""Column types that mean the same in SQLite and PostgreSQL.

Here: a moment, a JSON value, a polygon. Not here: the tables (tables.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
"""Any JSON value."""


class Moment(TypeDecorator[datetime]):
    """A moment, aware and in UTC on both sides. SQLite keeps ISO 8601 text of one length, so that it sorts by time."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(sa.String(32) if dialect.name == "sqlite" else sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone means nothing: give datetime.now(UTC)")
        value = value.astimezone(UTC)
        return value.isoformat(timespec="microseconds") if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        return None if value is None else value.astimezone(UTC)


class Polygon(UserDefinedType[bytes]):
    """A polygon in the project's CRS. PostGIS: `geometry`, given and read as (E)WKB; SQLite: a blob of WKB."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        return "geometry"  # SQLite takes any word; an affinity of none keeps blobs as they are

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """PostGIS's text form, hexadecimal EWKB, to bytes."""
        return lambda value: bytes.fromhex(value) if isinstance(value, str) else value

"""The tables of the results' database, for SQLite and PostgreSQL alike.

Here: all of them, as one SQLAlchemy metadata. Not here: how they come about and change (migrations/), connections
(connect.py), or what is asked of them (load.py, queries.py, and who owns a table). Whoever needs another column adds it
here and in a further migration; a test holds both to the same tables.

What can be made again from the store: `footprint`, `loaded`, `image`, `analysis`, `drift`. `review` is mirrored to the
store. `message`, `outbox`, `inbox` and `job` are work in hand; `api_key` is nowhere else.
"""

from __future__ import annotations

import sqlalchemy as sa

from groundplan.database.types import JSON, Moment, Polygon

METADATA = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "ix": "%(table_name)s_by_%(column_0_N_name)s",
        "uq": "%(table_name)s_one_%(column_0_N_name)s",
        "fk": "%(table_name)s_of_%(column_0_N_name)s",
    }
)
ROW = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts up only what is called INTEGER


def _text(name: str, length: int, *, key: bool = False, null: bool = False) -> sa.Column[str]:
    """A text of at most `length` characters; names compare by their bytes, in both databases and in every locale."""
    kind = sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
    return sa.Column(name, kind, primary_key=key, nullable=null)


# ------------------------------------------------------------------------------- a copy of the manifests (load.py)

footprint = sa.Table(
    "footprint",
    METADATA,
    sa.Column("year", sa.SmallInteger, primary_key=True),
    _text("region", 200, key=True),
    _text("id", 32, key=True),
    _text("block", 40),
    sa.Column("confidence", sa.REAL, nullable=False),
    sa.Column("area", sa.REAL, nullable=False),  # m2, in the grid's CRS
    _text("image_date", 10, null=True),  # ISO 8601; null where only the year is known
    _text("sheet", 500, null=True),
    _text("model", 100),
    _text("fingerprint", 32),  # of the image block
    sa.Column("geom", Polygon, nullable=False),  # in the grid's CRS: `loaded.crs`
    postgresql_partition_by="LIST (year)",
)
"""Building footprints as committed, in the order of the primary key: a region's lie together. PostGIS: a table a year
(`footprint_2024`, made when its first region is loaded), each with a GiST index of its own: all years lie on the same
ground, and one index over them would find each box in every year. SQLite: a further column `row`, by which the R*Tree
`footprint_box` finds it."""

loaded = sa.Table(
    "loaded",
    METADATA,
    _text("dataset", 60, key=True),
    _text("region", 200, key=True),
    sa.Column("year", sa.SmallInteger, primary_key=True),
    _text("manifest", 64),  # the identity of what was copied
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("crs", sa.Text, nullable=False),  # of the grid: 'EPSG:28992', or WKT
    sa.Column("west", sa.Double),  # in longitude and latitude; null of a partition without a building
    sa.Column("south", sa.Double),
    sa.Column("east", sa.Double),
    sa.Column("north", sa.Double),
    sa.Column("first_day", sa.String(10)),
    sa.Column("last_day", sa.String(10)),
    sa.Column("attribution", sa.Text),
    sa.Column("licence", sa.Text),
)

# ------------------------------------------------------------------------------- single images

image = sa.Table(
    "image",
    METADATA,
    _text("id", 64, key=True),  # SHA-256 of its bytes as they arrived
    sa.Column("key", sa.Text),  # in the store, of what is kept of it
    sa.Column("source", sa.Text),  # where it came from: bucket and key, or the word 'request'
    sa.Column("etag", sa.String(200)),
    sa.Column("media", sa.String(60)),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("taken", Moment),
    sa.Column("arrived", Moment, nullable=False, index=True),
    sa.Column("camera", sa.String(120)),
    sa.Column("region", sa.String(200)),
    sa.Column("blurred", sa.Boolean),  # null: nobody looked for faces
    _text("state", 20),
    sa.Column("reason", sa.Text),
)

analysis = sa.Table(
    "analysis",
    METADATA,
    _text("id", 64, key=True),
    sa.Column("image", sa.ForeignKey(image.c.id), nullable=False),
    _text("model", 100),
    _text("version", 100),
    sa.Column("made", Moment, nullable=False, index=True),
    sa.Column("kind", sa.String(40)),  # footprints, features, class
    sa.Column("label", sa.String(200)),
    sa.Column("key", sa.Text),  # of the GeoJSON or features in the store
    sa.Column("confidence", sa.REAL),
    sa.Column("figures", JSON),
    sa.Column("seconds", sa.REAL),
    sa.Column("place", sa.String(16), nullable=False, default=""),  # mark of one that was stated with the image
    sa.UniqueConstraint("image", "model", "version", "place"),
)

# ------------------------------------------------------------------------------- messages

message = sa.Table(
    "message",
    METADATA,
    sa.Column("seq", ROW, primary_key=True, autoincrement=True),
    _text("id", 64),
    _text("queue", 60),
    _text("type", 100),
    sa.Column("body", JSON, nullable=False),
    sa.Column("arrived", Moment, nullable=False),
    sa.Column("due", Moment, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    sa.Column("lease", Moment),  # until when `holder` has it
    sa.Column("holder", sa.String(100)),
    _text("state", 12),  # waits, leased, aside
    sa.Column("reason", sa.Text),
    sa.UniqueConstraint("queue", "id"),
    sa.Index(None, "queue", "state", "due"),
)

outbox = sa.Table(
    "outbox",
    METADATA,
    sa.Column("seq", ROW, primary_key=True, autoincrement=True),
    _text("id", 64),
    _text("target", 60),  # 'broker', 'sns', or a webhook's name: each is sent to in the order of `seq`
    sa.Column("type", sa.String(100), nullable=False),
    sa.Column("event", JSON, nullable=False),
    sa.Column("made", Moment, nullable=False, index=True),
    sa.Column("sent", Moment),
    sa.Column("reason", sa.Text),  # why a target refused it for good
    sa.UniqueConstraint("id", "target"),
    sa.Index(None, "target", "sent", "seq"),
)

inbox = sa.Table(
    "inbox",
    METADATA,
    _text("id", 200, key=True),
    sa.Column("at", Moment, nullable=False, index=True),
)

job = sa.Table(
    "job",
    METADATA,
    _text("id", 64, key=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("asked", JSON, nullable=False),
    sa.Column("owner", sa.String(64)),  # hash of the key that asked
    _text("state", 12),  # waits, works, done, failed, cancelled
    sa.Column("done", sa.Integer, nullable=False, default=0),
    sa.Column("total", sa.Integer),
    sa.Column("cost", sa.REAL),
    sa.Column("result", JSON),
    sa.Column("reason", sa.Text),
    sa.Column("made", Moment, nullable=False, index=True),
    sa.Column("changed", Moment, nullable=False),
)

# ------------------------------------------------------------------------------- people

review_task = sa.Table(
    "review_task",
    METADATA,
    _text("id", 64, key=True),
    _text("region", 200),
    sa.Column("year", sa.SmallInteger, nullable=False),
    _text("block", 40),
    sa.Column("footprint", sa.String(32)),
    sa.Column("fingerprint", sa.String(32)),
    sa.Column("reason", sa.String(60), nullable=False),
    sa.Column("priority", sa.Double, nullable=False),
    _text("state", 12),
    sa.Column("lease", Moment),
    sa.Column("holder", sa.String(100)),
    sa.Column("geometry", JSON),
    sa.Column("facts", JSON),
    sa.Index(None, "state", "priority"),
    sa.Index(None, "region", "year", "block"),
)

review = sa.Table(
    "review",
    METADATA,
    _text("id", 64, key=True),
    sa.Column("task", sa.ForeignKey(review_task.c.id), nullable=False, index=True),
    sa.Column("person", sa.String(200), nullable=False),
    sa.Column("verdict", sa.String(20), nullable=False),
    sa.Column("geometry", JSON),
    sa.Column("seconds", sa.REAL),
    sa.Column("at", Moment, nullable=False, index=True),
)
"""Append-only: what is taken back is a further row."""

# ------------------------------------------------------------------------------- watching, and who may ask

drift = sa.Table(
    "drift",
    METADATA,
    _text("unit", 200, key=True),  # 'delft 2024', 'camera-3 2026-11-27 footprints'
    _text("figure", 100, key=True),
    sa.Column("at", Moment, primary_key=True),
    sa.Column("value", sa.Double),
    sa.Column("reference", JSON),
    sa.Column("verdict", sa.String(40), nullable=False),
)

api_key = sa.Table(
    "api_key",
    METADATA,
    _text("hash", 64, key=True),  # SHA-256 of 32 random bytes
    sa.Column("name", sa.String(100), nullable=False, unique=True),
    sa.Column("scopes", JSON, nullable=False),
    sa.Column("rate", sa.REAL),  # requests a second; null: as configured
    sa.Column("made", Moment, nullable=False),
    sa.Column("expires", Moment),
    sa.Column("revoked", Moment),
)

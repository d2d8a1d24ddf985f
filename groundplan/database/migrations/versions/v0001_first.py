"""All tables of the first release, written out: what tables.py says later changes nothing of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
ROW = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

POSTGIS = (
    "CREATE EXTENSION IF NOT EXISTS postgis",
    """CREATE TABLE footprint (
    year SMALLINT NOT NULL, region VARCHAR(200) COLLATE "C" NOT NULL, id VARCHAR(32) COLLATE "C" NOT NULL,
    block VARCHAR(40) COLLATE "C" NOT NULL, confidence REAL NOT NULL, area REAL NOT NULL,
    image_date VARCHAR(10) COLLATE "C", sheet VARCHAR(500) COLLATE "C", model VARCHAR(100) COLLATE "C" NOT NULL,
    fingerprint VARCHAR(32) COLLATE "C" NOT NULL, geom geometry NOT NULL,
    CONSTRAINT footprint_pk PRIMARY KEY (year, region, id)) PARTITION BY LIST (year)""",
    "CREATE INDEX footprint_by_place ON footprint USING gist (geom)",
)
SQLITE = (
    """CREATE TABLE footprint (
    row INTEGER PRIMARY KEY, year SMALLINT NOT NULL, region VARCHAR(200) NOT NULL, id VARCHAR(32) NOT NULL,
    block VARCHAR(40) NOT NULL, confidence REAL NOT NULL, area REAL NOT NULL, image_date VARCHAR(10),
    sheet VARCHAR(500), model VARCHAR(100) NOT NULL, fingerprint VARCHAR(32) NOT NULL, geom BLOB NOT NULL,
    CONSTRAINT footprint_pk UNIQUE (year, region, id))""",
    "CREATE VIRTUAL TABLE footprint_box USING rtree (row, west, east, south, north, from_year, to_year)",
)


def upgrade() -> None:
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGIS:
        op.execute(statement)
    loaded()
    images()
    messages()
    jobs()
    reviews()
    watching()


def downgrade() -> None:
    for name in ("api_key", "drift", "review", "review_task", "job", "inbox", "outbox", "message", "analysis", "image"):
        op.drop_table(name)
    if op.get_bind().dialect.name == "sqlite":
        op.drop_table("footprint_box")
    op.drop_table("footprint")  # in PostgreSQL each year's table too; PostGIS stays: it may be of use to others
    op.drop_table("loaded")


def text(name: str, length: int) -> sa.Column[str]:
    kind = sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=False)


def loaded() -> None:
    op.create_table(
        "loaded",
        text("dataset", 60),
        text("region", 200),
        sa.Column("year", sa.SmallInteger, nullable=False),
        text("manifest", 64),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("crs", sa.Text, nullable=False),
        sa.Column("west", sa.Double),
        sa.Column("south", sa.Double),
        sa.Column("east", sa.Double),
        sa.Column("north", sa.Double),
        sa.Column("first_day", sa.String(10)),
        sa.Column("last_day", sa.String(10)),
        sa.Column("attribution", sa.Text),
        sa.Column("licence", sa.Text),
        sa.PrimaryKeyConstraint("dataset", "region", "year", name="loaded_pk"),
    )


def images() -> None:
    op.create_table(
        "image",
        text("id", 64),
        sa.Column("key", sa.Text),
        sa.Column("source", sa.Text),
        sa.Column("etag", sa.String(200)),
        sa.Column("media", sa.String(60)),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("taken", MOMENT),
        sa.Column("arrived", MOMENT, nullable=False),
        sa.Column("camera", sa.String(120)),
        sa.Column("region", sa.String(200)),
        sa.Column("blurred", sa.Boolean),
        text("state", 20),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("id", name="image_pk"),
    )
    op.create_index("image_by_arrived", "image", ["arrived"])
    op.create_table(
        "analysis",
        text("id", 64),
        text("image", 64),
        text("model", 100),
        text("version", 100),
        sa.Column("made", MOMENT, nullable=False),
        sa.Column("kind", sa.String(40)),
        sa.Column("label", sa.String(200)),
        sa.Column("key", sa.Text),
        sa.Column("confidence", sa.REAL),
        sa.Column("figures", JSON),
        sa.Column("seconds", sa.REAL),
        sa.Column("place", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="analysis_pk"),
        sa.UniqueConstraint("image", "model", "version", "place", name="analysis_one_image_model_version_place"),
        sa.ForeignKeyConstraint(["image"], ["image.id"], name="analysis_of_image"),
    )
    op.create_index("analysis_by_made", "analysis", ["made"])


def messages() -> None:
    op.create_table(
        "message",
        sa.Column("seq", ROW, autoincrement=True, nullable=False),
        text("id", 64),
        text("queue", 60),
        text("type", 100),
        sa.Column("body", JSON, nullable=False),
        sa.Column("arrived", MOMENT, nullable=False),
        sa.Column("due", MOMENT, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("lease", MOMENT),
        sa.Column("holder", sa.String(100)),
        text("state", 12),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("seq", name="message_pk"),
        sa.UniqueConstraint("queue", "id", name="message_one_queue_id"),
    )
    op.create_index("message_by_queue_state_due", "message", ["queue", "state", "due"])
    op.create_table(
        "outbox",
        sa.Column("seq", ROW, autoincrement=True, nullable=False),
        text("id", 64),
        text("target", 60),
        sa.Column("type", sa.String(100), nullable=False),
        sa.Column("event", JSON, nullable=False),
        sa.Column("made", MOMENT, nullable=False),
        sa.Column("sent", MOMENT),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("seq", name="outbox_pk"),
        sa.UniqueConstraint("id", "target", name="outbox_one_id_target"),
    )
    op.create_index("outbox_by_made", "outbox", ["made"])
    op.create_index("outbox_by_target_sent_seq", "outbox", ["target", "sent", "seq"])
    op.create_table(
        "inbox",
        text("id", 200),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="inbox_pk"),
    )
    op.create_index("inbox_by_at", "inbox", ["at"])


def jobs() -> None:
    op.create_table(
        "job",
        text("id", 64),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("asked", JSON, nullable=False),
        sa.Column("owner", sa.String(64)),
        text("state", 12),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer),
        sa.Column("cost", sa.REAL),
        sa.Column("result", JSON),
        sa.Column("reason", sa.Text),
        sa.Column("made", MOMENT, nullable=False),
        sa.Column("changed", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="job_pk"),
    )
    op.create_index("job_by_made", "job", ["made"])


def reviews() -> None:
    op.create_table(
        "review_task",
        text("id", 64),
        text("region", 200),
        sa.Column("year", sa.SmallInteger, nullable=False),
        text("block", 40),
        sa.Column("footprint", sa.String(32)),
        sa.Column("fingerprint", sa.String(32)),
        sa.Column("reason", sa.String(60), nullable=False),
        sa.Column("priority", sa.Double, nullable=False),
        text("state", 12),
        sa.Column("lease", MOMENT),
        sa.Column("holder", sa.String(100)),
        sa.Column("geometry", JSON),
        sa.Column("facts", JSON),
        sa.PrimaryKeyConstraint("id", name="review_task_pk"),
    )
    op.create_index("review_task_by_state_priority", "review_task", ["state", "priority"])
    op.create_index("review_task_by_region_year_block", "review_task", ["region", "year", "block"])
    op.create_table(
        "review",
        text("id", 64),
        text("task", 64),
        sa.Column("person", sa.String(200), nullable=False),
        sa.Column("verdict", sa.String(20), nullable=False),
        sa.Column("geometry", JSON),
        sa.Column("seconds", sa.REAL),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="review_pk"),
        sa.ForeignKeyConstraint(["task"], ["review_task.id"], name="review_of_task"),
    )
    op.create_index("review_by_task", "review", ["task"])
    op.create_index("review_by_at", "review", ["at"])


def watching() -> None:
    op.create_table(
        "drift",
        text("unit", 200),
        text("figure", 100),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("reference", JSON),
        sa.Column("verdict", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("unit", "figure", "at", name="drift_pk"),
    )
    op.create_table(
        "api_key",
        text("hash", 64),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("rate", sa.REAL),
        sa.Column("made", MOMENT, nullable=False),
        sa.Column("expires", MOMENT),
        sa.Column("revoked", MOMENT),
        sa.PrimaryKeyConstraint("hash", name="api_key_pk"),
        sa.UniqueConstraint("name", name="api_key_one_name"),
    )

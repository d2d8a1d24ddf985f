"""All tables of the first release.

Not released yet: it makes what tables.py says, so that a further column needs no second place.
"""

from alembic import op

from groundplan.database.tables import METADATA, footprint

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SQLITE = (
    """CREATE TABLE footprint (
    row INTEGER PRIMARY KEY, year SMALLINT NOT NULL, region VARCHAR(200) NOT NULL, id VARCHAR(32) NOT NULL,
    block VARCHAR(40) NOT NULL, confidence REAL NOT NULL, area REAL NOT NULL, image_date VARCHAR(10),
    sheet VARCHAR(500), model VARCHAR(100) NOT NULL, fingerprint VARCHAR(32) NOT NULL, geom BLOB NOT NULL,
    CONSTRAINT footprint_pk UNIQUE (year, region, id))""",
    "CREATE VIRTUAL TABLE footprint_box USING rtree (row, west, east, south, north, from_year, to_year)",
)


def upgrade() -> None:
    bind = op.get_bind()
    if bind.dialect.name == "sqlite":
        for statement in SQLITE:
            op.execute(statement)
        METADATA.create_all(bind, tables=[table for table in METADATA.sorted_tables if table is not footprint])
        return
    op.execute("CREATE EXTENSION IF NOT EXISTS postgis")
    METADATA.create_all(bind)
    op.execute("CREATE INDEX footprint_by_place ON footprint USING gist (geom)")


def downgrade() -> None:
    bind = op.get_bind()
    if bind.dialect.name == "sqlite":
        op.execute("DROP TABLE footprint_box")
    METADATA.drop_all(bind)  # the extension may be of use to others

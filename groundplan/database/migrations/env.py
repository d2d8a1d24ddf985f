"""What Alembic runs for any of its commands: the migrations, over the connection that it is given.

Here: one transaction around all versions. Not here: which database (connect.py gives the connection).
"""

from alembic import context

from groundplan.database.tables import METADATA


def run() -> None:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=METADATA,
        transaction_per_migration=False,
        render_as_batch=True,  # SQLite alters a table by making it anew
    )
    with context.begin_transaction():
        context.run_migrations()


if hasattr(context, "config"):  # else it is imported, as any module may be, and no command runs
    run()

"""Alembic's migrations. They are frozen: a change of the tables that was released is a further one."""

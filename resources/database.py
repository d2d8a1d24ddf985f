"""The results' database as a Dagster resource.

Here: opening it for a run. Not here: addresses, tables and loading (groundplan/database).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from groundplan.project import Project

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


class DatabaseResource(dg.ConfigurableResource):
    """The database of `[database] url`, or the SQLite file in the home folder. Tests put another in its place."""

    @contextmanager
    def open(self, project: Project) -> Iterator[Engine]:
        """An engine for the time of a run. Raises BadConfig, MissingInput, NewerFormat."""
        from groundplan.database.connect import open_database

        engine = open_database(project)
        try:
            yield engine
        finally:
            engine.dispose()

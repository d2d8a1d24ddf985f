"""The project as a Dagster resource: which home folder a run works on.

Here: opening it. Not here: settings themselves; they are in the home's groundplan.toml (groundplan/config.py).
"""

import dagster as dg
from pydantic import Field

from groundplan.project import Project, open_project


class ProjectResource(dg.ConfigurableResource):
    """The Groundplan project that runs work on: its settings, its grid and its store, opened from a home folder."""

    home: str = Field(description="folder with groundplan.toml; GROUNDPLAN_HOME of the process that runs the assets")

    def open(self) -> Project:
        """Raises BadConfig when the home folder or its settings are not usable."""
        return open_project(self.home)

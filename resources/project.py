"""The project as a Dagster resource: which home folder a run works on.

Here: opening it. Not here: settings themselves; they are in the home's groundplan.toml (groundplan/config.py).
"""

import dagster as dg

from groundplan.project import Project, open_project


class ProjectResource(dg.ConfigurableResource):
    """A Groundplan project. `home` defaults to GROUNDPLAN_HOME of the process that runs the assets."""

    home: str

    def open(self) -> Project:
        """Raises BadConfig when the home folder or its settings are not usable."""
        return open_project(self.home)

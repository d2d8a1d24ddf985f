"""A project: its settings, its grid, its store, and what has been delivered to it.

Here: opening a project and listing what lies in its landing folder. Not here: what is made of it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from groundplan import config
from groundplan.core.datum import FOLDER, use_grids
from groundplan.core.grid import Grid
from groundplan.core.store import Store, open_store
from groundplan.errors import BadConfig


@dataclass(frozen=True)
class Project:
    """Everything a step needs to know; opened from a home folder."""

    home: Path
    settings: config.Settings
    grid: Grid
    store: Store

    @property
    def grids(self) -> Path:
        """Folder with PROJ's grids of datum shifts; it need not be there."""
        return self.home / (self.settings.proj or FOLDER)

    @property
    def datum_tolerance(self) -> float:
        """Metres by which a datum shift may be off without a word: as set, or a pixel of the grid."""
        chosen = self.settings.quality.datum_tolerance
        return self.grid.resolution if chosen is None else chosen

    @property
    def workers(self) -> int:
        return self.settings.run.workers or len(os.sched_getaffinity(0))


def open_project(home: str | os.PathLike[str]) -> Project:
    """The project in a folder. Raises BadConfig."""
    folder = Path(home).absolute()
    settings = config.load(folder)
    grid = Grid(**settings.grid.model_dump())
    store = open_store(settings.store, folder, retries=settings.run.retries, retry_seconds=settings.run.retry_seconds)
    project = Project(folder, settings, grid, store)
    if settings.proj and not project.grids.is_dir():
        raise BadConfig(str(project.grids), "'proj' names no folder", "Make it, and put PROJ's grids there")
    use_grids(project.grids)
    return project


def find_home(here: Path) -> Path:
    """The project that a person in the folder `here` means: this folder, one above it, or the only one right below.

    Raises BadConfig when there is none, or when there are several below.
    """
    for folder in (here, *here.parents):
        if (folder / config.FILE).is_file():
            return folder
    below = sorted(path.parent for path in here.glob(f"*/{config.FILE}"))
    if len(below) == 1:
        return below[0]
    reason = f"it holds several projects: {', '.join(path.name for path in below)}" if below else "no project is here"
    raise BadConfig(str(here), reason, "Give --home, set GROUNDPLAN_HOME, or make one: `groundplan init FOLDER`")

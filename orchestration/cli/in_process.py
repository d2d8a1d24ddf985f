"""Dagster for the command line: the instance that in-process runs are written to.

Here: what every command that materializes needs. Not here: the commands.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from groundplan.project import Project

if TYPE_CHECKING:
    import dagster as dg


def open_instance(project: Project) -> dg.DagsterInstance:
    """DAGSTER_HOME's instance, or one in the home's folder `dagster`, which `make dev` opens too."""
    import dagster as dg

    folder = Path(os.environ.get("DAGSTER_HOME") or dagster_home(project.home))
    with (folder / ".opening").open("w") as door:
        # two builds that make the same SQLite tables at once would trip over each other
        fcntl.flock(door, fcntl.LOCK_EX)
        instance = dg.DagsterInstance.from_config(str(folder))
        instance.get_runs_count()
        instance.all_asset_keys()
        instance.get_dynamic_partitions("regions")
    return instance


def dagster_home(home: Path) -> Path:
    """The home's own Dagster folder, made with the repository's settings when it is not there."""
    folder = home / "dagster"
    if not (folder / "dagster.yaml").exists():
        folder.mkdir(parents=True, exist_ok=True)
        text = (Path(__file__).parents[2] / "dagster.yaml").read_text("utf-8")  # in a wheel too (setup.py)
        temporary = folder / f".dagster-{os.getpid()}.yaml"
        temporary.write_text(text, "utf-8")
        temporary.replace(folder / "dagster.yaml")  # another build may be reading it
    return folder

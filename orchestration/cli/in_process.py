"""In-process runs of Dagster for the command line: instance, signals and errors.

Here: what every command that materializes needs. Not here: the commands.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from groundplan.project import Project

if TYPE_CHECKING:
    import dagster as dg


@contextmanager
def watch_for_stop() -> Iterator[Callable[[], bool]]:
    """Watch for SIGTERM and Ctrl-C; yields whether one has come.

    While Dagster runs a job its handlers stand in place of ours: it turns the signal into a failed step, and forgets
    one that comes while it writes its own events. Python's wake-up pipe is told of all of them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    seen: set[int] = set()

    def stop_requested() -> bool:
        with suppress(BlockingIOError):
            seen.update(os.read(reader, 4096))
        return bool(seen & {signal.SIGTERM, signal.SIGINT})

    try:
        yield stop_requested
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


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
        ours = Path(__file__).parents[2] / "dagster.yaml"  # there in a checkout, not in a wheel
        text = ours.read_text("utf-8") if ours.is_file() else "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"
        temporary = folder / f".dagster-{os.getpid()}.yaml"
        temporary.write_text(text, "utf-8")
        temporary.replace(folder / "dagster.yaml")  # another build may be reading it
    return folder


def reason_of(result: dg.ExecuteInProcessResult | dg.ExecuteJobResult) -> str:
    """The reason of a failed run: the outermost error that a user can act on, else the innermost of all."""
    for event in result.filter_events(lambda event: event.is_step_failure):
        error = event.step_failure_data.error
        while error is not None:
            message = error.message.strip()
            if message.startswith("groundplan.errors."):
                return message.split(": ", 1)[-1]
            if error.cause is None:
                return message
            error = error.cause
    return "the run failed; see its log"

"""`groundplan build`: find what is missing, materialize it with Dagster in order, say what was done.

Here: the order of work over regions and years, and runs in this process. Not here: what is current
(groundplan/steps.py), or runs launched by the daemon.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundplan.blocks import Partition
from groundplan.errors import GroundplanError, Stopped
from groundplan.project import Project
from groundplan.quality import known_faults
from groundplan.steps import ASSETS, asset_state, partitions_of

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True, slots=True)
class Done:
    """What happened to one partition of one asset."""

    asset: str
    partition: Partition
    outcome: str  # made, current, failed, waiting
    made: int = 0
    kept: int = 0
    seconds: float = 0.0
    message: str = ""
    checks: dict[str, str] = field(default_factory=dict)  # failed checks and what they say


def wanted(project: Project, region: str | None, year: int | None, select: str | None) -> list[tuple[str, Partition]]:
    """Assets and partitions in an order in which each finds what it reads.

    Imagery and labels of all regions come first: predictions read across region borders, and a model its whole year.
    """
    order = []
    for name in ASSETS:
        if select is not None and name != select:
            continue
        for partition in partitions_of(project, name):
            if year is not None and partition.year != year:
                continue
            if region is not None and partition.region not in ("", region):
                continue
            order.append((name, partition))
    return order


def build(
    project: Project,
    region: str | None = None,
    year: int | None = None,
    select: str | None = None,
    retrain: bool = False,
) -> Iterator[Done]:
    """Materialize what is missing or stale, one partition of one asset after the other. Raises Stopped."""
    with told_to_stop() as told:
        for done in _build(project, region, year, select, retrain):
            if told() and done.outcome != "made":
                raise Stopped("the run was told to stop")
            yield done
            if told():
                raise Stopped("the run was told to stop")


@contextmanager
def told_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or Ctrl-C has come.

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

    def told() -> bool:
        with suppress(BlockingIOError):
            seen.update(os.read(reader, 4096))
        return bool(seen & {signal.SIGTERM, signal.SIGINT})

    try:
        yield told
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def _build(project: Project, region: str | None, year: int | None, select: str | None, retrain: bool) -> Iterator[Done]:
    instance = None
    broken: set[Partition] = set()
    for name, partition in wanted(project, region, year, select):
        if partition in broken:
            yield Done(name, partition, "waiting", message="an earlier step of this partition failed")
            continue
        try:
            state = asset_state(project, name, partition)
        except GroundplanError as error:
            broken.add(partition)
            yield Done(name, partition, "failed", message=str(error))
            continue
        again = retrain and name == "trained_model"
        if state.state == "current" and not again:
            # a second build must not look green while a sheet is still set aside
            yield Done(name, partition, "current", kept=state.done, checks=known_faults(project, name, partition))
            continue
        if state.state == "waiting":
            broken.add(partition)
            yield Done(name, partition, "waiting", message=state.note)
            continue
        if instance is None:
            instance = open_instance(project)
        done = materialize(project, instance, name, partition, again)
        if done.outcome == "failed":
            broken.add(partition)
        yield done


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
        ours = Path(__file__).parent.parent / "dagster.yaml"  # there in a checkout, not in a wheel
        text = ours.read_text("utf-8") if ours.is_file() else "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"
        temporary = folder / f".dagster-{os.getpid()}.yaml"
        temporary.write_text(text, "utf-8")
        temporary.replace(folder / "dagster.yaml")  # another build may be reading it
    return folder


def materialize(
    project: Project, instance: dg.DagsterInstance, name: str, partition: Partition, retrain: bool = False
) -> Done:
    """One run of one asset and its checks, in this process."""
    import dagster as dg

    with warnings.catch_warnings():  # partition mappings and partitioned checks are Dagster's beta; known and tested
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        from orchestration.definitions import build_definitions
    from orchestration.partitions import key_of, regions
    from resources.project import ProjectResource

    if partition.region and not instance.has_dynamic_partition(regions.name or "", partition.region):
        instance.add_dynamic_partitions(regions.name or "", [partition.region])
    definitions = build_definitions({"project": ProjectResource(home=str(project.home))})
    job = definitions.resolve_implicit_global_asset_job_def()
    config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    if retrain:
        config["ops"] = {name: {"config": {"retrain": True}}}
    result = job.execute_in_process(
        run_config=config,
        instance=instance,
        asset_selection=[dg.AssetKey(name)],
        partition_key=key_of(partition),
        raise_on_error=False,
        tags={"groundplan/build": "command line"},
    )
    failed = {
        evaluation.check_name: (evaluation.description or "").split("\n\n")[0]  # a picture may follow
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed
    }
    materialized = result.asset_materializations_for_node(name) if result.success else []
    if not result.success:
        return Done(name, partition, "failed", message=reason_of(result), checks=failed)
    facts: dict[str, Any] = {key: value.value for key, value in materialized[0].metadata.items()}
    return Done(
        name,
        partition,
        "made",
        int(facts["blocks made"]),
        int(facts["blocks kept"]),
        float(facts["seconds"]),
        checks=failed,
    )


def reason_of(result: dg.ExecuteInProcessResult) -> str:
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

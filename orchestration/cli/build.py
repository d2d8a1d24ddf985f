"""`groundplan build`: find what is missing, materialize it with Dagster in order, say what was done.

Here: the order of work over regions and years, and runs in this process. Not here: what is current
(groundplan/pipeline.py), or runs launched by the daemon.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from groundplan.core.partition import Partition
from groundplan.core.progress import current_progress
from groundplan.core.stop_signals import watch_for_stop
from groundplan.errors import GroundplanError, Stopped
from groundplan.foreign_text import out_of_markdown
from groundplan.imagery.landing import delivered_partitions, project_years
from groundplan.pipeline import ASSETS, asset_state, partitions_of
from groundplan.project import Project
from groundplan.quality.checks import known_faults
from groundplan.quality.verdict import NOTHING_TO_COMPARE

if TYPE_CHECKING:
    import dagster as dg
from assets.reasons import reason_of
from orchestration.cli.in_process import open_instance

BY_COMMAND = {"groundplan/build": "command line"}
LEARNED = ("trained_model", "baseline_model")  # what `--retrain` makes anew
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Configuration of runs whose log is not for the terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionResult:
    """Result of a build for one partition of one asset."""

    asset: str
    partition: Partition
    outcome: str  # made, current, failed, waiting
    made: int = 0
    kept: int = 0
    seconds: float = 0.0
    message: str = ""
    checks: dict[str, str] = field(default_factory=dict)  # failed checks and what they say


def wanted(
    project: Project, region: str | None, year: int | None, select: Collection[str] | None
) -> list[tuple[str, Partition]]:
    """Assets and partitions in an order in which each finds what it reads.

    Imagery and labels of all regions come first: predictions read across region borders, and a model its whole year.
    """
    order = []
    for name in ASSETS:
        if select is not None and name not in select:
            continue
        for partition in partitions_of(project, name, asked=select is not None):
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
    select: Collection[str] | None = None,
    retrain: bool = False,
) -> Iterator[PartitionResult]:
    """Materialize what is missing or stale, one partition of one asset after the other. Raises Stopped."""
    with watch_for_stop() as stop_requested:
        for done in _build(project, region, year, select, retrain):
            if stop_requested() and done.outcome != "made":
                raise Stopped("the run was told to stop")
            yield done
            if stop_requested():
                raise Stopped("the run was told to stop")


def _build(
    project: Project, region: str | None, year: int | None, select: Collection[str] | None, retrain: bool
) -> Iterator[PartitionResult]:
    instance = None
    broken: set[Partition] = set()
    for name, partition in wanted(project, region, year, select):
        if partition in broken:
            yield PartitionResult(
                asset=name, partition=partition, outcome="waiting", message="an earlier step of this partition failed"
            )
            continue
        try:
            with current_progress().task(f"looking at {name} {partition}", 0, 0):
                state = asset_state(project, name, partition)
        except GroundplanError as error:
            broken.add(partition)
            yield PartitionResult(asset=name, partition=partition, outcome="failed", message=str(error))
            continue
        again = retrain and name in LEARNED
        if state.state == "current" and not again:
            # a second build must not look green while a sheet is still set aside
            yield PartitionResult(
                asset=name,
                partition=partition,
                outcome="current",
                kept=state.done,
                checks=known_faults(project, name, partition),
            )
            continue
        if state.state == "waiting":
            broken.add(partition)
            yield PartitionResult(asset=name, partition=partition, outcome="waiting", message=state.note)
            continue
        with current_progress().task(f"run of {name} {partition}", 0, 0):  # also while Dagster is loaded
            if instance is None:
                instance = open_instance(project)
                show_partitions(project, instance)
            done = materialize(project, instance, name, partition, again)
        if done.outcome == "failed":
            broken.add(partition)
        elif state.state == "damaged":
            done = replace(done, message=state.note)
        yield done


def materialize(
    project: Project, instance: dg.DagsterInstance, name: str, partition: Partition, retrain: bool = False
) -> PartitionResult:
    """One run of one asset and its checks, in this process."""
    from assets.partitions import add_partitions, key_of

    add_partitions(instance, [partition])
    config = {"ops": {name: {"config": {"retrain": True}}}} if retrain else {}
    result = _run(project, instance, [name], key_of(partition), config)
    said = {
        evaluation.check_name: out_of_markdown((evaluation.description or "").split("\n\n")[0])  # a picture may follow
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed
    }
    failed = {check: words for check, words in said.items() if not words.startswith(NOTHING_TO_COMPARE)}
    materialized = result.asset_materializations_for_node(name) if result.success else []
    if not result.success:
        return PartitionResult(
            asset=name, partition=partition, outcome="failed", message=reason_of(result), checks=failed
        )
    facts: dict[str, Any] = {key: value.value for key, value in materialized[0].metadata.items()}
    return PartitionResult(
        asset=name,
        partition=partition,
        outcome="made",
        made=int(facts["blocks made"]),
        kept=int(facts["blocks kept"]),
        seconds=float(facts["seconds"]),
        checks=failed,
    )


def _run(
    project: Project, instance: dg.DagsterInstance, names: list[str], key: str | None, config: Mapping[str, Any]
) -> dg.ExecuteInProcessResult:
    """A run of these assets in this process, under the name that runs of them have; it says nothing on the terminal."""
    import dagster as dg

    from orchestration.definitions import build_definitions
    from orchestration.jobs import job_of
    from resources.project import ProjectResource

    definitions = build_definitions({"project": ProjectResource(home=str(project.home))})
    job = job_of(names)
    of = definitions.resolve_job_def(job) if job else definitions.resolve_implicit_global_asset_job_def()
    return of.execute_in_process(
        run_config={**QUIET, **config},
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in names],
        partition_key=key,
        raise_on_error=False,
        tags=BY_COMMAND,
    )


def make_country_pages(project: Project) -> str:
    """Make what tells of the whole country: map, state, readiness, catalogue, audit. Returns '' or why it failed."""
    import dagster as dg
    from dagster._core.definitions.reconstruct import ReconstructableRepository

    # one of them tells of the definitions themselves, which a run knows only by the module that they are loaded from
    os.environ["GROUNDPLAN_HOME"] = str(project.home)
    with current_progress().task("pages of the country", 0, 0):
        definitions = ReconstructableRepository.for_module("orchestration.definitions", "defs")
        job = definitions.get_reconstructable_job("country_pages")
        result = dg.execute_job(job, open_instance(project), run_config=QUIET, raise_on_error=False, tags=BY_COMMAND)
    return "" if result.success else reason_of(result)


def sync(project: Project) -> tuple[int, list[int]]:
    """Tell Dagster of every delivered region and of the project's years; returns the number of regions, and the years.

    A home that was made when Dagster listed all years since 1950 gets its own years so.
    """
    return show_partitions(project, open_instance(project))


def show_partitions(project: Project, instance: dg.DagsterInstance) -> tuple[int, list[int]]:
    """As `sync`, for an instance that is open."""
    from assets.partitions import add_partitions

    delivered = delivered_partitions(project)
    years = project_years(project, delivered, datetime.now(UTC).year)
    add_partitions(instance, delivered, years)
    return len({partition.region for partition in delivered}), years

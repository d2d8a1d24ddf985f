"""Who starts what by itself: each asset's condition, and the sensor that evaluates them.

Here: when a dataset is remade because what it is made from changed. Not here: new imagery
(orchestration/sensors/sources.py), what was missed or failed (orchestration/schedules.py). The table of who starts what
is in docs/schedules.md. https://docs.dagster.io/guides/automate/declarative-automation

All conditions have one shape: something upstream was made since this was last asked for or made, it can be made from
what the store holds, and nothing that it reads is being made. A failed run is not asked for again until its inputs
change; the nightly schedule does that. Dagster's `eager()` would take only the newest year, and would wait for a model
of the year where another year's is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import dagster as dg
from dagster import AssetKey, AutomationCondition

from assets.partitions import key_of, partition_of
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from groundplan.operations.prerequisites import disturbed, makeable
from groundplan.pipeline import ASSETS, STEPS
from groundplan.project import Project, open_project
from groundplan.step import Step, upstream

AUTOMATED = tuple(name for name, step in STEPS.items() if step.automated)
COPIED = ("footprints_in_database", "drift_report", "image_drift")  # what is no step, and is made by itself


def around(name: str) -> tuple[str, ...]:
    """What must not be in the making around a partition, in the order of the pipeline.

    In a whole year for what comes from all its regions, at its neighbors for what reads across borders.
    """
    step = STEPS[name]
    chosen = upstream(STEPS, name) if step.scope.wide else set(step.reads_around)
    return tuple(other for other in ASSETS if other in chosen and not STEPS[other].scope.wide)


def _project() -> Project:
    home = os.environ.get("GROUNDPLAN_HOME")
    if not home:
        raise BadConfig("GROUNDPLAN_HOME", "it is not set", "Set it to the project's folder where Dagster's code runs")
    return open_project(home)


class CanBeMade(AutomationCondition[AssetKey]):
    """True of partitions for which the store holds all that the step needs (groundplan/operations/prerequisites.py)."""

    @property
    def description(self) -> str:
        return "The store holds what it is made from: inputs, a register of the year, or a model"

    @property
    def requires_cursor(self) -> bool:
        return False

    def evaluate(self, context: dg.AutomationContext[AssetKey]) -> dg.AutomationResult[AssetKey]:
        wanted = _candidates(context)
        ready = makeable(_project(), context.key.to_user_string(), wanted) if wanted else set()
        return dg.AutomationResult(context, _subset(context, ready))


class HasDatabase(AutomationCondition[AssetKey]):
    """True where `[database] url` names a database: a file in a home folder is filled by who serves from it."""

    @property
    def description(self) -> str:
        return "The settings name a database"

    @property
    def requires_cursor(self) -> bool:
        return False

    def evaluate(self, context: dg.AutomationContext[AssetKey]) -> dg.AutomationResult[AssetKey]:
        wanted = _candidates(context)
        return dg.AutomationResult(
            context, _subset(context, wanted if wanted and _project().settings.database.url else ())
        )


class NothingAround(AutomationCondition[AssetKey]):
    """True of partitions around which nothing is being made that they read, or learn from."""

    @property
    def description(self) -> str:
        return "No neighbour that it reads, or of the year that it learns from, is being made"

    @property
    def requires_cursor(self) -> bool:
        return False

    async def evaluate(self, context: dg.AutomationContext[AssetKey]) -> dg.AutomationResult[AssetKey]:  # type: ignore[override]
        wanted = _candidates(context)
        busy: set[Partition] = set()
        for name in around(context.key.to_user_string()) if wanted else ():
            busy |= {partition_of(key) for key in await _busy(context, AssetKey(name))}
        years = {partition.year for partition in wanted}
        busy = {partition for partition in busy if partition.year in years}
        if busy:
            project = _project()
            wanted = {partition for partition in wanted if not disturbed(project, partition, busy)}
        return dg.AutomationResult(context, _subset(context, wanted))


class EarlierYearsFirst(AutomationCondition[AssetKey]):
    """True of partitions whose region has no earlier year that waits too, or is being made.

    A year that goes on from the year before is made after it; the later one still waits then, and is asked again.
    """

    @property
    def description(self) -> str:
        return "No earlier year of the region is to be made first"

    @property
    def requires_cursor(self) -> bool:
        return False

    async def evaluate(self, context: dg.AutomationContext[AssetKey]) -> dg.AutomationResult[AssetKey]:  # type: ignore[override]
        wanted = _candidates(context)
        ahead = {partition_of(key) for key in await _busy(context, context.key)} | wanted if wanted else wanted
        first: dict[str, int] = {}
        for one in ahead:
            first[one.region] = min(one.year, first.get(one.region, one.year))
        return dg.AutomationResult(context, _subset(context, {one for one in wanted if one.year == first[one.region]}))


async def _busy(context: dg.AutomationContext[AssetKey], key: AssetKey) -> set[str]:
    """Partitions of an asset with a run or a backfill, or asked for in this same evaluation."""
    view = context.asset_graph_view
    if not view.asset_graph.has(key):
        return set()
    every = view.get_full_subset(key=key)
    runs = await view.compute_run_in_progress_subset(key=key, from_subset=every)
    backfills = await view.compute_backfill_in_progress_subset(key=key, from_subset=every)
    asked = context.request_subsets_by_key.get(key)
    found = {*runs.expensively_compute_partition_keys(), *backfills.expensively_compute_partition_keys()}
    return found | set(asked.expensively_compute_partition_keys() if asked else ())


def _candidates(context: dg.AutomationContext[AssetKey]) -> set[Partition]:
    return {partition_of(key) for key in context.candidate_subset.expensively_compute_partition_keys()}


def _subset(context: dg.AutomationContext[AssetKey], chosen: Iterable[Partition]) -> Any:
    definition = context.partitions_def
    assert definition is not None
    keys: set[str] = {key_of(partition) for partition in chosen}
    return context.asset_graph_view.get_subset_from_partition_keys(context.key, definition, keys)


def _when(updated: AutomationCondition[Any], *more: AutomationCondition[Any], label: str) -> AutomationCondition[Any]:
    """In this order: each part is asked only of the partitions that the parts before it left."""
    condition = updated.since_last_handled() & ~AutomationCondition.in_progress()
    for part in (~AutomationCondition.any_deps_in_progress(), *more):
        condition = condition & part
    return condition.with_label(label)


def condition_of(step: Step[Partition]) -> AutomationCondition[Any] | None:
    """When an asset is made by itself; it follows from what the step declares. None: only when it is asked for."""
    if not step.automated:
        return None
    changed = AutomationCondition.any_deps_updated()
    reads = [name for name in step.reads if name in STEPS]
    if any(STEPS[name].automated for name in step.reads_around):
        # only after those, not in one run with them: neighbors' are read too
        changed = AutomationCondition.any_deps_match(AutomationCondition.newly_updated())
        ignored = [name for name in reads if not STEPS[name].automated]
    else:
        # a new model is the sensor's (arrivals.on_new_model), because it remakes a country
        ignored = [name for name in reads if STEPS[name].scope.wide and not step.scope.wide]
    if ignored:
        changed = changed.ignore(dg.AssetSelection.assets(*ignored))
    nothing_around = [NothingAround()] if around(step.name) else []
    in_order = [EarlierYearsFirst()] if step.reads_before else []
    condition = _when(changed, *nothing_around, CanBeMade(), *in_order, label=step.starts_when)
    return AutomationCondition.missing() & condition if step.stays else condition


def copied() -> AutomationCondition[Any]:
    """Of a copy: what it is made from was made since."""
    return _when(AutomationCondition.any_deps_updated(), HasDatabase(), label="what it copies was made")


class HasBaseline(AutomationCondition[AssetKey]):
    """True of partitions whose model has a drift baseline: without one there is nothing to compare with."""

    @property
    def description(self) -> str:
        return "A drift baseline was made of the model"

    @property
    def requires_cursor(self) -> bool:
        return False

    def evaluate(self, context: dg.AutomationContext[AssetKey]) -> dg.AutomationResult[AssetKey]:
        from groundplan.monitoring.report import can_compare

        wanted = _candidates(context)
        project = _project() if wanted else None
        ready = {partition for partition in wanted if project and can_compare(project, partition)}
        return dg.AutomationResult(context, _subset(context, ready))


def watched() -> AutomationCondition[Any]:
    """Of a report on what was made: it was made since, and there is something to compare it with."""
    return _when(AutomationCondition.any_deps_updated(), HasBaseline(), label="new footprints, and a drift baseline")

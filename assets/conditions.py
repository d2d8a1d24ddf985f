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
from groundplan.operations.prerequisites import makeable
from groundplan.project import Project, open_project

AROUND = {
    "training_windows": ("sheets", "aerial_tiles", "register_buildings", "labels"),
    "trained_model": ("sheets", "aerial_tiles", "register_buildings", "labels"),
    "predictions": ("aerial_tiles",),
    "building_footprints": ("aerial_tiles", "predictions"),
}
"""What must not be in the making around a partition: in a whole year for what learns, at its neighbours for what reads
across borders."""


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
        for name in AROUND[context.key.to_user_string()] if wanted else ():
            busy |= {partition_of(key) for key in await _busy(context, AssetKey(name))}
        years = {partition.year for partition in wanted}
        busy = {partition for partition in busy if partition.year in years}
        if busy:
            project = _project()
            wanted = {partition for partition in wanted if not disturbed(project, partition, busy)}
        return dg.AutomationResult(context, _subset(context, wanted))


def disturbed(project: Project, partition: Partition, busy: Iterable[Partition]) -> bool:
    """Whether any of the busy partitions is in the year, and beside the region where the partition has one.

    Without a polygon file every region of the year may touch.
    """
    from groundplan.imagery.regions import region_polygons

    others = {other.region for other in busy if other.year == partition.year and other.region != partition.region}
    if not others or not partition.region:
        return bool(others)
    polygons = region_polygons(project)
    here, reach = polygons.get(partition.region), 2 * project.grid.span
    return here is None or any(name not in polygons or polygons[name].dwithin(here, reach) for name in others)


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


def conditions() -> dict[str, AutomationCondition[Any]]:
    """Each automated asset to its condition."""
    changed = AutomationCondition.any_deps_updated()
    model = dg.AssetSelection.assets("trained_model")
    tiles = dg.AssetSelection.assets("aerial_tiles")
    made = AutomationCondition.any_deps_match(AutomationCondition.newly_updated()).ignore(tiles)
    return {
        "register_buildings": _when(changed, CanBeMade(), label="new tiles"),
        "labels": _when(changed, CanBeMade(), label="new tiles or buildings, and a register of the year"),
        "training_windows": _when(
            changed, NothingAround(), CanBeMade(), label="new labels, and nothing of the year in the making"
        ),
        # a model stays: a late sheet must not remake a country
        "trained_model": AutomationCondition.missing()
        & _when(changed, NothingAround(), CanBeMade(), label="no model yet, and windows to learn from"),
        # a new model is the sensor's (arrivals.on_new_model), because it remakes a country
        "predictions": _when(
            changed.ignore(model), NothingAround(), CanBeMade(), label="new tiles, and a model; neighbours are done"
        ),
        # only after predictions, not in one run with them: neighbours' predictions are read too
        "building_footprints": _when(made, NothingAround(), CanBeMade(), label="new predictions; neighbours are done"),
    }


CONDITIONS = conditions()

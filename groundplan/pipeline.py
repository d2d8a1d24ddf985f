"""Pipeline: the table of datasets from sheets to footprints, in order.

Here: the list of declarations, and running a partition of one by its name. Not here: what a dataset declares (STEP, in
each step's own module), the machinery (step.py), Dagster (assets/). Its counterpart for image collections is
collections/pipeline.py.
"""

from __future__ import annotations

from typing import Any

from groundplan import step
from groundplan.changes import changes, ids, null
from groundplan.core.materialize import Report
from groundplan.core.partition import Partition, year_before
from groundplan.footprints import footprints, national, national_pieces, outlines, predictions
from groundplan.imagery import catalog, tiles
from groundplan.imagery.landing import delivered_partitions
from groundplan.labels import masks, registers
from groundplan.mining import hard_negatives, trial
from groundplan.project import Project
from groundplan.step import Scope, State, Table, assets_of, is_wanted, run_step_of, table_of, with_companions
from groundplan.training import baseline, models, windows

STEPS: Table[Partition] = table_of(
    [
        catalog.STEP,
        tiles.STEP,
        registers.STEP,
        masks.STEP,
        windows.STEP,
        baseline.WINDOWS_STEP,
        baseline.STEP,
        models.STEP,
        predictions.STEP,
        hard_negatives.STEP,
        trial.STEP,
        outlines.STEP,
        footprints.STEP,
        ids.STEP,
        null.STEP,
        changes.STEP,
        national_pieces.STEP,
        national.STEP,
    ]
)
ASSETS = assets_of(STEPS)
"""What a user sees."""
ALWAYS = tuple(name for name in ASSETS if STEPS[name].wanted is None)
"""Those that every project has; the others only where its settings ask for them."""


def run_step(project: Project, name: str, partition: Partition, run: str = "", **options: Any) -> Report:
    """Make what is missing of one partition and commit it."""
    return run_step_of(project, STEPS[name], partition, run, **options)


def run_asset(project: Project, name: str, partition: Partition, run: str = "", **options: Any) -> list[Report]:
    """As `run_step`, with the steps that come along with a dataset. options: of the dataset's own plan."""
    return [
        run_step_of(project, each, part, run, **(options if each.name == name else {}))
        for each, part in with_companions(STEPS, project.settings, name, partition)
    ]


def state_of(project: Project, name: str, partition: Partition) -> State[Partition]:
    """How a partition of one step stands; makes nothing."""
    return step.state_of(project, STEPS[name], partition)


def asset_state(project: Project, name: str, partition: Partition) -> State[Partition]:
    """What `groundplan status` says of a partition; makes nothing."""
    return step.asset_state(project, STEPS, name, partition)


def partitions_of(
    project: Project, name: str, delivered: list[Partition] | None = None, asked: bool = False
) -> list[Partition]:
    """All partitions of a dataset for which imagery was delivered, sorted; none where the settings do not ask for it.

    delivered: `delivered_partitions(project)`, where the caller has it: it lists all that was delivered.
    asked: a person named the dataset, so it is wanted whatever the settings say.
    """
    if not asked and not is_wanted(STEPS[name], project.settings):
        return []
    delivered = delivered_partitions(project) if delivered is None else delivered
    if STEPS[name].reads_before:
        return [item for item in delivered if year_before(item, delivered) is not None]
    if STEPS[name].scope is Scope.REGION:
        return delivered
    only = project.settings.predict.model_year  # then no other year's model is used, and none is trained
    years = {item.year for item in delivered}
    return [Partition(year) for year in sorted(years) if not STEPS[name].learns or only in (None, year)]

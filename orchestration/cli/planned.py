"""What `groundplan build` would do, as `--dry-run` says it: how each partition stands, and what follows from the rest.

Here: following the order of a build without making anything. Not here: how a partition stands (groundplan/step.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from groundplan.core.partition import Partition
from groundplan.core.progress import counted
from groundplan.errors import GroundplanError, StoreFailed
from groundplan.imagery.landing import delivered_partitions
from groundplan.operations.prerequisites import Reason, asked_for, register_years, waits_for
from groundplan.pipeline import STEPS
from groundplan.step import State, Status
from orchestration.cli.build import LEARNED, wanted

if TYPE_CHECKING:
    from groundplan.project import Project

Made = tuple[str, Partition]
"""A dataset and a partition of it."""
MAKES = ("make", "look again")
WHY = {
    Status.MISSING: "it was never made",
    Status.STALE: "what it is made from, or a setting, changed",
    Status.DAMAGED: "some of it is gone or not as it was written",
    Status.FAILED: "the last run failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intended:
    """What a build would do with a partition of an asset.

    would: keep, make, look again (it is current, and what it is made from is made first), or wait.
    objects: to be made; None where that follows from what is made first.
    """

    dataset: str
    partition: Partition
    would: str
    objects: int | None = None
    why: str = ""


def states_of(
    project: Project, region: str | None, year: int | None, select: Collection[str] | None
) -> list[State[Partition]]:
    """How all that a build would look at stands, in its order."""
    order = wanted(project, region, year, select)
    with counted("looking at what is there", order, len(order)) as looks:
        return [state_or_note(project, name, partition) for name, partition in looks]


def intended(project: Project, states: Sequence[State[Partition]], retrain: bool = False) -> list[Intended]:
    """What a build would do with partitions that stand so, in its order. Makes nothing. Raises StoreFailed."""
    rows: list[Intended] = []
    now = _made(project)
    then = set(now)
    registers, model_year = register_years(project), project.settings.predict.model_year
    delivered, asked = delivered_partitions(project), asked_for(project.settings)

    def lacks(state: State[Partition], made: Collection[Made]) -> Reason:
        place = state.dataset, state.partition
        return waits_for(*place, lambda n, p: _there(made, n, p), registers, model_year, delivered, asked)

    for state in states:
        row = _judge(state, rows, retrain and state.dataset in LEARNED, model_year)
        if row.would == "wait" and lacks(state, now) and not lacks(state, then):
            row = replace(row, would="make", why="after what it is made from")
        if row.would != "wait":
            then.add((state.dataset, state.partition))
        rows.append(row)
    return rows


def _judge(state: State[Partition], before: Sequence[Intended], again: bool, model_year: int | None) -> Intended:
    name, partition = state.dataset, state.partition
    if state.state is Status.WAITING:
        return Intended(dataset=name, partition=partition, would="wait", why=state.note)
    if state.state is not Status.CURRENT or again:
        why = WHY.get(state.state, "asked for with --retrain")
        return Intended(
            dataset=name, partition=partition, would="make", objects=max(state.planned - state.done, 0) or None, why=why
        )
    step = STEPS[name]
    inputs = {*step.reads, *step.reads_around}
    earlier = {STEPS[other].comes_with or other for other in step.reads_before}
    first = any(
        row.would in MAKES
        and (
            (row.dataset in inputs and _touches(row, partition, model_year))
            or (row.dataset in earlier and _is_before(row.partition, partition))
        )
        for row in before
    )
    if first and not STEPS[name].stays:
        return Intended(dataset=name, partition=partition, would="look again", why="what it is made from is made first")
    return Intended(dataset=name, partition=partition, would="keep")


def _touches(row: Intended, partition: Partition, model_year: int | None) -> bool:
    """Whether a partition may read another one; a region also reads its neighbours'."""
    return row.partition.year == partition.year or (STEPS[row.dataset].learns and row.partition.year == model_year)


def _is_before(other: Partition, partition: Partition) -> bool:
    return other.region == partition.region and other.year < partition.year


def state_or_note(project: Project, name: str, partition: Partition) -> State[Partition]:
    """How a partition stands; what is wrong with what it reads is said of it, and the others go on."""
    from groundplan.pipeline import asset_state

    try:
        return asset_state(project, name, partition)
    except StoreFailed:
        raise
    except GroundplanError as error:
        return State(dataset=name, partition=partition, state=Status.WAITING, note=str(error))


def _made(project: Project) -> set[Made]:
    from groundplan.core.manifest import committed

    found = (one for one in committed(project.store) if one.dataset in STEPS and one.year is not None)
    return {(one.dataset, one.partition) for one in found}


def _there(made: Collection[Made], name: str, partition: Partition) -> bool:
    if partition.region or STEPS[name].scope.wide:
        return (name, partition) in made
    return any(dataset == name and place.year == partition.year for dataset, place in made)

"""Pipeline of an image collection: the table of datasets from delivered images to a classifier and a report.

Here: the list of declarations, and running and judging partitions of them, a class or many at a time. Not here: what a
dataset declares (STEP, in each step's own module), the machinery (groundplan/step.py), Dagster (assets/), or which of
them a build runs (orchestration/cli/build_collection.py). Its counterpart for imagery is groundplan/pipeline.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from groundplan import step
from groundplan.collections import catalog
from groundplan.collections.classification import classifier, fine_tuned
from groundplan.collections.descriptors import features, reduced, visual_words
from groundplan.collections.files import classes
from groundplan.collections.report import report
from groundplan.collections.residency import check_residency
from groundplan.core.materialize import Report
from groundplan.core.partition import ClassPartition
from groundplan.project import Project
from groundplan.step import State, Step, Table, assets_of, run_step_of, table_of, with_companions

STEPS: Table[ClassPartition] = table_of(
    [
        catalog.STEP,
        visual_words.STEP,
        features.STEP,
        reduced.SUMS_STEP,
        reduced.AXES_STEP,
        reduced.STEP,
        classifier.STEP,
        fine_tuned.STEP,
        report.STEP,
    ]
)
ASSETS = assets_of(STEPS)
"""What a user sees; sums are made with the features, components with the reduced ones."""
TOGETHER = 8  # classes at a time where most of a class is waiting for the store
LOOKS = 16  # partitions judged at a time: each costs some small reads

T = TypeVar("T")


def partitions_of(project: Project, name: str, collection: str) -> list[ClassPartition]:
    """All partitions of an asset in one collection."""
    return [ClassPartition(collection)] if STEPS[name].scope.wide else classes(project, collection)


def run_step(project: Project, name: str, partition: ClassPartition, run: str = "") -> Report:
    """Make what is missing of one partition and commit it.

    Raises BadConfig where images may not lie in this store, BlocksFailed, MissingInput, StoreFailed.
    """
    check_residency(project)
    return run_step_of(project, STEPS[name], partition, run)


def run_asset(project: Project, name: str, partition: ClassPartition, run: str = "") -> list[Report]:
    """Make what is missing of one partition of an asset: a report for each step that comes with it."""
    return [run_step(project, each.name, part, run) for each, part in _steps(project, name, partition)]


def run_all(
    project: Project, name: str, partitions: Sequence[ClassPartition], run: str = ""
) -> Iterator[tuple[ClassPartition, list[Report] | Exception]]:
    """As `run_asset`, for many classes: reports or the error of each, in their order. One that fails stops no other.

    What belongs to the collection is made first, once, and is in no report. A step that uses all processors is made
    one class at a time.
    """
    for collection in sorted({partition.collection for partition in partitions}):
        for each, part in _steps(project, name, ClassPartition(collection, "any")):
            if not part.label:
                run_step(project, each.name, part, run)

    def one(partition: ClassPartition) -> tuple[ClassPartition, list[Report] | Exception]:
        mine = [each for each in _steps(project, name, partition) if each[1].label or not partition.label]
        try:
            return partition, [run_step(project, each.name, part, run) for each, part in mine]
        except Exception as error:
            return partition, error

    yield from _in_order(one, partitions, 1 if STEPS[name].alone else TOGETHER)


def _steps(project: Project, name: str, partition: ClassPartition) -> list[tuple[Step[ClassPartition], ClassPartition]]:
    return with_companions(STEPS, project.settings, name, partition)


def _in_order(work: Callable[[ClassPartition], T], items: Iterable[ClassPartition], threads: int) -> Iterator[T]:
    if threads == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="class")
    try:
        # each in a context of its own: what a class says of its progress is for whoever listens here
        coming = [pool.submit(copy_context().run, work, item) for item in items]
        yield from (each.result() for each in coming)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # told to stop: classes in hand end, no other begins


def asset_state(project: Project, name: str, partition: ClassPartition) -> State[ClassPartition]:
    """How a partition of an asset stands; makes nothing. It is current only when its steps are."""
    return step.asset_state(project, STEPS, name, partition)


def asset_states(project: Project, name: str, partitions: Sequence[ClassPartition]) -> list[State[ClassPartition]]:
    """The state of each."""
    with ThreadPoolExecutor(LOOKS, thread_name_prefix="state") as pool:
        return list(pool.map(lambda partition: asset_state(project, name, partition), partitions))

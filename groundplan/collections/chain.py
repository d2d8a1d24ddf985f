"""What is made of a collection, in order: its assets, the steps that come along with each, and how they stand.

Here: running and judging a partition of an asset. Not here: the table of steps (pipeline.py), Dagster (assets/), or
which of them a build runs (orchestration/cli/build_collection.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from groundplan.collections import catalog
from groundplan.collections.classification import classifier, fine_tuned
from groundplan.collections.descriptors import features, reduced, visual_words
from groundplan.collections.pipeline import STEPS, run_step
from groundplan.collections.report import report
from groundplan.core.manifest import failure_key, is_current, read_manifest
from groundplan.core.materialize import Report
from groundplan.core.partition import ClassPartition
from groundplan.errors import MissingInput
from groundplan.project import Project

CATALOG, FEATURES = catalog.DATASET, features.DATASET
ASSETS = (CATALOG, FEATURES, reduced.DATASET, classifier.DATASET, report.DATASET)
"""What a user sees; sums are made with the features, components with the reduced ones."""
BY_CLASS = (CATALOG, FEATURES, reduced.DATASET)
TOGETHER = 8  # classes at a time where most of a class is waiting for the store
LOOKS = 16  # partitions judged at a time: each costs some small reads

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class State:
    """How a partition stands: current, stale (would be made anew), missing, failed or waiting (for what it reads)."""

    dataset: str
    partition: ClassPartition
    state: str
    done: int = 0
    planned: int = 0
    failed: int = 0
    note: str = ""


def steps_of(project: Project, name: str, partition: ClassPartition) -> list[tuple[str, ClassPartition]]:
    """The steps that make a partition of an asset, in order, each with its own partition."""
    whole = ClassPartition(partition.collection)
    if name == FEATURES:
        before = [(visual_words.DATASET, whole)] if project.settings.collections.features == "orb" else []
        return [*before, (FEATURES, partition), (reduced.SUMS, partition)]
    if name == reduced.DATASET:
        return [(reduced.AXES, whole), (reduced.DATASET, partition)]
    if name == classifier.DATASET and project.settings.collections.fine_tune:
        return [(name, partition), (fine_tuned.DATASET, partition)]  # last: the linear one is there if it fails
    return [(name, partition)]


def partitions_of(project: Project, name: str, collection: str) -> list[ClassPartition]:
    """All partitions of an asset in one collection."""
    return catalog.classes(project, collection) if name in BY_CLASS else [ClassPartition(collection)]


def run(project: Project, name: str, partition: ClassPartition, run: str = "") -> list[Report]:
    """Make what is missing of one partition of an asset: a report for each step."""
    return [run_step(project, step, part, run) for step, part in steps_of(project, name, partition)]


def run_all(
    project: Project, name: str, partitions: Sequence[ClassPartition], run_id: str = ""
) -> Iterator[tuple[ClassPartition, list[Report] | Exception]]:
    """As `run`, for many classes: reports or the error of each, in their order. One that fails does not stop others.

    What belongs to the collection is made first, once, and is in no report. Features are made one class at a time:
    they use all processors.
    """
    for collection in sorted({partition.collection for partition in partitions}):
        for step, part in steps_of(project, name, ClassPartition(collection, "any")):
            if not part.label:
                run_step(project, step, part, run_id)

    def one(partition: ClassPartition) -> tuple[ClassPartition, list[Report] | Exception]:
        mine = [(step, part) for step, part in steps_of(project, name, partition) if part.label or not partition.label]
        try:
            return partition, [run_step(project, step, part, run_id) for step, part in mine]
        except Exception as error:
            return partition, error

    yield from _in_order(one, partitions, 1 if name == FEATURES else TOGETHER)


def _in_order(work: Callable[[ClassPartition], T], items: Iterable[ClassPartition], hands: int) -> Iterator[T]:
    if hands == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(hands, thread_name_prefix="class")
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # told to stop: classes in hand end, no other begins


def state(project: Project, name: str, partition: ClassPartition) -> State:
    """How a partition of an asset stands; makes nothing. It is current only when its steps are."""
    found = State(name, partition, "current")
    for step, part in steps_of(project, name, partition):
        found = state_of(project, step, part)
        if found.state != "current":
            break
    return replace(found, dataset=name, partition=partition)


def states(project: Project, name: str, partitions: Sequence[ClassPartition]) -> list[State]:
    """The state of each."""
    with ThreadPoolExecutor(LOOKS, thread_name_prefix="state") as pool:
        return list(pool.map(lambda partition: state(project, name, partition), partitions))


def state_of(project: Project, name: str, partition: ClassPartition) -> State:
    """How a partition of one step stands: current, stale, missing, failed or waiting."""
    step = STEPS[name]
    manifest = read_manifest(project.store, name, partition)
    try:
        plan = step.plan(project, partition)
    except MissingInput as error:
        return State(name, partition, "waiting", note=str(error))
    marks = {planned.name: planned.fingerprint for planned in plan}
    done = sum(marks.get(made.name) == made.fingerprint for made in manifest.objects.values()) if manifest else 0
    if is_current(manifest, step.version, plan):
        return State(name, partition, "current", done, len(plan))
    try:
        failed = json.loads(project.store.get(failure_key(name, partition)))["failed"]
    except MissingInput:
        failed = {}
    note = "; ".join(f"{block}: {reason}" for block, reason in list(failed.items())[:1])
    word = "failed" if failed else "stale" if manifest else "missing"
    return State(name, partition, word, done, len(plan), len(failed), note)

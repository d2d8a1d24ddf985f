"""`groundplan build --collection`: find what is missing of a collection, materialize it with Dagster, say so.

Here: the order of assets, and runs in this process: one for each unbroken stretch of classes, since a run of its own
(0.3 s) costs more than most classes. Not here: what is current (groundplan/collections/pipeline.py), regions and years
(build.py).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from assets.reasons import reason_of
from groundplan.collections import pipeline
from groundplan.core.partition import ClassPartition
from groundplan.core.progress import current_progress
from groundplan.core.stop_signals import watch_for_stop
from groundplan.errors import Stopped
from groundplan.project import Project
from groundplan.step import State
from orchestration.cli.in_process import open_instance
from orchestration.cli.preflight import check_features

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassesResult:
    """Result of a build for some partitions of one asset."""

    asset: str
    partitions: tuple[ClassPartition, ...]
    outcome: str  # made, current, failed, waiting
    made: int = 0
    kept: int = 0
    seconds: float = 0.0
    message: str = ""

    @property
    def label(self) -> str:
        """The partitions in a word or two."""
        return str(self.partitions[0]) if len(self.partitions) == 1 else f"{len(self.partitions)} classes"


def build(project: Project, collection: str, select: Collection[str] | None = None) -> Iterator[ClassesResult]:
    """Materialize what is missing or stale of a collection. Raises Stopped; ModelMismatch before the first step."""
    with watch_for_stop() as stop_requested:
        for done in _build(project, collection, select):
            if stop_requested() and done.outcome != "made":
                raise Stopped("the run was told to stop")
            yield done
            if stop_requested():
                raise Stopped("the run was told to stop")


def states_of(
    project: Project, collection: str, select: Collection[str] | None
) -> Iterator[tuple[str, list[State[ClassPartition]]]]:
    """How the partitions of each asset stand, in the order of a build."""
    for name in pipeline.ASSETS:
        if select is None or name in select:
            yield name, pipeline.asset_states(project, name, pipeline.partitions_of(project, name, collection))


def _build(project: Project, collection: str, select: Collection[str] | None) -> Iterator[ClassesResult]:
    runs: _Runs | None = None
    for name, found in states_of(project, collection, select):
        for outcome in ("current", "waiting"):
            if group := [state for state in found if state.state == outcome]:
                yield _untouched(name, group, outcome)
        todo = [state.partition for state in found if state.state not in ("current", "waiting")]
        if todo:
            if runs is None:
                check_features(project, collection, name, select)
                runs = _Runs(project, collection)
            notes = {state.partition: state.note for state in found if state.state == "damaged"}
            for done in runs.make(name, todo):
                note = next((notes[part] for part in done.partitions if part in notes), "")
                yield replace(done, message=note) if note and done.outcome == "made" else done


def _untouched(name: str, group: Sequence[State], outcome: str) -> ClassesResult:
    partitions = tuple(state.partition for state in group)
    note = next((state.note for state in group if state.note), "")
    return ClassesResult(
        asset=name, partitions=partitions, outcome=outcome, kept=sum(state.done for state in group), message=note
    )


class _Runs:
    """Dagster, opened at the first thing to do: a build that has nothing to do never imports it."""

    def __init__(self, project: Project, collection: str) -> None:
        from assets.collection_partitions import add_partitions
        from orchestration.definitions import build_definitions
        from resources.project import ProjectResource

        with current_progress().task("opening Dagster", 0, 0):
            definitions = build_definitions({"project": ProjectResource(home=str(project.home))})
            self.instance = open_instance(project)
            add_partitions(self.instance, project, collection)
            self.job = definitions.resolve_implicit_global_asset_job_def()

    def make(self, name: str, todo: Sequence[ClassPartition]) -> Iterator[ClassesResult]:
        """One run for each stretch of partitions that follow each other in Dagster's list."""
        from assets.collection_partitions import collections, image_classes, key_of, ranges

        definition = image_classes if not pipeline.STEPS[name].scope.wide else collections
        known = self.instance.get_dynamic_partitions(definition.name or "")
        by_key = {key_of(partition): partition for partition in todo}
        for first, last in ranges(known, by_key):
            keys = known[known.index(first) : known.index(last) + 1]
            yield self._run(name, [by_key[key] for key in keys], first, last)

    def _run(self, name: str, partitions: list[ClassPartition], first: str, last: str) -> ClassesResult:
        import dagster as dg

        one, clock = len(partitions) == 1, time.monotonic()
        stretch = {f"dagster/asset_partition_range_{end}": key for end, key in (("start", first), ("end", last))}
        with current_progress().task(f"run of {name} {first}", 0, 0):
            result = self.job.execute_in_process(
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                instance=self.instance,
                asset_selection=[dg.AssetKey(name)],
                partition_key=first if one else None,
                raise_on_error=False,
                tags={"groundplan/build": "command line", **({} if one else stretch)},
            )
        if not result.success:
            return ClassesResult(asset=name, partitions=tuple(partitions), outcome="failed", message=reason_of(result))
        facts = [_values(event) for event in result.asset_materializations_for_node(name)]
        made, kept = (sum(int(each[f"blocks {what}"]) for each in facts) for what in ("made", "kept"))
        return ClassesResult(
            asset=name,
            partitions=tuple(partitions),
            outcome="made",
            made=made,
            kept=kept,
            seconds=time.monotonic() - clock,
        )


def _values(event: dg.AssetMaterialization) -> dict[str, Any]:
    return {key: value.value for key, value in event.metadata.items()}

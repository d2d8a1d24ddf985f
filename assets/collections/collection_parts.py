"""What all assets of image collections do: one run makes one class, or a stretch of classes.

Here: running the library's steps for the partitions of a run, and what is said of each. Not here: what a step does, or
which classes there are. A class costs less than a run of its own, so a stretch of classes may share a run; the store
says what is made, so a run that was killed goes on where it was, whatever its stretch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from assets.collection_partitions import key_of, partition_of
from assets.report import result
from groundplan.collections import pipeline
from groundplan.core.materialize import Report
from groundplan.core.partition import ClassPartition
from groundplan.core.progress import LogProgress, reporting_to
from groundplan.errors import MissingInput
from groundplan.project import Project

Say = Callable[[list[Report]], Mapping[str, Any]]
Draw = Callable[[ClassPartition], bytes]


def make_classes(
    context: dg.AssetExecutionContext, project: Project, name: str, say: Say, draw: Draw | None = None
) -> dg.MaterializeResult[Any]:
    """Make the classes of this run. say: figures of a class from its reports; draw: a picture, for a run of one class.

    A class that fails lets the others go on; then the run fails with the first error.
    """
    wanted = [partition_of(key) for key in context.partition_keys]
    errors: list[Exception] = []
    results = {}
    for partition, outcome in _reported(context, lambda: list(pipeline.run_all(project, name, wanted, context.run_id))):
        if isinstance(outcome, Exception):
            errors.append(outcome)
        else:
            # every byte of a picture is copied into Dagster's database: not one for each of many classes
            picture = _drawn(draw, partition) if draw and len(wanted) == 1 else None
            own = sorted(outcome, key=lambda report: report.manifest.dataset == name)  # last: the asset's, not what
            results[partition] = result(project, own, picture, say(own))  # came along with it
    if errors:
        raise errors[0]
    if len(wanted) == 1:
        return results[wanted[0]]
    for partition, one in results.items():
        context.add_asset_metadata(one.metadata or {}, partition_key=key_of(partition))
    return dg.MaterializeResult()


def _drawn(draw: Draw, partition: ClassPartition) -> tuple[str, bytes] | None:
    try:
        return f"{partition} on the first two components", draw(partition)
    except MissingInput:  # a class without a usable image
        return None


def make_whole(context: dg.AssetExecutionContext, project: Project, name: str) -> tuple[ClassPartition, list[Report]]:
    """Make what belongs to the collection of this run as a whole."""
    partition = partition_of(context.partition_key)
    return partition, _reported(context, lambda: pipeline.run_asset(project, name, partition, context.run_id))


def _reported(context: dg.AssetExecutionContext, work: Callable[[], Any]) -> Any:
    """Progress goes to the run's log, and to the command line where somebody looks on."""
    with reporting_to(LogProgress(context.log.info)):
        return work()

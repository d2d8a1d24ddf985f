"""Stretches as Dagster's partitions: neighboring regions of a year that one launched run makes, each in a run within.

Here: a stretch's key and what it stands for, and making its parts one after the other in this process. Not here: which
regions go together (groundplan/capacity/stretches.py), who asks (orchestration/stretches.py), the asset that is
launched (operations/region_stretches.py).

Why not one run over a range of partitions: Dagster writes the result of a check of a range without its partition, ends
a range as a whole, and after a death retries all of it or nothing. A run of one partition has its own events, checks
and page; in the process of a run that is there already it needs no pod and loads nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import DagsterExecutionInterruptedError, DagsterRunStatus

from assets.partitions import REGION, YEAR, key_of, regions
from assets.reasons import reason_of
from groundplan.core.partition import Partition
from groundplan.core.stop_signals import watch_for_stop

ASSET = "region_stretches"
stretches = dg.DynamicPartitionsDefinition(name="stretches")

STRETCH, STRETCH_RUN, STRETCH_FIRST = "groundplan/stretch", "groundplan/stretch_run", "groundplan/stretch_first_run"
"""Tags of a part's run: the stretch's key; the run that makes it; the first of that run and its retries."""
IN_STRETCH = {"groundplan/in_stretch": "yes"}
"""The same for all of them, to count them by."""
PARTS_FAILED = "groundplan/parts_failed"
"""Tag of a stretch's run that failed because a part did; the part's run says why."""
INHERITED = ("groundplan/cause", "groundplan/night")
ONCE = {"dagster/max_retries": "0"}  # a part is tried again by its stretch, never by itself


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighboring regions of a year, from the first to the last in Dagster's list, and what is made of each."""

    year: int
    assets: tuple[str, ...]
    first: str
    last: str

    @property
    def key(self) -> str:
        """`2024/predictions/delft/leiden`; several assets are joined by `+`."""
        return f"{self.year}/{'+'.join(self.assets)}/{self.first}/{self.last}"

    def partitions(self, known: Sequence[str]) -> list[Partition]:
        """Regions in order. known: Dagster's list of them, which only grows at its end. Raises ValueError."""
        start, end = known.index(self.first), known.index(self.last)
        return [Partition(self.year, region) for region in known[start : end + 1]]


def stretch_of(key: str) -> Stretch:
    """What a key stands for. Raises ValueError for what is none."""
    year, assets, first, last = key.split("/")
    return Stretch(int(year), tuple(assets.split("+")), first, last)


def known_regions(instance: dg.DagsterInstance) -> Sequence[str]:
    """Dagster's regions, in the order in which they were added."""
    return instance.get_dynamic_partitions(regions.name or "")


def targets_of_key(known: Sequence[str], key: str) -> list[tuple[str, Partition]]:
    """Assets and partitions of a stretch; none where a region of it is no more."""
    stretch = stretch_of(key)
    if not {stretch.first, stretch.last} <= set(known):
        return []
    return [(name, partition) for name in stretch.assets for partition in stretch.partitions(known)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StretchPart:
    """What became of a region of a stretch. outcome: made, made before, failed."""

    partition: Partition
    outcome: str
    seconds: float = 0.0
    run: str = ""
    why: str = ""


def make_parts(context: dg.AssetExecutionContext, stretch: Stretch) -> Iterator[StretchPart]:
    """Make each region of the stretch in a run of its own, in this process; one that fails lets the others go on.

    What this run, tried again, made before it was killed is not made again. Raises DagsterExecutionInterruptedError
    where the run is told to stop, as Dagster does.
    """
    before = _made_before(context)
    job = context.repository_def.get_implicit_global_asset_job_def()
    with watch_for_stop() as stop_requested:
        for partition in stretch.partitions(known_regions(context.instance)):
            if key_of(partition) in before:
                yield StretchPart(partition=partition, outcome="made before", run=before[key_of(partition)])
                continue
            part = _made(job, context, stretch, partition)
            if stop_requested():  # the handler of the part's run took the signal
                raise DagsterExecutionInterruptedError
            yield part


def _made(
    job: dg.JobDefinition, context: dg.AssetExecutionContext, stretch: Stretch, partition: Partition
) -> StretchPart:
    clock = time.monotonic()
    result = job.execute_in_process(
        instance=context.instance,
        asset_selection=[dg.AssetKey(name) for name in stretch.assets],
        partition_key=key_of(partition),
        raise_on_error=False,
        tags=_tags(context.run, stretch, partition),
    )
    seconds, why = time.monotonic() - clock, "" if result.success else reason_of(result)
    context.log.info(f"{partition}: {why or 'made'} ({seconds:.1f} s), run {result.run_id}")
    outcome = "made" if result.success else "failed"
    return StretchPart(partition=partition, outcome=outcome, seconds=seconds, run=result.run_id, why=why)


def _tags(run: dg.DagsterRun, stretch: Stretch, partition: Partition) -> Mapping[str, str]:
    inherited = {name: run.tags[name] for name in INHERITED if name in run.tags}
    place = {REGION: partition.region, YEAR: str(partition.year)}
    mine = {STRETCH: stretch.key, STRETCH_RUN: run.run_id, STRETCH_FIRST: first_run(run)}
    return {**inherited, **place, **mine, **IN_STRETCH, **ONCE}


def first_run(run: Any) -> str:
    """The run that all its retries go back to."""
    return str(run.root_run_id or run.run_id)


def _made_before(context: dg.AssetExecutionContext) -> dict[str, str]:
    """Keys of partitions that an earlier try of this run made, to their runs; those that died with it are ended."""
    found = {}
    for part in context.instance.get_runs(dg.RunsFilter(tags={STRETCH_FIRST: first_run(context.run)})):
        if part.status is DagsterRunStatus.SUCCESS:
            found[part.tags["dagster/partition"]] = part.run_id
        elif not part.is_finished:
            context.instance.report_run_failed(part, "The run of its stretch ended before it; that one tries again")
    return found


def died_with_its_stretch(run: dg.DagsterRun) -> bool:
    """Whether a part's run ended without a failure of its own: what there is to say of it is said of the stretch."""
    return STRETCH_RUN in run.tags and run.tags.get("dagster/failure_reason") in (None, "UNEXPECTED_TERMINATION")

"""Asset backfills that are asked for by name: asking twice for the same thing asks once.

Here: putting a backfill into Dagster's queue of backfills, and which partitions are being made at the moment. Not here:
what to ask for (groundplan/operations/backlog.py, groundplan/ingest/decide.py), or who plans the runs: Dagster's daemon
does, at 11 to 20 ms per asset and partition.
https://docs.dagster.io/guides/build/partitions-and-backfills/backfilling-data
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
from dagster import AssetKey
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from sqlalchemy.exc import IntegrityError

from assets.partitions import add_partitions, key_of, partition_of
from assets.stretches import ASSET as STRETCHES
from assets.stretches import known_regions, stretches, targets_of_key
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from groundplan.pipeline import STEPS  # a collection's partitions are classes, and nobody asks for those here

CAUSE = "groundplan/cause"
PRIORITY, LATER = "dagster/priority", "-5"  # in the queue of runs a backfill lets everything else go first
RUNNING = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
PAGE = 1000  # runs read from Dagster's database at a time
PARTITION, START, END = "dagster/partition", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

Target = tuple[str, Partition]


def backfill_id(key: str) -> str:
    """The id of what is asked for under this key: 16 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def request_backfill(
    instance: dg.DagsterInstance,
    asset_graph: BaseAssetGraph,
    assets: Sequence[str],
    partitions: Sequence[Partition],
    title: str,
    tags: Mapping[str, str],
    key: str,
) -> str:
    """Ask for these partitions of these assets, as one asset backfill, and return its id.

    An asset that is cut by year only gets the years of the partitions. The id follows from `key`: a second request
    with the same key changes nothing, so a tick that was killed after it asked may be run again. Regions and years that
    Dagster does not know yet are added. Raises BadConfig when an asset is unknown, not partitioned, or no partition is
    given.
    """
    found = backfill_id(key)
    if instance.get_backfill(found):
        return found
    # the daemon refuses partitions that do not exist
    add_partitions(instance, partitions)
    return _add(instance, found, _subset(asset_graph, assets, partitions), title, tags)


def request_stretches(
    instance: dg.DagsterInstance,
    asset_graph: BaseAssetGraph,
    asset: str,
    keys: Sequence[str],
    title: str,
    tags: Mapping[str, str],
    key: str,
) -> str:
    """As `request_backfill`, for runs that make a stretch of regions each (assets/stretches.py). keys: theirs."""
    found = backfill_id(key)
    if instance.get_backfill(found):
        return found
    instance.add_dynamic_partitions(stretches.name or "", list(keys))
    subset = AssetGraphSubset({AssetKey(asset): stretches.empty_subset().with_partition_keys(keys)}, set())  # type: ignore[call-arg]
    return _add(instance, found, subset, title, tags)


def _add(
    instance: dg.DagsterInstance, found: str, subset: AssetGraphSubset, title: str, tags: Mapping[str, str]
) -> str:
    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id=found,
        backfill_timestamp=time.time(),
        tags={PRIORITY: LATER, **tags},
        dynamic_partitions_store=instance,
        asset_graph_subset=subset,
        title=title,
        description=None,
        run_config=None,
    )
    try:
        instance.add_backfill(backfill)
    except IntegrityError:  # somebody else asked in the same moment
        if not instance.get_backfill(found):
            raise
    return found


def _subset(graph: BaseAssetGraph, assets: Sequence[str], partitions: Sequence[Partition]) -> AssetGraphSubset:
    if not partitions or not assets:
        raise BadConfig("a backfill", "no asset or no partition was asked for", "Name at least one of each")
    subsets = {}
    for name in assets:
        key = AssetKey(name)
        definition = graph.get(key).partitions_def if graph.has(key) else None
        if definition is None:
            raise BadConfig(f"asset {name!r}", "it is unknown or has no partitions", "Name partitioned assets")
        if isinstance(definition, dg.MultiPartitionsDefinition):
            keys = {key_of(partition) for partition in partitions if partition.region}
        else:
            keys = {str(partition.year) for partition in partitions}
        if not keys:
            raise BadConfig(f"asset {name!r}", "the partitions name no region", "Give partitions of a region and year")
        subsets[key] = definition.empty_subset().with_partition_keys(sorted(keys))
    return AssetGraphSubset(subsets, set())  # type: ignore[call-arg]


def in_progress(instance: dg.DagsterInstance) -> set[Target]:
    """Assets and partitions that a run or a backfill is at work on, or waits for."""
    found = set(_of_runs(instance))
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=RUNNING)):
        data = backfill.asset_backfill_data
        if data is None:  # a backfill of a job, or of an older Dagster; its runs are seen above
            continue
        left = data.target_subset - data.materialized_subset - data.failed_and_downstream_subset
        found |= targets_in(left, known_regions(instance))
    return found


def targets_of(backfill: PartitionBackfill, known: Sequence[str] = ()) -> set[Target]:
    """All that a backfill was asked for, done or not. known: Dagster's regions, by which stretches are read."""
    data = backfill.asset_backfill_data
    return targets_in(data.target_subset, known) if data else set()


def targets_in(subset: AssetGraphSubset, known: Sequence[str]) -> set[Target]:
    """Assets and partitions of a subset of Dagster's graph; of a stretch those that it makes."""
    found: set[Target] = set()
    for asset, key in subset.iterate_asset_partitions():
        found |= _targets(asset.to_user_string(), key, known)
    return found


def targets_of_run(run: dg.DagsterRun, known: Sequence[str]) -> set[Target]:
    """What a run makes; of a range that a person asked for the ends are known."""
    found: set[Target] = set()
    for asset in run.asset_selection or ():
        for tag in (PARTITION, START, END):
            found |= _targets(asset.to_user_string(), run.tags.get(tag), known)
    return found


def _targets(name: str, key: str | None, known: Sequence[str]) -> set[Target]:
    if key and name == STRETCHES:
        return set(targets_of_key(known, key))
    return {(name, partition_of(key))} if key and name in STEPS else set()


def _of_runs(instance: dg.DagsterInstance) -> Iterator[Target]:
    wanted, cursor, known = dg.RunsFilter(statuses=list(NOT_FINISHED_STATUSES)), None, known_regions(instance)
    while True:
        runs = instance.get_runs(wanted, cursor=cursor, limit=PAGE)
        for run in runs:
            yield from targets_of_run(run, known)
        if len(runs) < PAGE:
            return
        cursor = runs[-1].run_id

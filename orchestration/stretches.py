"""Asking for many small regions: where several cost less than a launch each, one run is asked for them.

Here: what a launch costs, by the launch profiles; which regions of what is asked for go together; asking. Not here: the
cut (groundplan/capacity/stretches.py), what a region takes (groundplan/operations/region_work.py), how a run makes its
regions (assets/stretches.py). A backfill that a person launches in the web UI stays a run for each region.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

from assets.partitions import add_partitions
from assets.stretches import ASSET, Stretch, known_regions
from groundplan.capacity.stretches import LaunchCost, cut
from groundplan.core.partition import Partition
from groundplan.operations.region_work import Pod, WhyTogether, expected_seconds, keep_reason
from groundplan.pipeline import STEPS
from groundplan.project import Project
from groundplan.step import Scope
from orchestration.backfills import request_backfill, request_stretches
from orchestration.launch.profiles import combined, cores, read_table

PROFILES = "profiles.yaml"  # in the home folder of every pod of a cluster, and nowhere else


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Work that is asked for: these assets of these partitions, as one backfill under this key."""

    assets: tuple[str, ...]
    partitions: tuple[Partition, ...]
    title: str
    key: str


def launch_of(project: Project, assets: Sequence[str]) -> tuple[LaunchCost, Pod]:
    """What launching a run of these assets costs, and what it works with. Raises BadConfig for a table that is broken.

    No table of launch profiles: runs are processes of this machine, and no cost of a launch is known.
    """
    path = project.home / PROFILES
    if not path.is_file():
        return LaunchCost(), Pod(1)
    table = read_table(path)
    _, profile = combined(table, [table.assets.get(name, STEPS[name].profile) for name in assets])
    cost = LaunchCost(profile.launch_seconds, project.settings.run.stretch_launches)
    return cost, Pod(max(1, math.floor(cores(profile.cpu))), profile.gpu)


def divided(
    project: Project, instance: dg.DagsterInstance, assets: Sequence[str], partitions: Sequence[Partition]
) -> tuple[list[Stretch], list[Partition]]:
    """Stretches that one run makes each, and partitions with a run of their own. Raises StoreFailed, BadConfig."""
    cost, pod = launch_of(project, assets)
    if not cost.most or any(STEPS[name].scope is not Scope.REGION for name in assets):
        return [], list(partitions)
    add_partitions(instance, partitions)  # a stretch's key is read by Dagster's list of regions
    known, expected = known_regions(instance), expected_seconds(project, assets, partitions, pod)
    together: list[Stretch] = []
    alone: list[Partition] = []
    for year in sorted({partition.year for partition in partitions}):
        for group in cut([Partition(year, region) for region in known], _of_year(expected, year), cost):
            if len(group) > 1:
                together.append(Stretch(year, tuple(assets), group[0].region, group[-1].region))
                named = {one.region: round(expected[one] or 0.0, 1) for one in group}
                reason = WhyTogether(launch_seconds=cost.seconds, most_seconds=cost.most, expected=named)
                keep_reason(project, together[-1].key, reason)
            else:
                alone += group
    return together, alone


def _of_year(expected: Mapping[Partition, float | None], year: int) -> dict[Partition, float | None]:
    return {partition: seconds for partition, seconds in expected.items() if partition.year == year}


def request(
    project: Project,
    instance: dg.DagsterInstance,
    graph: BaseAssetGraph,
    wanted: Wanted,
    tags: Mapping[str, str],
    counted: Mapping[str, str] | None = None,
) -> list[str]:
    """Ask for work, as one backfill of runs of one region, one of runs of a stretch, or both; returns their ids.

    counted: tags that are summed over backfills, so that only one of them has them. Asking twice asks once, as with
    `request_backfill`; what was cut otherwise the second time is asked for again, and found made.
    """
    together, alone = divided(project, instance, wanted.assets, wanted.partitions)
    once = {**tags, **(counted or {})}
    if not together:
        return [request_backfill(instance, graph, wanted.assets, wanted.partitions, wanted.title, once, wanted.key)]
    keys = [stretch.key for stretch in together]
    count = len(wanted.partitions) - len(alone)
    title = f"{wanted.title}: {count} small regions in {len(keys)} runs"
    asked = [request_stretches(instance, graph, ASSET, keys, title, once, _key(wanted.key, keys))]
    if alone:
        own = _key(wanted.key, [str(partition) for partition in alone])
        asked.append(request_backfill(instance, graph, wanted.assets, alone, wanted.title, tags, own))
    return asked


def _key(key: str, parts: Sequence[str]) -> str:
    """By content too: measured costs change, and with them the cut."""
    return f"{key}/{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"

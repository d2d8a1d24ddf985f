"""Run coordinator: every run gets the pod that its assets ask for, and no two runs write the same partition.

Here: tagging a run when it is submitted. Materialize, backfills, sensors, schedules and retries all come through here;
`op_tags` of assets do not reach run pods, and tags of jobs are lost where assets are launched directly. Not here: what
the tags say (profiles.py). https://docs.dagster.io/deployment/execution/customizing-run-queue-priority

    run_coordinator:
      module: orchestration.launch.coordinator
      class: ProfiledRunCoordinator
      config: {profiles: /etc/groundplan/profiles.yaml, max_concurrent_runs: 64}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import AssetKey, DagsterRun, StringSource
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator, RunQueueConfig
from dagster._core.storage.dagster_run import ACTIVE_RUN_STATUSES
from dagster._serdes import ConfigurableClassData

from assets.describe import DEFAULT, PROFILE_TAG
from assets.stretches import ASSET as STRETCHES
from assets.stretches import IN_STRETCH, stretch_of
from groundplan.pipeline import ASSETS
from orchestration.launch.profiles import ProfileTable, combined, pod, read_table

POD_TAG = "dagster-k8s/config"
POD_MARK = "groundplan/pod"  # tells our pod settings from a person's, when a retry inherits them
WRITER = "groundplan/writer."
PARTITION, RANGE_START, RANGE_END = (
    f"dagster/{name}" for name in ("partition", "asset_partition_range_start", "asset_partition_range_end")
)


class ProfiledRunCoordinator(QueuedRunCoordinator):
    """A QueuedRunCoordinator that knows the launch profiles of assets."""

    def __init__(self, profiles: str, inst_data: ConfigurableClassData | None = None, **options: Any) -> None:
        self._profiles = Path(profiles)
        super().__init__(inst_data=inst_data, **options)

    @classmethod
    def config_type(cls) -> Any:
        described = dg.Field(StringSource, description="path of the table of launch profiles")
        return {**super().config_type(), "profiles": described}  # type: ignore[dict-item]

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> ProfiledRunCoordinator:
        return cls(inst_data=inst_data, **config_value)

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        run = context.dagster_run
        # read each time: a changed table counts from the next run on
        tags = tags_of(read_table(self._profiles), run, profiles_of(context))
        self._instance.add_run_tags(run.run_id, tags)
        return super().submit_run(context)

    def get_run_queue_config(self) -> RunQueueConfig:
        """Also: one run at a time writes an asset's partition, and profiles with `max_runs` have no more than that.

        A region's run in the pod of its stretch is no pod, so it takes no place from those that are launched.
        """
        table = read_table(self._profiles)
        each = {"applyLimitPerUniqueValue": True}
        limits: list[Mapping[str, Any]] = [{"key": WRITER + name, "value": each, "limit": 1} for name in ASSETS]
        for name, profile in table.profiles.items():
            if profile.max_runs is not None:
                limits.append({"key": PROFILE_TAG, "value": name, "limit": profile.max_runs})
        queue = super().get_run_queue_config()
        most = queue.max_concurrent_runs
        if most >= 0:  # below: no limit
            most += self._instance.get_runs_count(dg.RunsFilter(statuses=ACTIVE_RUN_STATUSES, tags=IN_STRETCH))
        return queue._replace(tag_concurrency_limits=[*queue.tag_concurrency_limits, *limits], max_concurrent_runs=most)


def profiles_of(context: SubmitRunContext) -> dict[str, str]:
    """Each asset of the run to the profile that its code asks for."""
    graph = context.workspace.asset_graph
    keys: Iterable[AssetKey] = context.dagster_run.asset_selection or ()
    stretch = context.dagster_run.tags.get(PARTITION)
    if stretch and AssetKey(STRETCHES) in keys:  # it makes regions, so it needs what they need
        keys = [AssetKey(name) for name in stretch_of(stretch).assets]
    return {key.to_user_string(): graph.get(key).tags.get(PROFILE_TAG, DEFAULT) for key in keys if graph.has(key)}


def tags_of(table: ProfileTable, run: DagsterRun, assets: Mapping[str, str]) -> dict[str, str]:
    """What a run is tagged with before it is queued. A profile or pod settings that a person gave win."""
    chosen = run.tags.get(PROFILE_TAG)
    inherited = run.tags.get(POD_TAG, "{}")
    if run.parent_run_id and run.tags.get(POD_MARK) == _mark(inherited):
        chosen, inherited = None, "{}"  # a retry: what we said then may have changed since
    wanted = [chosen] if chosen else [table.assets.get(name, profile) for name, profile in assets.items()]
    name, profile = combined(table, wanted)
    settings = json.dumps(_over(pod(table, name, profile), json.loads(inherited)), sort_keys=True)
    tags = {PROFILE_TAG: name, POD_TAG: settings}
    if inherited == "{}" and not chosen:
        tags[POD_MARK] = _mark(settings)
    return tags | {WRITER + asset: _partition(run) for asset in assets if asset in ASSETS}


def _partition(run: DagsterRun) -> str:
    start, end = run.tags.get(RANGE_START), run.tags.get(RANGE_END)
    return run.tags.get(PARTITION) or (f"{start}...{end}" if start else "all")


def _over(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Their settings laid over ours, key by key."""
    merged = dict(ours)
    for key, value in theirs.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _over(merged[key], value) if both else value
    return merged


def _mark(settings: str) -> str:
    return hashlib.sha256(settings.encode()).hexdigest()[:12]

"""Every way to start a run ends in the pod that its assets ask for, and one run at a time writes a partition."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from asking import BACKFILL, LAUNCH, backfill, materialize
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.test_utils import create_run_for_test, create_test_daemon_workspace_context, instance_for_test
from dagster._core.workspace.load_target import ModuleTarget
from dagster_k8s.job import get_user_defined_k8s_config
from hypothesis import given
from hypothesis import strategies as st

from assets.describe import PROFILE_TAG
from assets.partitions import add_partitions
from assets.stretches import ASSET, IN_STRETCH
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from groundplan.pipeline import ASSETS as NAMES
from orchestration.backfills import in_progress, request_stretches
from orchestration.definitions import ASSETS
from orchestration.launch.coordinator import POD_TAG, WRITER, tags_of
from orchestration.launch.profiles import ProfileTable, combined, cores, pod, read_table, size

pytestmark = pytest.mark.slow  # a queue and its daemon

KEY = "noorderveld|2024"
TABLE: dict[str, Any] = {
    "images": {"groundplan": "here/groundplan:1", "train": "here/groundplan-train:1"},
    "pull_policy": "Never",
    "nodes": {
        "spot": {"selector": {"pool": "spot"}, "tolerations": [{"key": "spot", "operator": "Exists"}]},
        "ondemand": {"selector": {"pool": "ondemand"}},
    },
    "profiles": {
        "io": {"cpu": "500m", "memory": "1Gi", "nodes": "spot"},
        "cpu": {"cpu": "4", "memory": "8Gi", "disk": "40Gi", "nodes": "spot", "max_runs": 7},
        "gpu": {"cpu": "2", "memory": "16Gi", "gpu": 1, "nodes": "spot"},
        "train": {"cpu": "8", "memory": "9000Mi", "gpu": 1, "nodes": "ondemand", "image": "train"},
    },
}


def table(**changes: Any) -> ProfileTable:
    return ProfileTable.model_validate({**TABLE, **changes})


def resources(settings: dict[str, Any]) -> dict[str, str]:
    found = settings["container_config"]["resources"]
    assert found["requests"] == found["limits"], "a pod that borrows is the first to be killed"
    limits: dict[str, str] = found["limits"]
    return limits


# --- the table --------------------------------------------------------------------------------------------------------


def test_every_asset_asks_for_a_profile_of_the_table() -> None:
    for asset in ASSETS:
        for spec in asset.specs:
            assert spec.tags.get(PROFILE_TAG) in TABLE["profiles"], spec.key


@given(st.lists(st.sampled_from(["io", "cpu", "gpu", "train"]), min_size=1))
def test_assets_that_share_a_pod_get_the_most_of_each(names: list[str]) -> None:
    name, profile = combined(table(), names)
    parts = [table().profiles[one] for one in names]
    assert cores(profile.cpu) == max(cores(one.cpu) for one in parts)
    assert size(profile.memory) == max(size(one.memory) for one in parts)
    assert size(profile.disk) == max(size(one.disk) for one in parts)
    assert profile.gpu == max(one.gpu for one in parts)
    assert name == max(names, key=["io", "cpu", "gpu", "train"].index)
    assert (profile.image == "train") is ("train" in names)


def test_a_pod_works_with_the_processors_that_it_was_given() -> None:
    for name, workers in (("io", "1"), ("cpu", "4")):
        settings = pod(table(), *combined(table(), [name]))
        assert {one["name"]: one["value"] for one in settings["container_config"]["env"]} == {
            "GROUNDPLAN_RUN__WORKERS": workers,
            "OMP_NUM_THREADS": workers,
        }


def test_kubernetes_reads_the_settings() -> None:
    """Dagster turns the tag into Kubernetes objects; an unknown field would be refused here."""
    settings = pod(table(), *combined(table(), ["train"]))
    read = get_user_defined_k8s_config({POD_TAG: json.dumps(settings)})
    assert read.pod_spec_config["node_selector"] == {"pool": "ondemand"}
    assert read.container_config["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert read.container_config["image"] == "here/groundplan-train:1"


def test_a_group_may_be_a_wish_only() -> None:
    nodes = {**TABLE["nodes"], "spot": {"prefer": {"pool": "spot", "zone": "a"}}}
    settings = pod(table(nodes=nodes), *combined(table(), ["io"]))
    affinity = get_user_defined_k8s_config({POD_TAG: json.dumps(settings)}).pod_spec_config["affinity"]
    (wish,) = affinity["node_affinity"]["preferred_during_scheduling_ignored_during_execution"]
    assert [one["key"] for one in wish["preference"]["match_expressions"]] == ["pool", "zone"]
    assert settings["pod_spec_config"]["node_selector"] == {}


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nodes": {"spot": {}}}, "node group 'ondemand'"),
        ({"images": {"groundplan": "g"}}, "image 'train'"),
        ({"assets": {"predictions": "huge"}}, "'huge'"),
        ({"profiles": {"cpu": {"cpu": "4", "memory": "8Gi", "nodes": "spot"}}}, "'io' is missing"),
        ({"profiles": {"io": {"cpu": "four", "memory": "8Gi", "nodes": "spot"}}}, "profiles.io.cpu"),
        ({"profiles": {"io": {"cpu": "4", "memory": "8 GB", "nodes": "spot"}}}, "profiles.io.memory"),
        ({"profiles": {"io": {"cpu": "4", "memory": "8Gi", "nodes": "spot", "colour": "red"}}}, "colour"),
        ({"grace_seconds": 600}, "grace_seconds"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "profiles.yaml"
    path.write_text(yaml.safe_dump({**TABLE, **change}))
    with pytest.raises(BadConfig, match=said) as error:
        read_table(path)
    assert "profiles.yaml" in str(error.value)


# --- tags -------------------------------------------------------------------------------------------------------------


def a_run(tags: dict[str, str], parent: str | None = None) -> DagsterRun:
    return DagsterRun(job_name="__ASSET_JOB", tags=tags, parent_run_id=parent, root_run_id=parent)


def test_what_a_person_asked_for_wins() -> None:
    asked = {"container_config": {"resources": {"limits": {"memory": "99Gi"}}}}
    tags = tags_of(table(), a_run({POD_TAG: json.dumps(asked)}), {"predictions": "cpu"})
    limits = json.loads(tags[POD_TAG])["container_config"]["resources"]["limits"]
    assert (limits["memory"], limits["cpu"]) == ("99Gi", "4")
    tags = tags_of(table(), a_run({PROFILE_TAG: "gpu"}), {"predictions": "cpu"})
    assert resources(json.loads(tags[POD_TAG]))["nvidia.com/gpu"] == "1"


def test_a_retry_gets_what_the_table_says_now_and_what_a_person_asked_for_before() -> None:
    first = tags_of(table(), a_run({}), {"predictions": "cpu"})
    more = {**TABLE["profiles"], "cpu": {**TABLE["profiles"]["cpu"], "memory": "64Gi"}}
    again = tags_of(table(profiles=more), a_run(first, "parent"), {"predictions": "cpu"})
    assert resources(json.loads(again[POD_TAG]))["memory"] == "64Gi"
    chosen = {PROFILE_TAG: "gpu"}
    first = chosen | tags_of(table(), a_run(chosen), {"predictions": "cpu"})
    again = tags_of(table(), a_run(first, "parent"), {"predictions": "cpu"})
    assert again[PROFILE_TAG] == "gpu"


def test_the_table_may_send_an_asset_elsewhere() -> None:
    tags = tags_of(table(assets={"predictions": "gpu"}), a_run({}), {"predictions": "cpu", "labels": "cpu"})
    assert tags[PROFILE_TAG] == "gpu"


def test_ranges_are_writers_too() -> None:
    start, end = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    tags = tags_of(table(), a_run({start: "a|2022", end: "a|2024"}), {"labels": "cpu"})
    assert tags[WRITER + "labels"] == "a|2022...a|2024"


# --- in a real instance -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dg.DagsterInstance, Any, Path]]:
    """An instance with our coordinator, and the code location in a process of its own."""
    path = tmp_path_factory.mktemp("profiles") / "profiles.yaml"
    path.write_text(yaml.safe_dump(TABLE))
    coordinator = {
        "module": "orchestration.launch.coordinator",
        "class": "ProfiledRunCoordinator",
        "config": {"profiles": str(path), "max_concurrent_runs": 9},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDPLAN_HOME", str(path.parent))
        yield from serving(coordinator, path)


def serving(coordinator: dict[str, Any], path: Path) -> Iterator[tuple[dg.DagsterInstance, Any, Path]]:
    target = ModuleTarget("orchestration.definitions", None, None, "groundplan")
    with (
        instance_for_test(overrides={"run_coordinator": coordinator}) as instance,
        create_test_daemon_workspace_context(target, instance) as workspace,
    ):
        add_partitions(instance, [Partition(2023, "noorderveld"), Partition(2024, "noorderveld")])
        yield instance, workspace, path


def launch(workspace: Any, names: list[str]) -> str:
    """As the web UI's Materialize button does it."""
    answer = asked(workspace, LAUNCH, materialize(names, KEY))["launchPipelineExecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    run_id: str = answer["run"]["runId"]
    return run_id


def asked(workspace: Any, mutation: str, what: dict[str, Any]) -> dict[str, Any]:
    """What the web server's GraphQL answers."""
    from dagster_graphql.schema import create_schema

    context = workspace.create_request_context()
    done = asyncio.run(create_schema().execute_async(mutation, context_value=context, variables={"what": what}))
    assert not done.errors, done.errors
    data: dict[str, Any] = done.data
    return data


def test_the_materialize_button_gets_the_pod_and_the_writers_tag(dagster: Any) -> None:
    instance, workspace, _ = dagster
    run = instance.get_run_by_id(launch(workspace, ["aerial_tiles", "sheets"]))
    assert run.status is dg.DagsterRunStatus.QUEUED
    assert run.tags[PROFILE_TAG] == "cpu"
    assert resources(json.loads(run.tags[POD_TAG])) == {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "40Gi"}
    assert run.tags[WRITER + "aerial_tiles"] == run.tags[WRITER + "sheets"] == KEY


def test_a_backfill_gets_the_pod_too(dagster: Any) -> None:
    from dagster._daemon.backfill import execute_backfill_iteration

    instance, workspace, _ = dagster
    what = backfill(["building_footprints"], [KEY, "noorderveld|2023"], "footprints")
    answer = asked(workspace, BACKFILL, what)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    assert [error for error in execute_backfill_iteration(workspace, logging.getLogger("backfill")) if error] == []
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": answer["backfillId"]}))
    assert {run.tags[WRITER + "building_footprints"] for run in runs} == {KEY, "noorderveld|2023"}
    for run in runs:
        assert resources(json.loads(run.tags[POD_TAG]))["cpu"] == "4"


def test_a_stretch_of_regions_is_one_run_with_the_pod_of_what_it_makes(dagster: Any) -> None:
    from dagster._daemon.backfill import execute_backfill_iteration

    instance, workspace, _ = dagster
    graph = workspace.create_request_context().asset_graph
    instance.add_dynamic_partitions("regions", ["ommen"])
    key = "2024/sheets+aerial_tiles/noorderveld/ommen"
    found = request_stretches(instance, graph, ASSET, [key], "small", {"groundplan/cause": "test"}, "stretch")
    assert [error for error in execute_backfill_iteration(workspace, logging.getLogger("backfill")) if error] == []
    (run,) = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": found}))
    assert run.tags["dagster/partition"] == run.tags[WRITER + "aerial_tiles"] == key
    assert (run.tags[PROFILE_TAG], run.tags["groundplan/cause"]) == ("cpu", "test")
    assert in_progress(instance) >= {
        (name, Partition(2024, region)) for name in ("sheets", "aerial_tiles") for region in ("noorderveld", "ommen")
    }
    # a region's run in its pod takes no place in the queue
    free = instance.get_concurrency_config().run_queue_config.max_concurrent_runs
    part = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=IN_STRETCH)
    assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == free + 1
    instance.delete_run(part.run_id)


def test_the_queue_holds_back_a_second_writer(dagster: Any) -> None:
    instance, _, path = dagster
    limits = instance.get_concurrency_config().run_queue_config.tag_concurrency_limits
    for name in NAMES:
        assert {"key": WRITER + name, "value": {"applyLimitPerUniqueValue": True}, "limit": 1} in limits
    assert {"key": PROFILE_TAG, "value": "cpu", "limit": 7} in limits
    assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 9
    changed = {**TABLE, "profiles": {name: {**one, "max_runs": 1} for name, one in TABLE["profiles"].items()}}
    path.write_text(yaml.safe_dump(changed))
    limits = instance.get_concurrency_config().run_queue_config.tag_concurrency_limits
    assert {"key": PROFILE_TAG, "value": "gpu", "limit": 1} in limits

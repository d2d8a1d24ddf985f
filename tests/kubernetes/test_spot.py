"""Kill anything: the run is tried again by itself, makes only what is missing, and ends in the same bytes.

Everything here is real: pods of the real image, evictions, a lost node. The tests are in an order: the first makes the
country without any disturbance, and its objects are what the others must end with.
Where the cluster was not made here, a process, a node or the API server cannot be killed: those tests fail and say so.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from asking import FORCE, TERMINATE
from chart import CHART, dagster_values, run_job
from cluster import Cluster
from processes import wait_for
from report import disturbance
from servers import S3, Postgres, free_port
from world import GRACE, IMAGE, TOLERATION, TRAIN_IMAGE, World, deployed, kill_worker

from assets.partitions import key_of
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.pipeline import ALWAYS, partitions_of, run_asset
from groundplan.project import Project
from orchestration.launch.coordinator import POD_TAG, WRITER
from orchestration.launch.launcher import SWEEP
from orchestration.launch.probes import ENVIRONMENT

SMALL = CHART / "examples" / "small.yaml"

YEARS = (2023,)  # a second one would double the pods and show nothing else: years are apart in tests/dagster
NORTH, SOUTH = "noorderveld", "zuiderhout"
PARTITIONS = [Partition(year, region) for region in (NORTH, SOUTH) for year in YEARS]
HERE = Partition(2023, NORTH)  # what is disturbed
WORKERS = 1  # blocks in hand of a pod: its profile has less than two processors

Undisturbed = dict[str, str]
LIGHT = "KUBERNETES_LIGHT" in os.environ
"""For quick rounds while developing: no image of 7 GB, models are learned outside the cluster."""


@pytest.fixture(scope="module")
def world(
    cluster: Cluster,
    bring_image: Any,
    s3: S3,
    postgres: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
    make_project: Any,
) -> Iterator[World]:
    """Two regions of a year, delivered to S3; blocks that take about a second to predict."""
    from groundplan.imagery.regions import add_regions
    from groundplan.ingest.add_imagery import deliver
    from groundplan.labels.registers import add_register
    from groundplan.synthetic.country import draw

    folder = tmp_path_factory.mktemp("spot")
    bring_image("groundplan")
    if not LIGHT:
        bring_image("groundplan-train", [cluster.ondemand])
    country = draw(folder / "country", size_m=260.0, years=YEARS)
    namespace = f"groundplan-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", namespace)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.env.items():
            patch.setenv(name, value)
        project = make_project(
            folder / "home",
            store=f"s3://{s3.bucket}/country",
            predict={"core": 256, "margin": 128, "views": 8},
            run={"workers": WORKERS},
        )
        add_regions(project, country.regions)
        for (region, year), sheets in country.sheets.items():
            deliver(project, sheets, region, year)
        for year, (register, extent) in country.registers.items():
            add_register(project, register, year, extent)
        if LIGHT:
            learn_here(project)
        with deployed(cluster, namespace, project, country, s3, postgres, folder / "dagster") as world:
            yield world
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def learn_here(project: Project) -> None:
    """Make the models outside the cluster; the training pods find them made."""
    for name in ("sheets", "aerial_tiles", "register_buildings", "labels", "training_windows", "trained_model"):
        for partition in partitions_of(project, name):
            run_asset(project, name, partition)
    others = ("sheets", "aerial_tiles", "register_buildings", "labels", "training_windows")
    prefixes = [*others, *(f"manifests/{name}" for name in others)]
    project.store.delete([found.key for prefix in prefixes for found in project.store.list(prefix)])


@pytest.fixture(scope="module")
def undisturbed(world: World) -> Undisturbed:
    """The whole country by one backfill, and what its objects are."""
    started = time.monotonic()
    backfill = world.backfill(ALWAYS, PARTITIONS)

    def over() -> bool:
        found = world.instance.get_backfill(backfill)
        return found is not None and found.status.value.startswith("COMPLETED")

    wait_for("the backfill to end", over, 1200)
    runs = world.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))
    for run in runs:
        assert run.is_success, world.story(run.run_id)
    print(f"the country: {len(runs)} runs in {time.monotonic() - started:.0f} s")
    return {key: value for one in PARTITIONS for key, value in world.digests(one).items()}


def test_a_backfill_makes_the_country_on_spot_nodes(world: World, undisturbed: Undisturbed) -> None:
    for partition in PARTITIONS:
        for name in ("aerial_tiles", "predictions", "building_footprints"):
            assert need_manifest(world.project.store, name, partition).objects
    runs = world.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))
    nodes = set()
    for run in runs:
        for pod in world.pods(run.run_id):
            container = pod["spec"]["containers"][0]
            train = "trained_model" in {key.to_user_string() for key in run.asset_selection or ()}
            assert container["image"] == (TRAIN_IMAGE if train else IMAGE)
            assert container["resources"]["limits"] == container["resources"]["requests"]
            assert pod["spec"]["terminationGracePeriodSeconds"] == GRACE
            assert pod["spec"]["automountServiceAccountToken"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            nodes.add((train, pod["spec"]["nodeName"]))
    assert (True, world.cluster.ondemand) in nodes
    assert (False, world.cluster.spot) in nodes
    assert len(undisturbed) > 50
    for name in ("aerial_tiles", "predictions"):
        stored = world.written(name)
        assert len(stored) == len(set(stored)) == sum(len(world.blocks(name, one)) for one in PARTITIONS)


def test_logs_outlive_the_pod(world: World, undisturbed: Undisturbed) -> None:
    run = next(iter(world.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))))
    world.cluster.kubectl("delete", "jobs", "-n", world.namespace, f"--selector=dagster/run-id={run.run_id}")
    kept = {found.key for found in _all(world)}
    assert any(run.run_id in key for key in kept), "no compute log of the run is in the bucket"


def _all(world: World) -> list[Any]:
    from groundplan.core.store import open_store

    bucket = "/".join(world.project.settings.store.split("/")[:3])
    return open_store(bucket, world.project.home, retries=3, retry_seconds=20).list("compute-logs")


# --- disturbances -----------------------------------------------------------------------------------------------------


def kill(world: World, run_id: str) -> None:
    kill_worker(run_id)


def delete_pod(world: World, run_id: str) -> None:
    (pod,) = world.pods(run_id)
    world.cluster.kubectl("delete", "pod", "-n", world.namespace, pod["metadata"]["name"], "--wait=false")


def drain(world: World, run_id: str) -> None:
    """What a cloud's termination handler does when it hears that the machine will be taken."""
    spot = world.cluster.spot
    world.cluster.kubectl(
        "drain",
        spot,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        f"--grace-period={GRACE}",
        "--timeout=60s",
    )


def lose_power(world: World, run_id: str) -> None:
    """A machine that is gone without a word; the cloud's controller removes its Node object."""
    spot = world.cluster.spot
    world.cluster.power_loss(spot)
    world.cluster.kubectl("delete", "node", spot, "--wait=false")


def mend(world: World) -> None:
    """The spot node is there again."""
    nodes = world.cluster.kubectl("get", "nodes", "--output=name")
    if world.spot_name not in nodes:
        world.cluster.start_node(world.spot_name)
    world.cluster.kubectl("uncordon", world.spot_name)


@pytest.mark.kill
@pytest.mark.parametrize("act", [kill, delete_pod, drain, lose_power], ids=lambda act: act.__name__)
def test_a_death_costs_at_most_the_blocks_in_hand(
    world: World, undisturbed: Undisturbed, act: Callable[[World, str], None]
) -> None:
    before, run_id, at_least = begin(world)
    struck = time.time()
    try:
        act(world, run_id)
        runs = world.finished(run_id)
        check_the_end(world, undisturbed, runs, before, at_least, act.__name__, struck)
    finally:
        mend(world)


def begin(world: World) -> tuple[int, str, int]:
    """A run that has made a few blocks: length of the access log before it, its id, blocks there."""
    world.forget(HERE, "predictions")
    before = world.access_log.stat().st_size
    run_id = world.launch(["predictions"], HERE)
    wait_for("a few blocks", lambda: len(world.blocks("predictions", HERE)) >= 3, 180)
    (pod,) = world.pods(run_id)
    assert pod["spec"]["nodeName"] == world.cluster.spot
    return before, run_id, len(world.blocks("predictions", HERE))


def check_the_end(
    world: World,
    undisturbed: Undisturbed,
    runs: list[dg.DagsterRun],
    before: int,
    at_least: int,
    name: str,
    struck: float,
) -> None:
    first, last = runs[0], runs[-1]
    assert [run.status for run in runs] == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]
    assert last.tags["dagster/retry_number"] == "1"
    facts = world.facts(last.run_id, "predictions")
    blocks = world.blocks("predictions", HERE)
    assert facts["blocks kept"] >= at_least
    assert facts["blocks made"] + facts["blocks kept"] == len(blocks)
    assert facts["blocks made"] > 0, "the run had ended before it was struck"
    stored = world.written("predictions", before)
    assert sorted(stored) == sorted(set(stored)), "a block that was stored has been made again"
    assert world.digests(HERE) == {key: value for key, value in undisturbed.items() if f"/{HERE.path}/" in key}
    pods = [pod["spec"].get("nodeName") for pod in world.pods(last.run_id)]
    started = world.instance.get_run_stats(last.run_id).start_time or 0.0
    failed = world.instance.get_run_stats(first.run_id).end_time or 0.0
    disturbance(
        name,
        noticed=failed - struck,
        working=started - struck,
        kept=facts["blocks kept"],
        made=facts["blocks made"],
        twice=len(stored) - len(set(stored)),
        lost=WORKERS,
        node=str(pods),
    )


@pytest.mark.fault
def test_the_api_server_away_for_a_minute_loses_nothing(world: World, undisturbed: Undisturbed) -> None:
    before, run_id, _ = begin(world)
    struck = time.time()
    world.cluster.stop_api()
    waiting = world.launch(["sheets"], Partition(2023, SOUTH))
    time.sleep(60)
    assert world.run(run_id).status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS)
    world.cluster.start_api()
    runs = world.finished(run_id)
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS], "nobody had died"
    late = world.finished(waiting)
    assert [run.status for run in late] == [dg.DagsterRunStatus.SUCCESS], "what was queued waited for the API"
    assert world.digests(HERE) == {key: value for key, value in undisturbed.items() if f"/{HERE.path}/" in key}
    stored = world.written("predictions", before)
    started = world.instance.get_run_stats(waiting).start_time or 0.0
    disturbance(
        "API away 60 s",
        noticed=0.0,
        working=started - struck,
        kept=0,
        made=len(stored),
        twice=len(stored) - len(set(stored)),
        lost=0,
        node="same pod",
    )


@pytest.mark.bad_input
def test_bad_input_fails_once_and_shows(world: World, undisturbed: Undisturbed) -> None:
    bad = Partition(2022, SOUTH)
    world.project.store.put(f"landing/{bad.region}/{bad.year}/broken.tif", b"no image")
    runs = world.finished(world.launch(["sheets"], bad))
    assert [run.status for run in runs] == [dg.DagsterRunStatus.FAILURE]
    time.sleep(10)
    assert world.retries(runs[0].run_id) == []
    check = {"country_status": "no_partition_failed_or_missing"}
    status = world.finished(world.launch(["country_status"], None, check))
    assert status[-1].is_success
    record = world.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("country_status"), "no_partition_failed_or_missing"), limit=1
    )[0]
    evaluation = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    assert not evaluation.passed
    assert f"| sheets | {SOUTH} | 2022 |" in str(evaluation.metadata["partitions"].value)
    world.project.store.delete([f"landing/{bad.region}/{bad.year}/broken.tif"])


@pytest.mark.kill
def test_termination_from_the_web_ui_stops_the_pod_and_leaves_a_clean_store(
    world: World, undisturbed: Undisturbed
) -> None:
    _, run_id, at_least = begin(world)
    world.terminate(run_id)
    took = wait_for(
        "the pod to end",
        lambda: not [pod for pod in world.pods(run_id) if pod["status"]["phase"] in ("Pending", "Running")],
        GRACE + 15,
    )
    assert took <= GRACE
    wait_for("the run to be cancelled", lambda: world.run(run_id).status is dg.DagsterRunStatus.CANCELED, 90)
    assert world.retries(run_id) == []
    there = world.blocks("predictions", HERE)
    assert len(there) >= at_least
    for key in there:
        assert undisturbed[key]
    assert world.digests(HERE, "predictions").items() <= undisturbed.items()
    again = world.finished(world.launch(["predictions"], HERE))
    assert again[-1].is_success
    assert world.facts(again[-1].run_id, "predictions")["blocks kept"] == len(there)
    disturbance(
        "terminated in the UI",
        noticed=took,
        working=0.0,
        kept=len(there),
        made=0,
        twice=0,
        lost=WORKERS,
        node="",
    )


@pytest.mark.kill
def test_a_run_that_is_ended_before_it_began_leaves_no_job(world: World) -> None:
    """Dagster ends it in the database alone: the Job would wait for its node for a day."""
    nowhere = {"pod_spec_config": {"node_selector": {"groundplan/pool": "nowhere"}}}
    run_id = world.launch(["sheets"], Partition(2023, SOUTH), tags={POD_TAG: json.dumps(nowhere)})
    wait_for("the pod", lambda: [pod["status"]["phase"] for pod in world.pods(run_id)] == ["Pending"], 60)
    assert world.ask(TERMINATE, run_id)["__typename"] == "TerminateRunFailure", "it is only starting"
    assert world.ask(FORCE, run_id)["__typename"] == "TerminateRunSuccess"
    assert world.run(run_id).status is dg.DagsterRunStatus.CANCELED
    job = ("get", "jobs", "-n", world.namespace, f"--selector=dagster/run-id={run_id}", "--output=name")
    took = wait_for("the Job to go", lambda: not world.cluster.kubectl(*job) and not world.pods(run_id), SWEEP + 15)
    print(f"its Job and pod were gone {took:.0f} s after the end")


# --- what the chart says of pods --------------------------------------------------------------------------------------


def pod_of(world: World, name: str, container: dict[str, Any], tmp: dict[str, Any]) -> dict[str, Any]:
    """A pod of the image, with /tmp as given and the ConfigMap NAME where settings lie."""
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "settings", "mountPath": "/etc/groundplan"}]
    given = {"name": "it", "image": IMAGE, "imagePullPolicy": "Never", "volumeMounts": mounts, **container}
    volumes = [{"name": "tmp", "emptyDir": tmp}, {"name": "settings", "configMap": {"name": name, "optional": True}}]
    spec = {
        "hostNetwork": world.cluster.host_network,
        "nodeSelector": {"groundplan/pool": "spot"},
        "tolerations": [TOLERATION],
        "terminationGracePeriodSeconds": 0,
        "containers": [given],
        "volumes": volumes,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": world.namespace}, "spec": spec}


@pytest.fixture(scope="module")
def full_disk(world: World) -> None:
    """A pod like a run's that writes more into /tmp than its limit."""
    [tmp] = [one for one in run_job(SMALL)["spec"]["template"]["spec"]["volumes"] if one["name"] == "tmp"]
    code = "import time; open('/tmp/x', 'wb').write(bytes(60 << 20)); time.sleep(600)"
    container = {"command": ["python", "-c", code], "resources": {"limits": {"ephemeral-storage": "20Mi"}}}
    world.cluster.apply(pod_of(world, "disk", container, tmp["emptyDir"]))


@pytest.mark.usefixtures("full_disk")  # it fills meanwhile
def test_a_changed_environment_starts_web_server_and_daemon_anew(world: World) -> None:
    """By the chart's probe: values of Dagster's chart cannot be computed, so that no annotation can do it."""
    command = dagster_values(SMALL)["dagsterWebserver"]["livenessProbe"]["exec"]["command"]
    port = free_port()
    probe = {"exec": {"command": [*command[:-1], f"http://127.0.0.1:{port}/"]}, "timeoutSeconds": 30}

    def settings(region: str) -> list[dict[str, Any]]:
        told = {"HOME": "/tmp", "AWS_REGION": region}
        data = {"anew": {ENVIRONMENT: json.dumps(told)}, "anew-env": told}
        meta = {"namespace": world.namespace}
        return [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**meta, "name": name}, "data": text}
            for name, text in data.items()
        ]

    container = {
        "command": ["python", "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        "envFrom": [{"configMapRef": {"name": "anew-env"}}],
        "livenessProbe": {**probe, "initialDelaySeconds": 3, "periodSeconds": 3, "failureThreshold": 2},
    }

    def state() -> tuple[int, bool]:
        found = world.cluster.kubectl_json("get", "pod", "anew", "-n", world.namespace)["status"]
        (one,) = found.get("containerStatuses") or [{"restartCount": 0, "state": {}}]
        return one["restartCount"], "running" in one["state"]

    def region() -> str:
        return world.cluster.kubectl("exec", "anew", "-n", world.namespace, "--", "printenv", "AWS_REGION").strip()

    world.cluster.apply(*settings("eu-west-1"), pod_of(world, "anew", container, {}))
    wait_for("the pod", lambda: state() == (0, True), 60)
    time.sleep(12)
    assert (state(), region()) == ((0, True), "eu-west-1"), "the same environment is no reason"
    world.cluster.apply(*settings("eu-west-2"))
    # the kubelet brings a changed ConfigMap into a pod when it looks at that next, which is within a minute or so
    world.cluster.kubectl("annotate", "pod", "anew", "-n", world.namespace, "look=now")
    took = wait_for("the container to start anew", lambda: state() == (1, True), 120)
    assert region() == "eu-west-2"
    print(f"the container was started anew {took:.0f} s after the change")
    world.cluster.kubectl("delete", "pod", "anew", "-n", world.namespace, "--wait=false")


@pytest.mark.usefixtures("full_disk")
def test_a_run_s_disk_ends_where_its_profile_says(world: World) -> None:
    """What lies in /tmp counts in the limit of ephemeral storage; the volume needs no limit of its own."""

    def status() -> dict[str, Any]:
        found: dict[str, Any] = world.cluster.kubectl_json("get", "pod", "disk", "-n", world.namespace)["status"]
        return found

    wait_for("the eviction", lambda: status().get("reason") == "Evicted", 180)
    assert "ephemeral local storage usage exceeds the total limit of containers 20Mi" in status()["message"]


@pytest.mark.fault
def test_two_runs_never_write_one_partition_at_once(world: World, undisturbed: Undisturbed) -> None:
    world.forget(HERE, "predictions")
    one, other = (world.launch(["predictions"], HERE) for _ in range(2))
    assert world.run(one).tags[WRITER + "predictions"] == str(key_of(HERE))
    assert world.finished(one)[-1].is_success
    assert world.finished(other)[-1].is_success
    spans = sorted(
        (stats.start_time or 0.0, stats.end_time or 0.0)
        for stats in (world.instance.get_run_stats(run) for run in (one, other))
    )
    assert spans[0][1] <= spans[1][0], "the second writer did not wait"


def test_the_folder_of_the_store_holds_no_half_objects(world: World, undisturbed: Undisturbed) -> None:
    """After all that: what lies there is what an undisturbed run leaves."""
    found = {key: value for one in PARTITIONS for key, value in world.digests(one).items()}
    assert found == undisturbed
    assert isinstance(world.access_log, Path)

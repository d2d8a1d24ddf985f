"""A deployment to disturb: a small country on S3, Dagster on PostgreSQL with web server and daemon, run pods.

Here: putting it together, asking it for runs, looking at what became of them. Not here: what is done to it and what
must come of that (test_spot.py).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from asking import BACKFILL, LAUNCH, TERMINATE, backfill, materialize
from cluster import Cluster
from dagster._core.storage.tags import PARENT_RUN_ID_TAG
from hasty_daemon import COMMAND as HASTY_DAEMON
from processes import wait_for
from servers import S3, Postgres, free_port

from assets.partitions import add_partitions, key_of
from groundplan.core.partition import Partition
from groundplan.pipeline import STEPS
from groundplan.project import Project
from groundplan.synthetic.country import Country

ROOT = Path(__file__).parent.parent.parent
IMAGE = "localhost/groundplan:test"
TRAIN_IMAGE = IMAGE if "KUBERNETES_LIGHT" in os.environ else "localhost/groundplan-train:test"
GRACE = 20  # seconds from SIGTERM to SIGKILL
POLL = 3  # seconds between two looks of run monitoring
TOLERATION = {"key": "groundplan/spot", "operator": "Exists", "effect": "NoSchedule"}
LOST = [  # a pod on a node that says nothing any more is given up after so long; Kubernetes' own default is 300 s
    {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    for state in ("unreachable", "not-ready")
]


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything that a test asks or looks at."""

    cluster: Cluster
    namespace: str
    project: Project
    instance: dg.DagsterInstance
    url: str
    access_log: Path
    spot_name: str  # also while the cluster does not know it
    began: int  # length of the access log

    # --- asking -------------------------------------------------------------------------------------------------------

    def ask(self, words: str, what: Any) -> Any:
        """What the web server's GraphQL answers to a mutation."""
        body = json.dumps({"query": words, "variables": {"what": what}}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            said = json.load(answer)
        assert "errors" not in said, said["errors"]
        (found,) = said["data"].values()
        return found

    def launch(
        self,
        names: Sequence[str],
        partition: Partition | None,
        checks: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """As the Materialize button; the id of the run."""
        answer = self.ask(LAUNCH, materialize(names, str(key_of(partition)) if partition else "", tags, checks))
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run_id: str = answer["run"]["runId"]
        return run_id

    def backfill(self, names: Sequence[str], partitions: Sequence[Partition]) -> str:
        answer = self.ask(BACKFILL, backfill(names, [str(key_of(one)) for one in partitions], "the country"))
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        backfill_id: str = answer["backfillId"]
        return backfill_id

    def terminate(self, run_id: str) -> None:
        assert self.ask(TERMINATE, run_id)["__typename"] == "TerminateRunSuccess"

    # --- looking ------------------------------------------------------------------------------------------------------

    def run(self, run_id: str) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found

    def retries(self, run_id: str) -> list[dg.DagsterRun]:
        """What was started again because of a run, the first one first."""
        children = self.instance.get_runs(dg.RunsFilter(tags={PARENT_RUN_ID_TAG: run_id}))
        return [run for child in reversed(children) for run in (child, *self.retries(child.run_id))]

    def finished(self, run_id: str, seconds: float = 300) -> list[dg.DagsterRun]:
        """The run and its retries, once the last of them has ended and none will follow."""

        def over() -> bool:
            last = [self.run(run_id), *self.retries(run_id)][-1]
            waits = last.status is dg.DagsterRunStatus.FAILURE and last.tags.get("dagster/will_retry") != "false"
            return last.is_finished and not waits

        wait_for(f"run {run_id} to end", over, seconds)
        return [self.run(run_id), *self.retries(run_id)]

    def pods(self, run_id: str) -> list[dict[str, Any]]:
        selector = f"--selector=dagster/run-id={run_id}"
        found: list[dict[str, Any]] = self.cluster.kubectl_json("get", "pods", "-n", self.namespace, selector)["items"]
        return found

    def pod_log(self, run_id: str) -> str:
        return self.cluster.kubectl("logs", "-n", self.namespace, f"--selector=dagster/run-id={run_id}", "--tail=60")

    def story(self, run_id: str) -> str:
        """What a run is about, what Dagster noted of it and what its pod said: for a test's failure."""
        run = self.run(run_id)
        about = f"{run_id} {run.status.value} {sorted(run.asset_selection or ())} {run.tags}"
        noted = [
            one.user_message or one.message or one.get_dagster_event().message for one in self.instance.all_logs(run_id)
        ]
        free = (
            f"free on the disk: {shutil.disk_usage(ROOT).free >> 30} GiB"  # a full one evicts pods with all they said
        )
        return "\n".join([about, *map(str, noted[-40:]), self.pod_log(run_id), free])

    def blocks(self, dataset: str, partition: Partition) -> set[str]:
        return {found.key for found in self.project.store.list(f"{dataset}/{partition.path}")}

    def facts(self, run_id: str, dataset: str) -> dict[str, Any]:
        """What a run said when it had made a partition of a dataset."""
        for record in self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
            event = record.get_dagster_event().step_materialization_data.materialization
            if event.asset_key == dg.AssetKey(dataset):
                return {name: value.value for name, value in event.metadata.items()}
        raise AssertionError(f"run {run_id} made no {dataset}: {self.run(run_id).status}")

    def written(self, dataset: str, since: int | None = None) -> list[str]:
        """Keys of a dataset's objects in the order in which S3 stored them, as often as it did.

        since: length of the access log then; without it, since the deployment began.
        """
        lines = self.access_log.read_bytes()[self.began if since is None else since :].decode().splitlines()
        return [key for line in lines for key in _put(line) if key.startswith(f"{self._prefix}{dataset}/")]

    @property
    def _prefix(self) -> str:
        return self.project.settings.store.split("/", 3)[3].rstrip("/") + "/"

    def digests(self, partition: Partition, *datasets: str) -> dict[str, str]:
        """Key to SHA-256 of a partition's objects."""
        keys = sorted(key for name in datasets or tuple(STEPS) for key in self.blocks(name, partition))
        return {key: hashlib.sha256(self.project.store.get(key)).hexdigest() for key in keys}

    def forget(self, partition: Partition, *datasets: str) -> None:
        """As if the datasets had never been made."""
        for name in datasets:
            keys = [*self.blocks(name, partition), f"manifests/{name}/{partition.path}.json"]
            self.project.store.delete(keys)


def _put(line: str) -> list[str]:
    """The key that a line of the access log says was stored."""
    words = line.split()
    for operation in ("s3_PutObject", "s3_CompleteMultipartUpload"):
        if operation in words:
            return [words[words.index(operation) + 1]]
    return []


@contextmanager
def deployed(
    cluster: Cluster, namespace: str, project: Project, country: Country, s3: S3, postgres: Postgres, folder: Path
) -> Iterator[World]:
    """The country delivered, the cluster's objects applied, the web server and the daemon running."""
    port, code_port = free_port(), free_port()
    secret = s3.env | {"DAGSTER_PG_PASSWORD": postgres.password}
    # run pods read the table too: Dagster asks its queue's settings for the pools
    apply_objects(cluster, namespace, project, {**secret, "LAUNCH_PROFILES": "/etc/groundplan/profiles.yaml"})
    write_settings(folder, cluster, namespace, s3, postgres, code_port)
    places = {"DAGSTER_HOME": str(folder), "LAUNCH_PROFILES": str(folder / "profiles.yaml")}
    env = {**os.environ, **secret, **places, "GROUNDPLAN_HOME": str(project.home)}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    env.pop("KUBECONFIG", None)
    with ExitStack() as stack:
        stack.callback(_restore, {name: os.environ.get(name) for name in (*secret, *places)})
        os.environ.update({**secret, **places})
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(folder)))
        add_partitions(instance, [Partition(year, region) for region, year in country.sheets])
        workspace = str(folder / "workspace.yaml")
        for name, words in {
            "code": [
                "dagster",
                "api",
                "grpc",
                "-m",
                "orchestration.definitions",
                "-h",
                "127.0.0.1",
                "-p",
                str(code_port),
                "--location-name",
                "groundplan",
            ],
            "web": ["dagster-webserver", "-h", "127.0.0.1", "-p", str(port), "-w", workspace],
            "daemon": [*HASTY_DAEMON, "run", "-w", workspace],
        }.items():
            stack.enter_context(_process(words, env, folder / f"{name}.log"))
        world = World(
            cluster=cluster,
            namespace=namespace,
            project=project,
            instance=instance,
            url=f"http://127.0.0.1:{port}",
            access_log=s3.access_log,
            spot_name=cluster.spot,
            began=s3.access_log.stat().st_size,
        )
        wait_for("the web server", lambda: _answers(world), 120)
        yield world


def apply_objects(cluster: Cluster, namespace: str, project: Project, secret: Mapping[str, str]) -> None:
    """What the chart would apply for run pods: settings, secret, an account without any rights."""
    meta = {"namespace": namespace}
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in secret.items()}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {**meta, "name": "groundplan"},
            "data": {
                "groundplan.toml": (project.home / "groundplan.toml").read_text("utf-8"),
                "profiles.yaml": yaml.safe_dump(profiles()),
            },
        },
        {"apiVersion": "v1", "kind": "Secret", "metadata": {**meta, "name": "groundplan-store"}, "data": encoded},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {**meta, "name": "groundplan-run"},
            "automountServiceAccountToken": False,
        },
    )


def profiles() -> dict[str, Any]:
    """Small pods, on the spot node while there is one, else where they can."""
    spot = {"prefer": {"groundplan/pool": "spot"}, "tolerations": [TOLERATION]}
    size = {"memory": "2Gi", "disk": "1Gi", "nodes": "spot"}
    return {
        "images": {"groundplan": IMAGE, "train": TRAIN_IMAGE},
        "pull_policy": "Never",
        "grace_seconds": GRACE,
        "nodes": {"spot": spot, "ondemand": {"selector": {"groundplan/pool": "ondemand"}}},
        "profiles": {
            "io": {"cpu": "700m", **size},
            "cpu": {"cpu": "900m", **size},
            "train": {**size, "cpu": "1", "memory": "3Gi", "nodes": "ondemand", "image": "train"},
        },
    }


def write_settings(folder: Path, cluster: Cluster, namespace: str, s3: S3, postgres: Postgres, code_port: int) -> None:
    """dagster.yaml, workspace.yaml and the launch profiles, as the chart renders them but for addresses and haste."""
    folder.mkdir(parents=True)
    (folder / "profiles.yaml").write_text(yaml.safe_dump(profiles()))
    server = {"grpc_server": {"host": "127.0.0.1", "port": code_port, "location_name": "groundplan"}}
    (folder / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [server]}))
    pod = {
        "hostNetwork": cluster.host_network,
        "tolerations": LOST,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    container = {
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    launcher = {
        "service_account_name": "groundplan-run",
        "instance_config_map": "groundplan-instance",
        "job_image": IMAGE,
        "dagster_home": "/tmp",
        "image_pull_policy": "Never",
        "load_incluster_config": False,
        "kubeconfig_file": str(cluster.kubeconfig),
        "job_namespace": namespace,
        "env_secrets": ["groundplan-store"],
        "fail_pod_on_run_failure": True,
        "api_patience_seconds": 300,
        "volumes": [
            {"name": "settings", "configMap": {"name": "groundplan"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        ],
        "volume_mounts": [
            {"name": "settings", "mountPath": "/etc/groundplan", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        "run_k8s_config": {"pod_spec_config": pod, "container_config": container},
    }
    database = {
        "username": postgres.user,
        "password": {"env": "DAGSTER_PG_PASSWORD"},
        "hostname": postgres.host,
        "port": postgres.port,
        "db_name": postgres.database,
        "scheme": "postgresql+psycopg2",
    }
    logs = {"url": f"s3://{s3.bucket}/compute-logs", "local_dir": "/tmp/compute-logs", "upload_interval": 5}
    settings = {
        "storage": {"postgres": {"postgres_db": database}},
        "run_launcher": {"module": "orchestration.launch.launcher", "class": "PatientRunLauncher", "config": launcher},
        "run_coordinator": {
            "module": "orchestration.launch.coordinator",
            "class": "ProfiledRunCoordinator",
            "config": {"profiles": {"env": "LAUNCH_PROFILES"}, "max_concurrent_runs": 3, "dequeue_interval_seconds": 1},
        },
        "compute_logs": {
            "module": "orchestration.launch.logs",
            "class": "StoreLogManager",
            "config": logs,
        },
        "run_monitoring": {
            "enabled": True,
            "poll_interval_seconds": POLL,
            "start_timeout_seconds": 180,
            "cancel_timeout_seconds": 60,
            "max_resume_run_attempts": 0,
        },
        "run_retries": {"enabled": True, "max_retries": 3, "retry_on_asset_or_op_failure": False},
        "telemetry": {"enabled": False},
    }
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))


@contextmanager
def _process(words: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=dict(env),
            cwd=ROOT,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(world: World) -> bool:
    """Whether the web server has loaded the code location."""
    try:
        words = "{ repositoriesOrError { __typename ... on RepositoryConnection { nodes { name } } } }"
        body = json.dumps({"query": words}).encode()
        request = urllib.request.Request(f"{world.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(json.load(answer)["data"]["repositoriesOrError"].get("nodes"))
    except OSError:
        return False


def _restore(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def kill_worker(run_id: str) -> float:
    """SIGKILL to every process of a run's pod, as the kernel does when memory is short; the time of it."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and run_id in _command(path)]
    assert pids, f"no process of run {run_id} is on this machine"
    when = time.time()
    for pid in pids:
        os.kill(pid, 9)
    return when


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""

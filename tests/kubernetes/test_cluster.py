"""The ground that the other tests here stand on: nodes that come and go, a store and a database that answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from processes import ClusterError, wait_for
from servers import S3, Postgres

from groundplan.core.store import open_store
from groundplan.errors import MissingInput


def pod(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    """A pod's spec for the spot node. Without arguments its program waits, with them it prints them and ends."""
    return {
        "hostNetwork": cluster.host_network,
        "restartPolicy": "Never",
        "nodeSelector": {"groundplan/pool": "spot"},
        "tolerations": [{"key": "groundplan/spot", "operator": "Exists"}],
        "containers": [
            {"name": "main", "image": cluster.small_image, "imagePullPolicy": "IfNotPresent", "args": [*arguments]}
        ],
    }


def as_pod(name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def as_job(name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    body = {"backoffLimit": 0, "template": {"spec": spec}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": namespace}, "spec": body}


def phase(cluster: Cluster, name: str, namespace: str) -> str:
    return cluster.kubectl("get", "pod", name, "--namespace", namespace, "--output=jsonpath={.status.phase}")


def gone(cluster: Cluster, *words: str) -> bool:
    return not cluster.kubectl("get", *words, "--ignore-not-found")


def test_there_is_a_node_of_each_kind_and_spot_is_fenced_off(cluster: Cluster) -> None:
    assert cluster.ondemand != cluster.spot
    taints = {}
    for node in (cluster.ondemand, cluster.spot):
        assert cluster.is_ready(node)
        spec = cluster.kubectl_json("get", "node", node)["spec"]
        taints[node] = [(t["key"], t["value"], t["effect"]) for t in spec.get("taints", [])]
    assert taints == {cluster.ondemand: [], cluster.spot: [("groundplan/spot", "true", "NoSchedule")]}


def test_a_job_that_tolerates_spot_runs_there(cluster: Cluster, namespace: str) -> None:
    cluster.apply(as_job("hello", namespace, pod(cluster, "hello", "spot")))
    cluster.kubectl(
        "wait", "job/hello", "--for=condition=Complete", "--timeout=120s", "--namespace", namespace, seconds=150
    )
    made = cluster.kubectl_json("get", "pods", "--selector=job-name=hello", "--namespace", namespace)["items"]
    assert [item["spec"]["nodeName"] for item in made] == [cluster.spot]
    assert cluster.kubectl("logs", "job/hello", "--namespace", namespace) == "hello spot\n"


def test_a_pod_that_does_not_tolerate_spot_stays_away_from_it(cluster: Cluster, namespace: str) -> None:
    cluster.apply(as_pod("shy", namespace, {**pod(cluster), "tolerations": []}))

    def refused() -> bool:
        status = cluster.kubectl_json("get", "pod", "shy", "--namespace", namespace)["status"]
        return [c.get("reason") for c in status.get("conditions", [])] == ["Unschedulable"]

    wait_for("the scheduler to refuse", refused)


def test_a_spot_node_that_loses_power_takes_its_pods_along_and_comes_back(cluster: Cluster, namespace: str) -> None:
    cluster.apply(as_pod("waiting", namespace, pod(cluster)))
    wait_for("the pod to run", lambda: phase(cluster, "waiting", namespace) == "Running")
    cluster.power_loss(cluster.spot)
    try:
        assert phase(cluster, "waiting", namespace) == "Running"  # nobody told the API server
        silence = wait_for("the silence to be noticed", lambda: not cluster.is_ready(cluster.spot))
        assert cluster.is_ready(cluster.ondemand)
        cluster.kubectl("delete", "node", cluster.spot)  # as a cloud does with a machine that it took back
        collected = wait_for("the pod to go", lambda: gone(cluster, "pod", "waiting", "--namespace", namespace))
        print(f"not ready after {silence:.1f} s; its pod went {collected:.1f} s after its Node object")
    finally:
        cluster.start_node(cluster.spot)
    test_there_is_a_node_of_each_kind_and_spot_is_fenced_off(cluster)
    cluster.apply(as_job("again", namespace, pod(cluster, "again")))
    cluster.kubectl(
        "wait", "job/again", "--for=condition=Complete", "--timeout=120s", "--namespace", namespace, seconds=150
    )


def test_the_api_server_goes_and_comes_and_pods_do_not_mind(cluster: Cluster, namespace: str) -> None:
    cluster.apply(as_pod("through", namespace, pod(cluster)))
    wait_for("the pod to run", lambda: phase(cluster, "through", namespace) == "Running")
    cluster.stop_api()
    try:
        with pytest.raises(ClusterError, match="refused"):
            cluster.kubectl("get", "nodes")
    finally:
        cluster.start_api()
    wait_for("both nodes", lambda: cluster.is_ready(cluster.ondemand) and cluster.is_ready(cluster.spot))
    status = cluster.kubectl_json("get", "pod", "through", "--namespace", namespace)["status"]
    assert (status["phase"], status["containerStatuses"][0]["restartCount"]) == ("Running", 0)


def test_the_store_keeps_objects_on_s3(s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{s3.bucket}/round-trip", retries=0)
    store.put("a/b", b"first")
    first = store.head("a/b")
    store.put("a/b", b"second")  # over the old one, whole
    store.put("a/c", b"")
    assert store.get("a/b") == b"second"
    assert store.part("a/b", 2, 3) == b"con"
    assert store.head("a/b").tag != first.tag
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 2**16)  # 16 MiB: in parts
    store.put_file("large", large)
    assert store.get("large") == large.read_bytes()
    assert [(found.key, found.size) for found in store.list()] == [("a/b", 6), ("a/c", 0), ("large", 2**24)]
    store.delete(["a/b", "a/c", "large"])
    assert store.list() == []
    with pytest.raises(MissingInput):
        store.get("a/b")


def test_postgres_answers(postgres: Postgres) -> None:
    from sqlalchemy import create_engine, text

    with create_engine(postgres.url).connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
        assert connection.execute(text("SHOW listen_addresses")).scalar() == postgres.host

"""The chart's serve, work and relay on a cluster: images that are uploaded while pods are deleted lose nothing.

Everything is real: the image, PostgreSQL with PostGIS, S3, the migration's Job, pods that are deleted without a word.
Not here: what the objects say (test_chart_service.py), what a worker does at each bad moment (processes/serving).
"""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from arriving import assert_exactly_once, counts, make_home, picture
from chart import CHART, rendered
from cluster import Cluster
from databases import PostGIS, serve_postgis
from processes import wait_for
from servers import S3
from world import IMAGE, TOLERATION

from groundplan.database import connect
from groundplan.messages import CloudEvent
from groundplan.project import Project
from serving.api.keys import make_key

SMALL = CHART / "examples" / "small.yaml"
PARTS = ("serve", "work", "relay")
KINDS = ("ConfigMap", "ServiceAccount", "Deployment", "Service")
SIZE = {"cpu": "300m", "memory": "1536Mi", "disk": "1Gi"}
IMAGES = 40
HOOK = "helm.sh/hook"


@dataclass(frozen=True, kw_only=True)
class Served:
    """A release's service, and what a caller of it has."""

    cluster: Cluster
    namespace: str
    project: Project
    key: str
    url: str = "http://127.0.0.1:8082"

    def upload(self, data: bytes) -> list[str]:
        """Ids of the messages that were accepted."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "image/png"}
        request = urllib.request.Request(f"{self.url}/v1/images", data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 202
            return [one["id"] for one in json.load(answer)["images"]]

    def pods(self, role: str) -> list[str]:
        selector = f"--selector=groundplan/role={role}"
        return self.cluster.kubectl("get", "pods", "-n", self.namespace, selector, "-o", "name").split()

    def delete(self, role: str) -> None:
        """As a reclaimed node takes it: at once."""
        for pod in self.pods(role):
            self.cluster.kubectl("delete", pod, "-n", self.namespace, "--grace-period=0", "--force", "--wait=false")

    def logs(self) -> str:
        return "\n".join(
            self.cluster.kubectl(
                "logs", "-n", self.namespace, f"--selector=groundplan/role={role}", "--tail=30", "--prefix"
            )
            for role in PARTS
        )


def values_of(folder: Path, s3: S3, database: str, store: str) -> Path:
    """The chart's values for this cluster: small pods, this machine's servers."""
    table = {
        "image": {"repository": IMAGE.split(":")[0], "tag": IMAGE.split(":")[1], "pullPolicy": "Never"},
        "store": {"url": store, "endpoint": s3.endpoint, "region": "us-east-1", "credentials": "secret"},
        "settings": {
            "grid": {"crs": "EPSG:28992", "resolution": 0.3, "blockSize": 256, "origin": [182361, 447771]},
            "extra": {"messages": {"lease": 5, "look_seconds": 0.5}},
        },
        "nodes": {
            "ondemand": {"selector": {"groundplan/pool": "ondemand"}},
            "spot": {"prefer": {"groundplan/pool": "spot"}, "tolerations": [TOLERATION]},
        },
        "networkPolicy": {"enabled": False},  # not what is tested, and the servers have this machine's addresses
        "service": {
            "enabled": True,
            "database": {"url": database},
            "serve": {"replicas": 1, "most": 1, "resources": SIZE},
            "work": {"resources": SIZE},
            "relay": {"resources": SIZE},
        },
        "dagster": {"enabled": False},
    }
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(table))
    return path


def here(cluster: Cluster, item: dict[str, Any]) -> dict[str, Any]:
    """An object for a cluster whose pods share this machine's network."""
    if cluster.host_network and item["kind"] in ("Deployment", "Job"):
        item["spec"]["template"]["spec"]["hostNetwork"] = True
    if cluster.host_network and item["kind"] == "Deployment":  # its port is taken until the pod before it is gone
        item["spec"]["strategy"] = {"type": "Recreate"}
    return item


@pytest.fixture
def postgis() -> Iterator[PostGIS]:
    with serve_postgis() as server:
        yield server


@pytest.fixture
def served(
    cluster: Cluster,
    namespace: str,
    bring_image: Callable[..., None],
    s3: S3,
    postgis: PostGIS,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Served:
    """The release's service over a store with a model, once it is ready."""
    bring_image("groundplan")
    account, database = postgis.server, postgis.empty()
    results = {"PGUSER": account.user, "PGPASSWORD": account.password}
    for name, value in {**s3.env, **results}.items():
        monkeypatch.setenv(name, value)
    store = f"s3://{s3.bucket}/service"
    plain = f"postgresql://{account.host}:{account.port}/{database.rpartition('/')[2]}"
    objects = rendered(SMALL, values_of(tmp_path, s3, plain, store), namespace=namespace)
    for name, pairs in {"groundplan-store": s3.env, "groundplan-results": results}.items():
        data = {key: base64.b64encode(value.encode()).decode() for key, value in pairs.items()}
        cluster.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}
        )
    hooks = [item for item in objects if "pre-install" in item["metadata"].get("annotations", {}).get(HOOK, "")]
    cluster.apply(*(here(cluster, item) for item in hooks))  # as helm does: before the release is there
    done = ["wait", "job/groundplan-migrate", "-n", namespace, "--for=condition=complete", "--timeout=180s"]
    cluster.kubectl(*done, seconds=200)
    wanted = [item for item in objects if item["kind"] in KINDS and item not in hooks]
    cluster.apply(*(here(cluster, item) for item in wanted if item["metadata"]["name"] != "groundplan-code"))
    project = make_home(tmp_path / "home", database=plain, store=store)
    found = Served(
        cluster=cluster,
        namespace=namespace,
        project=project,
        key=make_key(connect.open_database(project), "test", ["read", "predict"], 10_000.0, None),
    )
    wait_for("the service to be ready", lambda: ready(found.url), 180)
    return found


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_images_that_are_uploaded_while_pods_are_deleted_have_one_analysis_and_one_event_each(served: Served) -> None:
    accepted: list[str] = []
    lost = {IMAGES // 4: "work", IMAGES // 3: "relay", IMAGES // 2: "serve", 3 * IMAGES // 4: "work"}
    for number in range(IMAGES):
        if number in lost:
            served.delete(lost[number])
        accepted += persistently(lambda: served.upload(picture(number)))  # noqa: B023
    engine = connect.open_database(served.project)
    wait_for("every image to be analysed", lambda: counts(engine)["analysis"] == IMAGES, 240)
    wanted = [CloudEvent(id=one, source="", type="", time="") for one in accepted]
    wait_for("every event to be sent", lambda: all_sent(engine), 120)
    assert_exactly_once(served.project, wanted)


def persistently(attempt: Callable[[], list[str]], seconds: float = 120.0) -> list[str]:
    """As a caller does who was told nothing: again, with the same image."""
    end = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except (OSError, urllib.error.URLError):
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def all_sent(engine: Any) -> bool:
    import sqlalchemy as sa

    from groundplan.database.tables import outbox

    with engine.connect() as connection:
        unsent = sa.select(sa.func.count()).where(outbox.c.sent.is_(None))
        return not connection.execute(unsent).scalar_one()

"""Events that Azure and Google push: who may send them, where they are kept, that a sensor's look takes them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import new_project
from faulty_s3 import BUCKET, FaultyS3, serve_as_aws
from starlette.testclient import TestClient

from groundplan.core.partition import Partition
from groundplan.errors import BadConfig, BadMessage
from groundplan.ingest.cursor import Cursor
from groundplan.ingest.object_events import landing_events
from groundplan.ingest.pushed_events import ASIDE, ROOM, PushedEvents, keep
from groundplan.ingest.scan import finish_last_round, scan_round
from groundplan.project import Project
from serving.api.app import api_of
from serving.api.service import service_of

TOKEN = "a-token-that-only-the-cloud-knows"
KEY = "place/landing/Sint Anthonis/2024/blad #1 é.tif"
AT = "2026-05-28T20:26:40Z"
NOW = datetime.fromisoformat(AT).timestamp()
URL = f"az://{BUCKET}/place"


def azure(key: str = KEY, kind: str = "Created", container: str = BUCKET) -> dict[str, Any]:
    """As https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage shows it, in CloudEvents' schema."""
    return {
        "specversion": "1.0",
        "id": "9aeb0fdf-c01e-0131-0922-9eb549066d6c",
        "source": "/subscriptions/x/resourceGroups/y/providers/Microsoft.Storage/storageAccounts/z",
        "subject": f"/blobServices/default/containers/{container}/blobs/{key}",
        "type": f"Microsoft.Storage.Blob{kind}",
        "time": AT,
        "data": {"api": "PutBlockList", "contentLength": 10},
    }


def google(key: str = KEY, kind: str = "OBJECT_FINALIZE", attributes: bool = True) -> dict[str, Any]:
    """As https://cloud.google.com/pubsub/docs/push wraps https://cloud.google.com/storage/docs/pubsub-notifications."""
    data = base64.b64encode(json.dumps({"bucket": BUCKET, "name": key}).encode()).decode()
    told = {"eventType": kind, "bucketId": BUCKET, "objectId": key, "eventTime": AT}
    return {"message": {"data": data, "attributes": told if attributes else {}, "messageId": "1"}, "subscription": "s"}


@pytest.mark.parametrize(
    "body",
    [azure(), azure(kind="Deleted"), [azure()], google(), google(kind="OBJECT_DELETE"), google(attributes=False)],
)
def test_every_form_says_which_key_of_the_landing_folder_it_is_about(body: Any) -> None:
    [event] = landing_events(json.dumps(body), URL)
    assert event.key == KEY.removeprefix("place/")


@pytest.mark.parametrize(
    "body",
    [
        azure(container="others"),
        azure(key="place/sheets/2024/delft/catalogue.parquet"),
        azure(key="elsewhere/landing/delft/2024/a.tif"),
        azure(kind="TierChanged"),
        google(kind="OBJECT_METADATA_UPDATE"),
    ],
)
def test_what_is_of_other_places_and_kinds_says_nothing(body: Any) -> None:
    assert landing_events(json.dumps(body), URL) == []


# --- the webhooks -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    with serve_as_aws() as state:
        yield state


@pytest.fixture(scope="module")
def project(server: FaultyS3, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return new_project(
        tmp_path_factory.mktemp("pushed") / "home",
        store=f"s3://{BUCKET}/place",
        arrivals={"pushed": True},
        messages={"arrivals_token_env": "ARRIVALS_TOKEN"},
    )


@pytest.fixture
def cloud(project: Project, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """Not at this machine, and without a key."""
    monkeypatch.setenv("ARRIVALS_TOKEN", TOKEN)
    project.store.delete([found.key for found in project.store.list("arrivals")])
    return TestClient(api_of(service_of(project)), base_url="http://localhost", client=("192.0.2.1", 5000))


def test_what_is_pushed_is_kept_once_and_taken_by_the_next_look(cloud: TestClient, project: Project) -> None:
    header = {"Authorization": f"Bearer {TOKEN}"}
    assert cloud.post("/v1/arrivals/event-grid", json=azure()).status_code == 401
    assert cloud.post("/v1/arrivals/event-grid", json=azure(), headers={"Authorization": "Bearer x"}).status_code == 401
    assert project.store.list(ROOM) == []
    for _ in range(2):  # twice: delivery is at least once
        assert cloud.post("/v1/arrivals/event-grid", json=azure(), headers=header).status_code == 204
    assert (
        cloud.post(f"/v1/arrivals/pubsub?token={TOKEN}", json=google(key="place/landing/a/2023/b.tif")).status_code
        == 204
    )
    assert len(project.store.list(ROOM)) == 2
    queue = PushedEvents(project.store)
    round_ = scan_round(project, Cursor(last=NOW), NOW, set, set(), queue)
    assert set(round_.cursor.pending) == {Partition(2024, "Sint Anthonis"), Partition(2023, "a")}
    assert len(project.store.list(ROOM)) == 2, "until the decision is durable they stay"
    finish_last_round(project, round_.cursor, queue)
    assert project.store.list(ROOM) == []


@pytest.mark.bad_input
@pytest.mark.parametrize("route", ["event-grid", "pubsub"])
@pytest.mark.parametrize(
    "body", [b"\xff", b"{", b"[1]", b'{"a": 1}', b"[" * 5000, b'{"message": {"data": "no base64!"}}']
)
def test_what_is_no_event_is_refused_and_not_kept(cloud: TestClient, project: Project, route: str, body: bytes) -> None:
    assert cloud.post(f"/v1/arrivals/{route}?token={TOKEN}", content=body).status_code == 400
    assert project.store.list(ROOM) == []


@pytest.mark.bad_input
def test_a_body_beyond_the_bound_is_not_read(cloud: TestClient, project: Project) -> None:
    headers = {"content-length": str(2 << 20), "Authorization": f"Bearer {TOKEN}"}
    assert cloud.post("/v1/arrivals/event-grid", content=b"", headers=headers).status_code == 413
    with pytest.raises(BadMessage):
        keep(project.store, json.dumps(azure() | {"data": {"x": "y" * 300_000}}))


def test_a_kept_body_that_cannot_be_read_is_set_aside(project: Project, cloud: TestClient) -> None:
    project.store.put(f"{ROOM}/spoiled.json", b"\xff{")
    queue = PushedEvents(project.store)
    round_ = scan_round(project, Cursor(last=NOW), NOW, set, set(), queue)
    finish_last_round(project, round_.cursor, queue)
    assert round_.cursor.bad == 1
    assert [found.key for found in project.store.list("arrivals")] == [f"{ASIDE}/spoiled.json"]


def test_events_come_one_way(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="give one of both"):
        new_project(tmp_path, arrivals={"pushed": True, "queue": "https://sqs.eu-west-1.amazonaws.com/1/q"})

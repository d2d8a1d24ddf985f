"""Images that are left, and events of clouds, over HTTP: what is accepted is worked off, all else is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from arriving import counts, make_home, opened, picture, worked_off
from starlette.testclient import TestClient

from groundplan.project import Project
from serving.api.app import api_of
from serving.api.service import Service, service_of

PNG = {"content-type": "image/png"}
TOKEN = "a-token-that-only-the-cloud-knows"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_home(tmp_path_factory.mktemp("arrivals") / "home", arrivals_token_env="ARRIVALS_TOKEN")


@pytest.fixture(scope="module")
def here(project: Project) -> Service:
    service = service_of(project)
    service.gallery.look()  # as the running service does: the model gets its name
    return service


def asking(here: Service, address: str) -> TestClient:
    return TestClient(api_of(here), base_url="http://localhost", client=(address, 5000))


@pytest.fixture
def client(here: Service) -> TestClient:
    return asking(here, "127.0.0.1")


@pytest.fixture
def cloud(here: Service, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """Not at this machine, and without a key."""
    monkeypatch.setenv("ARRIVALS_TOKEN", TOKEN)
    return asking(here, "192.0.2.1")


def left(client: TestClient, number: int) -> str:
    response = client.post("/v1/images", content=picture(number), headers=PNG)
    assert response.status_code == 202, response.text
    [one] = response.json()["images"]
    assert response.headers["location"] == one["status"]
    return str(one["id"])


@pytest.mark.slow
def test_an_image_that_is_left_is_worked_off_and_says_what_became_of_it(client: TestClient, project: Project) -> None:
    identity = left(client, 1)
    assert client.get(f"/v1/images/{identity}").json()["state"] == "waits"
    assert left(client, 1) == identity, "the same image is the same work"
    worked_off(project)
    told = client.get(f"/v1/images/{identity}").json()
    assert told["state"] == "done"
    assert told["result"]["id"] == identity
    assert client.get(f"/v1/images/{'0' * 64}").status_code == 404


def blob(name: str) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": name,
        "source": "/subscriptions/x/resourceGroups/y/providers/Microsoft.Storage/storageAccounts/z",
        "subject": f"/blobServices/default/containers/groundplan/blobs/inbox/{name}",
        "type": "Microsoft.Storage.BlobCreated",
        "time": "2026-11-27T10:00:00Z",
        "data": {"api": "PutBlob", "eTag": "0x1", "contentLength": 10, "url": f"https://z.blob.example/g/inbox/{name}"},
    }


def test_clouds_push_with_their_token_and_nobody_without(cloud: TestClient, project: Project) -> None:
    project.store.put("inbox/pushed.png", picture(7))
    body = json.dumps(blob("pushed.png"))
    assert cloud.post("/v1/arrivals/event-grid", content=body).status_code == 401
    assert cloud.post("/v1/arrivals/event-grid?token=guessed", content=body).status_code == 401
    assert cloud.post(f"/v1/arrivals/event-grid?token={TOKEN}", content=body).status_code == 204
    note = {"name": "inbox/pushed.png", "bucket": "groundplan", "etag": "x", "size": "10"}
    attributes = {"eventType": "OBJECT_FINALIZE", "objectId": "inbox/pushed.png", "bucketId": "groundplan"}
    data = base64.b64encode(json.dumps(note).encode()).decode()
    pushed = {"message": {"data": data, "attributes": attributes, "messageId": "1"}, "subscription": "s"}
    assert cloud.post(f"/v1/arrivals/pubsub?token={TOKEN}", json=pushed).status_code == 204


def test_event_grid_is_shaken_hands_with_and_nobody_else(cloud: TestClient) -> None:
    asked = cloud.options("/v1/arrivals/event-grid", headers={"webhook-request-origin": "eventgrid.azure.net"})
    assert asked.headers["webhook-allowed-origin"] == "eventgrid.azure.net"
    assert (
        cloud.options("/v1/arrivals/event-grid", headers={"webhook-request-origin": "example.org"}).status_code == 403
    )
    event = {"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "512d38b6"}}
    answer = cloud.post(f"/v1/arrivals/event-grid?token={TOKEN}", json=[event])
    assert answer.json() == {"validationResponse": "512d38b6"}


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("body", "query", "status", "kind"),
    [
        (b"", "", 400, "empty"),
        (b"x" * 10, "?model=nobody", 404, "model"),
        (b"x" * 10, "?model=../secret", 422, "model"),
        (b"x" * 10, "?bbox=1,2,3", 422, "place"),
        (b"x" * 10, "?bbox=1,2,3,nan", 422, "place"),
    ],
)
def test_what_cannot_be_work_is_refused(client: TestClient, body: bytes, query: str, status: int, kind: str) -> None:
    response = client.post(f"/v1/images{query}", content=body, headers=PNG)
    assert response.status_code == status, response.text
    assert response.json()["type"] == f"urn:groundplan:problem:{kind}"


@pytest.mark.bad_input
@pytest.mark.parametrize("body", [b"\xff\xfe", b"{", b"[1]", b'{"a": 1}', b"[" * 4000])
@pytest.mark.parametrize("route", ["event-grid", "pubsub"])
def test_what_is_no_event_is_refused_for_good(client: TestClient, route: str, body: bytes) -> None:
    assert client.post(f"/v1/arrivals/{route}", content=body).status_code == 400


@pytest.mark.bad_input
def test_a_body_beyond_the_bound_is_not_read(client: TestClient, here: Service) -> None:
    most = here.project.settings.single.max_bytes
    response = client.post("/v1/images", content=b"", headers={**PNG, "content-length": str(most + 1)})
    assert response.status_code == 413


def test_what_lies_in_the_inbox_is_worked_off_and_goes_the_same_picture_twice_too(tmp_path: Path) -> None:
    """Until nothing is left: two keys of one picture are one analysis and two events; what is still written stays."""
    from serving.metrics import Meters
    from serving.work.process import run

    project = make_home(tmp_path / "home")
    for name, number in (("a.png", 1), ("b.png", 1), ("c.png", 2), ("d.png.part", 3)):
        project.store.put(f"inbox/{name}", picture(number))
    run(project, Meters(), until_empty=True)
    project.store.put("inbox/a.png", picture(1))  # once more, by somebody who forgot
    run(project, Meters(), until_empty=True)
    assert [found.key for found in project.store.list("inbox")] == ["inbox/d.png.part"]
    found = counts(opened(project)[0])
    assert (found["analysis"], found["image"]) == (2, 2)
    assert found["outbox"] >= 3


def test_an_upload_of_which_the_bucket_tells_too_is_one_analysis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who left it has sent its message; the bucket's own event names the same object."""
    from serving.metrics import Meters
    from serving.work import intake
    from serving.work.process import run

    project = make_home(tmp_path / "home")
    engine, broker = opened(project)
    [event] = intake.upload(project, broker, picture(1), ["footprints"])
    project.store.put("inbox/a.png", picture(2))
    told = [event.data["key"], "inbox/a.png"]
    monkeypatch.setattr(intake, "keys_of", lambda *_: told)  # a folder tells nobody
    assert intake.take_events(project, broker, "{}") == 1
    run(project, Meters(), until_empty=True)
    assert counts(engine)["analysis"] == 2

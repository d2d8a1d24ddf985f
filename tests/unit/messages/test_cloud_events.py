"""Messages in the form of CloudEvents 1.0, object events of clouds, and signed webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from groundplan.config import WebhookSettings
from groundplan.errors import BadConfig, BadMessage, BrokerFailed
from groundplan.ingest.object_events import keys_of
from groundplan.messages import CloudEvent, event_of, message_id
from resources import targets

EVENT = CloudEvent(
    id="a" * 64,
    type="org.groundplan.image.arrived",
    source="/groundplan",
    time="2026-11-27T10:00:00.000+00:00",
    subject="inbox/ä.jpg",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    data={"key": "inbox/ä.jpg", "model": "footprints"},
)
ROOMS = ("inbox/",)


def test_an_event_is_one_for_the_library_of_its_makers() -> None:
    from cloudevents.v1.conversion import to_json
    from cloudevents.v1.http import from_json

    theirs = from_json(EVENT.as_text())
    assert theirs["id"] == EVENT.id
    assert theirs["traceparent"] == EVENT.traceparent
    assert theirs.data == EVENT.data
    assert event_of(to_json(theirs).decode()) == EVENT


def test_what_is_read_is_what_was_written() -> None:
    assert event_of(EVENT.as_text()) == EVENT


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nothing",
        "[" * 100_000,
        '{"specversion": "0.3", "id": "1", "type": "t", "source": "s"}',
        '{"specversion": "1.0", "id": "", "type": "t", "source": "s"}',
        '{"specversion": "1.0", "id": 1, "type": "t", "source": "s"}',
        '{"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data": []}',
        json.dumps({"specversion": "1.0", "id": "1", "type": "t" * 2000, "source": "s"}),
        json.dumps({"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data": {"x": "y" * 300_000}}),
    ],
)
def test_what_is_no_event_is_refused_for_good(text: str) -> None:
    with pytest.raises(BadMessage):
        event_of(text)


def test_ids_follow_from_the_object_its_version_and_the_model() -> None:
    one = message_id("bucket", "inbox/a.jpg", "etag", "footprints")
    assert one == message_id("bucket", "inbox/a.jpg", "etag", "footprints")
    others = {
        message_id(*parts) for parts in (("b", "ucket", "e", "m"), ("bu", "cket", "e", "m"), ("b", "ucket", "em", ""))
    }
    assert len(others) == 3


# --- events of clouds -------------------------------------------------------------------------------------------------


def s3(key: str, bucket: str = "images") -> str:
    record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}
    return json.dumps({"Records": [record]})


def azure(key: str, kind: str = "Microsoft.Storage.BlobCreated") -> dict[str, Any]:
    subject = f"/blobServices/default/containers/images/blobs/{key}"
    return {"specversion": "1.0", "id": "1", "source": "/s", "type": kind, "subject": subject}


def google(key: str, kind: str = "OBJECT_FINALIZE", told: bool = True) -> str:
    data = base64.b64encode(json.dumps({"bucket": "images", "name": key}).encode()).decode()
    attributes = {"eventType": kind, **({"bucketId": "images", "objectId": key} if told else {})}
    return json.dumps({"message": {"data": data, "attributes": attributes}, "subscription": "s"})


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        (s3("project/inbox/a+b.jpg"), ["inbox/a b.jpg"]),
        (s3("project/landing/a.tif"), []),
        (s3("project/inbox/a.jpg", "others"), []),
        (s3("inbox/a.jpg"), []),
        (json.dumps(azure("project/inbox/a.jpg")), ["inbox/a.jpg"]),
        (json.dumps([{**azure("project/inbox/a.jpg"), "eventType": "Microsoft.Storage.BlobCreated"}]), ["inbox/a.jpg"]),
        (json.dumps(azure("project/inbox/a.jpg", "Microsoft.Storage.BlobDeleted")), []),
        (google("project/inbox/a.jpg"), ["inbox/a.jpg"]),
        (google("project/inbox/a.jpg", told=False), ["inbox/a.jpg"]),
        (google("project/inbox/a.jpg", "OBJECT_DELETE"), []),
    ],
)
def test_each_clouds_event_names_a_key_of_our_inbox_or_none(body: str, keys: list[str]) -> None:
    assert keys_of(body, "s3://images/project", ROOMS) == keys


@pytest.mark.bad_input
@pytest.mark.parametrize("body", ["", "[1]", "{}", '{"message": {}}', '{"message": {"data": "%"}}', "[" * 9999])
def test_what_no_cloud_sends_is_refused(body: str) -> None:
    with pytest.raises(BadMessage):
        keys_of(body, "s3://images/project", ROOMS)


# --- webhooks ---------------------------------------------------------------------------------------------------------


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.seen.append((self.path, dict(self.headers), body))
        self.send_response(server.status)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("HOOK_SECRET", "a secret")
    with HTTPServer(("127.0.0.1", 0), _Hook) as server:
        server.seen, server.status = [], 204  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def webhook(server: Any, private: bool = True) -> WebhookSettings:
    url = f"http://127.0.0.1:{server.server_port}/told"
    return WebhookSettings(name="hook", url=url, secret_env="HOOK_SECRET", private=private)


def test_a_webhook_is_signed(hook: Any) -> None:
    targets.tell_webhook(webhook(hook), [EVENT])
    ((path, headers, body),) = hook.seen
    assert path == "/told"
    assert event_of(body.decode()) == EVENT
    told = {name.lower(): value for name, value in headers.items()}
    assert told["content-type"] == "application/cloudevents+json"
    signed = f"{told['webhook-id']}.{told['webhook-timestamp']}.".encode() + body
    mark = base64.b64encode(hmac.new(b"a secret", signed, hashlib.sha256).digest()).decode()
    assert told["webhook-signature"] == f"v1,{mark}"


def test_a_secret_in_the_receivers_form_signs_as_their_libraries_check() -> None:
    """Computed with the package standardwebhooks, which takes what follows `whsec_` for base64."""
    made = targets.signed("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_1", b'{"test": 1}', 1614265330)
    assert made["webhook-signature"] == "v1,pAJ+2CQ3+N6E7H+Tf1Lee1V3d/TMhYQ2KqhOSemiwqA="
    with pytest.raises(BadConfig, match="no base64"):
        targets.signed("whsec_a secret", "msg_1", b"")


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, BadMessage), (410, BadMessage), (429, BrokerFailed), (500, BrokerFailed), (307, BrokerFailed)],
)
def test_a_webhook_that_does_not_take_an_event_refuses_it_for_good_or_for_now(
    hook: Any, status: int, error: type[Exception]
) -> None:
    hook.status = status
    with pytest.raises(error):
        targets.tell_webhook(webhook(hook), [EVENT])
    assert len(hook.seen) == 1, "a redirect was followed"


def test_a_private_address_is_not_asked_unless_the_configuration_allows_it(hook: Any) -> None:
    with pytest.raises(BadConfig, match="private network"):
        targets.tell_webhook(webhook(hook, private=False), [EVENT])
    assert hook.seen == []
    hidden = WebhookSettings(name="hook", url="http://localhost:1/", secret_env="HOOK_SECRET")
    with pytest.raises(BadConfig, match="private network"):
        targets.tell_webhook(hidden, [EVENT])


# --- SNS --------------------------------------------------------------------------------------------------------------


def test_a_topic_gives_each_event_to_who_listens_to_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    import aws
    import boto3

    with aws.serve() as url:
        for name, value in aws.environment(url).items():
            monkeypatch.setenv(name, value)
        sns, sqs = boto3.client("sns"), boto3.client("sqs")
        topic = sns.create_topic(Name="groundplan")["TopicArn"]
        for name, kind in (("arrived", EVENT.type), ("others", "org.groundplan.image.failed")):
            sqs.create_queue(QueueName=name)
            told = {"FilterPolicy": json.dumps({"type": [kind]}), "RawMessageDelivery": "true"}
            there = f"arn:aws:sqs:{aws.REGION}:123456789012:{name}"
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=there, Attributes=told)
        targets.tell_topic(topic, [EVENT])
        (one,) = sqs.receive_message(QueueUrl=f"{url}/123456789012/arrived", WaitTimeSeconds=1)["Messages"]
        assert event_of(one["Body"]) == EVENT
        assert "Messages" not in sqs.receive_message(QueueUrl=f"{url}/123456789012/others")
        with pytest.raises(BrokerFailed, match="sns:Publish"):
            targets.tell_topic(f"{topic}-none", [EVENT])

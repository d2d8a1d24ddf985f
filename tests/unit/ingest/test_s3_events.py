"""Messages of an object store in the forms in which they really arrive, and a queue that really speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import aws
import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import RECORD, notification

from groundplan.config import ArrivalSettings
from groundplan.core.partition import Partition
from groundplan.errors import StoreFailed
from groundplan.imagery.landing import partition_of_key
from groundplan.ingest.s3_events import BadMessage, Event, bucket_and_prefix, events_of
from resources.sqs import Message, Queue, open_queue

STORE = "s3://imagery-bucket/groundplan"
WHEN = 1_780_000_000.0  # 2026-05-28T20:26:40Z
BRIDGE: dict[str, Any] = {
    "version": "0",
    "id": "17793124-05d4-b198-2fde-7ededc63b103",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "account": "111122223333",
    "time": "2026-05-28T20:26:40Z",
    "region": "eu-west-1",
    "resources": ["arn:aws:s3:::imagery-bucket"],
    "detail": {
        "version": "0",
        "bucket": {"name": "imagery-bucket"},
        "object": {"key": "groundplan/landing/Sint Anthonis/2024/blad #1 é.tif", "size": 5, "etag": "b1946ac92492"},
        "request-id": "N4N7GDK58NMKJ12R",
        "requester": "123456789012",
        "reason": "PutObject",
    },
}
SHEET = Event("landing/Sint Anthonis/2024/blad #1 é.tif", WHEN)


def wrapped(body: str) -> str:
    """As SNS hands a notification on to SQS."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "22b80b92",
            "TopicArn": "arn:aws:sns:eu-west-1:1:imagery",
            "Subject": "Amazon S3 Notification",
            "Message": body,
            "Timestamp": "2026-05-28T20:26:41.000Z",
        }
    )


FORMS = [notification(), json.dumps(BRIDGE)]


@pytest.mark.parametrize("body", [*FORMS, *map(wrapped, FORMS)])
def test_all_forms_say_the_same(body: str) -> None:
    assert events_of(body, STORE) == [SHEET]


@pytest.mark.parametrize("kind", ["ObjectRemoved:Delete", "s3:ObjectRemoved:DeleteMarkerCreated", "ObjectCreated:Copy"])
def test_created_and_removed_count(kind: str) -> None:
    assert events_of(notification(eventName=kind), STORE) == [SHEET]
    assert events_of(json.dumps({**BRIDGE, "detail-type": "Object Deleted"}), STORE) == [SHEET]


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "imagery-bucket"}),
        wrapped(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "imagery-bucket"})),
        notification(eventName="ObjectTagging:Put"),
        notification(s3__bucket__name="another-bucket"),
        notification(s3__object__key="groundplan/aerial_tiles/2024/A/x.tif"),
        notification(s3__object__key="another/landing/A/2024/x.tif"),
        json.dumps({**BRIDGE, "detail-type": "Object Restore Completed"}),
    ],
)
def test_what_is_not_about_deliveries_is_read_and_says_nothing(body: str) -> None:
    assert events_of(body, STORE) == []


def test_a_time_that_cannot_be_read_is_no_reason_to_lose_the_event() -> None:
    assert events_of(notification(eventTime="soon"), STORE) == [Event(SHEET.key, None)]


def test_several_records_of_one_message() -> None:
    both = {"Records": [RECORD, json.loads(notification(s3__object__key="groundplan/landing/x.tif"))["Records"][0]]}
    assert [event.key for event in events_of(json.dumps(both), STORE)] == [SHEET.key, "landing/x.tif"]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "no JSON"),
        ("hello", "no JSON"),
        ("[1]", "JSON list"),
        ("{}", "neither"),
        ('{"Records": []}', "neither"),
        ('{"Records": [{"eventName": "ObjectCreated:Put"}]}', "no event of S3"),
        ('{"Records": [7]}', "no event of S3"),
        ('{"Records": "all"}', "neither"),
        (notification(s3__object__key=7), "no text"),
        (notification(s3__object__key="k" * 2000), "1024 bytes"),
        (json.dumps({"detail-type": "Object Created"}), "names no object"),
        (json.dumps({"detail-type": "Object Created", "detail": []}), "names no object"),
        (wrapped("hello"), "no JSON"),
        (json.dumps({"Type": "Notification", "Message": 5}), "no JSON"),
        (json.dumps({"Records": [{}] * 1001}), "1000 records"),
        (" " * 300_000, "262,144 bytes"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(body: str, says: str) -> None:
    with pytest.raises(BadMessage, match=says):
        events_of(body, STORE)


WORDS = ["Records", "s3", "object", "key", "bucket", "name", "eventName", "detail", "detail-type", "Message", "Type"]
LEAVES = st.none() | st.booleans() | st.integers() | st.text()


@pytest.mark.bad_input
@given(st.recursive(LEAVES, lambda s: st.lists(s) | st.dictionaries(st.sampled_from(WORDS), s), max_leaves=12))
def test_any_json_is_read_or_refused(value: Any) -> None:
    with suppress(BadMessage):
        assert isinstance(events_of(json.dumps(value), STORE), list)


@pytest.mark.parametrize(
    ("url", "place"),
    [("s3://b", ("b", "")), ("s3://b/", ("b", "")), ("s3://b/a/c/", ("b", "a/c/")), ("s3://b/a", ("b", "a/"))],
)
def test_bucket_and_prefix_of_a_store(url: str, place: tuple[str, str]) -> None:
    assert bucket_and_prefix(url) == place


@pytest.mark.parametrize(
    ("key", "partition"),
    [
        ("landing/A/2024/x.tif", Partition(2024, "A")),
        ("landing/A/2024/sub/x.tif", Partition(2024, "A")),
        ("landing/2022/2023/x.tif", Partition(2023, "2022")),
        ("landing/A/x.tif", None),
        ("landing/x.tif", None),
        ("landing/A/24/x.tif", None),
        ("landing/../2024/x.tif", None),
        ("landing/A/२०२४/x.tif", None),
        ("registers/A/2024/x.tif", None),
        ("", None),
    ],
)
def test_region_and_year_of_a_key(key: str, partition: Partition | None) -> None:
    assert partition_of_key(key) == partition


# --- a real queue -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """moto's server, which speaks as SQS and S3 do."""
    with aws.serve() as url:
        yield url


@pytest.fixture
def queue(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Queue:
    for name, value in (("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_REGION", "eu-west-1")):
        monkeypatch.setenv(name, value)
    client = boto3.client("sqs", endpoint_url=server, region_name="eu-west-1")
    name = f"q{abs(hash(request.node.name))}"
    urls = [client.create_queue(QueueName=f"{name}-{end}")["QueueUrl"] for end in ("main", "dead")]
    opened = open_queue(ArrivalSettings(queue=urls[0], dead_letter_queue=urls[1]))
    assert opened is not None
    return opened


def test_messages_stay_until_they_are_deleted(queue: Queue) -> None:
    for number in range(23):
        queue.client.send_message(QueueUrl=queue.url, MessageBody=f"m{number}")
    assert queue.depth() == 23
    first = queue.receive(15)
    assert len({message.id for message in first}) == len(first) == 15
    assert queue.receive(1)[0].id not in {message.id for message in first}, "what is in hand is hidden from others"
    queue.delete([message.receipt for message in first])
    queue.delete([message.receipt for message in first])  # again, after a round that died
    for message in first:
        assert message.id not in {other.id for other in queue.receive(100)}
    assert (
        int(
            queue.client.get_queue_attributes(
                QueueUrl=queue.url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
            )["Attributes"]["ApproximateNumberOfMessagesNotVisible"]
        )
        == 8
    )


def test_the_dead_letter_queue_gets_the_message_and_the_reason(queue: Queue) -> None:
    assert queue.set_aside(Message("id-1", "r", "what is this"), "it is no JSON")
    got = queue.client.receive_message(QueueUrl=queue.dead_letters, MessageAttributeNames=["All"])["Messages"][0]
    assert got["Body"] == "what is this"
    assert got["MessageAttributes"]["reason"]["StringValue"] == "it is no JSON"
    alone = Queue(queue.url, "", queue.client)
    assert not alone.set_aside(Message("id-1", "r", "x"), "why"), "the queue's own policy decides then"


def test_a_bucket_really_tells_the_queue(queue: Queue, server: str) -> None:
    """An upload to an S3 server that notifies: the message is one that we read."""
    s3 = boto3.client("s3", endpoint_url=server, region_name="eu-west-1")
    s3.create_bucket(Bucket="told-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    arn = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rule = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
    s3.put_bucket_notification_configuration(
        Bucket="told-bucket", NotificationConfiguration={"QueueConfigurations": [rule]}
    )
    s3.put_object(Bucket="told-bucket", Key="groundplan/landing/A/2024/x.tif", Body=b"x")
    store = "s3://told-bucket/groundplan"
    events = [event for message in queue.receive(10) for event in events_of(message.body, store)]
    assert [event.key for event in events] == ["landing/A/2024/x.tif"]


@pytest.mark.fault
def test_a_queue_that_is_away_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    away = open_queue(ArrivalSettings(queue="http://127.0.0.1:9/1/q"))
    assert away is not None
    for ask in (lambda: away.receive(1), lambda: away.delete(["r"]), away.depth):
        with pytest.raises(StoreFailed, match="Check the queue"):
            ask()


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/1/q", "eu-west-1"),
        ("https://eu-west-3.queue.amazonaws.com/1/q", "eu-west-3"),
        ("https://vpce-1.sqs.us-west-2.vpce.amazonaws.com/1/q", "us-west-2"),
        ("http://127.0.0.1:9/1/q", "ap-south-1"),
    ],
)
def test_the_region_is_the_urls(url: str, region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    opened = open_queue(ArrivalSettings(queue=url))
    assert opened is not None
    assert opened.client.meta.region_name == region
    assert open_queue(ArrivalSettings()) is None

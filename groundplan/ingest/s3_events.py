"""S3 events: which keys of the project's store an event is about.

Here: the forms in which S3 events arrive: S3's own notification, the same wrapped by SNS, and EventBridge's. Pure. Not
here: receiving messages (resources/sqs.py), or what follows from them: an event is only a reason to look.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from groundplan.errors import BadMessage

MOST_BYTES = 256 * 1024  # what SQS carried for twenty years; an event of S3 has about one kilobyte
MOST_RECORDS = 1000
MOST_KEY = 1024  # bytes: S3's own limit
WATCHED = ("landing/",)  # registers are few: their sensor lists them


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a key of the project's store. when: seconds since 1970, None where it does not say."""

    key: str
    when: float | None


Record = tuple[str, str, str, float | None]
"""Kind of event, bucket, key, when."""


def bucket_and_prefix(url: str) -> tuple[str, str]:
    """Bucket and prefix ('' or 'a/b/') of a store's URL."""
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    return parts.netloc, f"{prefix}/" if prefix else ""


def events_of(body: str, store: str) -> list[Event]:
    """What a message says of the landing folder of the store at a URL; empty for other buckets, keys and test events.

    Raises BadMessage for what is too large or no event at all.
    """
    return landing_only(store, records_of(body))


def records_of(body: str) -> list[Record]:
    """All that a message says, whatever the bucket and key; nothing of a test event. Raises BadMessage."""
    if len(body.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise bad_event(f"it has more than {MOST_BYTES:,} bytes")
    message = _json(body)
    if "Message" in message and ("TopicArn" in message or message.get("Type") == "Notification"):
        message = _json(message["Message"])  # of SNS, without raw delivery
    if message.get("Event") == "s3:TestEvent":
        return []
    if "detail-type" in message:
        return [_of_bridge(message)]
    records = message.get("Records")
    if not isinstance(records, list) or not records:
        raise bad_event("it has neither 'Records' nor a 'detail-type'")
    if len(records) > MOST_RECORDS:
        raise bad_event(f"it has more than {MOST_RECORDS} records")
    return [_of_record(record) for record in records]


def _of_record(record: Any) -> Record:
    try:
        # only here keys are written as in a form: a blank as +, anything else as %
        key = unquote_plus(_text(record["s3"]["object"]["key"]))
        return _text(record["eventName"]), _text(record["s3"]["bucket"]["name"]), key, when_of(record.get("eventTime"))
    except (KeyError, TypeError, AttributeError) as error:
        raise bad_event(f"a record of it is no event of S3 ({type(error).__name__}: {error})") from error


def _of_bridge(message: dict[str, Any]) -> Record:
    kind = {"Object Created": "ObjectCreated", "Object Deleted": "ObjectRemoved"}.get(str(message["detail-type"]), "")
    try:
        detail = message["detail"]
        return kind, _text(detail["bucket"]["name"]), _text(detail["object"]["key"]), when_of(message.get("time"))
    except (KeyError, TypeError) as error:
        raise bad_event(f"its detail names no object ({type(error).__name__}: {error})") from error


def landing_only(store: str, found: Sequence[Record]) -> list[Event]:
    """Events of the landing folder of the store at a URL. Raises BadMessage for a key that none can be."""
    bucket, prefix = bucket_and_prefix(store)
    events = []
    for kind, where, key, when in found:
        if len(key.encode("utf-8", "surrogatepass")) > MOST_KEY:
            raise bad_event(f"a key of it has more than {MOST_KEY} bytes")
        ours = where == bucket and key.startswith(prefix) and key.removeprefix(prefix).startswith(WATCHED)
        if ours and kind.removeprefix("s3:").startswith(("ObjectCreated", "ObjectRemoved")):
            events.append(Event(key.removeprefix(prefix), when))
    return events


def _json(text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise bad_event(f"it is no JSON ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise bad_event(f"it is a JSON {type(found).__name__}, not an object")
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def when_of(text: Any) -> float | None:
    """A time that cannot be read does not make the event worthless: it counts as now."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def bad_event(reason: str) -> BadMessage:
    return BadMessage("message", reason, "Let the queue receive the bucket's events only (docs/sensors.md)")

"""CloudEvents 1.0 in structured JSON: the one form of every message that goes in or out.

Here: the value, reading one from anywhere, ids that follow from content. Not here: what is done with one.

The same object, version and model give the same id: what is sent twice, delivered twice or found again by a listing is
one message, and has one result. Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from groundplan.errors import BadMessage

ARRIVED = "org.groundplan.image.arrived"
ANALYSED = "org.groundplan.image.analysed"
FAILED = "org.groundplan.image.failed"
COMMITTED = "org.groundplan.partition.committed"
PROMOTED = "org.groundplan.model.promoted"
CONTENT_TYPE = "application/cloudevents+json"
MOST_BYTES = 256 * 1024  # what SQS carried for twenty years; events of ours have about one kilobyte
MOST_TEXT = 1024  # characters of an attribute
_TEXTS = ("id", "source", "type", "subject", "traceparent")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """Something that happened. time: ISO 8601 in UTC; traceparent: W3C's, '' where nobody began a trace."""

    id: str
    type: str
    source: str
    time: str
    subject: str = ""
    traceparent: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The JSON object of structured mode; attributes without a value are left out, as the form wants."""
        told = {"subject": self.subject, "traceparent": self.traceparent}
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "time": self.time,
            **{name: text for name, text in told.items() if text},
            "datacontenttype": "application/json",
            "data": dict(self.data),
        }

    def as_text(self) -> str:
        return json.dumps(self.as_json(), ensure_ascii=False, separators=(",", ":"))


def now() -> str:
    """This moment, as an event's `time`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def message_id(bucket: str, key: str, etag: str, model: str) -> str:
    """Id of what one version of an object is to one model: 64 hexadecimal digits."""
    return hashlib.sha256("\0".join((bucket, key, etag, model)).encode("utf-8", "surrogatepass")).hexdigest()


def upload_id(digest: str, model: str, mark: str = "") -> str:
    """Id of what bytes that were sent to us are to one model. mark: of the place that was stated with them."""
    return message_id("request", digest, digest + mark, model)


def event_of(text: str) -> CloudEvent:
    """The event in a text. Raises BadMessage for what is too large or no CloudEvent 1.0 with a JSON object in it."""
    raw = json_object(text)
    if raw.get("specversion") != "1.0":
        raise _bad("it is no CloudEvent 1.0")
    told = {name: raw.get(name, "") for name in _TEXTS}
    if not all(isinstance(value, str) and len(value) <= MOST_TEXT for value in told.values()):
        raise _bad("an attribute of it is no text, or too long")
    if not (told["id"] and told["source"] and told["type"]):
        raise _bad("it has no id, source or type")
    data, time = raw.get("data", {}), raw.get("time") or ""
    if not isinstance(data, dict):
        raise _bad("its data are no JSON object")
    return CloudEvent(**told, time=time if isinstance(time, str) else "", data=data)


def json_object(text: str) -> dict[str, Any]:
    """A JSON object of a bounded size. Raises BadMessage."""
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise _bad(f"it has more than {MOST_BYTES:,} bytes")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(f"it is no JSON ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise _bad(f"it is a JSON {type(found).__name__}, not an object")
    return found


def _bad(reason: str) -> BadMessage:
    return BadMessage("message", reason, "Look at who sends it: docs/messages.md says what is taken")

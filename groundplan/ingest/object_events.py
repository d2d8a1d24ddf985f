"""Object events of clouds: which keys of the project's store a message of theirs is about.

Here: S3's forms (s3_events.py), Azure Event Grid's CloudEvents, Google Pub/Sub's push. Pure. Not here: receiving
them, what follows: an event is only a reason to look.
https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage
https://cloud.google.com/storage/docs/pubsub-notifications
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from groundplan.errors import BadMessage
from groundplan.ingest.s3_events import MOST_KEY, bucket_and_prefix, records_of
from groundplan.messages.cloud_events import json_object

MOST_EVENTS = 1000


def keys_of(body: str, store: str, rooms: Sequence[str]) -> list[str]:
    """Keys of created objects below some rooms of the store at a URL; none for other buckets and other events.

    Raises BadMessage for what is too large or of no form that is known.
    """
    bucket, prefix = bucket_and_prefix(store)
    found = []
    for where, key in _created(body):
        own = key.removeprefix(prefix)
        if where == bucket and key.startswith(prefix) and own.startswith(tuple(rooms)) and len(key) <= MOST_KEY:
            found.append(own)
    return list(dict.fromkeys(found))


def _created(body: str) -> list[tuple[str, str]]:
    raw = _one_or_many(body)
    if isinstance(raw, list):
        return [pair for one in raw[:MOST_EVENTS] for pair in _azure(one)]
    if "specversion" in raw or "eventType" in raw:
        return _azure(raw)
    if isinstance(raw.get("message"), dict):
        return _google(raw["message"])
    created = ("ObjectCreated", "s3:ObjectCreated")
    return [(bucket, key) for kind, bucket, key, _ in records_of(body) if kind.startswith(created)]


def _one_or_many(body: str) -> Any:
    """Event Grid's own schema comes as a list."""
    if body.lstrip()[:1] != "[":
        return json_object(body)
    return json_object(f'{{"all": {body}}}')["all"]


def _azure(raw: Any) -> list[tuple[str, str]]:
    """Container and blob, of `/blobServices/default/containers/CONTAINER/blobs/PATH`."""
    if not isinstance(raw, dict):
        raise _bad("an event of it is no JSON object")
    kind, subject = str(raw.get("type") or raw.get("eventType")), str(raw.get("subject") or "")
    if kind != "Microsoft.Storage.BlobCreated":
        return []
    container, found, blob = subject.removeprefix("/blobServices/default/containers/").partition("/blobs/")
    if not found or "/" in container:
        raise _bad("its subject names no blob")
    return [(container, blob)]


def _google(message: dict[str, Any]) -> list[tuple[str, str]]:
    """Bucket and object: of the attributes, else of the data, which are JSON in base64."""
    told = message.get("attributes")
    told = dict(told) if isinstance(told, dict) else {}
    if told.get("eventType", "OBJECT_FINALIZE") != "OBJECT_FINALIZE":
        return []
    bucket, key = told.get("bucketId"), told.get("objectId")
    if not (isinstance(bucket, str) and isinstance(key, str)):
        try:
            data = json.loads(base64.b64decode(str(message.get("data", "")), validate=True))
            bucket, key = data["bucket"], data["name"]
        except (binascii.Error, ValueError, KeyError, TypeError, RecursionError) as error:
            raise _bad("its message names no object") from error
    return [(str(bucket), str(key))]


def _bad(reason: str) -> BadMessage:
    return BadMessage("message", reason, "Let the queue receive the bucket's events only (docs/messages.md)")

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
from groundplan.ingest.s3_events import (
    MOST_KEY,
    Event,
    Record,
    bucket_and_prefix,
    landing_only,
    records_of,
    when_of,
)
from groundplan.messages.cloud_events import json_object

MOST_EVENTS = 1000
CREATED = ("ObjectCreated", "s3:ObjectCreated")
AZURE = {"Microsoft.Storage.BlobCreated": "ObjectCreated", "Microsoft.Storage.BlobDeleted": "ObjectRemoved"}
GOOGLE = {"OBJECT_FINALIZE": "ObjectCreated", "OBJECT_DELETE": "ObjectRemoved"}


def keys_of(body: str, store: str, rooms: Sequence[str]) -> list[str]:
    """Keys of created objects below some rooms of the store at a URL; none for other buckets and other events.

    Raises BadMessage for what is too large or of no form that is known.
    """
    bucket, prefix = bucket_and_prefix(store)
    found = []
    for kind, where, key, _ in object_records(body):
        own = key.removeprefix(prefix)
        ours = where == bucket and key.startswith(prefix) and own.startswith(tuple(rooms)) and len(key) <= MOST_KEY
        if ours and kind.startswith(CREATED):
            found.append(own)
    return list(dict.fromkeys(found))


def landing_events(body: str, store: str) -> list[Event]:
    """What a message of any cloud says of the landing folder of the store at a URL. Raises BadMessage."""
    return landing_only(store, object_records(body))


def object_records(body: str) -> list[Record]:
    """All that a message of any cloud says, in S3's words for what happened; '' for what is none of them."""
    raw = _one_or_many(body)
    if isinstance(raw, list):
        return [_azure(one) for one in raw[:MOST_EVENTS]]
    if "specversion" in raw or "eventType" in raw:
        return [_azure(raw)]
    if isinstance(raw.get("message"), dict):
        return [_google(raw["message"])]
    return records_of(body)


def _one_or_many(body: str) -> Any:
    """Event Grid's own schema comes as a list."""
    if body.lstrip()[:1] != "[":
        return json_object(body)
    return json_object(f'{{"all": {body}}}')["all"]


def _azure(raw: Any) -> Record:
    """Container and blob, of `/blobServices/default/containers/CONTAINER/blobs/PATH`."""
    if not isinstance(raw, dict):
        raise _bad("an event of it is no JSON object")
    kind, subject = AZURE.get(str(raw.get("type") or raw.get("eventType")), ""), str(raw.get("subject") or "")
    if not kind:
        return "", "", "", None
    container, found, blob = subject.removeprefix("/blobServices/default/containers/").partition("/blobs/")
    if not found or "/" in container:
        raise _bad("its subject names no blob")
    return kind, container, blob, when_of(raw.get("time") or raw.get("eventTime"))


def _google(message: dict[str, Any]) -> Record:
    """Bucket and object: of the attributes, else of the data, which are JSON in base64."""
    told = message.get("attributes")
    told = dict(told) if isinstance(told, dict) else {}
    kind = GOOGLE.get(str(told.get("eventType", "OBJECT_FINALIZE")), "")
    if not kind:
        return "", "", "", None
    bucket, key = told.get("bucketId"), told.get("objectId")
    if not (isinstance(bucket, str) and isinstance(key, str)):
        try:
            data = json.loads(base64.b64decode(str(message.get("data", "")), validate=True))
            bucket, key = data["bucket"], data["name"]
        except (binascii.Error, ValueError, KeyError, TypeError, RecursionError) as error:
            raise _bad("its message names no object") from error
    return kind, str(bucket), str(key), when_of(told.get("eventTime"))


def _bad(reason: str) -> BadMessage:
    return BadMessage("message", reason, "Let the queue receive the bucket's events only (docs/messages.md)")

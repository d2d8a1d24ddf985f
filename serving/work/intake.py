"""Arrivals: what becomes a message of ours.

Here: objects that others' events name, files that lie in inbox/, uploads. Not here: the forms of others' events
(groundplan/ingest/object_events.py), HTTP (serving/api/arrivals.py).

An event is only a reason to look: the object's own tag decides which version it is, so an event, a listing and an
upload of one file make one message. A file is taken once nothing has changed in it between two looks.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from groundplan.core.store import Found
from groundplan.database.connect import writing
from groundplan.database.once import insert_once
from groundplan.database.tables import analysis, inbox, outbox
from groundplan.errors import MissingInput
from groundplan.ingest.object_events import keys_of
from groundplan.ingest.s3_events import bucket_and_prefix
from groundplan.messages.cloud_events import ANALYSED, ARRIVED, CloudEvent, message_id, now, upload_id
from groundplan.messages.port import Broker
from groundplan.project import Project
from groundplan.single.stated import Stated, place_mark
from serving.logs import new_trace, traceparent

log = logging.getLogger("groundplan.work")

INBOX, UPLOADS = "inbox/", "inbox/uploads/"
REQUEST = "request"  # in place of a bucket, of what was sent to us
MOST = 2000  # files of one look; the rest comes in the next
UNREADY = (".part", ".tmp", ".crdownload", ".filepart")  # names that programs give to what they still write


def found_event(project: Project, key: str, etag: str, word: str) -> CloudEvent:
    """That an object lies in the store, for one model."""
    bucket = bucket_and_prefix(project.store.url)[0]
    data = {"bucket": bucket, "key": key, "etag": etag, "model": word}
    return _arrived(project, message_id(bucket, key, etag, word), data)


def uploaded_event(project: Project, digest: str, word: str, place: Stated | None = None) -> CloudEvent:
    """That an image was sent to us, for one model; its id is that of an answer about it at once.

    The same bytes in another place are another message, and lie under another key: each goes when it is done.
    """
    mark = place_mark(place)
    key = f"{UPLOADS}{word}/{digest}-{mark}" if mark else f"{UPLOADS}{word}/{digest}"
    data: dict[str, Any] = {"bucket": REQUEST, "key": key, "etag": digest, "model": word}
    if place is not None:
        data["place"] = dict(place)
    return _arrived(project, upload_id(digest, word, mark), data)


def id_of_upload(key: str) -> str:
    """Of the message with which an uploaded image came."""
    word, _, name = key.removeprefix(UPLOADS).rpartition("/")
    digest, _, mark = name.partition("-")
    return upload_id(digest, word, mark)


def _arrived(project: Project, identity: str, data: dict[str, Any]) -> CloudEvent:
    return CloudEvent(
        id=identity,
        type=ARRIVED,
        source=project.settings.messages.source,
        time=now(),
        subject=data["key"],
        traceparent=traceparent() or new_trace(),
        data=data,
    )


def upload(
    project: Project, broker: Broker, data: bytes, words: Sequence[str], place: Stated | None = None
) -> list[CloudEvent]:
    """Keep an image that was sent, and ask for the work; what this returned from is not lost.

    Bytes come before the message: who is killed in between has promised nothing. Raises StoreFailed, BrokerFailed.
    """
    digest = hashlib.sha256(data).hexdigest()
    events = [uploaded_event(project, digest, word, place) for word in words]
    for event in events:
        project.store.put(event.data["key"], data)
    broker.send(events)
    return events


def take_events(project: Project, broker: Broker, body: str) -> int:
    """Messages for the objects that a message of others names; how many. Raises BadMessage.

    Not for uploads, of which a bucket tells too: who kept one sent its message.
    """
    events: list[CloudEvent] = []
    for key in keys_of(body, project.store.url, (INBOX,)):
        if key.startswith(UPLOADS):
            continue
        try:
            tag = project.store.head(key).tag
        except MissingInput:  # taken away since
            continue
        events += [found_event(project, key, tag, word) for word in project.settings.single.models]
    if events:
        broker.send(events)
    return len(events)


# ------------------------------------------------------------------------------------------------ inbox/


@dataclass(kw_only=True)
class InboxWatch:
    """Looks into inbox/: sends what is new, and takes away what is done with."""

    project: Project
    engine: Engine
    broker: Broker
    seen: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Size and tag of each file at the last look."""

    def look(self) -> int:
        """One look; how many messages were sent. Raises StoreFailed, BrokerFailed, errors of the database."""
        files = [found for found in self.project.store.list(INBOX.rstrip("/")) if _is_ready(found)][:MOST]
        still = [found for found in files if self.seen.get(found.key) == (found.size, found.tag)]
        self.seen = {found.key: (found.size, found.tag) for found in files}
        asked = {found.key: self._events(found) for found in still}
        done, sent = self._known([event.id for events in asked.values() for event in events])
        new = [event for events in asked.values() for event in events if event.id not in done | sent]
        fresh = [event for event in new if event.data["bucket"] != REQUEST]  # who sent that, sent its message too
        if fresh:
            self.broker.send(fresh)
            with writing(self.engine) as connection:
                at = datetime.now(UTC)
                insert_once(connection, inbox, [{"id": event.id, "at": at} for event in fresh])
        if self.project.settings.messages.remove:
            over = [key for key, events in asked.items() if events and all(event.id in done for event in events)]
            self.project.store.delete(over)
        return len(fresh)

    def _events(self, found: Found) -> list[CloudEvent]:
        if found.key.startswith(UPLOADS):
            return [_arrived(self.project, id_of_upload(found.key), {"bucket": REQUEST, "key": found.key})]
        return [found_event(self.project, found.key, found.tag, word) for word in self.project.settings.single.models]

    def _known(self, identities: Sequence[str]) -> tuple[set[str], set[str]]:
        """Of some messages those with a result, be it that of the same picture under another key, and those sent."""
        done: set[str] = set()
        sent: set[str] = set()
        with self.engine.connect() as connection:
            for start in range(0, len(identities), 500):
                some = identities[start : start + 500]
                done |= _among(connection, analysis.c.id, some)
                done |= _among(connection, outbox.c.id, some, outbox.c.type == ANALYSED)
                sent |= _among(connection, inbox.c.id, some)
        return done, sent


def _among(
    connection: Connection, column: sa.Column[str], some: Sequence[str], *more: sa.ColumnElement[bool]
) -> set[str]:
    return set(connection.execute(sa.select(column).where(column.in_(some), *more)).scalars())


def _is_ready(found: Found) -> bool:
    name = found.key.rsplit("/", 1)[-1]
    return found.size > 0 and not name.startswith(".") and not name.lower().endswith(UNREADY)

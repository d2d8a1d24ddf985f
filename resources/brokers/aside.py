"""Dead letters: messages that were set aside for a person, in the results' database whatever the broker.

Here: setting aside with the reason, listing, trying again, dropping. Not here: when that is done (serving/work).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from groundplan.database.connect import writing
from groundplan.database.once import insert_once
from groundplan.database.tables import message
from groundplan.errors import BadMessage, unknown
from groundplan.messages.cloud_events import event_of
from groundplan.messages.port import WORK, Broker, Leased
from resources.brokers.table import ASIDE, WAITS

FOREIGN = "foreign"  # type of a message that could not be read


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that was set aside. body: as it came, or {"text": ...} of what was no JSON object."""

    id: str
    type: str
    body: dict[str, Any]
    reason: str
    tries: int
    arrived: datetime
    aside: datetime


def set_aside(connection: Connection, held: Leased, reason: str) -> str:
    """Keep a message with the reason, as part of a transaction; returns the id that it has there."""
    identity, kind, body = _parts(held.body)
    at = datetime.now(UTC)
    changed = {"state": ASIDE, "reason": reason, "tries": held.tries, "lease": None, "holder": None, "due": at}
    mine = sa.and_(message.c.queue == WORK, message.c.id == identity)
    if not connection.execute(message.update().where(mine).values(**changed)).rowcount:
        arrived = datetime.fromtimestamp(held.arrived, UTC)
        row = {"id": identity, "queue": WORK, "type": kind, "body": body, "arrived": arrived, **changed}
        insert_once(connection, message, [row])
    return identity


def _parts(text: str) -> tuple[str, str, dict[str, Any]]:
    """Id, type and body. What was never an event is known by its content."""
    try:
        event = event_of(text)
        return event.id[:64], event.type[:100], event.as_json()
    except BadMessage:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    shown = text[:100_000].replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    whole = isinstance(found, dict) and "\\u0000" not in text and len(text) < 100_000
    return digest, FOREIGN, found if whole and isinstance(found, dict) else {"text": shown}


def are_aside(connection: Connection, identities: Sequence[str]) -> set[str]:
    """Those of some messages that were set aside already."""
    wanted = sa.and_(message.c.queue == WORK, message.c.state == ASIDE, message.c.id.in_(identities))
    return set(connection.execute(sa.select(message.c.id).where(wanted)).scalars())


def dead_letters(engine: Engine, most: int = 100) -> list[DeadLetter]:
    """The newest first."""
    wanted = sa.select(message).where(message.c.queue == WORK, message.c.state == ASIDE)
    with engine.connect() as connection:
        rows = connection.execute(wanted.order_by(message.c.seq.desc()).limit(most)).mappings().all()
    return [
        DeadLetter(
            id=row["id"],
            type=row["type"],
            body=row["body"],
            reason=row["reason"] or "",
            tries=row["tries"],
            arrived=row["arrived"],
            aside=row["due"],
        )
        for row in rows
    ]


def count(engine: Engine) -> int:
    wanted = sa.select(sa.func.count()).where(message.c.queue == WORK, message.c.state == ASIDE)
    with engine.connect() as connection:
        return int(connection.execute(wanted).scalar_one())


def retry(engine: Engine, broker: Broker, identities: Sequence[str]) -> int:
    """Ask for the work again, with all tries; returns how many messages that were. Raises BadConfig, BrokerFailed.

    Of another broker than the table the row goes after the message was sent: killed in between, it is sent twice.
    """
    letters = _chosen(engine, identities)
    if not broker.transactional:
        broker.send([event_of(json.dumps(one.body)) for one in letters if one.type != FOREIGN])
    with writing(engine) as connection:
        mine = _these([one.id for one in letters if one.type != FOREIGN])
        if broker.transactional:
            again = {"state": WAITS, "tries": 0, "reason": None, "due": datetime.now(UTC)}
            return connection.execute(message.update().where(mine).values(**again)).rowcount
        return connection.execute(message.delete().where(mine)).rowcount


def drop(engine: Engine, identities: Sequence[str]) -> int:
    """Forget them for good; returns how many. Raises BadConfig."""
    letters = _chosen(engine, identities)
    with writing(engine) as connection:
        return connection.execute(message.delete().where(_these([one.id for one in letters]))).rowcount


def _chosen(engine: Engine, identities: Sequence[str]) -> list[DeadLetter]:
    """Those whose ids begin so; all of them where none is named. Raises BadConfig."""
    every = dead_letters(engine, 100_000)
    for identity in identities:
        if not any(one.id.startswith(identity) for one in every):
            raise unknown("message", identity, [one.id[:12] for one in every])
    return [one for one in every if not identities or any(one.id.startswith(identity) for identity in identities)]


def _these(identities: Sequence[str]) -> sa.ColumnElement[bool]:
    return sa.and_(message.c.queue == WORK, message.c.state == ASIDE, message.c.id.in_(identities))

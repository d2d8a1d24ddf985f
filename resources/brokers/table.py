"""The broker that needs no server: a table of the results' database, SQLite's or PostgreSQL's.

Here: leases, order and back-off as rows. Not here: dead letters (aside.py).

Two workers never get one message: PostgreSQL's skip what another has locked, SQLite's take turns. Time is the
database's own where it has one, so that clocks of workers do not count; a lease or a delay that ends later than any can
be was written by a clock that was wrong, and counts as over.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from groundplan.database.connect import writing
from groundplan.database.once import insert_once
from groundplan.database.tables import message
from groundplan.errors import BrokerFailed
from groundplan.messages.cloud_events import CloudEvent
from groundplan.messages.port import EVENTS, MOST_LEASE, WORK, Depth, Leased

WAITS, LEASED, ASIDE, TOLD = "waits", "leased", "aside", "told"
LOOK = 0.1  # seconds between two looks of somebody who waits


def wall_clock() -> datetime:
    return datetime.now(UTC)


class TableBroker:
    """A broker over an engine whose database has the tables. clock: of SQLite, which has none that is shared."""

    transactional = True

    def __init__(self, engine: Engine, clock: Callable[[], datetime] = wall_clock) -> None:
        self.engine, self.clock = engine, clock
        self.holder = f"{socket.gethostname()[:60]}-{os.getpid()}-{id(self):x}"[:100]

    def send(self, events: Sequence[CloudEvent]) -> None:
        with self._writing() as connection:
            self.send_within(connection, events)

    def send_within(self, connection: Connection, events: Sequence[CloudEvent], queue: str = WORK) -> None:
        """As `send`, as part of a transaction."""
        at = self._now(connection)
        state = TOLD if queue == EVENTS else WAITS
        fixed = {"queue": queue, "arrived": at, "due": at, "tries": 0, "state": state}
        rows = [{"id": event.id, "type": event.type, "body": event.as_json(), **fixed} for event in events]
        insert_once(connection, message, rows)

    def receive(self, most: int, lease: float, wait: float = 0.0) -> list[Leased]:
        end = time.monotonic() + wait
        while not (found := self._receive(most, lease)) and (left := end - time.monotonic()) > 0:
            time.sleep(min(LOOK, left))
        return found

    def _receive(self, most: int, lease: float) -> list[Leased]:
        with self._writing() as connection:
            at = self._now(connection)
            wanted = sa.select(message).where(message.c.queue == WORK, _free(at)).order_by(message.c.seq).limit(most)
            rows = connection.execute(wanted.with_for_update(skip_locked=True)).mappings().all()
            if rows:
                taken = {"state": LEASED, "lease": at + timedelta(seconds=lease), "holder": self.holder}
                changed = message.update().where(message.c.seq.in_([row["seq"] for row in rows]))
                connection.execute(changed.values(tries=message.c.tries + 1, **taken))
        return [_leased(row) for row in rows]

    def keep(self, held: Sequence[Leased], lease: float) -> None:
        with self._writing() as connection:
            until = self._now(connection) + timedelta(seconds=lease)
            connection.execute(message.update().where(self._mine(held)).values(lease=until))

    def done(self, held: Sequence[Leased], within: Any = None) -> None:
        gone = message.delete().where(message.c.seq.in_([one.receipt for one in held]), message.c.state != ASIDE)
        if within is not None:
            within.execute(gone)
            return
        with self._writing() as connection:
            connection.execute(gone)

    def later(self, held: Sequence[Leased], seconds: float) -> None:
        with self._writing() as connection:
            due = self._now(connection) + timedelta(seconds=seconds)
            connection.execute(message.update().where(self._mine(held)).values(state=WAITS, lease=None, due=due))

    def depth(self) -> Depth:
        open_ = sa.and_(message.c.queue == WORK, message.c.state.in_((WAITS, LEASED)))
        with self._reading() as connection:
            count, oldest = connection.execute(
                sa.select(sa.func.count(), sa.func.min(message.c.arrived)).where(open_)
            ).one()
            age = (self._now(connection) - oldest).total_seconds() if oldest else 0.0
        return Depth(count, max(0.0, age))

    def publish(self, events: Sequence[CloudEvent]) -> None:
        with self._writing() as connection:
            self.send_within(connection, events, EVENTS)

    def close(self) -> None:
        self.engine.dispose()

    # -------------------------------------------------------------------------------------------------------------

    def _mine(self, held: Sequence[Leased]) -> sa.ColumnElement[bool]:
        numbers = message.c.seq.in_([one.receipt for one in held])
        return sa.and_(numbers, message.c.state == LEASED, message.c.holder == self.holder)

    def _now(self, connection: Connection) -> datetime:
        if connection.dialect.name == "sqlite":
            return self.clock()
        return connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with _told(), writing(self.engine) as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _told(), self.engine.connect() as connection:
            yield connection


def _free(at: datetime) -> sa.ColumnElement[bool]:
    """Messages that nobody holds and that are due."""
    never = at + timedelta(seconds=MOST_LEASE)
    due = sa.or_(message.c.due <= at, message.c.due > never)
    over = sa.or_(message.c.lease <= at, message.c.lease > never)
    return sa.or_(sa.and_(message.c.state == WAITS, due), sa.and_(message.c.state == LEASED, over))


def _leased(row: Any) -> Leased:
    return Leased(
        id=row["id"],
        body=json.dumps(row["body"], ensure_ascii=False),
        tries=row["tries"] + 1,
        arrived=row["arrived"].timestamp(),
        receipt=row["seq"],
    )


@contextmanager
def _told() -> Iterator[None]:
    """Raises BrokerFailed in place of the database's errors."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        reason = str(error.orig).splitlines()[0][:200] if str(error.orig) else type(error.orig).__name__
        raise BrokerFailed(
            "table of messages", reason, "Look at the database; nothing that was sent is lost"
        ) from error

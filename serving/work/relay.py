"""The relay: events out of the database to those who are to be told, in the order of their numbers.

Here: reading what was not sent, sending, marking; forgetting what is old. Not here: the ways (resources/targets.py).

Killed between sending and marking it sends again: receivers see by the event's id that it is one. Where two relays run,
PostgreSQL lets one at a time have a target. A target that does not answer is tried again, later and later, and keeps
no other waiting; one that refuses an event for good is noted with the reason, and the next event goes out.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from groundplan.database.connect import writing
from groundplan.database.tables import inbox, message, outbox
from groundplan.errors import BadMessage
from groundplan.messages.cloud_events import CloudEvent
from groundplan.messages.port import EVENTS
from serving.metrics import Meters

log = logging.getLogger("groundplan.relay")

AT_ONCE = 64  # events between two marks
IDLE = 0.25  # seconds between two looks
LONGEST = 60.0  # seconds between two tries of a target that does not answer
CARE = 600.0  # seconds between two times of forgetting what is old
LOCK = 7_203_611_850  # first of PostgreSQL's advisory locks, one for each target

Deliver = Callable[[Sequence[CloudEvent]], None]
"""Raises BadMessage where the first of them is refused for good, anything else where it may be taken later."""


@dataclass(kw_only=True)
class Relay:
    """One process's relay to some targets. `begin` starts a thread for each."""

    engine: Engine
    targets: Mapping[str, Deliver]
    keep_days: float
    meters: Meters
    stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        for name in self.targets:
            self._threads.append(threading.Thread(target=self._follow, args=(name,), name=f"relay-{name}", daemon=True))
        self._threads.append(threading.Thread(target=self._care, name="relay-care", daemon=True))
        for thread in self._threads:
            thread.start()

    def end(self, seconds: float = 10.0) -> None:
        """Finish what is being sent."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(seconds)

    def run_once(self) -> int:
        """Send all that waits, to every target; how many. Raises what a target raises."""
        total = 0
        for name in self.targets:
            while sent := self._round(name):
                total += sent
        return total

    def _follow(self, name: str) -> None:
        pause = IDLE
        while not self.stopping.wait(pause):
            try:
                pause = 0.0 if self._round(name) else IDLE
            except Exception as error:  # whatever it is, it is tried again
                pause = min(LONGEST, max(1.0, 2 * pause))
                log.warning("%s is not told, again in %.0f s: %s", name, pause, str(error)[:200])

    def _round(self, name: str) -> int:
        """One batch to one target; how many events are off the list."""
        with _alone(self.engine, name) as mine:
            rows = self._waiting(name) if mine else []
            if not rows:
                return 0
            try:
                self.targets[name]([event_from(row["event"]) for row in rows])
                self._mark([row["seq"] for row in rows])
                return len(rows)
            except BadMessage as error:
                return self._one_by_one(name, rows, error)

    def _one_by_one(self, name: str, rows: Sequence[Any], refused: BadMessage) -> int:
        for at, row in enumerate(rows):
            try:
                self.targets[name]([event_from(row["event"])])
                self._mark([row["seq"]])
            except BadMessage as error:
                log.error("%s refuses event %s for good: %s", name, row["id"][:12], error.reason)
                self._mark([row["seq"]], error.reason[:500])
            except Exception:
                if at == 0:
                    raise
                return at
        return len(rows)

    def _waiting(self, name: str) -> Sequence[Any]:
        wanted = sa.select(outbox).where(outbox.c.target == name, outbox.c.sent.is_(None))
        with self.engine.connect() as connection:
            return connection.execute(wanted.order_by(outbox.c.seq).limit(AT_ONCE)).mappings().all()

    def _mark(self, numbers: Sequence[int], reason: str | None = None) -> None:
        with writing(self.engine) as connection:
            changed = outbox.update().where(outbox.c.seq.in_(numbers))
            connection.execute(changed.values(sent=datetime.now(UTC), reason=reason))

    def _care(self) -> None:
        wait = 1.0
        while not self.stopping.wait(wait):
            wait = CARE
            try:
                forget(self.engine, self.keep_days)
            except Exception as error:
                log.warning("what is old was not forgotten: %s", str(error)[:200])


def event_from(raw: Mapping[str, Any]) -> CloudEvent:
    """An event as it lies in the outbox, which is of our own making."""
    names = ("id", "type", "source", "time", "subject", "traceparent", "data")
    return CloudEvent(**{name: raw[name] for name in names if name in raw})


def republish(engine: Engine, since: datetime, target: str = "") -> int:
    """Let events be sent again that were made since then; how many. For a broker that lost what it had taken."""
    wanted = sa.and_(outbox.c.made >= since, outbox.c.sent.is_not(None))
    if target:
        wanted = sa.and_(wanted, outbox.c.target == target)
    with writing(engine) as connection:
        return connection.execute(outbox.update().where(wanted).values(sent=None, reason=None)).rowcount


def forget(engine: Engine, days: float) -> None:
    """Events that were sent, and ids that came, longer ago than that."""
    before = datetime.now(UTC) - timedelta(days=days)
    with writing(engine) as connection:
        connection.execute(outbox.delete().where(outbox.c.sent < before))
        connection.execute(inbox.delete().where(inbox.c.at < before))
        connection.execute(message.delete().where(message.c.queue == EVENTS, message.c.arrived < before))


@contextmanager
def _alone(engine: Engine, name: str) -> Iterator[bool]:
    """Whether no other relay has this target now. SQLite has no such lock: twice is harmless, one process is usual."""
    if engine.dialect.name != "postgresql":
        yield True
        return
    key = LOCK + zlib.crc32(name.encode())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        mine = _ask(connection, "SELECT pg_try_advisory_lock(:key)", key)
        try:
            yield mine
        finally:
            if mine:
                _ask(connection, "SELECT pg_advisory_unlock(:key)", key)


def _ask(connection: Connection, question: str, key: int) -> bool:
    return bool(connection.execute(sa.text(question), {"key": key}).scalar_one())

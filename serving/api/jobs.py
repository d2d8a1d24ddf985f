"""Jobs: areas that are predicted in the background, their states in the database, and the thread that works on them.

Here: entering, claiming, telling progress, cancelling, forgetting. Not here: HTTP (areas.py), the prediction
(groundplan/footprints/areas.py).

A job's id follows from what was asked, of which imagery and model: asked twice it is one job. A service that dies
leaves its job to another: who has said nothing for a minute has no job any more. Between two windows a job lets those
go first who wait for an answer.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from groundplan.database.connect import writing
from groundplan.database.tables import job
from groundplan.project import Project

log = logging.getLogger("groundplan.api")

WAITS, WORKS, DONE, FAILED, CANCELLED = "waits", "works", "done", "failed", "cancelled"
OVER = frozenset({DONE, FAILED, CANCELLED})
KIND = "area"
SILENT = 60.0  # seconds after which a job at work is nobody's
POLITE = 2.0  # seconds for which a window waits for those who are answered at once
TOLD = 1.0  # seconds between two notes of progress
KEPT_DAYS = 7.0


class JobCancelled(Exception):
    """The job at hand is not wanted any more, or is another's."""


def result_key(identity: str) -> str:
    return f"jobs/{identity}.geojson"


def identity_of(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def enter(engine: Engine, identity: str, asked: Mapping[str, Any], owner: str, total: int, cost: float) -> None:
    """A job that waits; one that is there already stays, unless it failed or was cancelled."""
    now = datetime.now(UTC)
    row = {
        "kind": KIND,
        "asked": dict(asked),
        "owner": owner,
        "state": WAITS,
        "done": 0,
        "total": total,
        "cost": cost,
        "result": None,
        "reason": None,
        "made": now,
        "changed": now,
    }
    with writing(engine) as connection:
        known = connection.execute(sa.select(job.c.state).where(job.c.id == identity)).scalar()
        if known is None:
            connection.execute(job.insert(), {"id": identity, **row})
        elif known in (FAILED, CANCELLED):
            connection.execute(job.update().where(job.c.id == identity).values(row))


def look(engine: Engine, identity: str) -> dict[str, Any] | None:
    with engine.connect() as connection:
        row = connection.execute(sa.select(job).where(job.c.id == identity)).mappings().first()
    return dict(row) if row else None


def in_hand(engine: Engine) -> int:
    """Jobs that wait or are at work."""
    with engine.connect() as connection:
        counted = sa.select(sa.func.count()).select_from(job).where(job.c.state.in_((WAITS, WORKS)))
        return int(connection.execute(counted).scalar() or 0)


def cancel(engine: Engine, identity: str) -> bool:
    """Whether it was not over yet."""
    with writing(engine) as connection:
        changed = connection.execute(
            job.update()
            .where(job.c.id == identity, job.c.state.in_((WAITS, WORKS)))
            .values(state=CANCELLED, changed=datetime.now(UTC))
        )
    return bool(changed.rowcount)


def claim(engine: Engine) -> dict[str, Any] | None:
    """The oldest job that waits, or that nobody speaks of any more; it is this process's from now on."""
    now = datetime.now(UTC)
    free = sa.or_(job.c.state == WAITS, sa.and_(job.c.state == WORKS, job.c.changed < now - timedelta(seconds=SILENT)))
    with writing(engine) as connection:
        found = connection.execute(
            sa.select(job)
            .where(job.c.kind == KIND, free)
            .order_by(job.c.made)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        row = found.mappings().first()
        if row is None:
            return None
        connection.execute(job.update().where(job.c.id == row["id"]).values(state=WORKS, done=0, changed=now))
        return dict(row)


def note(engine: Engine, identity: str, **values: Any) -> None:
    """Progress, or the end, of a job at work. Raises JobCancelled where it is not at work any more."""
    with writing(engine) as connection:
        changed = connection.execute(
            job.update().where(job.c.id == identity, job.c.state == WORKS).values(changed=datetime.now(UTC), **values)
        )
    if not changed.rowcount:
        raise JobCancelled


def forget_old(project: Project, engine: Engine, days: float = KEPT_DAYS) -> int:
    """Jobs that ended long ago, with their results."""
    before = datetime.now(UTC) - timedelta(days=days)
    old = sa.and_(job.c.state.in_(OVER), job.c.changed < before)
    with engine.connect() as connection:
        names = list(connection.execute(sa.select(job.c.id).where(old).limit(1000)).scalars())
    if names:
        project.store.delete([result_key(name) for name in names])
        with writing(engine) as connection:
            connection.execute(job.delete().where(job.c.id.in_(names)))
    return len(names)


Work = Callable[[Mapping[str, Any], Callable[[], None], Callable[[int], None]], bytes]
"""What was asked, `check` and `done` to the result's bytes."""


@dataclass(kw_only=True)
class Runner:
    """A thread that works on one job after the other."""

    project: Project
    engine: Callable[[], Engine]
    work: Work
    busy: Callable[[], bool]
    """Whether somebody waits for an answer at once."""
    seconds: float = 1.0
    stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """The job at hand is left to whoever comes next."""
        self.stopping.set()
        if self._thread:
            self._thread.join(5.0)

    def _run(self) -> None:
        forgot = 0.0
        while not self.stopping.wait(self.seconds):
            try:
                while not self.stopping.is_set() and (found := claim(self.engine())):
                    self._one(found)
                if time.monotonic() - forgot > 3600:
                    forgot = time.monotonic()
                    forget_old(self.project, self.engine())
            except Exception as error:  # of a database that is away: it comes back
                log.warning("jobs cannot be looked at: %s", type(error).__name__)

    def _one(self, found: Mapping[str, Any]) -> None:
        identity, told, count = str(found["id"]), time.monotonic(), 0

        def done(parts: int) -> None:
            nonlocal count
            count = parts

        def check() -> None:
            nonlocal told
            end = time.monotonic() + POLITE
            while self.busy() and time.monotonic() < end and not self.stopping.is_set():
                time.sleep(0.01)
            if self.stopping.is_set():
                raise JobCancelled
            if time.monotonic() - told >= TOLD:
                told = time.monotonic()
                note(self.engine(), identity, done=count)

        try:
            data = self.work(found["asked"], check, done)
            self.project.store.put(result_key(identity), data)
            note(self.engine(), identity, state=DONE, done=count, result={"bytes": len(data)})
        except JobCancelled:
            if self.stopping.is_set():
                self._give_back(identity)
        except Exception as error:
            log.error("job %s failed: %s", identity, error)
            self._failed(identity)

    def _give_back(self, identity: str) -> None:
        with writing(self.engine()) as connection:
            mine = sa.and_(job.c.id == identity, job.c.state == WORKS)
            connection.execute(job.update().where(mine).values(state=WAITS, done=0))

    def _failed(self, identity: str) -> None:
        try:
            note(self.engine(), identity, state=FAILED, reason="it could not be predicted; the log says why")
        except JobCancelled:
            log.info("job %s was cancelled meanwhile", identity)

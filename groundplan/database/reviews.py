"""Rows of reviews: tasks, who has which in hand, and verdicts.

Here: asking and writing. Not here: which tasks there are and what verdicts mean (groundplan/reviews), the mirror in the
store. A task is one person's for a while; some are asked of a second one, so that agreement can be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from groundplan.database.connect import writing
from groundplan.database.once import insert_once
from groundplan.database.tables import review, review_task

OPEN, DONE = "open", "done"
AGAIN = timedelta(minutes=10)  # for which a task that was taken back is that person's


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a person reviews; None: anywhere."""

    region: str | None = None
    year: int | None = None

    def of(self, query: sa.Select[Any]) -> sa.Select[Any]:
        if self.region is not None:
            query = query.where(review_task.c.region == self.region)
        return query if self.year is None else query.where(review_task.c.year == self.year)


def add_tasks(engine: Engine, tasks: Iterable[Any], keep: bool = False) -> int:
    """Insert tasks that are not there yet; how many. Of a region and year, open ones that were not chosen again go.

    keep: those stay.
    """
    rows = [asdict(task) | {"state": OPEN} for task in tasks]
    with writing(engine) as connection:
        for region, year in [] if keep else sorted({(row["region"], row["year"]) for row in rows}):
            ids = [row["id"] for row in rows if (row["region"], row["year"]) == (region, year)]
            said = sa.select(review.c.task)
            here = (review_task.c.region == region) & (review_task.c.year == year) & review_task.c.id.not_in(said)
            connection.execute(sa.delete(review_task).where(here, review_task.c.id.not_in(ids)))
        return insert_once(connection, review_task, sorted(rows, key=lambda row: row["id"]))


def next_task(
    engine: Engine, person: str, place: Place, now: datetime, lease: float, twice: float
) -> dict[str, Any] | None:
    """The task for a person, who has it for `lease` seconds; None where nothing is left. The same one until it is done.

    twice: share of tasks that a second person is asked about, 0..1.
    """
    mine = sa.exists().where(review.c.task == review_task.c.id, review.c.person == person)
    free = (review_task.c.lease.is_(None)) | (review_task.c.lease < now) | (review_task.c.holder == person)
    second = (review_task.c.state == DONE) & (review_task.c.id < _below(twice)) & ~_by_two()
    query = (
        place.of(sa.select(review_task))
        .where(((review_task.c.state == OPEN) | (second & ~mine)) & free)
        .order_by((review_task.c.holder == person).desc().nulls_last(), review_task.c.priority.desc(), review_task.c.id)
        .limit(1)
    )
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            query = query.with_for_update(skip_locked=True)
        row = connection.execute(query).mappings().first()
        if row is None:
            return None
        until = now + timedelta(seconds=lease)
        connection.execute(
            sa.update(review_task).where(review_task.c.id == row["id"]).values(lease=until, holder=person)
        )
        return dict(row)


def _below(share: float) -> str:
    """Ids are hexadecimal and even: those below this are the share of them."""
    return f"{int(min(share, 0.999999) * 16**8):08x}"


def _by_two() -> Any:
    count = sa.select(sa.func.count(review.c.person.distinct())).where(review.c.task == review_task.c.id)
    return count.scalar_subquery() >= 2


def task_of(engine: Engine, task: str) -> dict[str, Any] | None:
    with engine.connect() as connection:
        row = connection.execute(sa.select(review_task).where(review_task.c.id == task)).mappings().first()
    return dict(row) if row else None


def add_review(engine: Engine, said: Mapping[str, Any], closes: bool, opens: bool = False) -> bool:
    """Write a verdict once; whether it was new. closes: the task is done by it; opens: it is open again."""
    with writing(engine) as connection:
        if not insert_once(connection, review, [said]):
            return False
        if closes:
            _set(connection, review_task.c.id == said["task"], state=DONE, lease=None, holder=None)
        elif opens:  # and it is asked of that person next
            _set(connection, review_task.c.holder == said["person"], lease=None, holder=None)
            until = said["at"] + AGAIN
            _set(connection, review_task.c.id == said["task"], state=OPEN, lease=until, holder=said["person"])
        return True


def _set(connection: Connection, which: sa.ColumnElement[bool], **values: Any) -> None:
    connection.execute(sa.update(review_task).where(which).values(**values))


def last_of(engine: Engine, person: str, undo: str) -> dict[str, Any] | None:
    """A person's newest verdict that was not taken back: what `undo` would take back."""
    query = sa.select(review).where(review.c.person == person).order_by(review.c.at.desc(), review.c.id).limit(200)
    with engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
    taken_back = 0
    for row in rows:
        if row["verdict"] == undo:
            taken_back += 1
        elif taken_back:
            taken_back -= 1
        else:
            return dict(row)
    return None


def progress(engine: Engine, place: Place) -> dict[str, int]:
    """How many tasks are open and done."""
    query = place.of(sa.select(review_task.c.state, sa.func.count())).group_by(review_task.c.state)
    with engine.connect() as connection:
        found = {str(state): int(count) for state, count in connection.execute(query)}
    return {OPEN: found.get(OPEN, 0), DONE: found.get(DONE, 0)}


def list_tasks(engine: Engine, place: Place, state: str | None = None) -> list[dict[str, Any]]:
    """Tasks in the order in which they are asked."""
    query = place.of(sa.select(review_task)).order_by(review_task.c.priority.desc(), review_task.c.id)
    if state:
        query = query.where(review_task.c.state == state)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]

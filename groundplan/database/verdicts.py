"""Verdicts in both places: a row of the database and an object of the store.

Here: saying one, taking one back, and bringing each place what only the other has. Not here: HTTP (serving/review),
what verdicts mean (groundplan/reviews/verdicts.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from groundplan.core.store import Store
from groundplan.database import reviews as rows
from groundplan.database.connect import writing
from groundplan.database.once import insert_once
from groundplan.database.tables import review as review_table
from groundplan.database.tables import review_task
from groundplan.reviews import verdicts as say
from groundplan.reviews.tasks import ADDED

ABOUT = ("region", "year", "block", "footprint", "fingerprint", "reason", "geometry", "facts")
ROW = ("id", "task", "person", "verdict", "geometry", "seconds", "at")


def say_of(
    engine: Engine,
    store: Store,
    task: Mapping[str, Any],
    person: str,
    verdict: str,
    geometry: dict[str, Any] | None = None,
    seconds: float | None = None,
) -> say.Review:
    """Keep what a person says of a task: first in the database, then in the store. Raises StoreFailed, when it is in
    the database alone: `mirror` brings it to the store.
    """
    now = datetime.now(UTC)
    told = "|".join((str(task["id"]), person, verdict, now.isoformat()))
    review = say.Review(
        id=hashlib.sha256(told.encode()).hexdigest()[:32],
        task=str(task["id"]),
        person=person,
        verdict=verdict,
        geometry=geometry,
        seconds=seconds,
        at=now,
        about={name: task[name] for name in ABOUT},
    )
    closes = verdict not in (say.MISSING, say.UNDO) or (verdict == say.MISSING and task["reason"] == ADDED)
    rows.add_review(engine, {name: getattr(review, name) for name in ROW}, closes, opens=verdict == say.UNDO)
    say.keep(store, review)
    return review


def take_back(engine: Engine, store: Store, person: str) -> say.Review | None:
    """A person's newest verdict; None where there is none. Raises StoreFailed, as `say_of`."""
    last = rows.last_of(engine, person, say.UNDO)
    task = rows.task_of(engine, last["task"]) if last else None
    return say_of(engine, store, task, person, say.UNDO) if task else None


def mirror(engine: Engine, store: Store, year: int) -> tuple[int, int]:
    """Bring verdicts of a year to where they are missing: how many to the store, and to the database."""
    there = {review.id: review for review in say.read_reviews(store, year)}
    query = sa.select(review_table, *(review_task.c[name].label(f"of_{name}") for name in ABOUT))
    query = query.join(review_task, review_task.c.id == review_table.c.task).where(review_task.c.year == year)
    with engine.connect() as connection:
        known = [dict(row) for row in connection.execute(query).mappings()]
    to_store = [row for row in known if row["id"] not in there]
    for row in to_store:
        about = {name: row[f"of_{name}"] for name in ABOUT}
        say.keep(store, say.Review(**{name: row[name] for name in ROW}, about=about))
    missing = [review for review in there.values() if review.id not in {row["id"] for row in known}]
    with writing(engine) as connection:
        for review in missing:  # a database that was lost gets its tasks back too, as done
            task = {**{name: review.about[name] for name in ABOUT}, "id": review.task, "priority": 0.0}
            insert_once(connection, review_task, [task | {"state": rows.DONE}])
            insert_once(connection, review_table, [{name: getattr(review, name) for name in ROW}])
    return len(to_store), len(missing)

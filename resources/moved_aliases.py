"""Aliases of models that moved: an event for others of each move, by the outbox.

Here: which moves there are, and their events. Not here: moving an alias (groundplan/registry, groundplan/promotion),
sending (relay.py of the worker).

A move stands in the alias's own history before anybody is told of it, and an event's id follows from the move. So who
looks through the history and writes what is not there yet tells of each move once, however often it is done, and of one
whose mover was killed in between, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from groundplan.messages.cloud_events import PROMOTED, CloudEvent
from groundplan.project import Project
from groundplan.registry import names, read_aliases
from groundplan.registry.aliases import aliases_key

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

TOLD = ("alias", "from", "to", "at", "why", "passed", "gate")


def tell_moves(project: Project, engine: Engine) -> int:
    """Write the events of moves that nobody wrote yet; how many. Raises StoreFailed, and what the database raises.

    Moves older than `messages.keep_days` are passed over: what was sent is forgotten by then.
    """
    from groundplan.database.connect import writing
    from groundplan.database.once import insert_once
    from groundplan.database.tables import outbox
    from groundplan.single.rules import failed_course

    targets = failed_course(project.settings)
    events = list(_moves(project))
    rows = [_row(event, target) for event in events for target in targets]
    if not rows:
        return 0
    with writing(engine) as connection:
        return insert_once(connection, outbox, rows)


def tell_moves_where_used(project: Project) -> None:
    """The same after a move, of a project that has a database; one that is away is told by `groundplan work` later."""
    from groundplan.database.connect import open_database
    from resources.piled import is_used

    if is_used(project):
        engine = open_database(project)
        try:
            tell_moves(project, engine)
        finally:
            engine.dispose()


def _moves(project: Project) -> Iterator[CloudEvent]:
    since = datetime.now(UTC) - timedelta(days=project.settings.messages.keep_days)
    for name in names(project.store):
        for step in read_aliases(project.store, name).history:
            if datetime.fromisoformat(str(step["at"])) > since:
                yield _event(project, name, step)


def _event(project: Project, name: str, step: Mapping[str, Any]) -> CloudEvent:
    identity = hashlib.sha256(json.dumps([name, step], sort_keys=True).encode()).hexdigest()
    told = {"model": name, **{part: step.get(part) for part in TOLD}}
    return CloudEvent(
        id=identity,
        type=PROMOTED,
        source=project.settings.messages.source,
        time=str(step["at"]),
        subject=f"{name}@{step['alias']}",
        data={**told, "aliases": aliases_key(name)},
    )


def _row(event: CloudEvent, target: str) -> dict[str, Any]:
    fixed = {"id": event.id, "type": event.type, "event": event.as_json(), "sent": None}
    return {**fixed, "target": target, "made": datetime.now(UTC)}

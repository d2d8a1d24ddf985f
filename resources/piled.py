"""What piles up of single images: messages that wait, their age, dead letters, events that nobody was sent.

Here: one look, for those who watch. Not here: figures of a process (process.py of the worker), what is done about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from groundplan.database.connect import FILE
from groundplan.messages.cloud_events import PROMOTED
from groundplan.project import Project

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Piled:
    """oldest, lag: seconds; 0 where nothing waits, None where the broker does not say."""

    waiting: int
    oldest: float | None
    dead: int
    unsent: int
    lag: float
    newest_reason: str = ""

    def late(self, minutes: float) -> bool:
        return (self.oldest or 0.0) > 60 * minutes or self.lag > 60 * minutes


def is_used(project: Project) -> bool:
    """Whether the project has a database at all: looking must not make one."""
    return bool(project.settings.database.url) or (project.home / FILE).is_file()


def piled_up(project: Project, engine: Engine) -> Piled:
    """Raises BrokerFailed, and what the database raises."""
    from resources.broker import open_broker
    from resources.brokers.aside import count, dead_letters

    broker = open_broker(project, engine)
    try:
        depth = broker.depth()
    finally:
        if not broker.transactional:
            broker.close()
    events, lag = unsent(engine, of_images=True)  # of a model that moved where nobody works: that is no pile
    newest = dead_letters(engine, 1)
    return Piled(
        waiting=depth.waiting,
        oldest=depth.oldest,
        dead=count(engine),
        unsent=events,
        lag=lag,
        newest_reason=newest[0].reason if newest else "",
    )


def unsent(engine: Engine, of_images: bool = False) -> tuple[int, float]:
    """Events that were not sent, and the age of the oldest in seconds. of_images: leave out those of models."""
    import sqlalchemy as sa

    from groundplan.database.tables import outbox

    wanted = sa.select(sa.func.count(), sa.func.min(outbox.c.made)).where(outbox.c.sent.is_(None))
    if of_images:
        wanted = wanted.where(outbox.c.type != PROMOTED)
    with engine.connect() as connection:
        number, oldest = connection.execute(wanted).one()
    return number, max(0.0, (datetime.now(UTC) - oldest).total_seconds()) if oldest else 0.0

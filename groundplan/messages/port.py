"""The broker as the rest of the program sees it: a queue of work with leases, and a log of events for others.

Here: the interface and its values. Not here: who implements it (resources/brokers), which errors are final
(outcomes.py of the worker), dead letters: they lie in the database, whatever the broker (resources/brokers/aside.py).

What a broker promises: what `send` returned from is not lost; a message is given to one holder at a time while its
lease lasts, and again to somebody when it was neither done nor given back; in any order, and at times twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from groundplan.messages.cloud_events import CloudEvent

MOST_LEASE = 3600.0  # seconds: a lease that ends later than that was taken by a clock that was wrong
WORK, EVENTS = "work", "events"
"""Names of the two queues."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """A message in hand. id: the broker's own, for logs. body: as it came. tries: how often it was given out, with
    this time. arrived: seconds since 1970. receipt: what the broker knows it by.
    """

    id: str
    body: str
    tries: int
    arrived: float
    receipt: Any


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages that wait or are in hand, and the age of the oldest in seconds; 0 where none waits, None: unknown."""

    waiting: int
    oldest: float | None


class Broker(Protocol):
    """All methods may be called from several threads, and raise BrokerFailed where the broker does not do it."""

    transactional: bool
    """Whether `done` can be part of a transaction of the results' database."""

    def send(self, events: Sequence[CloudEvent]) -> None:
        """Ask for work. One whose id waits already changes nothing, as far as the broker remembers."""

    def receive(self, most: int, lease: float, wait: float = 0.0) -> list[Leased]:
        """Up to `most` messages, nobody else's for `lease` seconds. wait: seconds until one comes, at most."""

    def keep(self, held: Sequence[Leased], lease: float) -> None:
        """Hold them for `lease` seconds from now. One that is somebody else's by now is passed over."""

    def done(self, held: Sequence[Leased], within: Any = None) -> None:
        """Never again. within: the open transaction, of a transactional broker. One that was lost is no fault."""

    def later(self, held: Sequence[Leased], seconds: float) -> None:
        """Give them back; nobody gets them for so long."""

    def depth(self) -> Depth:
        """How much waits."""

    def publish(self, events: Sequence[CloudEvent]) -> None:
        """Tell others, in this order. One that was published already is not told again, as far as it remembers."""

    def close(self) -> None:
        """Let go of connections."""

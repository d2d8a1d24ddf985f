"""A broker in this process's memory, for tests: it keeps the promises until the process ends.

Here: the same leases and delays as everywhere. Not here: anything durable.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from groundplan.messages.cloud_events import CloudEvent
from groundplan.messages.port import Depth, Leased


@dataclass(slots=True)
class _Waiting:
    event: CloudEvent
    arrived: float
    due: float
    tries: int = 0


class MemoryBroker:
    """A broker for one process. clock: seconds since 1970."""

    transactional = False

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.told: dict[str, CloudEvent] = {}
        self._turn = threading.Lock()
        self._waiting: dict[str, _Waiting] = {}

    def send(self, events: Sequence[CloudEvent]) -> None:
        with self._turn:
            now = self.clock()
            for event in events:
                self._waiting.setdefault(event.id, _Waiting(event, now, now))

    def receive(self, most: int, lease: float, wait: float = 0.0) -> list[Leased]:
        end = time.monotonic() + wait
        while not (found := self._receive(most, lease)) and time.monotonic() < end:
            time.sleep(0.01)
        return found

    def _receive(self, most: int, lease: float) -> list[Leased]:
        with self._turn:
            now = self.clock()
            free = [(key, one) for key, one in self._waiting.items() if one.due <= now][:most]
            for _, one in free:
                one.due, one.tries = now + lease, one.tries + 1
            return [
                Leased(
                    id=one.event.id,
                    body=one.event.as_text(),
                    tries=one.tries,
                    arrived=one.arrived,
                    receipt=(key, one.tries),
                )
                for key, one in free
            ]

    def keep(self, held: Sequence[Leased], lease: float) -> None:
        with self._turn:
            for one in held:
                found = self._waiting.get(one.receipt[0])
                if found and found.tries == one.receipt[1]:
                    found.due = self.clock() + lease

    def later(self, held: Sequence[Leased], seconds: float) -> None:
        self.keep(held, seconds)

    def done(self, held: Sequence[Leased], within: Any = None) -> None:
        with self._turn:
            for one in held:
                self._waiting.pop(one.receipt[0], None)

    def depth(self) -> Depth:
        with self._turn:
            oldest = min((one.arrived for one in self._waiting.values()), default=None)
            return Depth(len(self._waiting), 0.0 if oldest is None else self.clock() - oldest)

    def publish(self, events: Sequence[CloudEvent]) -> None:
        with self._turn:
            for event in events:
                self.told.setdefault(event.id, event)

    def close(self) -> None:
        """Nothing is open."""

"""Events that a cloud pushed: kept in the store until the sensor's next look, and read there as from a queue.

Here: keeping one, receiving, removing, setting aside. Not here: who may push (serving/api/arrivals.py), what an event
says (object_events.py), queues of AWS (resources/sqs.py).

What `keep` returned from is not lost. The same body is kept once, however often it is pushed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from groundplan.core.parallel import in_parallel
from groundplan.core.store import Store
from groundplan.errors import MissingInput
from groundplan.ingest.object_events import landing_events

ROOM, ASIDE = "arrivals/pushed", "arrivals/unreadable"


def keep(store: Store, body: str) -> int:
    """Keep a body with events of the landing folder; of how many. Raises BadMessage, StoreFailed."""
    found = landing_events(body, store.url)
    if found:
        data = body.encode("utf-8", "surrogatepass")
        store.put(f"{ROOM}/{hashlib.sha256(data).hexdigest()[:32]}.json", data)
    return len(found)


@dataclass(frozen=True, slots=True)
class PushedMessage:
    """A body in hand. receipt: its key."""

    id: str
    receipt: str
    body: str


@dataclass(frozen=True)
class PushedEvents:
    """What was pushed, as the scan reads a queue. Methods raise StoreFailed."""

    store: Store

    def receive(self, most: int) -> list[PushedMessage]:
        """The oldest up to `most`; they stay until they are deleted."""
        found = sorted(self.store.list(ROOM), key=lambda item: item.modified)[:most]
        return [message for message in in_parallel(self._read, [item.key for item in found]) if message]

    def _read(self, key: str) -> PushedMessage | None:
        try:
            body = self.store.get(key).decode("utf-8", "replace")
        except MissingInput:  # another look was first
            return None
        return PushedMessage(key.rsplit("/", 1)[-1].removesuffix(".json"), key, body)

    def depth(self) -> int:
        """How many wait."""
        return len(self.store.list(ROOM))

    def delete(self, receipts: Sequence[str]) -> None:
        self.store.delete([key for key in receipts if key.startswith(f"{ROOM}/")])  # others are of an earlier queue

    def set_aside(self, message: PushedMessage, reason: str) -> bool:
        """Put a body that cannot be read where people find it."""
        self.store.put(f"{ASIDE}/{message.id}.json", message.body.encode("utf-8", "replace"))
        return bool(reason)

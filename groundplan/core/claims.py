"""Claims: one at a time over an object store that knows no conditional PUT.

Here: a claim on a key, for seconds. Not here: what is done meanwhile (compare_and_set.py), folders, whose lock is the
kernel's.

Who wants a key writes a small object with a name of its own, then lists: alone, the key is theirs; else they take
their claim back and come again after a random while. Of two who write first and list then, the later one sees the
other, so never do both go on: the flags of Dijkstra's mutual exclusion (1965), with waiting by chance for turns. It
holds where listings show what was written before; where they are late, the later of two may win unseen.
"""

from __future__ import annotations

import hashlib
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from groundplan.core.store import Found, Store
from groundplan.errors import StoreFailed

ROOM = "claims"
HELD = 30.0  # seconds in which whoever has a claim must be done
DEAD = 4 * HELD  # after which, by the store's own clock, a claim's holder counts as killed
WAIT = 120.0 + DEAD  # seconds for a claim


@contextmanager
def claimed(store: Store, key: str, wait: float = WAIT) -> Iterator[Callable[[], bool]]:
    """While nobody else has a claim on the key. Gives a function that says whether there is time left to write.

    Raises StoreFailed where others have it without end.
    """
    room = f"{ROOM}/{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    mine = f"{room}/{uuid.uuid4().hex}"
    end = time.monotonic() + wait
    while True:
        began = time.monotonic()
        if _take(store, room, mine):
            break
        if time.monotonic() > end:
            reason = f"others have a claim on it since {wait:.0f} s"
            raise StoreFailed(store.uri(key), reason, f"Look who writes there; claims lie in {room}/")
        time.sleep(random.uniform(0.02, 0.5))
    try:
        yield lambda: time.monotonic() - began < HELD
    finally:
        store.delete([mine])


def _take(store: Store, room: str, mine: str) -> bool:
    """Whether the claim is the only living one; else it was taken back."""
    store.put(mine, b"")
    claims = {found.key: found for found in store.list(room)}
    others = [found for name, found in claims.items() if name != mine]
    if mine in claims:
        living = [found for found in others if not _is_dead(found, claims[mine])]
        if not living:
            store.delete([found.key for found in others])
            return True
    store.delete([mine])
    return False


def _is_dead(other: Found, mine: Found) -> bool:
    """By the store's clock alone: those of the machines may differ."""
    return (mine.modified - other.modified).total_seconds() > DEAD

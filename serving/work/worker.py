"""The worker: takes messages, has lanes work on them, and writes what came of them in batches.

Here: the loop, leases, back-off, the end by SIGTERM. Not here: the work on one message (steps.py), rows (results.py).

One thread takes, renews and commits; lanes are threads, since decoders and networks release the interpreter's lock.
A batch is committed when it is full, when no lane is busy, or when its first result has waited long enough: so a lone
image is not kept waiting, and under load one wait for the disk is shared by many.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace

from sqlalchemy.engine import Engine

from groundplan.errors import BadMessage, BrokerFailed
from groundplan.messages.cloud_events import event_of
from groundplan.messages.port import Broker, Leased
from serving.metrics import Meters
from serving.work.outcomes import Ended, wait_of
from serving.work.results import commit, known
from serving.work.steps import Workshop, worked

log = logging.getLogger("groundplan.work")

LINGER = 0.1  # seconds that a result waits for others, at most, while lanes are busy
IDLE = 0.5  # seconds of one wait for messages where nothing is in hand
LONGEST_PAUSE = 30.0  # seconds between two tries where store, database or broker are away
OVERDUE = 6.0  # times `single.max_seconds` after which a lane is held to hang
HUNG = 75  # exit status of a process that ends since a lane hangs: nothing else ends a thread


@dataclass(slots=True)
class _InHand:
    held: Leased
    renewed: float
    began: float | None = None
    """When a lane began with it: who waits behind one that hangs, hangs not."""


@dataclass(kw_only=True)
class Worker:
    """One process's work. `run` returns when `stop` was called and all that was in hand is written."""

    shop: Workshop
    broker: Broker
    engine: Engine
    meters: Meters
    lanes: int
    clock: Callable[[], float] = time.monotonic
    stopping: threading.Event = field(default_factory=threading.Event)
    done: int = 0
    _hand: dict[Future[Ended], _InHand] = field(default_factory=dict)
    _ready: list[Ended] = field(default_factory=list)
    _first: float = 0.0
    _pause: float = 0.0

    def stop(self) -> None:
        """Take nothing more, finish what is in hand."""
        self.stopping.set()

    def run(self, until_empty: bool = False) -> None:
        """Work until `stop`; with `until_empty` until nothing is left that is due."""
        with ThreadPoolExecutor(self.lanes, thread_name_prefix="lane") as pool:
            while True:
                taken = 0 if self.stopping.is_set() else self._take(pool)
                if not self._hand and not self._ready and not taken:
                    if self.stopping.is_set() or until_empty:
                        return
                    continue
                self._gather()
                self._renew()
                self._commit_if_due()

    # ---------------------------------------------------------------------------------------------- taking

    def _take(self, pool: ThreadPoolExecutor) -> int:
        """Messages given to lanes. Waits for some where nothing is in hand."""
        settings = self.shop.project.settings.messages
        room = min(settings.batch, 2 * self.lanes + 2) - len(self._hand)
        if room <= 0:
            return 0
        try:
            idle = 0.0 if self._hand or self._ready else IDLE
            held = self.broker.receive(room, settings.lease, idle)
            fresh = self._fresh(held)
        except Exception as error:
            self._rest(error)
            return 0
        now = self.clock()
        for one in fresh:
            hand = _InHand(one, now)
            self._hand[pool.submit(self._worked, hand)] = hand
        return len(held)

    def _worked(self, hand: _InHand) -> Ended:
        """In a lane."""
        hand.began = self.clock()
        return worked(self.shop, hand.held)

    def _fresh(self, held: Sequence[Leased]) -> list[Leased]:
        """Those that need work; the others are done with."""
        if not held:
            return []
        most = self.shop.project.settings.messages.deliveries
        names = {one.id: _identity(one) for one in held}
        over = known(self.engine, list(names.values()))
        again = [one for one in held if names[one.id] in over]
        if again:
            self.broker.done(again)
        fresh = [one for one in held if names[one.id] not in over]
        for one in [one for one in fresh if one.tries > most]:
            self._finished(_given_up(one, f"{one.tries - 1} times nobody who had it came to an end with it"))
        return [one for one in fresh if one.tries <= most]

    # ---------------------------------------------------------------------------------------------- lanes

    def _gather(self) -> None:
        if not self._hand:
            return
        ended, _ = wait(self._hand, timeout=0.05, return_when=FIRST_COMPLETED)
        for future in ended:
            self._finished(future.result())
            del self._hand[future]

    def _finished(self, outcome: Ended) -> None:
        if not self._ready:
            self._first = self.clock()
        self._ready.append(outcome)

    def _renew(self) -> None:
        """Leases of what takes long; the end of the process where a lane hangs."""
        settings, now = self.shop.project.settings, self.clock()
        late = [one for one in self._hand.values() if now - one.renewed > settings.messages.lease / 3]
        for one in late:
            one.renewed = now
        if late:
            with suppress(BrokerFailed):  # it comes again, and is known by then
                self.broker.keep([one.held for one in late], settings.messages.lease)
        longest = OVERDUE * settings.single.max_seconds + settings.run.retry_seconds
        hung = [one.held for one in self._hand.values() if one.began is not None and now - one.began > longest]
        if hung:
            self._end_hung(hung, longest)

    def _end_hung(self, hung: Sequence[Leased], longest: float) -> None:
        log.critical("%d images took longer than %.0f s: the process ends", len(hung), longest)
        for one in hung:
            self._finished(_given_up(one, f"it took longer than {longest:.0f} s"))
        with suppress(Exception):
            self._commit()
        os._exit(HUNG)

    # ---------------------------------------------------------------------------------------------- results

    def _commit_if_due(self) -> None:
        full = len(self._ready) >= self.shop.project.settings.messages.batch
        waited = bool(self._ready) and self.clock() - self._first >= LINGER
        if self._ready and (full or waited or not self._hand):
            try:
                self._commit()
            except Exception as error:
                self._rest(error)

    def _commit(self) -> None:
        """Write what is ready; what cannot be written is kept, and written when the database is there again."""
        outage = any(one.ending == "outage" for one in self._ready)
        batch, most = self._ready, self.shop.project.settings.messages.batch
        for start in range(0, len(batch), most):
            commit(self.engine, self.broker, self.shop.project.settings, batch[start : start + most])
        for one in (one for one in batch if one.ending in ("again", "outage")):
            self.broker.later([one.held], wait_of(one.held.tries if one.ending == "again" else 1))
        self._ready = []
        for one in batch:
            self._tell(one)
        self._pause = min(LONGEST_PAUSE, max(0.5, 2 * self._pause)) if outage else 0.0
        self.stopping.wait(self._pause)

    def _tell(self, one: Ended) -> None:
        words = {"done": "done", "aside": "failed"}
        model = one.result.analysis.model if one.result else ""
        self.meters.analysed(model, words.get(one.ending, "again"), one.steps)
        self.done += one.ending == "done"
        if one.ending != "done":
            log.warning("message %s: %s: %s", one.held.id[:12], one.ending, one.reason)

    def _rest(self, error: Exception) -> None:
        """Wait for what is away. Results in hand are kept; leases run out if it takes long, and nothing is lost."""
        self._pause = min(LONGEST_PAUSE, max(0.2, 2 * self._pause))
        log.warning("waiting %.1f s: %s", self._pause, str(error).splitlines()[0][:200] if str(error) else error)
        if self.stopping.wait(self._pause):
            self._give_up_when_stopped()

    def _give_up_when_stopped(self) -> None:
        """Told to stop while the database is away: what is in hand comes again when its lease is over."""
        if self._ready and not self._hand:
            with suppress(Exception):
                self._commit()
            self._ready = []


def _given_up(held: Leased, reason: str) -> Ended:
    arrived = None
    with suppress(BadMessage):
        arrived = event_of(held.body)
    return replace(Ended(held=held, ending="aside", reason=reason), arrived=arrived)


def _identity(held: Leased) -> str:
    """The event's own id, which the broker may not know."""
    try:
        return event_of(held.body).id
    except BadMessage:
        return held.id

"""The lane: one thread that decodes and infers, and who is let in to wait for it.

Here: admission by the estimated wait, deadlines, dropping what nobody waits for. Not here: the work itself
(predict.py, kserve.py), HTTP (problems.py says how a refusal looks).

A network uses all processors for one image, so two at once are no faster than one after the other: there is one thread,
and what waits for it is bounded by time. Who would wait longer than the budget is told at once to come again: a queue
without a bound makes everybody late.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from serving.api.problems import Problem

T = TypeVar("T")

FIRST_GUESS = 0.1  # seconds of a kind of work that was never done here
OUTLIER = 4.0  # times the average that one piece of work counts, at most
LEARNED = 0.2  # weight of the last piece of work in the moving average


class Dropped(Exception):
    """Work that nobody waits for any more."""


@dataclass(eq=False, kw_only=True)
class Ticket(Generic[T]):
    """A place in the lane: what was asked, by when, and how it stands."""

    kind: str
    """Works of one kind take about as long: a model's name."""
    expected: float
    """Seconds."""
    deadline: float
    """By the lane's clock; what has not begun by then is not begun."""
    entered: float
    parts: int = 1
    """Pieces of work of that kind that are done in one go."""
    began: float = 0.0
    ended: float = 0.0
    unwanted: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """To be called now and then by the work. Raises Dropped where nobody waits for it."""
        if self.unwanted.is_set():
            raise Dropped

    @property
    def queued(self) -> float:
        """Seconds of waiting."""
        return self.began - self.entered

    @property
    def worked(self) -> float:
        return self.ended - self.began


class Lane:
    """One thread, and who waits for it. All methods but the work's own run on the event loop."""

    def __init__(self, budget: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget, self.clock = budget, clock
        self.inside: dict[Ticket[Any], None] = {}  # in the order of their coming
        self.averages: dict[str, float] = {}  # seconds, by kind
        self.refused: dict[str, int] = {}  # how often, by reason
        self.closing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane")

    # ---------------------------------------------------------------------------------------- who is let in

    def expected(self, kind: str) -> float:
        """Seconds that a piece of work of a kind takes, by those before it."""
        return self.averages.get(kind, FIRST_GUESS)

    def estimated_wait(self) -> float:
        """Seconds until somebody who enters now is begun with."""
        now = self.clock()
        left = 0.0
        for ticket in self.inside:
            left += ticket.expected if not ticket.began else max(0.0, ticket.expected - (now - ticket.began))
        return left

    def look(self, kind: str) -> None:
        """Whether there is room for one more of a kind, before a body is read. Raises Problem 503."""
        if self.closing:
            raise self._refusal("closing", "The service is about to end", 1.0)
        wait = self.estimated_wait() + self.expected(kind)  # until it would be done, not only begun
        if self.inside and wait > self.budget:
            raise self._refusal("busy", "More waits already than is done in time", wait - self.budget + 0.1)

    def enter(self, kind: str, seconds: float, parts: int = 1) -> Ticket[Any]:
        """A place in the lane, to be given to `do`. seconds: until the deadline. Raises Problem 503, 504.

        parts: pieces of work of that kind that are done in one go.
        """
        self.look(kind)
        if seconds <= 0:
            raise self._late()
        now = self.clock()
        ticket: Ticket[Any] = Ticket(
            kind=kind, expected=parts * self.expected(kind), deadline=now + seconds, entered=now, parts=parts
        )
        self.inside[ticket] = None
        return ticket

    # ---------------------------------------------------------------------------------------- work

    async def do(self, ticket: Ticket[T], work: Callable[[], T]) -> T:
        """The work, in the lane's thread in its turn.

        Raises Problem 504 where the deadline passes before it is begun or before it is done. When this is cancelled,
        since the client is gone, work that waits is dropped and work at hand is told by its ticket's `check`.
        """
        future = self._thread.submit(self._one, ticket, work)
        done = asyncio.wrap_future(future)
        done.add_done_callback(_seen)
        try:
            async with asyncio.timeout(max(0.0, ticket.deadline - self.clock())):
                return await asyncio.shield(done)
        except (TimeoutError, Dropped) as error:
            raise self._late() from error
        finally:
            ticket.unwanted.set()
            if future.cancel() or future.done():
                self._leave(ticket)
            else:  # it is at hand: its place is taken until it sees that nobody waits
                loop = asyncio.get_running_loop()
                future.add_done_callback(lambda _: _soon(loop, self._leave, ticket))

    def _one(self, ticket: Ticket[T], work: Callable[[], T]) -> T:
        ticket.began = self.clock()
        if ticket.unwanted.is_set() or ticket.began >= ticket.deadline:
            ticket.ended = ticket.began
            raise Dropped
        try:
            return work()
        finally:
            ticket.ended = self.clock()

    def _leave(self, ticket: Ticket[Any]) -> None:
        self.inside.pop(ticket, None)
        if (took := ticket.worked / ticket.parts) > 0:
            before = self.averages.get(ticket.kind, took)
            took = min(took, OUTLIER * before)  # one that met a busy minute says little of those to come
            self.averages[ticket.kind] = before + LEARNED * (took - before)

    # ---------------------------------------------------------------------------------------- the end

    async def close(self, seconds: float = 5.0) -> None:
        """Nobody is let in any more; who is inside is waited for, so long."""
        self.closing = True
        end = self.clock() + seconds
        while self.inside and self.clock() < end:
            await asyncio.sleep(0.02)
        for ticket in self.inside:
            ticket.unwanted.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _refusal(self, reason: str, detail: str, retry: float) -> Problem:
        self.refused[reason] = self.refused.get(reason, 0) + 1
        return Problem(503, reason, detail, retry=retry)

    def _late(self) -> Problem:
        self.refused["deadline"] = self.refused.get("deadline", 0) + 1
        return Problem(504, "deadline", "It could not be done by the deadline")


def _seen(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()  # where nobody waits any more, nobody else looks at it


def _soon(loop: asyncio.AbstractEventLoop, work: Callable[..., None], *given: Any) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(work, *given)


def deadline_of(stated: str | None, most: float) -> float:
    """Seconds that X-Deadline-Ms states, at most `most`. Raises Problem 400 for what is no number of milliseconds."""
    if stated is None:
        return most
    if not stated.isdecimal() or len(stated) > 9:
        raise Problem(400, "deadline-form", "X-Deadline-Ms is a whole number of milliseconds")
    return min(most, int(stated) / 1000)


def processors() -> int:
    """Processors that this process may use: its affinity and its control group's quota, never the host's cores.

    A quota of 1.5 gives 1: more threads than the quota are throttled, all at once.
    """
    import os

    allowed = len(os.sched_getaffinity(0))
    quota = _quota()
    return max(1, min(allowed, int(quota) if quota else allowed))


def _quota(root: str = "/sys/fs/cgroup") -> float | None:
    """Processors that the control group may use; None without a bound. Both versions of control groups."""
    from pathlib import Path

    with suppress(OSError, ValueError):
        most, period = Path(root, "cpu.max").read_text().split()[:2]
        return None if most == "max" else int(most) / int(period)
    with suppress(OSError, ValueError):
        most_us = int(Path(root, "cpu/cpu.cfs_quota_us").read_text())
        return most_us / int(Path(root, "cpu/cpu.cfs_period_us").read_text()) if most_us > 0 else None
    return None

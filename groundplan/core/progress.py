"""How far long work is: one small interface, whoever shows it.

Here: the reporter that library code calls, and which one is in force. Not here: how it looks; the command line draws
bars, a run in a pod writes lines to its log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Progress(Protocol):
    """Somebody who is told what goes on."""

    @contextmanager
    def task(self, title: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
        """Begin a piece of work of `total` parts; the result is called with the bytes of each part that is done."""
        ...


class LogProgress:
    """A line every half minute; nothing for work that is done before."""

    def __init__(self, log: Callable[[str], object] | None = None, every: float = 30.0) -> None:
        self.log = log or logging.getLogger("groundplan").info
        self.every = every

    @contextmanager
    def task(self, title: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
        started = last = time.monotonic()
        first, size = done, 0

        def step(amount: int) -> None:
            nonlocal done, last, size
            done, size = done + 1, size + amount
            now = time.monotonic()
            if now - last >= self.every:
                last = now
                rate = (done - first) / max(now - started, 1e-9)
                left = (total - done) / rate if rate else 0
                self.log(f"{title}: {done}/{total}, {size / 1e6:.1f} MB, {rate:.2f}/s, {left:.0f} s left")

        yield step


_current: ContextVar[Progress | None] = ContextVar("groundplan_progress", default=None)


def current_progress() -> Progress:
    return _current.get() or LogProgress()


def somebody_listens() -> bool:
    """Whether a reporter was chosen already, so that nobody further in should choose another."""
    return _current.get() is not None


@contextmanager
def reporting_to(progress: Progress) -> Iterator[None]:
    """Within this context, long work tells `progress`."""
    token = _current.set(progress)
    try:
        yield
    finally:
        _current.reset(token)

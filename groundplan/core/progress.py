"""How far long work is: one small interface, whoever shows it.

Here: the reporters that library code calls, which one is in force, what is known of a piece of work and of a training,
and the lines of a log. Not here: how it looks on a terminal (orchestration/cli/progress_bars.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

T = TypeVar("T")

EVERY = 60.0
"""Seconds between two lines in a log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStep:
    """A training's figures after one of its steps: what whoever watches a training is given."""

    step: int
    """Number of this step, from 1; a resumed training goes on where it was."""
    steps: int
    """Steps expected in all."""
    seconds: float
    """Spent until now, over all resumed runs."""
    done: float
    """Share of the budget that is used, 0..1."""
    left: float
    """Seconds that the rest is expected to take."""
    rate: float
    """Learning rate of this step."""
    loss: float
    """Of this step's batch."""
    validation: Mapping[str, float] = field(default_factory=dict)
    """Figures of the latest validation, its step among them; empty before the first."""

    @property
    def validated(self) -> bool:
        """Whether the validation is of this step."""
        return self.validation.get("step") == self.step


class Advance(Protocol):
    """Told that work went on: by how many bytes and parts, with what to say beside it, and what is left in seconds
    where the worker knows better than the rate does. aloud: worth a line of its own in a log."""

    def __call__(
        self, size: int = 0, *, parts: int = 1, note: str = "", left: float | None = None, aloud: bool = False
    ) -> None: ...


class Progress(Protocol):
    """Somebody who is told what goes on."""

    def task(self, title: str, total: int, done: int, of_bytes: bool = False) -> AbstractContextManager[Advance]:
        """Begin a piece of work of `total` parts, 0 where nobody knows; the result is called as parts are done.

        of_bytes: each part is a byte.
        """
        ...


@dataclass(slots=True, kw_only=True)
class InHand:
    """A piece of work in hand, and how far it is."""

    title: str
    total: int
    done: int
    of_bytes: bool = False
    note: str = ""
    size: int = 0
    given_left: float | None = None
    started: float = field(default_factory=time.monotonic)
    first: int = field(init=False)

    def __post_init__(self) -> None:
        self.first = self.done

    def advance(self, size: int, parts: int, note: str, left: float | None) -> None:
        self.done, self.size, self.note, self.given_left = self.done + parts, self.size + size, note, left

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Parts a second."""
        return (self.done - self.first) / max(self.seconds, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds left, None while nobody can know."""
        if self.given_left is not None or not self.total or not self.rate:
            return self.given_left
        return max(0.0, (self.total - self.done) / self.rate)

    def figures(self) -> list[str]:
        """Parts, size, rate, time left and note, each in words, without what is not known."""
        size = f"{self.size / 1e6:.1f} MB" if self.size else ""
        rate = rate_in_words(self.rate, self.of_bytes) if self.done > self.first else ""
        left = f"{duration_in_words(self.left)} left" if self.left is not None else ""
        return [text for text in (self._parts(), size, rate, left, self.note) if text]

    def _parts(self) -> str:
        if self.of_bytes:
            whole = f"/{self.total / 1e6:.1f}" if self.total else ""
            return f"{self.done / 1e6:.1f}{whole} MB"
        if self.total > 1:
            return f"{self.done}/{self.total}"
        return str(self.done) if self.done and not self.total else ""


def rate_in_words(rate: float, of_bytes: bool = False) -> str:
    """Parts a second, or a minute where they are few; megabytes a second."""
    if of_bytes:
        return f"{rate / 1e6:.1f} MB/s"
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"


def duration_in_words(seconds: float) -> str:
    """`12 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class LogProgress:
    """A line a minute on what is in hand, also while nothing comes of it; nothing for what takes less."""

    def __init__(self, log: Callable[[str], object] | None = None, every: float = EVERY) -> None:
        self.log = log or logging.getLogger("groundplan").info
        self.every = every
        self._works: list[InHand] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()

    @contextmanager
    def task(self, title: str, total: int, done: int, of_bytes: bool = False) -> Iterator[Advance]:
        work = InHand(title=title, total=total, done=done, of_bytes=of_bytes)

        def advance(
            size: int = 0, *, parts: int = 1, note: str = "", left: float | None = None, aloud: bool = False
        ) -> None:
            work.advance(size, parts, note, left)
            if aloud:
                self.log(_line(work))

        self._begin(work)
        try:
            yield advance
        finally:
            self._end(work)

    def _begin(self, work: InHand) -> None:
        """With the first work a thread begins to speak: work that hangs must not be silent either."""
        with self._lock:
            self._works.append(work)
            if len(self._works) == 1:
                self._ended = threading.Event()
                threading.Thread(target=self._speak, args=(self._ended,), name="progress", daemon=True).start()

    def _end(self, work: InHand) -> None:
        with self._lock:
            self._works.remove(work)
            if not self._works:
                self._ended.set()

    def _speak(self, ended: threading.Event) -> None:
        while not ended.wait(self.every):
            works = list(self._works)
            telling = [work for work in works if work.total != 1] or works  # 0 of 1 says less than what is within it
            if telling:
                self.log("; ".join(_line(work) for work in telling))


def _line(work: InHand) -> str:
    return f"{work.title}: {', '.join([*work.figures(), f'{duration_in_words(work.seconds)} so far'])}"


class SharedProgress:
    """Several who are told the same."""

    def __init__(self, *listeners: Progress) -> None:
        self.listeners = listeners

    @contextmanager
    def task(self, title: str, total: int, done: int, of_bytes: bool = False) -> Iterator[Advance]:
        with ExitStack() as stack:
            told = [stack.enter_context(each.task(title, total, done, of_bytes)) for each in self.listeners]

            def advance(
                size: int = 0, *, parts: int = 1, note: str = "", left: float | None = None, aloud: bool = False
            ) -> None:
                for one in told:
                    one(size, parts=parts, note=note, left=left, aloud=aloud)

            yield advance


_current: ContextVar[Progress | None] = ContextVar("groundplan_progress", default=None)


def current_progress() -> Progress:
    return _current.get() or LogProgress()


@contextmanager
def reporting_to(progress: Progress) -> Iterator[None]:
    """Within this context, long work tells `progress`, and whoever listens already."""
    listening = _current.get()
    token = _current.set(SharedProgress(listening, progress) if listening else progress)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def going_on(title: str) -> Iterator[None]:
    """InHand of which nobody can say how far it is: that it goes on is told, and since when."""
    with current_progress().task(title, 0, 0):
        yield


@contextmanager
def counted(title: str, items: Iterable[T], total: int) -> Iterator[Iterator[T]]:
    """The items as an iterator, each of which counts as done when the next is asked for.

    A context, not a bare generator: whoever stops half-way by an error would leave that one open, and its line too.
    """
    with current_progress().task(title, total, 0) as advance:

        def each() -> Iterator[T]:
            for item in items:
                yield item
                advance()

        yield each()


Watcher = Callable[[TrainingStep], None]
_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("groundplan_watchers", default=())


@contextmanager
def watching_training(watcher: Watcher) -> Iterator[None]:
    """Within this context, `watcher` is told of every step of a training, in the training's own thread."""
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        yield
    finally:
        _watchers.reset(token)


def tell_watchers(step: TrainingStep) -> None:
    """For whoever trains: told to all that watch."""
    for watcher in _watchers.get():
        watcher(step)

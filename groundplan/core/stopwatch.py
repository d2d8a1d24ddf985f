"""Where the time of blocks goes: reading, computing, writing.

Here: what is measured while blocks are made, and what follows from it. Not here: processor seconds and bytes, which
manifests keep (materialize.py), how it is shown (assets/report.py). Nothing of it is stored or decides anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

Part = Literal["read", "compute", "write"]
PARTS: tuple[Part, ...] = ("read", "compute", "write")
"""Read: from the store, with decoding. Compute: what makes the result, with waiting for a device. Write: coding and
storing."""


@dataclass(slots=True)
class Stopwatch:
    """Seconds of all blocks in each part; blocks in hand at once count each."""

    seconds: dict[str, float] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def add(self, part: str, seconds: float) -> None:
        with self._turn:
            self.seconds[part] = self.seconds.get(part, 0.0) + seconds


_WATCH: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)
_WITHIN: ContextVar[list[float] | None] = ContextVar("within", default=None)  # of the part around: what is another's


@contextmanager
def measuring() -> Iterator[Stopwatch]:
    """The parts of all that is done in this context, and in copies of it, are added up."""
    watch = Stopwatch()
    token = _WATCH.set(watch)
    try:
        yield watch
    finally:
        _WATCH.reset(token)


class _Stretch:
    """A stretch of time that belongs to a part. No generator: some thousand of them come with a block."""

    __slots__ = ("_begun", "_inner", "_part", "_token")

    def __init__(self, part: Part) -> None:
        self._part: Part = part
        self._inner: list[float] = []

    def __enter__(self) -> None:
        self._token = _WITHIN.set(self._inner)
        self._begun = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        seconds = time.perf_counter() - self._begun
        _WITHIN.reset(self._token)
        if watch := _WATCH.get():
            watch.add(self._part, seconds - sum(self._inner))
        if (around := _WITHIN.get()) is not None:
            around.append(seconds)


def timed(part: Part) -> _Stretch:
    """What is done belongs to a part. Within another it is taken out of that one: each second counts once."""
    return _Stretch(part)


def noted(part: Part, seconds: float) -> None:
    """As `timed`, of seconds that were measured otherwise, by whoever calls."""
    if watch := _WATCH.get():
        watch.add(part, seconds)
    if (around := _WITHIN.get()) is not None:
        around.append(seconds)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast blocks were made, and in which part their time went. shares: 0..1, together 1."""

    megapixels: float
    """Per second of the clock."""
    shares: Mapping[str, float]

    @property
    def bound(self) -> str:
        """The part that took the most."""
        return max(PARTS, key=lambda part: self.shares[part])

    def __str__(self) -> str:
        parts = ", ".join(f"{part} {self.shares[part]:.0%}" for part in PARTS)
        return f"{self.megapixels:.3g} MPx/s; {parts}; bound by {self.bound}"


def pace(megapixels: float, seconds: float, spent: Mapping[str, float]) -> Pace | None:
    """The pace of so many megapixels in so many seconds of the clock; None where nothing was made."""
    whole = sum(spent.values())
    if megapixels <= 0 or seconds <= 0 or whole <= 0:
        return None
    return Pace(megapixels / seconds, {part: spent.get(part, 0.0) / whole for part in PARTS})

"""Stretches: neighboring regions of one year that are worth one launch together, because each costs less than it.

Here: the cut, a pure function of expected seconds. Not here: what a region is expected to take
(operations/region_work.py), who asks for a stretch (orchestration/stretches.py), how one run makes it
(assets/operations/region_stretches.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

PART_SECONDS = 1.0
"""Of a region in a run that several share, beside its work: a run of its own in that process, and its checks. Measured
0.8 processor seconds (`python -m benchmarks.stretches`); the rest is writing events."""


@dataclass(frozen=True, slots=True)
class LaunchCost:
    """What starting a run costs in seconds, and of how many launches' time one run's work may be at most.

    Where either is 0 nothing is put together: the cost is not known, or nobody wants it.
    """

    seconds: float = 0.0
    launches: float = 0.0

    @property
    def most(self) -> float:
        """Seconds of work that several regions may have together."""
        return self.seconds * self.launches


def cut(order: Iterable[K], expected: Mapping[K, float | None], cost: LaunchCost) -> list[tuple[K, ...]]:
    """Groups of what is wanted, each one run's, in the order given; a group of several is an unbroken stretch of it.

    order: all keys that there are; those of `expected` are wanted, the others end a stretch. expected: seconds of work
    of each, None where nobody knows. Only what takes less than a launch goes together with others, and together no more
    than `cost.most`.
    """
    groups: list[list[K]] = []
    room = -1.0  # seconds that the last group still takes; below 0 it is closed
    for key in order:
        if key not in expected:
            room = -1.0
            continue
        seconds = expected[key]
        if seconds is None or seconds >= cost.seconds or not cost.most:
            groups.append([key])
            room = -1.0
        elif seconds <= room:
            groups[-1].append(key)
            room -= seconds
        else:
            groups.append([key])
            room = cost.most - seconds
    return [tuple(group) for group in groups]

"""Schedule: how much of a training's budget is used, and the learning rate that follows from it.

Here: steps, the clock, and who of the two decides. Not here: learning (loop.py), how minutes become steps (models.py).

A rate that followed the clock would give other weights in every run: a first step that takes two seconds longer is
enough. So steps decide, and the clock only where a machine is clearly too slow for its steps.
"""

from __future__ import annotations

import math
from typing import Protocol

EARLIEST_TAKEOVER = 0.75
"""Share of the minutes after which a machine may be found too slow."""
SLOW = 0.9
"""A machine that has done a smaller share of its steps than this share of its minutes used is too slow."""

Takeover = tuple[float, float]
"""Takeover by the clock: the share of the steps done by then, and of the minutes used."""


class Budget(Protocol):
    """What of a training's settings is a budget, and its rate."""

    @property
    def minutes(self) -> float: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warm_up(self) -> float: ...


def takeover(budget: Budget, step: int, seconds: float) -> Takeover | None:
    """Takeover by the clock: None, or the shares of steps and minutes at which it decides from now on."""
    used, done = seconds / (60 * budget.minutes), step / budget.steps if budget.steps else 1.0
    return (done, used) if used >= EARLIEST_TAKEOVER and done < SLOW * used else None


def fraction(budget: Budget, step: int, seconds: float, late: Takeover | None) -> float:
    """Fraction of the budget that is used, 0..1 and above.

    After the clock took over, the rest of the schedule is run through in the rest of the minutes: a training that is
    cut off at a high rate is worth much less.
    """
    used = seconds / (60 * budget.minutes)
    if budget.steps is None:
        return used
    if late is None:
        return step / budget.steps
    done, since = late
    return 1.0 if since >= 1 else done + (1 - done) * (used - since) / (1 - since)


def learning_rate(budget: Budget, fraction: float) -> float:
    """Learning rate: linear warm-up, then half a cosine down to nothing at the end of the budget."""
    if fraction < budget.warm_up:
        return budget.learning_rate * max(fraction / budget.warm_up, 0.01)
    rest = min(1.0, (fraction - budget.warm_up) / max(1 - budget.warm_up, 1e-9))
    return budget.learning_rate * 0.5 * (1 + math.cos(math.pi * rest))

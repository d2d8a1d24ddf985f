"""Verdict: what a check found, with remedy, table and picture.

Here: the value. Not here: the checks (assets/buildings/checks.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from groundplan.core.partition import Partition

NOTHING_TO_COMPARE = "nothing to compare"
"""The first words of a check's result where its verdict is `compared = False`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """passed: whether it holds. serious: a failure makes what follows worthless. message: why, and the remedy.

    compared: False where there was nothing to compare with, so that to pass says nothing. remedy: what to do, by
    itself. wrong: a table of what is wrong, its header first. draw: a picture of where (JPEG or PNG), made only when
    somebody wants it.
    """

    passed: bool
    message: str
    serious: bool = True
    compared: bool = True
    facts: dict[str, Any] = field(default_factory=dict)
    remedy: str = ""
    wrong: tuple[tuple[str, ...], ...] = ()
    draw: Callable[[], bytes] | None = field(default=None, compare=False)


def verdict_key(check: str, partition: Partition) -> str:
    """Key of a check's last verdict, for the map and for whoever has only the store at hand."""
    return f"verdicts/{check}/{partition.path}.json"

"""Step: one dataset, stated once.

Here: what a dataset declares, and running and judging one partition of it. Not here: the table of them (pipeline.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from groundplan.core.manifest import Made, Manifest, Planned
from groundplan.core.materialize import Check, Output
from groundplan.core.partition import Partition
from groundplan.project import Project


@dataclass(frozen=True)
class Step:
    """One dataset: what it plans, how an object is made, what can be said of an object's bytes.

    version: the code version; raise it when the same inputs give other bytes. alone: one object at a time, because the
    step uses all processors by itself.
    """

    name: str
    version: str
    plan: Callable[..., list[Planned]]
    make: Callable[[Project, Planned, Check], Output]
    describe: Callable[[bytes], dict[str, Any]]
    by_region: bool = True
    alone: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """How a partition of a dataset stands: current, stale (would be made anew), missing, failed or waiting."""

    dataset: str
    partition: Partition
    state: str
    done: int = 0
    planned: int = 0
    failed: int = 0
    note: str = ""
    manifest: Manifest | None = None


def facts(made: Mapping[str, Made], name: str) -> list[Any]:
    """One fact of every object that states it."""
    return [item.facts[name] for item in made.values() if name in item.facts]

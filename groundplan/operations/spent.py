"""What regions and years have cost: processor seconds of all that manifests name, and their price.

Here: the sum by region and year, and a year against its budget. Not here: what a partition is expected to cost
(cost_estimate.py), a country before it is bought (groundplan/capacity), or the same as figures (made_figures.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from groundplan.core.manifest import Committed, Manifest, committed, readable
from groundplan.core.parallel import in_parallel
from groundplan.core.partition import Partition
from groundplan.errors import Damaged
from groundplan.pipeline import STEPS
from groundplan.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionCost:
    """Of a region in a year, or of what a year has as a whole (region ''). seconds: of processors, by dataset.

    unread: manifests that could not be read, whose costs are not in it.
    """

    partition: Partition
    seconds: dict[str, float]
    unread: int = 0

    @property
    def hours(self) -> float:
        """Processor hours."""
        return sum(self.seconds.values()) / 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class YearCost:
    """A year in all. budget: None where the settings name none."""

    year: int
    hours: float
    cost: float
    budget: float | None

    @property
    def over(self) -> bool:
        return self.budget is not None and self.cost > self.budget


def spent(project: Project, year: int | None = None, region: str | None = None) -> list[RegionCost]:
    """By year and region. Each object's cost is that of its making; what was made anew since is not in it.

    Reads one manifest for each dataset, region and year. Raises StoreFailed.
    """
    wanted = [
        one
        for one in committed(project.store)
        if one.dataset in STEPS
        and one.year is not None
        and year in (None, one.year)
        and region in (None, one.partition.region)
    ]
    found: dict[Partition, RegionCost] = {}
    for one, seconds in zip(wanted, in_parallel(lambda each: _seconds(project, each), wanted), strict=True):
        mine = found.setdefault(one.partition, RegionCost(partition=one.partition, seconds={}))
        if seconds is None:
            found[one.partition] = RegionCost(partition=mine.partition, seconds=mine.seconds, unread=mine.unread + 1)
        else:
            mine.seconds[one.dataset] = seconds
    return [found[partition] for partition in sorted(found)]


def by_year(project: Project, rows: Iterable[RegionCost]) -> list[YearCost]:
    """Years in order, each against `nightly.year_budget`."""
    nightly = project.settings.nightly
    hours: dict[int, float] = {}
    for row in rows:
        hours[row.partition.year] = hours.get(row.partition.year, 0.0) + row.hours
    return [
        YearCost(year=year, hours=each, cost=each * nightly.price_per_cpu_hour, budget=nightly.year_budget or None)
        for year, each in sorted(hours.items())
    ]


def _seconds(project: Project, one: Committed) -> float | None:
    try:
        manifest: Manifest[Partition, object] | None = readable(project.store, one.found.key)
    except Damaged:
        return None
    return manifest.cpu_seconds if manifest else None

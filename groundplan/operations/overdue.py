"""What has been missing for days although it was delivered, grouped by reason.

Here: since when a partition is missing, and why. Not here: telling anybody (orchestration/sensors/alerts.py), or making
it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from groundplan.core.manifest import committed, failure_key
from groundplan.core.partition import Partition
from groundplan.imagery.landing import delivered_when
from groundplan.operations.prerequisites import Reason, Why, asked_for, register_years, waits_for
from groundplan.pipeline import ASSETS, STEPS, partitions_of
from groundplan.project import Project
from groundplan.step import read_failures

DAY = 86400.0
NO_FAULT = (Why.REGISTER, Why.OTHER_MODEL, Why.ANY_REGION)  # of a year that is predicted with another's model
MOST_NAMED = 5
Target = tuple[str, Partition]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """Partitions of a dataset and year that are missing for the same reason."""

    dataset: str
    year: int
    regions: tuple[str, ...]
    why: str
    remedy: str

    @property
    def where(self) -> str:
        if not any(self.regions):
            return f"{self.dataset} of {self.year}"
        named = ", ".join(self.regions[:MOST_NAMED]) + (" ..." if len(self.regions) > MOST_NAMED else "")
        return f"{self.dataset} of {self.year}, {len(self.regions)} regions: {named}"


def overdue(project: Project, now: float, days: float) -> list[Overdue]:
    """The first dataset that each region and year lacks, where its delivery or failure is older than `days`.

    Three listings of the store. now: seconds since 1970. Raises StoreFailed.
    """
    made = {(one.dataset, one.partition) for one in committed(project.store) if one.year is not None}
    failed = {found.key: found.modified.timestamp() for found in project.store.list("failures")}
    delivered = delivered_when(project)
    groups: dict[tuple[str, int, str, str], list[str]] = {}
    for name, partition, since, reason in _lacking(project, made, failed, delivered):
        if since is not None and now - since > days * DAY:
            why, remedy = _explain(project, name, partition, reason)
            groups.setdefault((name, partition.year, why, remedy), []).append(partition.region)
    return [
        Overdue(dataset=name, year=year, regions=tuple(sorted(regions)), why=why, remedy=remedy)
        for (name, year, why, remedy), regions in sorted(groups.items())
    ]


def _lacking(
    project: Project, made: set[Target], failed: dict[str, float], delivered: dict[Partition, float]
) -> Iterable[tuple[str, Partition, float | None, Reason | None]]:
    """(dataset, partition, since when, what it waits for, or None where it failed): only the first of a place."""
    registers, chosen = register_years(project), project.settings.predict.model_year
    years = {(name, partition.year) for name, partition in made}
    stuck: set[Partition] = set()
    asked = asked_for(project.settings)

    def has(name: str, place: Partition) -> bool:
        if not place.region and not STEPS[name].scope.wide:
            return (name, place.year) in years
        return (name, place) in made

    for name in ASSETS:
        for partition in partitions_of(project, name, sorted(delivered)):
            failure = failed.get(failure_key(name, partition))
            if partition in stuck or (has(name, partition) and failure is None):
                continue
            reason = None if failure else waits_for(name, partition, has, registers, chosen, delivered, asked)
            if reason and reason.why in (*NO_FAULT, Why.INPUT):  # then the input is what is missing
                continue
            stuck.add(partition)
            dates = [when for place, when in delivered.items() if place.year == partition.year]
            since = delivered.get(partition) if partition.region else max(dates, default=None)
            yield name, partition, failure or since, reason


def _explain(project: Project, name: str, partition: Partition, reason: Reason | None) -> tuple[str, str]:
    if reason is None:
        for block, why in read_failures(project, name, partition).items():
            return f"{block}: {why}", "Mend it, then materialize the partition"
        return "it failed", "Look at its last run"
    if reason.why is Why.MODEL:
        return str(reason), "Train it, add a register of the year, or set predict.model_year"
    return str(reason) or "it was never asked for", "Materialize it, or switch on automation and the nightly schedule"

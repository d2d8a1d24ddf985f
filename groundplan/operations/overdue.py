"""What has been missing for days although it was delivered, grouped by reason.

Here: since when a partition is missing, and why. Not here: telling anybody (orchestration/sensors/alerts.py), or making
it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from groundplan.core.manifest import failure_key, manifest_key
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput
from groundplan.imagery.landing import NAME
from groundplan.operations.prerequisites import register_years, waits_for
from groundplan.pipeline import ASSETS, partitions_of
from groundplan.project import Project

DAY = 86400.0
NO_FAULT = ("no register of", "the model of", "no labels of")  # of a year that is predicted with another's model
MOST_NAMED = 5
YEAR = re.compile(r"(19|20)\d\d")


@dataclass(frozen=True, slots=True)
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
    made = {found.key for found in project.store.list("manifests")}
    failed = {found.key: found.modified.timestamp() for found in project.store.list("failures")}
    delivered: dict[Partition, float] = {}
    for found in project.store.list("landing"):
        parts = found.key.split("/")
        if len(parts) >= 4 and NAME.fullmatch(parts[1]) and YEAR.fullmatch(parts[2]):
            place = Partition(int(parts[2]), parts[1])
            delivered[place] = max(found.modified.timestamp(), delivered.get(place, 0.0))
    groups: dict[tuple[str, int, str, str], list[str]] = {}
    for name, partition, since, why in _lacking(project, made, failed, delivered):
        if since is not None and now - since > days * DAY:
            reason, remedy = _explain(project, name, partition, why)
            groups.setdefault((name, partition.year, reason, remedy), []).append(partition.region)
    return [
        Overdue(name, year, tuple(sorted(regions)), why, remedy)
        for (name, year, why, remedy), regions in sorted(groups.items())
    ]


def _lacking(
    project: Project, made: set[str], failed: dict[str, float], delivered: dict[Partition, float]
) -> Iterable[tuple[str, Partition, float | None, str]]:
    """(dataset, partition, since when, what it waits for): only the first that a place lacks; the rest follows."""
    registers, chosen = register_years(project), project.settings.predict.model_year
    labelled = {key.split("/")[2] for key in made if key.startswith("manifests/labels/")}
    stuck: set[Partition] = set()

    def has(name: str, place: Partition) -> bool:
        if name == "labels" and not place.region:
            return str(place.year) in labelled
        return manifest_key(name, place) in made

    for name in ASSETS:
        for partition in partitions_of(project, name, sorted(delivered)):
            failure = failed.get(failure_key(name, partition))
            if partition in stuck or (has(name, partition) and failure is None):
                continue
            why = "" if failure else waits_for(name, partition, has, registers, chosen)
            if why.startswith(NO_FAULT) or why.endswith("is not made"):  # then that is what is missing
                continue
            stuck.add(partition)
            years = [when for place, when in delivered.items() if place.year == partition.year]
            since = delivered.get(partition) if partition.region else max(years, default=None)
            yield name, partition, failure or since, why if failure is None else "failed"


def _explain(project: Project, name: str, partition: Partition, why: str) -> tuple[str, str]:
    if why == "failed":
        try:
            record = json.loads(project.store.get(failure_key(name, partition)))
            block, reason = next(iter(record["failed"].items()))
            return f"{block}: {reason}", "Mend it, then materialize the partition"
        except (MissingInput, ValueError, KeyError, StopIteration):
            return "it failed", "Look at its last run"
    if why.startswith("no model"):
        return why, "Train it, add a register of the year, or set predict.model_year"
    return why or "it was never asked for", "Materialize it, or switch on automation and the nightly schedule"

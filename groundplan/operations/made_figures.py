"""What is made, failed and missing, how old and how dear it is, as figures for Prometheus: of the store alone.

Here: the figures, from listings and from manifests not read before. Not here: /metrics (serving/metrics.py). Runs may
be over before anybody could read figures of theirs; what they committed stays, so it is looked at from outside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from groundplan.core.manifest import Committed, committed, readable
from groundplan.monitoring.report import reports
from groundplan.operations import status
from groundplan.pipeline import STEPS
from groundplan.project import Project

MOST_READS = 500  # manifests read at one look; the others at the next ones
Row = tuple[tuple[str, ...], float]
Figures = Mapping[str, tuple[str, tuple[str, ...], list[Row]]]


@dataclass
class Read:
    """Processor seconds of manifests that were read, by key, with the tag that they had."""

    seconds: dict[str, tuple[str, float]] = field(default_factory=dict)


def look(project: Project, read: Read, now: datetime | None = None) -> Figures:
    """Name to what it is, its labels, and the values. Five listings, and new manifests. Raises StoreFailed."""
    now = now or datetime.now(UTC)
    entries = status.take(project)
    states = Counter((entry.dataset, entry.state) for entry in entries)
    # a state of which there is none now must fall to 0, or an alarm on it would never end
    every = {(name, state): 0 for name in {entry.dataset for entry in entries} for state in STATES}
    made = [one for one in committed(project.store) if one.dataset in STEPS]
    newest: dict[str, float] = {}
    for one in made:
        newest[one.dataset] = max(newest.get(one.dataset, 0.0), one.found.modified.timestamp())
    seconds = _seconds(project, made, read)
    price = project.settings.nightly.price_per_cpu_hour / 3600
    drifted = Counter({None: "unknown", True: "out", False: "like"}[found.out] for found in reports(project))
    return {
        "partitions": (
            "partitions for which imagery was delivered, by dataset and state",
            ("dataset", "state"),
            [(key, float(count)) for key, count in sorted({**every, **states}.items())],
        ),
        "newest_partition_age_seconds": (
            "since a partition of the dataset was last committed",
            ("dataset",),
            [((name,), max(0.0, now.timestamp() - when)) for name, when in sorted(newest.items())],
        ),
        "processor_seconds_spent": (
            "processor seconds of all that manifests name",
            ("dataset",),
            [((name,), value) for name, value in sorted(seconds.items())],
        ),
        "cost_spent": (
            f"their price in {project.settings.nightly.currency}",
            ("dataset",),
            [((name,), value * price) for name, value in sorted(seconds.items())],
        ),
        "drift_regions": (
            "regions and years with a drift report: like the baseline, out, or unknown",
            ("state",),
            [((state,), float(drifted[state])) for state in ("like", "out", "unknown")],
        ),
    }


STATES = (status.MADE, status.MISSING, status.FAILED, status.DAMAGED)


def _seconds(project: Project, made: list[Committed], read: Read) -> dict[str, float]:
    """By dataset. What is not read yet is not counted yet."""
    there = {one.found.key: one for one in made}
    for key in read.seconds.keys() - there.keys():
        del read.seconds[key]
    new = [one for key, one in there.items() if read.seconds.get(key, ("", 0.0))[0] != one.found.tag]
    for one in new[:MOST_READS]:
        manifest = readable(project.store, one.found.key)
        read.seconds[one.found.key] = one.found.tag, manifest.cpu_seconds if manifest else 0.0
    found: Counter[str] = Counter()
    for key, (_, seconds) in read.seconds.items():
        found[there[key].dataset] += seconds  # type: ignore[assignment]
    return dict(found)

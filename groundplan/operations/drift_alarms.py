"""Which drift reports a person is told of.

Here: the rule, over reports that were made: two of the last three regions, or days of a camera, or more than a share of
a night's. Not here: the reports (groundplan/monitoring/report.py, database/image_drift.py), sending.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from groundplan.monitoring.drift import Unusual, alarming
from groundplan.monitoring.figures import FIGURES
from groundplan.operations.notifications import Notice

NIGHT = timedelta(hours=24)
SHOWN = 3  # figures, and regions, that a notice names


class Judged(Protocol):
    """A report on a region and year, or on a camera's day."""

    @property
    def name(self) -> str: ...
    @property
    def series(self) -> str: ...
    @property
    def options(self) -> str: ...
    @property
    def at(self) -> str: ...
    @property
    def out(self) -> bool | None: ...
    @property
    def cause(self) -> str: ...
    @property
    def unusual(self) -> tuple[Unusual, ...]: ...


def notices(reports: Sequence[Judged], now: datetime, share: float, link: str = "") -> list[Notice]:
    """One notice for what is out now, or none. reports: by when they were made. share: of a night's, 0..1."""
    judged = [report for report in reports if report.out is not None]
    night = [report for report in judged if now - datetime.fromisoformat(report.at) <= NIGHT]
    lasts = _lasts(judged, {report.series for report in night})  # what was told before the night is no news
    seen = [bool(report.out) for report in night]
    told = [(why, last) for last in lasts if (why := alarming([bool(report.out) for report in last], seen, share))]
    out = [report for report in dict.fromkeys((*night, *(one for _, last in told for one in last))) if report.out]
    if not told or not out:
        return []
    worst = max(out, key=lambda report: max((abs(one.score) for one in report.unusual), default=0.0))
    figures = dict.fromkeys(one.figure for one in worst.unusual)
    names = sorted(report.name for report in out)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [
        Notice(
            cause=f"drift {' '.join(names)} {' '.join(sorted(figures))}",
            what="Imagery or predictions have drifted",
            where=", ".join(names[:SHOWN]) + more,
            why=f"{told[0][0]}. Of {worst.name}: {_words(worst)}. Likely: {worst.cause}",
            remedy="Look at what was made of it: drift_report shows the most unusual blocks. If it is as it should be, "
            f"accept it: `groundplan drift --accept {worst.options}`",
            link=link,
        )
    ]


def _lasts(judged: Sequence[Judged], series: set[str]) -> list[list[Judged]]:
    """The last three of each series."""
    return [[report for report in judged if report.series == one][-3:] for one in sorted(series)]


def _words(report: Judged) -> str:
    """The most unusual figures, each with what is usual."""
    seen: dict[str, str] = {}
    for one in report.unusual:
        low, high = one.usual
        about = FIGURES[one.figure].about if one.figure in FIGURES else ""
        seen.setdefault(one.figure, f"{one.figure} {one.value:.3g}, usually {low:.3g} to {high:.3g} ({about})")
    return "; ".join(list(seen.values())[:SHOWN])

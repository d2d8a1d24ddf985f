"""Which drift reports a person is told of.

Here: the rule, over reports that were made: two of the last three regions, or more than a share of a night's. Not here:
the reports (groundplan/monitoring/report.py), sending.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from groundplan.monitoring.drift import alarming
from groundplan.monitoring.figures import FIGURES
from groundplan.monitoring.report import DriftReport
from groundplan.operations.notifications import Notice

NIGHT = timedelta(hours=24)
SHOWN = 3  # figures, and regions, that a notice names


def notices(reports: Sequence[DriftReport], now: datetime, share: float, link: str = "") -> list[Notice]:
    """One notice for what is out now, or none. reports: by when they were made. share: of a night's, 0..1."""
    judged = [report for report in reports if report.out is not None]
    night = [report for report in judged if now - datetime.fromisoformat(report.at) <= NIGHT]
    last = judged[-3:] if night else []  # what was told before the night is no news
    why = alarming([bool(report.out) for report in last], [bool(report.out) for report in night], share)
    out = [report for report in dict.fromkeys((*night, *last)) if report.out]
    if not why or not out:
        return []
    worst = max(out, key=lambda report: max((abs(one.score) for one in report.unusual), default=0.0))
    figures = dict.fromkeys(one.figure for one in worst.unusual)
    names = sorted(str(report.partition) for report in out)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [
        Notice(
            cause=f"drift {' '.join(names)} {' '.join(sorted(figures))}",
            what="Imagery or predictions have drifted",
            where=", ".join(names[:SHOWN]) + more,
            why=f"{why}. Of {worst.partition}: {_words(worst)}. Likely: {worst.cause}",
            remedy="Open drift_report: it shows the most unusual blocks. If they are as they should be, accept the "
            f"region: `groundplan drift --accept {worst.partition.options}`",
            link=link,
        )
    ]


def _words(report: DriftReport) -> str:
    """The most unusual figures, each with what is usual."""
    seen: dict[str, str] = {}
    for one in report.unusual:
        low, high = one.usual
        about = FIGURES[one.figure].about if one.figure in FIGURES else ""
        seen.setdefault(one.figure, f"{one.figure} {one.value:.3g}, usually {low:.3g} to {high:.3g} ({about})")
    return "; ".join(list(seen.values())[:SHOWN])

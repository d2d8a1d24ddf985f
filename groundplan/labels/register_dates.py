"""Dates of registers against that of the imagery: which one is clearly of another time, and which vouches for it.

Here: the comparison. Not here: when single buildings stood (standing.py), which days the imagery is of (registers.py).
"""

from __future__ import annotations

from datetime import date, timedelta

from groundplan.labels.register_records import Register

APART = timedelta(days=183)
"""Between a register and the imagery: in half a year a town changes less than labels err."""


def told_apart(register: Register, days: tuple[date, date]) -> str:
    """How a register is of another time than the imagery, in words; '' where it is not, or nobody said its date.

    days: first and last on which the imagery can have been flown.
    """
    if not register.date:
        return ""
    day, (first, last) = date.fromisoformat(register.date), days
    if day < first - APART:
        age = f"{_months(first - day)} older than the imagery"
        return f"{register.name} is of {day}, {age}: what was built since is missing"
    if day > last + APART and not register.dated:
        return (
            f"{register.name} is of {day}, {_months(day - last)} newer than the imagery: what was built since is in it"
        )
    return ""


def vouches(register: Register, days: tuple[date, date]) -> bool:
    """Whether ground without a building in it had none when the imagery was flown: it is not older, nor much newer."""
    if not register.date:
        return False
    day = date.fromisoformat(register.date)
    return day >= days[1] and (register.dated or day <= days[1] + APART)


def _months(span: timedelta) -> str:
    count = max(1, round(span.days / 30.4))
    return f"{count} month{'s' if count > 1 else ''}"

"""States: what became of each building between two years: new, gone, changed, same, or unsure; and why, in words.

Here: the decision, on arrays. Not here: the evidence (evidence.py), the shift between the years (registration.py).

Never by the bare difference of polygons: two outlines of one unchanged building differ by more than many buildings do.
A building is new where this year's probability inside its outline is high and that of the year before is low, and
little of it lies on a building of the year before; gone the other way round. What lies between is unsure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from groundplan.changes.pairing import COVERED, Overlaps, one_to_one

NEW, GONE, CHANGED, SAME, UNSURE = STATES = ("new", "gone", "changed", "same", "unsure")
HIGH, LOW = 0.55, 0.35  # probability from which a building is there, and up to which it is not
REBUILT_IOU, REBUILT_SHARE, REBUILT_AREA = 0.7, 0.2, 10.0  # below, and above (share, m2), which it is another shape
LOOSE = 1.0  # metres: where pairs scatter by more around their shift, nothing is called a change


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What is known of each building of a year, all (n,): its own year's probability, and the other year's."""

    own: np.ndarray
    other: np.ndarray
    covered: np.ndarray
    """Share of its outline on buildings of the other year."""
    spread: np.ndarray
    """How far pairs near by scatter around their shift [m]; NaN where no pairs tell."""


def rebuilt(found: Overlaps) -> np.ndarray:
    """Bool (k,): pairs of one building each whose outlines differ by more than two drawings of one building do."""
    before, after = found.area_then[found.then], found.area_now[found.now]
    grown = np.abs(after - before)
    return one_to_one(found) & (found.iou < REBUILT_IOU) & (grown > REBUILT_AREA) & (grown > REBUILT_SHARE * before)


def decided(side: Sides, state: str, years: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """State and reason, both str (n,), of buildings seen in one year and looked for in the other.

    state: what they are where the other year shows nothing: new or gone. years: their own, and the other one.
    """
    own, other = years
    at_all = side.other >= HIGH
    cases = [
        (np.isnan(side.own) | np.isnan(side.other), UNSURE, "no imagery of one of the years shows it"),
        ((side.covered >= COVERED) & at_all, SAME, f"an outline of {other} covers it, and its imagery shows it"),
        (at_all, SAME, f"the imagery of {other} shows it, where no outline was drawn"),
        (side.spread > LOOSE, UNSURE, "the years do not lie on each other here"),
        (side.covered >= COVERED, UNSURE, f"an outline of {other} covers it, and its imagery hardly shows it"),
        (side.own < HIGH, UNSURE, f"the imagery of {own} hardly shows it"),
        (side.other > LOW, UNSURE, f"the imagery of {other} may show it"),
    ]
    conditions = [condition for condition, _, _ in cases]
    said = np.select(conditions, [word for _, word, _ in cases], state)
    why = np.select(conditions, [text for _, _, text in cases], f"{own} shows it, and {other} shows none")
    return said.astype(object), why.astype(object)

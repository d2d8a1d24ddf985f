"""Comparing two years of a region: a row for each building of either, with its state and what it was decided by.

Here: pairing, evidence of both years and the decision, put together as a table. Not here: the parts
(registration.py, evidence.py, states.py), reading and storing (changes.py), lasting ids (ids.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.changes import states
from groundplan.changes.evidence import Read, evidence
from groundplan.changes.pairing import Overlaps, centers, covered_share, keepers, leftovers, links, overlaps
from groundplan.changes.registration import Shifts, register, translated
from groundplan.changes.states import CHANGED, GONE, NEW, SAME, UNSURE, Sides
from groundplan.core.grid import Block, Grid

if TYPE_CHECKING:
    import geopandas as gpd

TEXTS = ("state", "id", "id_before", "image_date", "image_date_before", "model", "model_before", "reason")
NUMBERS = ("area_m2", "area_before_m2", "q", "q_before", "covered", "iou", "shift_east", "shift_north")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedYear:
    """What is compared of a year: its footprints, and its blocks' probabilities, each read when it is needed."""

    year: int
    footprints: gpd.GeoDataFrame
    blocks: Mapping[Block, Read]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Both years' outlines on each other's ground, and how they overlap."""

    shifts: Shifts
    now: np.ndarray
    then: np.ndarray
    now_back: np.ndarray
    """Outlines of this year where they were in the imagery of the year before."""
    then_here: np.ndarray
    """Outlines of the year before where they are in this year's imagery."""
    shift_now: np.ndarray
    shift_then: np.ndarray
    spread_now: np.ndarray
    spread_then: np.ndarray
    found: Overlaps


def placed(now: np.ndarray, then: np.ndarray) -> Placed:
    """Register the outlines of two years, polygons (n,) and (m,) in one CRS in metres."""
    shifts = register(now, then)
    shift_then, spread_then = shifts.at(centers(then))
    shift_now, spread_now = shifts.at(centers(now))  # the field is smooth: a shift's length beside makes no difference
    then_here = translated(then, shift_then)
    return Placed(
        shifts=shifts,
        now=now,
        then=then,
        now_back=translated(now, -shift_now),
        then_here=then_here,
        shift_now=shift_now,
        shift_then=shift_then,
        spread_now=spread_now,
        spread_then=spread_then,
        found=overlaps(now, then_here),
    )


def compare(
    now: ComparedYear, then: ComparedYear, grid: Grid, check: Callable[[], None] = lambda: None
) -> gpd.GeoDataFrame:
    """A row for each building of this year, and for each of the year before that is no row's partner.

    Its order is that of the ids. In memory are both years' footprints, and one block at a time.
    """
    import geopandas as gpd
    import pandas as pd

    place = placed(now.footprints.geometry.values.to_numpy(), then.footprints.geometry.values.to_numpy())
    partner = _partners(place.found)
    here, before = _judged(place, now, then, grid, check)
    first = _rows_now(place, partner, here, before, now, then)
    rest = np.setdiff1d(np.arange(len(place.then)), partner[partner >= 0])
    second = _rows_then(place, rest, before, now, then)
    columns = {name: np.concatenate([first[name], second[name]]) for name in (*TEXTS, *NUMBERS)}
    table = {name: pd.array(_nulls(columns[name]), dtype="str") for name in TEXTS}
    table |= {name: columns[name].astype(float).round(3) for name in NUMBERS}
    table["joined"] = np.arange(len(place.now) + len(rest)) >= len(place.now)  # of the year before, without a row's own
    shapes = np.concatenate([place.now, place.then[rest]])
    frame = gpd.GeoDataFrame(table, geometry=shapes, crs=now.footprints.crs)
    return frame.sort_values(["id", "id_before"], na_position="last").reset_index(drop=True)


def _judged(
    place: Placed, now: ComparedYear, then: ComparedYear, grid: Grid, check: Callable[[], None]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What is known of the buildings of this year, and of the year before: probabilities, share covered, state."""
    sides = (
        (place.now, now, place.now_back, then, NEW, place.spread_now),
        (place.then, then, place.then_here, now, GONE, place.spread_then),
    )
    judged = []
    for mine, year, moved, other, state, spread in sides:
        own = evidence(mine, grid, year.blocks, check)
        seen = evidence(moved, grid, other.blocks, check)
        covered = covered_share(place.found, now=state == NEW)
        side = Sides(own=own, other=seen, covered=covered, spread=spread)
        said, why = states.decided(side, state, (year.year, other.year))
        which = place.found.now if state == NEW else place.found.then
        left = (said == SAME) & np.isin(np.arange(len(said)), which[leftovers(place.found)])
        said[left], why[left] = UNSURE, f"{year.year} and {other.year} show buildings of very different size here"
        judged.append({"own": own, "other": seen, "covered": covered, "state": said, "reason": why})
    return judged[0], judged[1]


def _partners(found: Overlaps) -> np.ndarray:
    """The building of the year before that each of this year was, or is a part of, int (n,); -1: none."""
    partner = np.full(len(found.area_now), -1)
    linked = np.flatnonzero(links(found))
    order = linked[np.argsort(found.shared[linked], kind="stable")]
    partner[found.now[order]] = found.then[order]  # the greatest is written last
    taken = keepers(found)
    return np.where(taken >= 0, taken, partner)


def _rows_now(
    place: Placed,
    partner: np.ndarray,
    here: dict[str, Any],
    before: dict[str, Any],
    now: ComparedYear,
    then: ComparedYear,
) -> dict[str, np.ndarray]:
    """Columns of the rows of this year's buildings."""
    frame, earlier = now.footprints, then.footprints
    state, reason = here["state"].copy(), here["reason"].copy()
    _tell_parts(place.found, state, reason)
    iou = _iou_of(place.found, partner)
    both = (here["own"] >= states.HIGH) & (here["other"] >= states.HIGH)
    other_shape = np.isin(np.arange(len(state)), place.found.now[states.rebuilt(place.found)])
    changed = (state == SAME) & other_shape & both & (place.spread_now <= states.LOOSE)
    state[changed] = CHANGED
    reason[changed] = "both years show it, with outlines that differ in shape and area"
    return {
        "state": state,
        "reason": reason,
        "id": frame["id"].to_numpy(object),
        "id_before": _of_partner(earlier["id"], partner),
        "image_date": frame["image_date"].to_numpy(object),
        "image_date_before": _of_partner(earlier["image_date"], partner),
        "model": frame["model"].to_numpy(object),
        "model_before": _of_partner(earlier["model"], partner, _only(earlier["model"])),
        "area_m2": place.found.area_now,
        "area_before_m2": _of_partner(place.found.area_then, partner, np.nan),
        "q": here["own"],
        "q_before": here["other"],
        "covered": here["covered"],
        "iou": iou,
        "shift_east": place.shift_now[:, 0],
        "shift_north": place.shift_now[:, 1],
    }


def _rows_then(
    place: Placed, rest: np.ndarray, before: dict[str, Any], now: ComparedYear, then: ComparedYear
) -> dict[str, np.ndarray]:
    """Columns of the rows of buildings of the year before that no row of this year's names."""
    frame, found = then.footprints.iloc[rest], place.found
    linked = links(found)
    into = np.full(len(place.then), None, object)
    into[found.then[linked]] = now.footprints["id"].to_numpy(object)[found.now[linked]]
    reason = before["reason"][rest].copy()
    joined = (into[rest] != None) & (before["state"][rest] == SAME)  # noqa: E711
    reason[joined] = "it is now part of an outline with others"
    return {
        "state": before["state"][rest],
        "reason": reason,
        "id": into[rest],
        "id_before": frame["id"].to_numpy(object),
        "image_date": np.full(len(rest), _only(now.footprints["image_date"]), object),
        "image_date_before": frame["image_date"].to_numpy(object),
        "model": np.full(len(rest), _only(now.footprints["model"]), object),
        "model_before": frame["model"].to_numpy(object),
        "area_m2": found.area_then[rest],
        "area_before_m2": found.area_then[rest],
        "q": before["other"][rest],
        "q_before": before["own"][rest],
        "covered": before["covered"][rest],
        "iou": np.full(len(rest), np.nan),
        "shift_east": place.shift_then[rest, 0],
        "shift_north": place.shift_then[rest, 1],
    }


def _tell_parts(found: Overlaps, state: np.ndarray, reason: np.ndarray) -> None:
    """Say of buildings that are the same whether they are parts or mergers."""
    linked = links(found)
    mergers = np.bincount(found.now[linked], minlength=len(state)) > 1
    shared = np.bincount(found.then[linked], minlength=len(found.area_then)) > 1
    parts = np.isin(np.arange(len(state)), found.now[linked & shared[found.then]])
    for here, words in ((parts, "it was drawn as one outline with others"), (mergers, "it was drawn in parts")):
        reason[here & (state == SAME)] = f"{words} the year before"


def _iou_of(found: Overlaps, partner: np.ndarray) -> np.ndarray:
    iou = np.full(len(partner), np.nan)
    mine = found.then == partner[found.now]
    iou[found.now[mine]] = found.iou[mine]
    return iou


def _of_partner(column: Any, partner: np.ndarray, otherwise: object = None) -> np.ndarray:
    """A column's values of each building's partner, as objects; `otherwise` where it has none."""
    values = np.full(len(partner), otherwise, object)
    paired = partner >= 0
    values[paired] = np.asarray(column, object)[partner[paired]]
    return values


def _only(column: Any) -> str | None:
    """The one value of a column; None where it has several, or none."""
    values = set(column.dropna())
    return str(values.pop()) if len(values) == 1 else None


def _nulls(values: np.ndarray) -> list[str | None]:
    return [value if isinstance(value, str) else None for value in values]

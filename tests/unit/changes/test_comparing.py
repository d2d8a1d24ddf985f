"""What is said of each building between two years: by what both years show, never by the difference of outlines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from painted_years import GRID, ROW, house, year_of

from groundplan.changes.comparing import compare
from groundplan.changes.states import CHANGED, GONE, NEW, SAME, UNSURE

ALL = {name: house(box) for name, box in ROW.items()}
FIRST = dict(list(ALL.items())[:15])


def states(now: Any, then: Any) -> dict[str, str]:
    """State by id, of what is in this year and of what is no more."""
    rows = compare(now, then, GRID)
    names = rows["id"].where(rows["id"].notna() & ~rows["joined"], rows["id_before"])
    return dict(zip(names, rows["state"], strict=True))


def test_nothing_changed_where_both_years_show_the_same() -> None:
    assert set(states(year_of(2024, ALL), year_of(2022, ALL)).values()) == {SAME}


def test_what_one_year_shows_and_the_other_does_not_is_new_or_gone() -> None:
    found = states(year_of(2024, ALL), year_of(2022, FIRST))
    assert {name for name, state in found.items() if state == NEW} == set(ALL) - set(FIRST)
    back = states(year_of(2024, FIRST), year_of(2022, ALL))
    assert {name for name, state in back.items() if state == GONE} == set(ALL) - set(FIRST)
    assert {back[name] for name in FIRST} == {SAME}


@pytest.mark.parametrize("shift", [(1.5, 0.0), (-1.1, 1.0), (0.6, -0.4)])
def test_a_shift_of_the_imagery_changes_no_building(shift: tuple[float, float]) -> None:
    moved = {name: house(box, *shift) for name, box in ROW.items()}
    rows = compare(year_of(2024, moved), year_of(2022, ALL), GRID)
    assert set(rows["state"]) == {SAME}
    np.testing.assert_allclose(rows[["shift_east", "shift_north"]], np.tile(shift, (20, 1)), atol=0.01)
    rest = {name: shape for name, shape in moved.items() if name in FIRST}
    assert list(states(year_of(2024, rest), year_of(2022, ALL)).values()).count(GONE) == 5


def test_both_years_are_looked_at_where_they_lie() -> None:
    """A shift beyond what the search around a place would find: outlines and probabilities are moved by it."""
    moved = {name: house(box, 2.4, -1.5) for name, box in ROW.items()}
    rows = compare(year_of(2024, moved), year_of(2022, ALL), GRID)
    assert rows["covered"].min() > 0.99
    assert rows[["q", "q_before"]].min().min() > 0.97
    fewer = {name: shape for name, shape in moved.items() if name in FIRST}
    gone = compare(year_of(2024, fewer), year_of(2022, ALL), GRID)
    assert (gone.loc[gone["state"] == GONE, "q"] < 0.02).all()
    assert list(gone["state"]).count(GONE) == 5
    faint = compare(year_of(2024, moved), year_of(2022, {}, seen=ALL), GRID)
    assert faint["q_before"].max() < 0.9, "without pairs there is no shift, and the search is short"


def test_where_pairs_scatter_nothing_is_called_a_change() -> None:
    random = np.random.default_rng(5)
    scattered = {name: house(ROW[name], *random.uniform(-2.2, 2.2, 2)) for name in FIRST}
    new = {name: ALL[name] for name in ALL if name not in FIRST}
    rows = compare(year_of(2024, {**scattered, **new}), year_of(2022, FIRST), GRID)
    found = rows[rows["id"].isin(new)]
    assert set(found["state"]) == {UNSURE}
    assert set(found["reason"]) == {"the years do not lie on each other here"}


def test_a_building_too_small_to_be_shrunk_is_judged_whole() -> None:
    kiosk = house((70.0, 66.0, 0.9, 0.9))
    rows = compare(year_of(2024, {**ALL, "kiosk": kiosk}), year_of(2022, ALL), GRID)
    (row,) = rows[rows["id"] == "kiosk"].itertuples()
    assert (row.state, row.q, row.q_before) == (NEW, 1.0, 0.0)


def test_a_missed_outline_is_no_change_where_the_imagery_shows_the_building() -> None:
    found = states(year_of(2024, FIRST, seen=ALL), year_of(2022, ALL))
    assert set(found.values()) == {SAME}
    assert set(states(year_of(2024, ALL), year_of(2022, FIRST, seen=ALL)).values()) == {SAME}


def test_parts_and_mergers_are_no_change() -> None:
    left, right = (house((box[0], box[1], 4.5, 7.5)) for box in (ROW["h3"], (ROW["h3"][0] + 4.5, ROW["h3"][1], 0, 0)))
    parts = {**{name: shape for name, shape in ALL.items() if name != "h3"}, "left": left, "right": right}
    split = compare(year_of(2024, parts), year_of(2022, ALL), GRID)
    assert set(split["state"]) == {SAME}
    assert split.loc[split["id"].isin(["left", "right"]), "id_before"].tolist() == ["h3", "h3"]
    merged = compare(year_of(2024, ALL), year_of(2022, parts), GRID)
    assert set(merged["state"]) == {SAME}
    assert len(merged) == 21, "a row for each building of the year before that became part of another"


def test_a_rebuilt_house_is_changed_and_a_redrawn_one_is_not() -> None:
    left, top, _, high = ROW["h12"]
    larger = {**ALL, "h12": house((left, top, 13.0, high + 3.0))}
    assert states(year_of(2024, larger), year_of(2022, ALL))["h12"] == CHANGED
    redrawn = {**ALL, "h12": shapely.buffer(ALL["h12"], 0.5, join_style="mitre")}
    assert states(year_of(2024, redrawn), year_of(2022, ALL))["h12"] == SAME


def test_a_shed_where_a_hall_stood_is_not_the_hall() -> None:
    left, top, _, _ = ROW["h7"]
    hall = {**ALL, "h7": house((left, top, 12.0, 12.0))}
    shed = {**ALL, "h7": house((left + 4, top + 4, 3.5, 3.5))}
    rows = compare(year_of(2024, shed), year_of(2022, hall), GRID)
    assert rows.loc[rows["id_before"] == "h7", "state"].tolist() == [GONE]
    assert rows.loc[rows["id"] == "h7", "state"].tolist() == [UNSURE]


def test_what_lies_between_is_unsure() -> None:
    faint = {name: shape for name, shape in ALL.items() if name not in FIRST}
    now = year_of(2024, ALL)
    before = year_of(2022, FIRST)
    half = year_of(2022, {}, seen=faint, probability=0.45)
    blocks = {block: _both(before.blocks[block], half.blocks[block]) for block in before.blocks}
    rows = compare(now, year_with(before, blocks), GRID)
    unsure = rows[rows["state"] == UNSURE]
    assert set(unsure["id"]) == set(faint)
    assert set(unsure["reason"]) == {"the imagery of 2022 may show it"}


def test_ground_that_only_one_year_shows_is_unsure_and_not_gone() -> None:
    gone = shapely.union_all([ALL[name] for name in ("h18", "h19")]).buffer(3)
    now = year_of(2024, {name: s for name, s in ALL.items() if name not in ("h18", "h19")}, hidden=gone)
    found = states(now, year_of(2022, ALL))
    assert {name for name, state in found.items() if state == UNSURE} == {"h18", "h19"}
    assert GONE not in found.values()


def test_a_year_without_any_building_is_compared_too() -> None:
    assert set(states(year_of(2024, ALL), year_of(2022, {})).values()) == {NEW}
    assert set(states(year_of(2024, {}), year_of(2022, ALL)).values()) == {GONE}
    assert states(year_of(2024, {}), year_of(2022, {})) == {}


def test_every_row_says_by_what_it_was_decided() -> None:
    rows = compare(year_of(2024, ALL), year_of(2022, FIRST), GRID)
    assert rows[["state", "reason", "model", "image_date"]].notna().all().all()
    new = rows[rows["state"] == NEW]
    assert (new["q"] > 0.9).all()
    assert (new["q_before"] < 0.1).all()


def year_with(year: Any, blocks: Any) -> Any:
    from dataclasses import replace

    return replace(year, blocks=blocks)


def _both(one: Any, other: Any) -> Any:
    (a, seen), (b, _) = one(), other()
    return lambda: (np.maximum(a, b), seen)

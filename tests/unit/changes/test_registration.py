"""Local registration: the shift between two years' buildings, where too few tell it, and what remains."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from painted_years import ROW, house

from groundplan.changes.pairing import centers
from groundplan.changes.registration import FEWEST, register, translated

HOUSES = np.array([house(box) for box in ROW.values()], object)


def test_a_shift_of_all_buildings_is_found_everywhere() -> None:
    shifts = register(translated(HOUSES, np.tile([1.5, -0.9], (20, 1))), HOUSES)
    shift, spread = shifts.at(centers(HOUSES))
    np.testing.assert_allclose(shift, np.tile([1.5, -0.9], (20, 1)), atol=1e-6)
    assert spread.max() < 1e-6
    assert shifts.residual == pytest.approx(0.0, abs=1e-6)


def test_a_shift_that_differs_from_place_to_place_is_followed() -> None:
    there = np.concatenate([HOUSES, translated(HOUSES, np.tile([400.0, 0.0], (20, 1)))])
    by = np.concatenate([np.tile([1.2, 0.0], (20, 1)), np.tile([-1.0, 0.8], (20, 1))])
    shift, _ = register(translated(there, by), there).at(centers(there))
    np.testing.assert_allclose(shift, by, atol=1e-6)


def test_changed_buildings_do_not_bend_the_shift() -> None:
    now = translated(HOUSES, np.tile([0.6, 0.4], (20, 1)))
    now[3] = shapely.buffer(now[3], 1.0, join_style="mitre")
    shift, _ = register(np.delete(now, [7, 8]), HOUSES).at(centers(HOUSES))
    np.testing.assert_allclose(shift, np.tile([0.6, 0.4], (20, 1)), atol=1e-6)


def test_too_few_pairs_tell_nothing() -> None:
    few = HOUSES[: FEWEST - 1]
    shifts = register(few, few)
    shift, spread = shifts.at(centers(few))
    assert shifts.residual is None
    assert not shift.any()
    assert np.isnan(spread).all()


def test_a_lonely_building_is_moved_as_the_region_is() -> None:
    far = translated(HOUSES[:1], np.array([[900.0, 0.0]]))
    shifts = register(translated(HOUSES, np.tile([0.5, 0.5], (20, 1))), HOUSES)
    np.testing.assert_allclose(shifts.at(centers(far))[0], [[0.5, 0.5]], atol=1e-6)


def test_years_without_buildings_can_be_asked() -> None:
    none = np.empty(0, object)
    assert register(none, HOUSES).residual is None
    assert register(HOUSES, none).at(centers(HOUSES))[0].shape == (20, 2)
    assert register(none, none).at(np.empty((0, 2)))[0].shape == (0, 2)

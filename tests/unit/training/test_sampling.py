"""Sampling by strata: every stratum has its share, and a resumed training sees the same windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplan.training.sampling import LEAST, Order, Places, density, shares, stratum_names


def places(seed: int = 0, count: int = 400) -> Places:
    rng = np.random.default_rng(seed)
    region = rng.choice(["large", "large", "large", "small"], count)
    year = np.where(region == "small", 2022, rng.choice([2022, 2024], count))
    building = np.where(rng.random(count) < 0.1, 0.0, rng.uniform(0.1, 0.6, count))
    weight = np.where(rng.random(count) < 0.1, 0.0, 0.25 + np.sqrt(building))
    return Places(region=region, year=year, building=building, weight=weight)


def test_regions_share_by_root_and_trust_years_alike_and_empty_ground_is_not_left_out() -> None:
    given_ = places()
    share = shares(given_, {"small": 1.0})
    assert share.sum() == pytest.approx(1)
    assert (share[given_.weight == 0] == 0).all()

    def part(mask: np.ndarray) -> float:
        return float(share[mask].sum())

    large = given_.region == "large"
    years = [part(large & (given_.year == year)) for year in (2022, 2024)]
    assert years[0] == pytest.approx(years[1])
    small_worth = np.sqrt(given_.weight[~large].sum())
    large_worth = np.sqrt(given_.weight[large].sum() / 2)
    assert part(~large) == pytest.approx(small_worth / (small_worth + large_worth))
    empty = large & (given_.year == 2022) & (density(given_.building) == 0)
    assert part(empty) >= LEAST / (1 + LEAST) * years[0] - 1e-9
    assert part(~large) / 2 > shares(given_, {"small": 0.2})[~large].sum()
    assert shares(given_, {"small": 0.0})[~large].sum() == 0


def test_no_weight_at_all_is_an_error() -> None:
    found = places()
    with pytest.raises(ValueError, match="no window has any weight"):
        shares(Places(region=found.region, year=found.year, building=found.building, weight=found.weight * 0), {})


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 500))
def test_each_chunk_gives_every_stratum_its_share_to_within_a_window(seed: int, number: int) -> None:
    given_ = places()
    share = shares(given_, {})
    order = np.argsort(stratum_names(given_), kind="stable")  # strata lie together, as they do region by region
    names, share = np.array(stratum_names(given_))[order], share[order]
    drawn = Order(share=share, seed=seed, batch=8, held=128).chunk(number)
    for name in np.unique(names):
        assert abs((names[drawn] == name).sum() - 128 * share[names == name].sum()) <= 1


def test_a_training_taken_up_at_any_step_goes_on_with_the_same_windows_and_needs_few_of_them() -> None:
    share = shares(places(), {})
    order = Order(share=share, seed=5, batch=4, held=16, uses=3)
    assert order.steps == 12
    undisturbed = [order.of_step(step) for step in range(40)]
    taken_up = Order(share=share, seed=5, batch=4, held=16, uses=3)
    for step in (39, 17, 0, 12, 11):
        np.testing.assert_array_equal(taken_up.of_step(step), undisturbed[step])
    for chunk in range(3):  # memory: a chunk's steps need only its own windows, each as often
        _, counts = np.unique(np.concatenate(undisturbed[chunk * 12 : chunk * 12 + 12]), return_counts=True)
        assert len(counts) <= 16
        assert (counts % 3 == 0).all()
    assert (order.chunk(0) != order.chunk(1)).any()
    other = Order(share=share, seed=6, batch=4, held=16, uses=3)
    assert any((other.of_step(step) != undisturbed[step]).any() for step in range(12))


def test_chunks_of_no_whole_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="no whole batches"):
        Order(share=np.ones(3) / 3, seed=0, batch=5, held=16)

"""Drift by injection: what is wrong is seen, what is clean is left alone; and a region's report from stored blocks."""

from __future__ import annotations

import numpy as np
import pytest
from drifting import INJECTIONS, elsewhere, unit

from groundplan.monitoring.drift import Reference, alarming, compare, likely_cause, most_unusual, unit_of
from groundplan.monitoring.figures import FIGURES, of_pixels, of_probabilities


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference([unit(number) for number in range(30)])


@pytest.mark.slow
def test_at_most_one_clean_unit_in_a_hundred_is_out(reference: Reference) -> None:
    out = {number: compare(unit(number), reference) for number in range(1000, 1100)}
    wrong = {number: [one.figure for one in found.unusual] for number, found in out.items() if found.out}
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize("name", INJECTIONS)
def test_an_injection_is_seen_in_nine_of_ten_units(reference: Reference, name: str) -> None:
    seen = [compare(unit(number, INJECTIONS[name]), reference) for number in range(2000, 2010)]
    assert sum(bool(found.out) for found in seen) >= 9


def test_another_country_is_seen(reference: Reference) -> None:
    seen = [compare(unit(number, ground=elsewhere()), reference) for number in range(2000, 2010)]
    assert sum(bool(found.out) for found in seen) >= 9
    assert "another kind of place" in seen[0].cause


@pytest.mark.parametrize(
    ("name", "word"),
    [("hue turned", "other colours"), ("JPEG of quality 40", "compression"), ("blur of 2 pixels", "detail")],
)
def test_the_likely_cause_is_named_first(reference: Reference, name: str, word: str) -> None:
    found = compare(unit(2001, INJECTIONS[name]), reference)
    assert word in found.cause.split(";")[0]


def test_a_unit_is_not_compared_with_itself(reference: Reference) -> None:
    odd = unit(2000, INJECTIONS["gamma 1.6"])
    assert compare(odd, Reference([*reference.units, odd])).compared == 30
    assert compare(odd, Reference([*reference.units, odd])).out


def test_a_small_baseline_says_nothing(reference: Reference) -> None:
    found = compare(unit(2000, INJECTIONS["gamma 1.6"]), Reference(reference.units[:4]))
    assert found.out is None
    assert "at least 5" in found.why


def test_predictions_alone_point_at_the_model() -> None:
    assert "the model" in likely_cause(["unsure", "confidence"], [4, 5])
    assert "settings of footprints" in likely_cause(["right_angles"], [4])
    assert likely_cause([], []) == ""


def test_the_most_unusual_blocks_come_first(reference: Reference) -> None:
    blocks = {f"x{n}y0": {"brightness_1": 0.45 + 0.001 * n, "contrast_1": 0.1} for n in range(6)}
    blocks["x9y9"] = {"brightness_1": 0.95, "contrast_1": 0.1}
    judged = compare(unit_of("here", list(blocks.values())), reference)
    assert most_unusual(blocks, judged, reference)[0] == "x9y9"


def test_an_alarm_needs_two_of_three_or_a_tenth_of_a_night() -> None:
    assert alarming([True, False, True], [False] * 20)
    assert not alarming([True, False, False], [True, *[False] * 19])
    assert alarming([False, False, True], [True] * 3 + [False] * 17)
    assert not alarming([], [])


def test_every_figure_is_made_of_something() -> None:
    pixels = (np.random.default_rng(0).random((3, 64, 64)) * 255).astype(np.uint8)
    made = {*of_pixels(pixels), *of_probabilities(pixels[:2])}
    buildings = {"per_hectare", "median_area", "right_angles", "confidence", "corners"}
    of_classes = {"class_confidence", "class_entropy"}
    assert set(FIGURES) - buildings - of_classes == made


def test_what_is_hardly_imaged_has_no_figures() -> None:
    pixels, valid = np.full((3, 64, 64), 90, np.uint8), np.zeros((64, 64), bool)
    valid[:10] = True
    assert of_pixels(pixels, valid) == {}
    valid[:40] = True
    assert of_pixels(pixels, valid)["brightness_1"] == pytest.approx(90 / 255)

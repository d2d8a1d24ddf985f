"""Probabilities of footprints: fitted on held-out ground, and measured against what came true."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from groundplan.polygons.certainty import EVIDENCE, Certainty, calibration_error, evidence, reliability, true_of
from groundplan.polygons.instances import Thresholds
from groundplan.polygons.walls import contacts
from groundplan.quality.calibration import _judged
from groundplan.training.calibration import FEW, fitted
from groundplan.training.thresholds import ScoredScene

RESOLUTION = 0.5
CARD = {"evidence": list(EVIDENCE), "building": [0.0, 1.0, 0.0, 0.0, 0.0], "outline": [-1.0, 1.0, 0.0, 0.0, 0.0]}


def houses(number: int, seed: int = 0) -> ScoredScene:
    """Squares of 6 m that the network believes in by halves; the less it does, the fewer are buildings."""
    random = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(number)))
    probability = np.zeros((2, side * 20, side * 20), np.uint8)
    truth = []
    for at in range(number):
        row, column = divmod(at, side)
        chance = random.uniform(0.55, 0.95)
        box = np.s_[row * 20 + 4 : row * 20 + 16, column * 20 + 4 : column * 20 + 16]
        probability[0][box] = round(255 * chance)
        if random.random() < (chance - 0.5) * 2:
            left, top = (column * 20 + 4) * RESOLUTION, -(row * 20 + 4) * RESOLUTION
            truth.append(shapely.box(left, top - 6, left + (6 if random.random() < 0.8 else 3.5), top))
    known = np.ones(probability.shape[1:], bool)
    size = side * 20 * RESOLUTION
    area = shapely.box(0, -size, size, 0)
    return ScoredScene(probability=probability, known=known, left=0.0, truth=np.array(truth, object), area=area)


def test_what_is_fitted_on_some_ground_holds_on_other_ground():
    thresholds = Thresholds(mask=0.5, seed=0.4)
    card = fitted([houses(300, 1), houses(200, 2)], thresholds, RESOLUTION)
    assert card is not None
    assert card["polygons"] == 500
    weights, scene = Certainty.of(card), houses(600, 3)
    assert weights is not None
    row, column = np.divmod(np.arange(600), 25)
    raw = shapely.box((column * 20 + 4) * 0.5, -(row * 20 + 16) * 0.5, (column * 20 + 16) * 0.5, -(row * 20 + 4) * 0.5)
    confidence = scene.probability[0][row * 20 + 10, column * 20 + 10] / 255
    building, outline = weights.probabilities(evidence(raw, confidence, contacts(raw)))
    lies, is_outline = true_of(raw, scene.truth)
    assert calibration_error(building, lies) < 0.07
    assert calibration_error(outline, is_outline) < 0.07
    assert calibration_error(confidence, lies) > 0.15
    assert (outline <= building).all()


def test_few_labels_weigh_the_confidence_alone_and_fewer_say_nothing():
    card = fitted([houses(FEW - 20)], Thresholds(seed=0.4), RESOLUTION)
    assert card is not None
    assert card["building"][2:] == [0.0, 0.0, 0.0]
    assert fitted([houses(12)], Thresholds(seed=0.4), RESOLUTION) is None
    assert fitted([], Thresholds(), RESOLUTION) is None


def test_a_card_without_certainty_gives_none_and_one_of_other_evidence_is_refused():
    assert Certainty.of(None) is None
    with pytest.raises(ValueError, match="certainty is of"):
        Certainty.of(CARD | {"evidence": ["colour"]})


def test_evidence_is_of_the_building_and_its_neighbours():
    raw = np.array([shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 10), shapely.box(40, 0, 45, 20)], object)
    seen = evidence(raw, np.array([0.5, 0.9, 1.0]), contacts(raw))
    assert seen[:, 3].tolist() == [1, 1, 0]
    assert np.exp(seen[:, 1]) == pytest.approx([100, 100, 100])
    assert seen[0, 0] == 0
    assert np.isfinite(seen).all()
    building, outline = Certainty.of(CARD).probabilities(seen)
    assert building[:2] == pytest.approx([0.5, 0.9])
    assert outline[0] == pytest.approx(1 / (1 + np.e))


def test_error_is_the_distance_of_said_and_true():
    said = np.repeat([0.2, 0.8], 50)
    true = np.concatenate([np.arange(50) < 10, np.arange(50) < 40])
    assert calibration_error(said, true, 2) == pytest.approx(0)
    assert calibration_error(said, ~true, 2) == pytest.approx(0.6)
    assert reliability(said, true, 2).tolist() == [[pytest.approx(0.2), 0.2, 50], [pytest.approx(0.8), 0.8, 50]]


def test_a_polygon_lies_on_a_building_by_half_and_is_its_outline_by_iou():
    truth = np.array([shapely.box(0, 0, 10, 10)], object)
    found = np.array([shapely.box(0, 0, 10, 9), shapely.box(20, 0, 30, 10), shapely.box(0, 0, 4, 4)], object)
    lies, outline = true_of(found, truth)
    assert lies.tolist() == [True, False, True]
    assert outline.tolist() == [True, False, False]


def test_the_verdict_tells_chance_from_error_and_draws_a_diagram():
    random = np.random.default_rng(5)
    said = random.uniform(0.1, 0.9, 200)
    right = _judged({"p_building": (said, random.random(200) < said)}, "test")
    assert right.passed
    wrong = _judged({"p_building": (said, random.random(200) < said**3)}, "test")
    assert not wrong.passed
    assert not wrong.serious
    assert "p_building" in wrong.message
    assert wrong.draw is not None
    assert wrong.draw().startswith(b"\x89PNG")

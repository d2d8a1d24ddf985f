"""The linear classifier against scikit-learn, and probabilities against what they promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collection_shards import CLASSES, deliver, draw, reduce, write_catalog, write_features
from conftest import new_project
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplan.collections import catalog
from groundplan.collections.classification import calibration
from groundplan.collections.classification import classifier as classified
from groundplan.collections.classification import linear as classifier
from groundplan.collections.descriptors import pca, reduced
from groundplan.core.materialize import Cancellation
from groundplan.core.partition import ClassPartition
from groundplan.errors import MissingInput, ModelMismatch
from groundplan.project import Project

WHOLE = ClassPartition("fruits")
LABELS = ["Äpfel rot", "Birnen", "Zitronen | gelb"]


def blobs(seed: int, count: int, classes: int = 3, width: int = 6, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = np.arange(count) % classes
    centers = np.random.default_rng(0).normal(size=(classes, width)) * apart
    return (centers[truth] + random.normal(size=(count, width))).astype(np.float32), truth


# --- the weights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("classes", [2, 3, 9])
def test_the_fit_is_that_of_scikit_learn(classes: int, penalty: float) -> None:
    from sklearn.linear_model import LogisticRegression

    features, truth = blobs(1, 300, classes, apart=0.7)
    ours = classifier.fit(features, truth, classes, penalty)
    strength = (2 if classes == 2 else 1) / (len(truth) * penalty)
    theirs = LogisticRegression(C=strength, tol=1e-10, max_iter=5000).fit(features.astype(float), truth)
    weights = theirs.coef_.T if classes > 2 else np.stack([-theirs.coef_[0], theirs.coef_[0]], axis=1) / 2
    np.testing.assert_allclose(ours.weights, weights, atol=1e-5)
    np.testing.assert_allclose(calibration.softmax(ours.logits(features)), theirs.predict_proba(features), atol=1e-5)


@given(scale=st.floats(1e-3, 1e3))
@settings(max_examples=8, deadline=None)
def test_an_encoder_s_scale_does_not_matter(scale: float) -> None:
    train, validation = blobs(2, 120), blobs(3, 60)
    one = classifier.learn(train, validation, 3, penalties=(1e-3, 1e-1))
    other = classifier.learn(
        (train[0] * scale, train[1]), (validation[0] * scale, validation[1]), 3, penalties=(1e-3, 1e-1)
    )
    np.testing.assert_allclose(one.linear.logits(train[0]), other.linear.logits(train[0] * scale), atol=0.02)


def test_validation_images_choose_the_penalty() -> None:
    """Many features that say nothing: without a penalty the weights learn them by heart."""
    random = np.random.default_rng(4)
    (train, truth), (validation, asked) = blobs(5, 60, apart=0.8), blobs(6, 300, apart=0.8)
    wide = [np.hstack([rows, random.normal(size=(len(rows), 200))]).astype(np.float32) for rows in (train, validation)]
    learned = classifier.learn((wide[0], truth), (wide[1], asked), 3)
    assert learned.penalty == min(learned.tried, key=learned.tried.__getitem__)
    assert learned.penalty > min(classifier.PENALTIES)
    assert len(learned.tried) == len(classifier.PENALTIES)


def test_without_validation_images_nothing_is_chosen() -> None:
    empty = np.empty((0, 6), np.float32), np.empty(0, int)
    learned = classifier.learn(blobs(7, 60), empty, 3)
    assert (learned.temperature, learned.tried) == (1.0, {})


# --- probabilities ----------------------------------------------------------------------------------------------------


def test_temperature_mends_confidence_and_changes_no_decision() -> None:
    random = np.random.default_rng(8)
    logits = random.normal(size=(6000, 4)) * 1.5
    truth = np.array([random.choice(4, p=row) for row in calibration.softmax(logits)])  # so: right at temperature 1
    for heat in (0.25, 4.0):
        found = calibration.temperature(logits / heat, truth)
        assert found == pytest.approx(1 / heat, rel=0.08)
        before = calibration.calibration_error(calibration.softmax(logits / heat), truth)
        after = calibration.calibration_error(calibration.softmax(logits / heat / found), truth)
        assert after < 0.03 < before


@pytest.mark.filterwarnings("ignore:Since FrozenEstimator does not appear to accept sample_weight")
def test_the_temperature_is_that_of_scikit_learn() -> None:
    """Softened targets are told it as copies of each image, weighted, one for each class."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator
    from sklearn.linear_model import LogisticRegression

    (learned, labels), (features, truth) = blobs(13, 60, apart=0.4), blobs(14, 120, apart=0.4)
    features = features.astype(float)  # of float32 it computes in float32
    model = LogisticRegression(C=1e4).fit(learned.astype(float), labels)
    logits = model.decision_function(features)
    weights = np.full((120, 3), 1 / 122 / 2)
    weights[np.arange(120), truth] = 1 - 1 / 122
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature")
    theirs.fit(np.repeat(features, 3, axis=0), np.tile(np.arange(3), 120), sample_weight=weights.ravel())
    ours = calibration.softmax(logits / calibration.temperature(logits, truth))
    np.testing.assert_allclose(ours, theirs.predict_proba(features), atol=1e-5)


def test_a_perfect_answer_is_not_given_for_certain() -> None:
    """Twenty validation images that are all right do not prove that none is ever wrong."""
    truth = np.arange(20) % 2
    logits = np.where(np.eye(2)[truth] > 0, 5.0, -5.0)
    sure = calibration.softmax(logits / calibration.temperature(logits, truth)).max(axis=1)
    assert sure == pytest.approx(1 - 1 / 22, abs=1e-3)


def test_calibration_error_is_the_paper_s() -> None:
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.55, 0.45], [0.55, 0.45]])
    truth = np.array([0, 1, 0, 1])
    assert calibration.calibration_error(probabilities, truth, bins=10) == pytest.approx(0.5 * 0.45 + 0.5 * 0.05)
    assert calibration.reliability(probabilities, truth, bins=10) == [(0.55, 0.5, 2), (0.95, 0.5, 2)]
    assert calibration.calibration_error(np.empty((0, 2)), np.empty(0, int)) == 0.0


def test_log_loss_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import log_loss

    logits, truth = np.random.default_rng(9).normal(size=(50, 3)) * 8, np.arange(50) % 3
    assert calibration.log_loss(logits, truth) == pytest.approx(
        log_loss(truth, calibration.softmax(logits), labels=[0, 1, 2]), rel=1e-6
    )


# --- figures and the file ---------------------------------------------------------------------------------------------


def test_figures_are_those_that_a_hand_counts() -> None:
    said, truth = np.array([0, 0, 0, 1, 1, 2, 2, 0]), np.array([0, 0, 1, 1, 2, 2, 2, 2])
    figures = classifier.judge(np.eye(3)[said] * 0.7 + 0.1, truth, LABELS)
    assert figures["accuracy"] == 0.625
    assert figures["confusion"] == [[2, 0, 0], [1, 1, 0], [1, 1, 2]]
    assert figures["log_loss"] == pytest.approx(-(5 * np.log(0.8) + 3 * np.log(0.1)) / 8, abs=1e-6)
    assert [tuple(row.values()) for row in figures["classes"]] == [
        ("Äpfel rot", 2, 2, 0.5, 1.0),
        ("Birnen", 2, 1, 0.5, 0.5),
        ("Zitronen | gelb", 4, 2, 1.0, 0.5),
    ]


def test_a_class_without_test_images_has_no_recall() -> None:
    figures = classifier.judge(np.array([[0.9, 0.1, 0.0]]), np.array([0]), LABELS)
    assert [row["recall"] for row in figures["classes"]] == [1.0, None, None]


def a_classifier() -> tuple[bytes, np.ndarray]:
    features, truth = blobs(11, 90)
    axes = pca.axes_of(pca.sums_of(features), 0.95)
    learned = classifier.learn((pca.project(axes, features), truth), blobs(12, 0, width=axes.kept), 3)
    card = {"labels": LABELS, "features": {"features": "deep"}}
    return classifier.pack(axes, learned.linear, learned.temperature, card), features


def test_a_stored_classifier_says_the_same_as_the_one_that_was_learned() -> None:
    data, features = a_classifier()
    assert data == a_classifier()[0], "the same images, the same bytes"
    stored = classifier.unpack(data)
    assert stored.labels == LABELS
    said = stored.probabilities(features)
    assert said.sum(axis=1) == pytest.approx(np.ones(len(features)))
    assert (said.argmax(axis=1) == np.arange(90) % 3).mean() > 0.9


@pytest.mark.bad_input
def test_other_features_and_other_files_are_refused() -> None:
    data, features = a_classifier()
    with pytest.raises(ModelMismatch, match="6 features of an image, not 5"):
        classifier.unpack(data).probabilities(features[:, :5])
    with pytest.raises(ModelMismatch, match="holds none"):
        classifier.unpack(b"no zip")


# --- the step, on a store ---------------------------------------------------------------------------------------------


def test_only_training_images_teach(tmp_path: Path) -> None:
    """Labels of test and validation images shuffled: weights must not change, and the figures must."""
    project = new_project(tmp_path / "home", collections={"variance": 0.9})
    deliver(project, draw(tmp_path / "folder"), "fruits")
    for each in catalog.classes(project, "fruits"):
        write_catalog(project, each)
        write_features(project, each)
    reduce(project)
    card, linear = learned(project)
    assert card["test"]["accuracy"] >= 0.9
    assert card["labels"] == sorted(CLASSES)
    assert card["images"]["test"] > 0
    assert card["images"]["train"] + card["images"]["validation"] + card["images"]["test"] == 36
    assert (card["components"], card["features"]["features"]) == (reduced.load_axes(project, WHOLE).kept, "deep")

    def shuffled(*given: Any, **more: Any) -> Any:
        frame, places = load(*given, **more)
        other = (frame["split"] == "test").to_numpy()
        frame.loc[other, "label"] = np.roll(frame["label"][other].to_numpy(), other.sum() // 2)
        return frame, places

    load = reduced.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reduced, "load", shuffled)
        lied_to, again = learned(project)
    np.testing.assert_array_equal(linear.weights, again.weights)
    assert lied_to["test"]["accuracy"] < card["test"]["accuracy"]


def learned(project: Project) -> tuple[dict[str, Any], classifier.Linear]:
    planned = classified.plan(project, WHOLE)[0]
    found = classifier.unpack(classified.make(project, planned, Cancellation()).data)
    return found.card, found.linear


@pytest.mark.bad_input
def test_one_class_alone_cannot_be_told_from_others(tmp_path: Path) -> None:
    project = new_project(tmp_path / "home")
    deliver(project, draw(tmp_path / "folder", ("only",)), "fruits")
    write_catalog(project, catalog.classes(project, "fruits")[0])
    write_features(project, catalog.classes(project, "fruits")[0])
    reduce(project)
    with pytest.raises(MissingInput, match="two classes, and there are 1"):
        classified.plan(project, WHOLE)

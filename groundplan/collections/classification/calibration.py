"""Probabilities that mean what they say: temperature scaling, and how far off they are.

Here: pure functions on logits and probabilities. Not here: where they come from (linear.py).

Guo, Pleiss, Sun, Weinberger: "On Calibration of Modern Neural Networks" (ICML 2017): one temperature, chosen on images
that the weights were not fitted to, changes no decision and mends most of the confidence.

scikit-learn has the same (CalibratedClassifierCV, method="temperature") for targets that are certain: of images that
are all right it learns certainty. Softened targets can be told it only as weighted copies of each image, one for each
class, so C times the memory: it is the oracle of the tests. Its calibration_curve knows two classes only.
"""

from __future__ import annotations

import numpy as np

BINS = 15  # as in the paper
COLDEST, HOTTEST = 0.02, 50.0


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, C), float64, rows sum to 1."""
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def log_loss(logits: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative log probability of the true class; truth: int (N,)."""
    logits = logits.astype(np.float64)
    top = logits.max(axis=1)
    log_sum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float(np.mean(log_sum - logits[np.arange(len(truth)), truth]))


def temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The number to divide logits (N, C) by so that the log loss is least; 1 where there is nothing to learn it from.

    N images that are all recognised would ask for no doubt at all, so targets are softened as by Platt ("Probabilistic
    Outputs for Support Vector Machines", 1999): one image more, and that one wrong.
    """
    from scipy.optimize import minimize_scalar

    count, classes = logits.shape
    if not count or classes < 2:
        return 1.0
    wrong = 1 / (count + 2)
    target = np.full(logits.shape, wrong / (classes - 1))
    target[np.arange(count), truth] = 1 - wrong

    def loss(power: float) -> float:
        cooled = logits.astype(np.float64) / np.exp(power)
        top = cooled.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(cooled - top).sum(axis=1)) + top[:, 0] - (target * cooled).sum(axis=1)))

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-6})
    return round(float(np.exp(found.x)), 6)


def reliability(probabilities: np.ndarray, truth: np.ndarray, bins: int = BINS) -> list[tuple[float, float, int]]:
    """Per bin of confidence that holds images: mean confidence, share that is right, images."""
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)  # bins are (low, high], as in the paper
    found = []
    for number in range(bins):
        here = place == number
        if here.any():
            found.append((float(sure[here].mean()), float(right[here].mean()), int(here.sum())))
    return found


def calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: mean gap between confidence and share that is right, weighted by images."""
    rows = reliability(probabilities, truth, bins)
    return sum(abs(sure - right) * count for sure, right, count in rows) / max(1, len(truth))

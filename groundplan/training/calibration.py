"""Calibration of footprints: weights that make probabilities of what is seen of a building, fitted on held-out ground.

Here: fitting. Not here: what counts as evidence and what is made of the weights (polygons/certainty.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from groundplan.polygons import certainty
from groundplan.polygons.instances import Thresholds, instances
from groundplan.polygons.walls import contacts

if TYPE_CHECKING:
    from groundplan.training.thresholds import ScoredScene

FEWEST = 20  # polygons below which nothing can be said
RARE = 5  # of polygons that came true, or did not, there must be as many
FEW = 100  # polygons below which only the confidence is weighed
STRENGTH = 0.3  # of the evidence against the wish for small weights


def fitted(scenes: Sequence[ScoredScene], thresholds: Thresholds, resolution: float) -> dict[str, Any] | None:
    """Weights for a model's card, from scenes that it did not learn from; None where they tell too little."""
    found = [_seen(scene, thresholds, resolution) for scene in scenes]
    if not found:
        return None
    seen, building, outline = (np.concatenate(part) for part in zip(*found, strict=True))
    weights = [_weights(seen, came_true) for came_true in (building, outline)]
    if any(one is None for one in weights):
        return None
    return {
        "evidence": list(certainty.EVIDENCE),
        "building": weights[0],
        "outline": weights[1],
        "polygons": len(seen),
    }


def _seen(scene: ScoredScene, thresholds: Thresholds, resolution: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evidence of the polygons that are found in a scene, and what came true of them."""
    labels = instances(scene.probability, thresholds, resolution)
    labels[~scene.known] = 0
    total = np.bincount(labels.ravel(), scene.probability[0].ravel())
    mean = total / (255 * np.maximum(np.bincount(labels.ravel()), 1))
    polygons, number = _traced(labels, resolution, scene.left)
    whole = shapely.area(polygons) >= thresholds.min_area
    polygons, number = polygons[whole], number[whole]
    seen = certainty.evidence(polygons, mean[number], contacts(polygons))
    return seen, *certainty.true_of(polygons, scene.truth)


def _traced(labels: np.ndarray, resolution: float, left: float) -> tuple[np.ndarray, np.ndarray]:
    from affine import Affine
    from rasterio.features import shapes

    place = Affine(resolution, 0, left, 0, -resolution, 0)
    found = list(shapes(labels, mask=labels > 0, connectivity=4, transform=place))
    polygons = np.empty(len(found), object)
    polygons[:] = [shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]) for shape, _ in found]
    return polygons, np.array([value for _, value in found], np.int64)


def _weights(seen: np.ndarray, came_true: np.ndarray) -> list[float] | None:
    """Constant and weights of a logistic regression, of columns as they are; None where too little is known."""
    from sklearn.linear_model import LogisticRegression

    if len(seen) < FEWEST or min(came_true.sum(), (~came_true).sum()) < RARE:
        return None
    used = seen.shape[1] if len(seen) >= FEW else 1
    middle, spread = seen[:, :used].mean(axis=0), np.maximum(seen[:, :used].std(axis=0), 1e-6)
    model = LogisticRegression(C=STRENGTH).fit((seen[:, :used] - middle) / spread, came_true)
    weights = np.zeros(seen.shape[1])
    weights[:used] = model.coef_[0] / spread
    constant = model.intercept_[0] - weights[:used] @ middle
    return [round(float(value), 6) for value in (constant, *weights)]

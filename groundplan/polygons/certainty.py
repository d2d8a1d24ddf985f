"""How sure a footprint is: probabilities that hold, from what is seen of a building.

Belongs here: what counts as evidence, the two probabilities that weights make of it, and how far probabilities are from
what came true. Does not belong here: fitting the weights (training/calibration.py), or whose polygons these are.

Two questions, since they have different answers: does the polygon lie on a building (`building`), and is it that
building's outline, at IoU 0.5 (`outline`)? The mean probability of a polygon's pixels answers neither: they are
building because each passed the threshold, so their mean cannot be low.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

EVIDENCE = ("confidence", "area", "rectangle", "touching")
MOST_TOUCHING = 3  # neighbours that are told apart; with three or more a building is in the middle of others
SURE = 1e-3  # no confidence counts as more certain than this


def evidence(raw: np.ndarray, confidence: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """What is seen of buildings, float64 (N, 4) as in EVIDENCE.

    raw: (N,) exact pixel outlines in metres; confidence: (N,) mean building probability, 0..1; pairs: int (2, P), who
    touches whom. Log odds of the confidence, log of the area in m2, share of its narrowest rectangle, neighbours.
    """
    mean = np.clip(confidence, SURE, 1 - SURE)
    area = shapely.area(raw)
    around = np.bincount(pairs.ravel().astype(np.int64), minlength=len(raw))
    box = shapely.area(shapely.minimum_rotated_rectangle(raw))
    columns = [np.log(mean / (1 - mean)), np.log(area), area / box, np.minimum(around, MOST_TOUCHING)]
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)


@dataclass(frozen=True, slots=True)
class Certainty:
    """Weights of the evidence for each of the two questions, the constant first."""

    building: tuple[float, ...]
    outline: tuple[float, ...]

    @classmethod
    def of(cls, card: Mapping[str, Any] | None) -> Certainty | None:
        """From a model's card; None where it says that nothing is known. ValueError for other evidence than ours."""
        if card is None:
            return None
        found = cls(tuple(card["building"]), tuple(card["outline"]))
        if tuple(card["evidence"]) != EVIDENCE or {len(found.building), len(found.outline)} != {len(EVIDENCE) + 1}:
            raise ValueError(f"certainty is of {card['evidence']}, not of {EVIDENCE}")
        return found

    def probabilities(self, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """p_building and p_outline, float64 (N,) each. An outline is never surer than that a building is there."""
        building, outline = (_chance(seen, weights) for weights in (self.building, self.outline))
        return building, np.minimum(outline, building)


def _chance(seen: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    return 1 / (1 + np.exp(-(weights[0] + seen @ np.array(weights[1:]))))


def true_of(polygons: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each polygon lies on buildings by half of its area, and whether it is one's outline: bool (N,), (N,)."""
    from groundplan.polygons.metrics import matched

    at, real = shapely.STRtree(truth).query(polygons, predicate="intersects")
    covered = np.bincount(at, shapely.area(shapely.intersection(polygons[at], truth[real])), minlength=len(polygons))
    return covered >= shapely.area(polygons) / 2, matched(polygons, truth)[0]


def reliability(probability: np.ndarray, came_true: np.ndarray, bins: int = 10) -> np.ndarray:
    """Mean probability, share that came true and number, of `bins` parts of equal number: float64 (bins, 3)."""
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return np.array([(probability[part].mean(), came_true[part].mean(), len(part)) for part in parts]).reshape(-1, 3)


def calibration_error(probability: np.ndarray, came_true: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: distance of said and true, over parts of equal number. NaN for none."""
    said, true, number = reliability(probability, came_true, bins).T
    return float((np.abs(said - true) * number).sum() / number.sum()) if len(number) else float("nan")

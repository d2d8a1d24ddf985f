"""Whether probabilities of footprints hold: what was said against what came true, on ground that nobody learned from.

Here: the verdict. Not here: the measure (polygons/certainty.py), or fitting (training/calibration.py).
"""

from __future__ import annotations

import numpy as np

from groundplan.core.partition import Partition
from groundplan.footprints import footprints
from groundplan.labels import registers
from groundplan.polygons.certainty import calibration_error, reliability, true_of
from groundplan.previews import pictures
from groundplan.project import Project
from groundplan.quality.scores import scored_ground
from groundplan.quality.verdict import Verdict
from groundplan.training import models

MOST_ERROR = 0.05
EACH = 25  # polygons in a part of the diagram
FEWEST = 50  # polygons below which nothing is compared
DRAWS = 200


def calibrated(project: Project, partition: Partition) -> Verdict:
    """Check of footprints: `p_building` and `p_outline` came true as often as they say."""
    frame = footprints.load(project, partition)
    names = [name for name in footprints.PROBABILITIES if name in frame and frame[name].notna().all()]
    if not len(frame) or not names:
        return _not_compared("the model's card says nothing of how sure it is: no held-out labels, or too few")
    real, complete = registers.load(project, partition)
    split = "test" if models.learned_here(project, partition.year) else "all"
    ground = scored_ground(project, partition, complete, split)
    frame = frame[frame.geometry.representative_point().within(ground)] if ground.area else frame[:0]
    if len(frame) < FEWEST:
        return _not_compared(f"{len(frame)} footprints lie on {split} ground of a register; {FEWEST} would tell")
    came_true = dict(zip(footprints.PROBABILITIES, true_of(frame.geometry.values, real.geometry.values), strict=True))
    return _judged({name: (frame[name].to_numpy(np.float64), came_true[name]) for name in names}, split)


def _judged(said: dict[str, tuple[np.ndarray, np.ndarray]], split: str) -> Verdict:
    """Fails where the error is more than MOST_ERROR, and more than true probabilities would show by chance."""
    number = len(next(iter(said.values()))[0])
    bins = min(10, max(1, number // EACH))
    errors = {name: calibration_error(*pair, bins) for name, pair in said.items()}
    chance = {name: _by_chance(probability, bins) for name, (probability, _) in said.items()}
    wrong = [name for name, error in errors.items() if error > max(MOST_ERROR, chance[name])]
    told = ", ".join(f"{name} {error:.3f} (by chance up to {chance[name]:.3f})" for name, error in errors.items())
    remedy = "Train again with labels of this ground, or read the order of the probabilities and not their size"
    return Verdict(
        passed=not wrong,
        serious=False,
        message=f"on {split} ground the probabilities of {number} footprints are off by {told}",
        facts={"footprints": number, **{f"error of {name}": round(error, 4) for name, error in errors.items()}},
        remedy=remedy if wrong else "",
        draw=lambda: pictures.reliability_picture({name: reliability(*pair, bins) for name, pair in said.items()}),
    )


def _by_chance(probability: np.ndarray, bins: int) -> float:
    """The error that 19 of 20 samples of this size stay below where every probability is true."""
    draws = np.random.default_rng(0).random((DRAWS, len(probability))) < probability
    return float(np.quantile([calibration_error(probability, draw, bins) for draw in draws], 0.95))


def _not_compared(why: str) -> Verdict:
    return Verdict(passed=True, compared=False, message=why)

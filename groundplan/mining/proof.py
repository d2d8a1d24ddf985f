"""Proof that mining pays: figures of three arms of a trial, and what follows from them.

Here: pure figures over cells. Not here: the trainings (trial.py), the check (quality/mining_pays.py).

Arms: `base` learns as the year's model does, `random` from as many windows of empty ground drawn by chance besides,
`mined` from the mined ones: without the second, "more empty ground" would get the credit. Judged on validation cells:
false alarms per km2 of cells without a building (each cell drawn Poisson(1) times, as in a bootstrap of large samples),
recall and F1 by cells with some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ARMS = ("base", "random", "mined")
SEEDS = 2
DRAWS = 2000
MOST_LOSS = 0.01
"""Recall that the mined arm may lose against the base."""
LEAST_CELLS = 10
"""Cells of empty ground below which nothing can be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """What one training of a trial did, by cell; the cells of all trainings of a trial are the same."""

    arm: str
    seed: int
    empty: tuple[tuple[int, float], ...]
    """Of each cell of empty ground: false alarms, km2."""
    built: tuple[tuple[int, int, int, int], ...]
    """Of each cell with a building: found and right, found, true and hit, true."""

    @staticmethod
    def of(raw: dict[str, Any]) -> ArmResult:
        return ArmResult(
            arm=raw["arm"],
            seed=raw["seed"],
            empty=tuple((int(alarms), float(area)) for alarms, area in raw["empty"]),
            built=tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in raw["built"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Figures by arm, and intervals (95 %) of mined less random, and of mined less base."""

    cells: int
    km2: float
    built_cells: int
    alarms: dict[str, float]
    """False alarms per km2."""
    recall: dict[str, float]
    f1: dict[str, float]
    alarms_less_random: tuple[float, float]
    recall_less_base: tuple[float, float]
    f1_less_base: tuple[float, float]

    @property
    def compared(self) -> bool:
        return self.cells >= LEAST_CELLS and self.built_cells > 0

    @property
    def fewer(self) -> bool:
        """Whether mined places leave fewer false alarms than as much empty ground by chance, at 95 %."""
        return self.alarms_less_random[1] < 0

    @property
    def loss(self) -> float:
        """Recall lost against the base; nothing where it rose."""
        return max(self.recall["base"] - self.recall["mined"], 0.0)

    @property
    def pays(self) -> bool:
        return self.compared and self.fewer and self.loss < MOST_LOSS

    def rows(self) -> list[tuple[str, ...]]:
        """A table: an arm in each line, its header first."""
        lines = [
            (arm, f"{self.alarms[arm]:.1f}", f"{self.recall[arm]:.3f}", f"{self.f1[arm]:.3f}") for arm in self.alarms
        ]
        return [("arm", "false alarms per km2", "recall", "F1"), *lines]

    @property
    def words(self) -> str:
        """The judgment in a line."""
        if not self.compared:
            return (
                f"{self.cells} validation cells of empty ground and {self.built_cells} with buildings are too few: "
                f"{LEAST_CELLS} are needed"
            )
        low, high = self.alarms_less_random
        return (
            f"false alarms per km2 of empty ground: base {self.alarms['base']:.1f}, "
            f"random {self.alarms['random']:.1f}, mined {self.alarms['mined']:.1f} "
            f"(less random {low:+.1f} to {high:+.1f}); recall: base {self.recall['base']:.3f}, "
            f"mined {self.recall['mined']:.3f}"
        )


def judged(trained: Sequence[ArmResult], seed: int = 0) -> Proof:
    """The figures of a trial's trainings: over all seeds of an arm, cells drawn again 2,000 times."""
    empty = {arm: np.mean([[a for a, _ in one.empty] for one in trained if one.arm == arm], axis=0) for arm in ARMS}
    built = {arm: np.sum([one.built for one in trained if one.arm == arm], axis=0).reshape(-1, 4) for arm in ARMS}
    area = np.array([km2 for _, km2 in trained[0].empty])
    rng = np.random.default_rng(seed)
    weight = rng.poisson(1.0, (DRAWS, len(area)))
    drawn = weight @ (empty["mined"] - empty["random"]) / np.maximum(weight @ area, 1e-12)
    again = rng.poisson(1.0, (DRAWS, len(built["base"])))
    recalls = {arm: _recall_f1(again @ built[arm]) for arm in ARMS}
    whole = {arm: _recall_f1(built[arm].sum(axis=0, keepdims=True)) for arm in ARMS}
    return Proof(
        cells=len(area),
        km2=float(area.sum()),
        built_cells=len(built["base"]),
        alarms={arm: float(empty[arm].sum() / max(area.sum(), 1e-12)) for arm in ARMS},
        recall={arm: float(whole[arm][0][0]) for arm in ARMS},
        f1={arm: float(whole[arm][1][0]) for arm in ARMS},
        alarms_less_random=_interval(drawn),
        recall_less_base=_interval(recalls["mined"][0] - recalls["base"][0]),
        f1_less_base=_interval(recalls["mined"][1] - recalls["base"][1]),
    )


def _recall_f1(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and F1 of sums (N, 4) as of `ArmResult.built`."""
    right, found, hit, true = np.moveaxis(np.asarray(counts, float), -1, 0)
    return hit / np.maximum(true, 1e-12), (right + hit) / np.maximum(found + true, 1e-12)


def _interval(drawn: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (0.0, 0.0)
    return float(low), float(high)

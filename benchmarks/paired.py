"""Arms of accuracy beside each other: learned in equal steps, judged by the same cells, their difference with interval.

Here: one arm's training on ground, its counts by cell, the paired bootstrap over cells. Not here: which arms
(realigning.py, self_training.py), learning (groundplan/training/pooled.py), cutting ground (starter_ground.py).

Judged are cells of validation and test ground of the split's turn, with thresholds as shipped, so that none of the arms
chose anything by them. Seeds of an arm are summed cell by cell; cells are drawn again, not seeds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import show
from benchmarks.starter_score import CellScenes, predicted
from groundplan.polygons.instances import Thresholds
from groundplan.training import pooled
from groundplan.training.pack import Ground
from groundplan.training.pooled import Arm
from groundplan.training.settings import TrainSettings
from groundplan.training.thresholds import ScoredScene, found_in

HELD = ("validation", "test")
DRAWS = 2000
NETWORK = 0.20
"""Metres per pixel that the network sees: what the starter model learned with."""

State = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What an arm learns, beside its ground."""

    steps: int
    batch: int = 8
    crop: int = 256
    start: Path | None = None
    """A state or a model to learn on from; without, `weights`."""
    weights: str = "none"
    seeds: int = 1
    kept: Path | None = None
    """Folder in which counts are kept, so that what was cut off goes on; None: nothing is kept."""


@dataclass(slots=True)
class Bench:
    """Arms that were learned, and what they did."""

    counts: dict[str, np.ndarray] = field(default_factory=dict)
    """By arm: float64 (cells, 6) as of `counted`, all judged ground one behind the other."""
    seconds: float = 0.0
    """Of the processor, learning and judging."""


def learned(grounds: Sequence[Ground], arm: Arm, lesson: Lesson, seed: int) -> State:
    """The averaged weights after the lesson's steps. One seed sees the same crops wherever the ground is the same."""
    settings = TrainSettings(
        encoder_weights=lesson.weights,
        start=None if lesson.start is None else str(lesson.start),
        grid_resolution=grounds[0].resolution,
        resolution=NETWORK,
        minutes=600.0,
        steps=lesson.steps,
        batch=lesson.batch,
        crop=lesson.crop,
        average=min(0.995, max(0.9, 1 - 5 / lesson.steps)),
        seed=seed,
    )
    return pooled.learn(pooled.material(grounds, arm, settings), settings, _say(arm.name), every=20).state


def _say(name: str) -> Any:
    return lambda step, loss: print(f"{time.strftime('%H:%M:%S')} {name}: {step}, {loss:.3f}", file=sys.stderr)


def read(path: Path) -> State:
    """The state in a .safetensors, or in a model's .zip."""
    from groundplan.training.network import starting_state

    return starting_state(path, "mobilenet_v2")


def write(state: State, path: Path) -> None:
    from safetensors.torch import save

    path.write_bytes(save({key: value.contiguous() for key, value in state.items()}))


def run(
    bench: Bench, name: str, grounds: Sequence[Ground], arm: Arm, lesson: Lesson, judged: Sequence[Ground]
) -> np.ndarray:
    """Counts of an arm on the held-out cells of `judged`, float64 (cells, 6); kept in the bench under `name`."""
    sums = []
    for seed in range(lesson.seeds):
        place = lesson.kept and lesson.kept / f"{name}-{seed}.npz".replace(" ", "-")
        if place and place.is_file():
            with np.load(place) as old:
                made, spent = old["counts"], float(old["seconds"])
        else:
            began = time.process_time()
            made = counted(learned(grounds, arm, lesson, seed), judged, arm.turn or 0)
            spent = time.process_time() - began
            if place:
                np.savez(place, counts=made, seconds=spent)
        sums.append(made)
        bench.seconds += spent
    bench.counts[name] = np.sum(sums, axis=0)
    return bench.counts[name]


def counted(state: State, grounds: Sequence[Ground], turn: int = 0) -> np.ndarray:
    """What a network finds, by held-out cell, float64 (cells, 6).

    Columns: found and right, found, true and hit, true; m2 of both, m2 of either.
    """
    cells, rows = CellScenes(), []
    for ground in grounds:
        raster = predicted(state, ground, NETWORK, views=1)
        for split in HELD:
            for scene in cells.of(ground, raster, split, turn):
                rows.append(_counts(scene, ground.resolution))
    return np.array(rows, float).reshape(-1, 6)


def _counts(scene: ScoredScene, resolution: float) -> tuple[float, ...]:
    import shapely

    found = found_in(scene, Thresholds(), resolution)
    ours, theirs = shapely.union_all(found), shapely.union_all(scene.truth)
    both = shapely.intersection(ours, theirs).area
    return (*matched(found, scene.truth), both, ours.area + theirs.area - both)


def matched(found: np.ndarray, true: np.ndarray) -> tuple[int, int, int, int]:
    """Found and right, found, true and hit, true, by one-to-one pairs with an IoU of at least 0.5."""
    from groundplan.polygons.metrics import match_one_to_one, overlaps

    if not len(found) or not len(true):
        return 0, len(found), 0, len(true)
    right = match_one_to_one(*overlaps(found, true), 0.5).shape[1]
    return right, len(found), right, len(true)


def f1(counts: np.ndarray) -> np.ndarray:
    """F1 of sums (..., 4 and more) of `matched`."""
    right, found, hit, true = np.moveaxis(np.asarray(counts, float)[..., :4], -1, 0)
    return np.asarray((right + hit) / np.maximum(found + true, 1))


def iou(counts: np.ndarray) -> np.ndarray:
    """IoU of area, of sums (..., 6) of `counted`."""
    both, either = np.moveaxis(np.asarray(counts, float)[..., 4:6], -1, 0)
    return np.asarray(both / np.maximum(either, 1))


def interval(before: np.ndarray, after: np.ndarray, figure: Any = f1) -> tuple[float, float]:
    """Of the difference in a figure, cells drawn again: the bounds within which 95 % of the draws lie."""
    again = np.random.default_rng(0).integers(0, len(before), (DRAWS, len(before)))
    low, high = np.percentile(figure(after[again].sum(axis=1)) - figure(before[again].sum(axis=1)), [2.5, 97.5])
    return float(low), float(high)


def table(title: str, bench: Bench, names: Sequence[str], against: Sequence[str], notes: Sequence[str]) -> None:
    """Print arms, their IoU and F1, and what they gain against others: IoU against the first of `against`, F1 by each.

    names, against: of arms in the bench. Every arm is named by what follows its first word.
    """
    header, rows = ["arm", "IoU", "F1", f"IoU less {_called(against[0])}, 95 %"], []
    for name in names:
        counts = bench.counts[name]
        others = [bench.counts[other] for other in against]
        gained = [interval(others[0], counts, iou), *(interval(other, counts) for other in others)]
        total = counts.sum(axis=0)
        shown = (f"{low:+.3f} to {high:+.3f}" if (low, high) != (0, 0) else "" for low, high in gained)
        rows.append((_called(name), f"{iou(total):.3f}", f"{f1(total):.3f}", *shown))
    show(title, (*header, *(f"F1 less {_called(other)}, 95 %" for other in against)), rows, notes)


def _called(name: str) -> str:
    return name.partition(" ")[2]


def told(bench: Bench, name: str, lesson: Lesson) -> str:
    """How much an arm was judged by, and what all cost."""
    counts = bench.counts[name]
    return (
        f"{len(counts)} held-out cells, {counts[:, 3].sum() / lesson.seeds:.0f} buildings, {lesson.steps} steps, "
        f"seeds: {lesson.seeds}; {bench.seconds:.0f} processor-seconds of learning and judging"
    )


def gains(bench: Bench, name: str, against: str) -> bool:
    """Whether an arm's F1 is above another's, at 95 %."""
    return interval(bench.counts[against], bench.counts[name])[0] > 0

"""Self-training: does a network gain by what it says itself of ground without labels?

    python -m benchmarks.self_training --data ../shared/data/aerial --steps 60 --seeds 2

The teacher is the starter model: it learned Banepa's training cells of turn 0, and none of its validation and test
cells. It says what the wide sheet of Banepa shows; a pixel is a label where both building and edge are below 0.1 or
above 0.9, and unknown elsewhere. The wide sheet covers Banepa's labelled ground: all of that, and 64 pixels around it,
is blanked before the teacher looks. Students learn on from the teacher, at equal steps:

  labelled, half a batch       Banepa's training cells, 4 crops a step
  and unlabelled               the same 4, and 4 of the wide sheet by the teacher's word
  and labelled instead         the same 4, and 4 more of Banepa's training cells: the same work

Bar: the second gains F1 over the third with an interval above zero. With --small, a drawn town in two years.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import paired
from benchmarks.common import arguments
from benchmarks.paired import Bench, Lesson
from benchmarks.starter_ground import TOWNS, Town, drawn, grounds
from benchmarks.starter_score import predicted
from groundplan import starter
from groundplan.labels.classes import BACKGROUND, BUILDING, GAP, IGNORE, INNER_EDGE
from groundplan.training.pack import Ground
from groundplan.training.pooled import Arm

HOME, WIDE = "banepa", Town(name="banepa_wide", crs="EPSG:32645", years=(2022,), labels_of="banepa")
CLEAR = 64  # pixels around labelled ground that are blanked too
SURE = (0.1, 0.9)
HALF, WITH, INSTEAD = "labelled, half a batch", "and unlabelled", "and labelled instead"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of towns; without, a town is drawn")
    parser.add_argument("--steps", type=int, default=60, help="of every arm")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--kept", type=Path, help="folder of what was learned, to go on after a stop")
    chosen = arguments(parser, steps=2, seeds=1)
    lesson = Lesson(steps=chosen.steps, seeds=chosen.seeds, kept=chosen.kept, start=starter.FILE)
    if chosen.small or not chosen.data:
        names = (HOME, WIDE.name)
        home, wide = (replace(each, region=name) for each, name in zip(drawn(size=150.0), names, strict=False))
        lesson = replace(lesson, batch=2, crop=128)
    else:
        (town,) = (town for town in TOWNS if town.name == HOME)
        home, wide = grounds(chosen.data, (town, WIDE))
        wide = without_labelled(wide)
    _compared(home, taught(wide), lesson)


def without_labelled(ground: Ground) -> Ground:
    """The ground without what is labelled and CLEAR pixels around it: blank there, and nothing of it known."""
    import cv2

    side = 2 * CLEAR + 1
    near = cv2.dilate((ground.label != IGNORE).view(np.uint8), np.ones((side, side), np.uint8)) > 0
    return replace(ground, image=ground.image * ~near, label=np.full_like(ground.label, IGNORE))


def taught(ground: Ground) -> Ground:
    """The ground with the teacher's sure pixels as labels."""
    found = predicted(paired.read(starter.FILE), ground, paired.NETWORK, views=1)
    return replace(ground, label=sure(found, np.any(ground.image > 0, axis=0)))


def sure(probability: np.ndarray, imaged: np.ndarray) -> np.ndarray:
    """Labels uint8 (H, W) of probabilities uint8 (2, H, W) where both are sure and there is imagery; else unknown."""
    low, high = (255 * bound for bound in SURE)
    (no_building, no_edge), (building, edge) = probability < low, probability > high
    label = np.full(imaged.shape, IGNORE, np.uint8)
    classes = ((BACKGROUND, no_building & no_edge), (GAP, no_building & edge))
    for value, where in (*classes, (BUILDING, building & no_edge), (INNER_EDGE, building & edge)):
        label[where & imaged] = value
    return label


def _compared(home: Ground, wide: Ground, lesson: Lesson) -> None:
    bench = Bench()
    whole, half = lesson, replace(lesson, batch=lesson.batch // 2)
    arms: Sequence[tuple[str, list[Ground], float, Lesson]] = (
        (INSTEAD, [home], 0.0, whole),
        (WITH, [home, wide], 0.5, whole),
        (HALF, [home], 0.0, half),
    )
    for name, learned_from, others, how in arms:
        arm = Arm(name=name, home=HOME, others=others)
        paired.run(bench, f"self {name}", learned_from, arm, how, [home])
    teacher = "self the teacher, as it ships"
    bench.counts[teacher] = lesson.seeds * paired.counted(paired.read(starter.FILE), [home])
    names = (teacher, *(f"self {name}" for name in (HALF, WITH, INSTEAD)))
    paired.table("Self-training", bench, names, (f"self {INSTEAD}", f"self {HALF}"), _notes(bench, wide, lesson))


def _notes(bench: Bench, wide: Ground, lesson: Lesson) -> list[str]:
    imaged = np.any(wide.image > 0, axis=0)
    classes = np.bincount(wide.label[imaged], minlength=256) / max(1, imaged.sum())
    met = paired.gains(bench, f"self {WITH}", f"self {INSTEAD}")
    return [
        f"unlabelled: {imaged.sum() * wide.resolution**2 / 1e4:.0f} ha, of which {classes[:IGNORE].sum():.0%} sure: "
        f"ground {classes[BACKGROUND]:.1%}, building {classes[BUILDING]:.1%}, edge "
        f"{classes[INNER_EDGE] + classes[GAP]:.2%}",
        paired.told(bench, f"self {WITH}", lesson),
        f"bar: self-training gains: {'met' if met else 'not met'}",
    ]


if __name__ == "__main__":
    main()

"""Realigning: do labels that lie beside the image teach more once they are moved onto what a network sees?

    python -m benchmarks.realigning --data ../shared/data/aerial --weights FILE.safetensors --steps 60 --seeds 2

Every building is correlated with the building probability of a network that did not learn from its town, within 4 m;
what the buildings around it say (groundplan/changes/registration.py: the median of up to 30 within 60 m) is by how
much it moves. Only buildings of training cells tell and move; validation and test labels stay where they are.

Three questions. How far do the labels of each town lie beside the image, and is a shift that was put in found again?
Banepa with a register shifted by a smooth field of 1 to 4 m, learned on from a network of three other towns: what is
lost, and does realigning bring it back? Five towns, learned on from the starter model: does Nairobi, realigned, help
the others?

Bar: realigning gains F1 with an interval above zero, in the second and in the third. With --small, a drawn town.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import paired
from benchmarks.common import arguments, show
from benchmarks.paired import Bench, Lesson, State
from benchmarks.starter_ground import TOWNS, drawn, grounds
from benchmarks.starter_score import predicted
from groundplan import starter
from groundplan.changes.registration import Shifts, translated
from groundplan.labels.classes import IGNORE
from groundplan.training.pack import Ground
from groundplan.training.pooled import Arm
from groundplan.training.split import SPLITS, split_of_number

HOME, BESIDE = "banepa", "nairobi"
WITHIN = 4.0  # metres within which a building is looked for
RING = 2.0  # metres around a building that should be no building
SEEN = 0.5  # least contrast of inside and ring, of -1 to 1, for a building to tell
NODES, FIELD = 100.0, (1.0, 4.0)  # metres between the nodes of the field that is put in, and lengths of their shifts
ARMS = ("true", "shifted", "realigned", "true, realigned")
STRANGER_STEPS = 4  # times the steps of an arm that the network of the other towns learns


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the buildings of a ground tell of its shift."""

    learnable: np.ndarray
    """bool (n,): which lie on training cells"""
    own: np.ndarray
    """float (k, 2): shifts of those that tell, each by itself [m]"""
    field: np.ndarray
    """float (n, 2): by which each building should move [m]; 0 where too few tell"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of labelled towns; without, a town is drawn")
    parser.add_argument("--weights", type=Path, help=".safetensors that the other towns' network starts from")
    parser.add_argument("--steps", type=int, default=60, help="of every arm")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--kept", type=Path, help="folder of what was learned, to go on after a stop")
    chosen = arguments(parser, steps=2, seeds=1)
    lesson = Lesson(steps=chosen.steps, seeds=chosen.seeds, kept=chosen.kept)
    with tempfile.TemporaryDirectory() as folder:
        if chosen.small or not chosen.data:
            towns = [replace(next(drawn(size=150.0)), region=HOME)]
            stranger, lesson = starter.FILE, replace(lesson, batch=2, crop=128)
        else:
            found = grounds(chosen.data, tuple(replace(town, years=town.years[:1], trust=1.0) for town in TOWNS))
            towns, stranger = list(found), (chosen.kept or Path(folder)) / "stranger.safetensors"
            _stranger(towns, replace(lesson, weights=str(chosen.weights)), stranger)
        state = paired.read(stranger)
        _learned_at_home(_measured(towns, state), stranger, lesson)
        if len(towns) > 1:
            _learned_by_all(towns, state, lesson)


def _stranger(towns: Sequence[Ground], lesson: Lesson, place: Path) -> None:
    """A network of the towns whose labels are good, without HOME and BESIDE, where it is not there yet."""
    if not place.is_file():
        arm = Arm(name="stranger", without=frozenset({HOME, BESIDE}))
        paired.write(paired.learned(towns, arm, replace(lesson, steps=STRANGER_STEPS * lesson.steps), seed=7), place)


# --- the shifts -------------------------------------------------------------------------------------------------------


def polygons(ground: Ground) -> np.ndarray:
    """The buildings of a ground's labels, on the plane of its raster: object (n,)."""
    from groundplan.training.thresholds import outlined, true_buildings

    return outlined(true_buildings(ground.label), ground.resolution, 0.0)


def told(ground: Ground, buildings: np.ndarray, probability: np.ndarray, splits: Sequence[str] = ("train",)) -> Told:
    """Shifts that bring buildings onto a probability, uint8 (H, W), by those that lie on cells of `splits`."""
    import shapely

    step, (high, wide) = ground.resolution, ground.label.shape
    middles = shapely.get_coordinates(shapely.centroid(buildings))
    column, row = np.clip(middles / (step, -step), 0, (wide - 1, high - 1)).astype(int).T
    learnable = np.isin(split_of_number(ground.number)[row, column], [SPLITS.index(name) for name in splits])
    shifts, contrast = _each(buildings, probability, step)
    sure = learnable & (contrast >= SEEN)
    field = Shifts(places=middles[sure], found=shifts[sure]).at(middles)[0]
    return Told(learnable=learnable, own=shifts[sure], field=np.where(learnable[:, None], field, 0))


def _each(buildings: np.ndarray, probability: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Of each building by itself: the shift (n, 2) [m] of most contrast between it and the ring around it, and that.

    Other buildings in the ring count for nothing.
    """
    import cv2
    import shapely
    from affine import Affine
    from rasterio.features import rasterize

    reach, edge = round(WITHIN / step), round(RING / step) + 1
    around = np.pad(probability.astype(np.float32) / 255, reach + edge)
    place = Affine(step, 0, 0, 0, -step, 0) * Affine.translation(-edge, -edge)
    numbered = zip(buildings, range(1, len(buildings) + 1), strict=True)
    size = tuple(side + 2 * edge for side in probability.shape)
    labels = rasterize(numbered, size, transform=place, dtype="int32")
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * edge + 1, 2 * edge + 1))
    shifts, contrast = np.zeros((len(buildings), 2)), np.zeros(len(buildings))
    for number, (left, bottom, right, top) in enumerate(shapely.bounds(buildings), 1):
        rows, columns = (
            slice(max(0, int(low / step)), int(high / step) + 2 * edge + 1)
            for low, high in ((-top, -bottom), (left, right))
        )
        here = labels[rows, columns]
        inside = here == number
        ring = (cv2.dilate(inside.view(np.uint8), kernel) > 0) & (here == 0)
        if not inside.any() or not ring.any():
            continue
        template = (inside / inside.sum() - ring / ring.sum()).astype(np.float32)
        image = around[rows.start : rows.start + here.shape[0] + 2 * reach]
        image = image[:, columns.start : columns.start + here.shape[1] + 2 * reach]
        found = cv2.matchTemplate(image, template, cv2.TM_CCORR)
        down, across = np.unravel_index(int(found.argmax()), found.shape)
        shifts[number - 1] = (across - reach) * step, (reach - down) * step
        contrast[number - 1] = found[down, across]
    return shifts, contrast


def redrawn(ground: Ground, buildings: np.ndarray) -> Ground:
    """The ground with the labels of other buildings, as the product draws them; what is unknown stays so."""
    import shapely

    from groundplan.config import LabelSettings
    from groundplan.core.grid import Block, Grid
    from groundplan.labels.masks import draw

    high, wide = ground.label.shape
    side = -(-max(high, wide) // 512) * 512
    grid = Grid("EPSG:32645", ground.resolution, side, (0.0, 0.0))
    known = shapely.box(0, -high * ground.resolution, wide * ground.resolution, 0)
    label = draw(buildings, known, grid, Block(0, 0), LabelSettings())[:high, :wide]
    return replace(ground, label=np.where(ground.label == IGNORE, np.uint8(IGNORE), label))


def a_field(places: np.ndarray) -> np.ndarray:
    """A smooth field of shifts (n, 2) [m], as of a register drawn over other imagery."""
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(3)
    at = (places - places.min(axis=0)) / NODES
    size = tuple(int(most) + 3 for most in at.max(axis=0))
    angle, length = rng.uniform(-np.pi / 3, np.pi / 3, size), rng.uniform(*FIELD, size)
    nodes = length * np.cos(angle), length * np.sin(angle)
    return np.stack([map_coordinates(each, at.T, order=1, mode="nearest") for each in nodes], axis=1)


# --- the questions ----------------------------------------------------------------------------------------------------


def _measured(towns: Sequence[Ground], stranger: State) -> tuple[Ground, ...]:
    """The table of shifts: towns that the stranger learned from are judged by their held-out cells.

    Returns HOME as of ARMS.
    """
    import shapely

    rows, put_in = [], list[Ground]()
    for town in towns:
        found = predicted(stranger, town, paired.NETWORK, views=1)[0]
        buildings = polygons(town)
        by = told(town, buildings, found, SPLITS if town.region in (HOME, BESIDE) else paired.HELD)
        rows.append((town.region, *_lengths(by.own), *_lengths(by.field[by.learnable])))
        if town.region == HOME:
            shift = a_field(shapely.get_coordinates(shapely.centroid(buildings)))
            beside = translated(buildings, shift)
            back = told(town, beside, found)
            left = (shift + back.field)[back.learnable]
            rows.append((f"{HOME}, a field put in", "", "", *_lengths(shift[back.learnable])))
            by_one = (shift + np.median(back.own, axis=0))[back.learnable]
            rows.append((f"{HOME}, what one shift for all leaves", "", "", *_lengths(by_one)))
            rows.append((f"{HOME}, what realigning leaves", *_lengths(back.own), *_lengths(left)))
            unneeded = translated(buildings, told(town, buildings, found).field)
            moved = translated(beside, back.field)
            put_in = [redrawn(town, each) for each in (buildings, beside, moved, unneeded)]
    header = ("town", "that tell", "each by itself, m (quartiles)", "buildings", "field, m (quartiles)")
    show("How far labels lie beside the image", header, rows)
    return tuple(put_in)


def _lengths(shifts: np.ndarray) -> tuple[str, str]:
    if not len(shifts):
        return "0", ""
    low, middle, high = np.percentile(np.linalg.norm(shifts, axis=1), [25, 50, 75])
    return str(len(shifts)), f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _learned_at_home(put_in: Sequence[Ground], start: Path, lesson: Lesson) -> None:
    """HOME learned on from a network that never saw it, by true, shifted and realigned labels."""
    bench, lesson = Bench(), replace(lesson, start=start)
    for name, ground in zip(ARMS, put_in, strict=True):
        paired.run(bench, f"home {name}", [ground], Arm(name=name), lesson, put_in[:1])
    _show(f"{HOME}, its register shifted", bench, "home realigned", ("home shifted", "home true"), lesson)


def _learned_by_all(towns: Sequence[Ground], stranger: State, lesson: Lesson) -> None:
    """All towns from the starter model, with BESIDE as it is registered, and realigned; judged by the others."""
    bench, lesson = Bench(), replace(lesson, start=starter.FILE)
    (beside,) = (town for town in towns if town.region == BESIDE)
    others = [town for town in towns if town.region != BESIDE]
    found, buildings = predicted(stranger, beside, paired.NETWORK, views=1)[0], polygons(beside)
    moved = translated(buildings, told(beside, buildings, found).field)
    for name, drawn_ in (("as registered", buildings), ("realigned", moved)):
        paired.run(bench, f"all {name}", [*others, redrawn(beside, drawn_)], Arm(name=name), lesson, others)
    _show(f"Four towns, {BESIDE} learned too", bench, "all realigned", ("all as registered",), lesson)


def _show(title: str, bench: Bench, name: str, against: Sequence[str], lesson: Lesson) -> None:
    bar = f"bar: realigning gains: {'met' if paired.gains(bench, name, against[0]) else 'not met'}"
    paired.table(title, bench, list(bench.counts), against, [paired.told(bench, name, lesson), bar])


if __name__ == "__main__":
    main()

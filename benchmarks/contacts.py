"""Contacts: does a model of all towns tell walls between two houses from lines within one?

    python -m benchmarks.contacts --data ../shared/data/aerial

The starter model predicts every labelled town; judged are its validation and test cells of turn 0, which it never
learned from. Buildings are cut into more pieces than they have (a higher seed threshold), each contact of two pieces is
seen as a row of figures, and a model that learned from other ground says whether both are one building. F1 of what is
joined so is set beside F1 of the buildings as shipped; the interval of the difference is of cells drawn again, at 95 %.

Bar: the model of all other towns gains on Banepa, and so do those of the four other towns, with an interval above zero.
Without a folder, or with --small, a drawn street is cut: it shows that all runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import arguments, show
from benchmarks.paired import HELD, f1, interval, matched
from benchmarks.starter_ground import TOWNS, drawn, grounds
from benchmarks.starter_score import MARGIN, VIEWS, CellScenes
from groundplan.polygons.instances import Thresholds, instances
from groundplan.training.pack import Ground
from groundplan.training.thresholds import ScoredScene

LEARNED = ("train",)
DENSE = "banepa"
LEAST_PIECE = 2.0  # m2
SHORTEST = 1.0  # metres of a contact
FEWEST = 5  # contacts within one building, without which nothing is fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class CutCell:
    """A cell whose buildings are cut into pieces."""

    scene: ScoredScene
    resolution: float
    shipped: np.ndarray
    """int32 (H, W): buildings as the product tells them apart"""
    pieces: np.ndarray
    """int32 (H, W)"""
    pairs: np.ndarray
    """int (P, 2): pieces that touch"""
    seen: np.ndarray
    """float64 (P, 13): what is seen of each contact"""
    same: np.ndarray
    """bool (P,): both lie on one building"""
    known: np.ndarray
    """bool (P,): both lie on some building"""


Cut = Mapping[tuple[str, str], Sequence[CutCell]]
"""Cells by town and split."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of labelled towns; without, a street is drawn")
    parser.add_argument("--seed", type=float, default=0.55, help="seed threshold by which buildings are cut")
    chosen = arguments(parser)
    if chosen.small or not chosen.data:
        found = drawn(size=200.0)
    else:
        found = grounds(chosen.data, tuple(replace(town, years=town.years[:1]) for town in TOWNS))
    cut = _cut(found, chosen.seed)
    rows = list(_rows(cut))
    pays = [row[-1] for row in rows if row[-1]]
    notes = [f"bar: every model of other ground gains: {'met' if pays and set(pays) == {'yes'} else 'not met'}"]
    notes += [_counted(cut, split) for split in (HELD, LEARNED)]
    header = ("judged on", "learned from", "model", "contacts", "of one building", "buildings", "F1 as shipped")
    show("Contacts decided", (*header, "F1 decided", "difference, 95 %", "gains"), rows, notes)


# --- cutting ----------------------------------------------------------------------------------------------------------


def _cut(found: Iterator[Ground], seed: float) -> Cut:
    from groundplan.inference.runtime import load
    from groundplan.inference.sliding_window import predict_canvas

    runtime = load(_graph(), threads=2, views=VIEWS)
    cells, cut = CellScenes(), dict[tuple[str, str], list[CutCell]]()
    for ground in found:
        canvas = np.pad(ground.image, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
        raster = predict_canvas(runtime, canvas, np.ones(canvas.shape[1:], bool), margin=MARGIN)
        for split in (*HELD, *LEARNED):
            scenes = cells.of(ground, raster, split, turn=0)
            cut.setdefault((ground.region, split), []).extend(_cell(one, seed, ground.resolution) for one in scenes)
    return cut


def _graph() -> bytes:
    import zipfile

    from groundplan.starter import FILE

    with zipfile.ZipFile(FILE) as archive:
        return archive.read("model.onnx")


def _cell(scene: ScoredScene, seed: float, resolution: float) -> CutCell:
    shipped, pieces = (
        instances(scene.probability, thresholds, resolution)
        for thresholds in (Thresholds(), Thresholds(seed=seed, min_area=LEAST_PIECE))
    )
    shipped[~scene.known], pieces[~scene.known] = 0, 0
    pairs, seen = contacts_seen(pieces, scene.probability, resolution)
    owner = _owners(scene, pieces, resolution)[pairs]
    return CutCell(
        scene=scene,
        resolution=resolution,
        shipped=shipped,
        pieces=pieces,
        pairs=pairs,
        seen=seen,
        same=(owner[:, 0] == owner[:, 1]) & (owner[:, 0] > 0),
        known=(owner > 0).all(axis=1),
    )


def _owners(scene: ScoredScene, pieces: np.ndarray, resolution: float) -> np.ndarray:
    """Number of the true building that most of each piece lies on, 0 for none: int (pieces + 1,)."""
    from affine import Affine
    from rasterio.features import rasterize

    place = Affine(resolution, 0, scene.left, 0, -resolution, 0)
    shapes = [(polygon, number) for number, polygon in enumerate(scene.truth, 1)]
    true = (
        rasterize(shapes, out_shape=pieces.shape, transform=place, dtype="int32") if shapes else np.zeros_like(pieces)
    )
    joint = np.zeros((pieces.max() + 1, true.max() + 1), np.int64)
    np.add.at(joint, (pieces.ravel(), true.ravel()), 1)
    return np.asarray(joint.argmax(axis=1))


def contacts_seen(pieces: np.ndarray, probability: np.ndarray, resolution: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of pieces that touch along SHORTEST, int (P, 2), and what is seen of each contact, float64 (P, 13).

    pieces: int32 (H, W); probability: uint8 (2, H, W). Edge and building along the contact, its length, areas, how much
    of its rectangle the union fills and the parts do, their directions, and how far the pass lies below the tops.
    """
    building, edge = probability.astype(np.float64).reshape(2, -1) / 255
    one, other = _sides(pieces)
    flat, count = pieces.ravel(), int(pieces.max()) + 1
    low, high = np.minimum(flat[one], flat[other]), np.maximum(flat[one], flat[other])
    key, at = np.unique(low.astype(np.int64) * count + high, return_inverse=True)
    length = np.bincount(at, minlength=len(key)) * resolution
    line, level = np.maximum(edge[one], edge[other]), np.minimum(building[one], building[other])
    most, least, lowest = np.zeros(len(key)), np.ones(len(key)), np.ones(len(key))
    np.maximum.at(most, at, line)
    np.minimum.at(least, at, line)
    np.minimum.at(lowest, at, level)
    height = building * (1 - edge)
    passed, top = np.zeros(len(key)), np.zeros(count)
    np.maximum.at(passed, at, level * (1 - line))
    np.maximum.at(top, flat, height)
    mean = np.bincount(flat, height, count) / np.maximum(np.bincount(flat, minlength=count), 1)
    long = length >= SHORTEST
    pairs = np.stack([key // count, key % count], axis=1)[long]
    along = [np.bincount(at, line, len(key)) / np.maximum(length / resolution, 1), most, least, lowest]
    tall = [mean[pairs].min(axis=1), top[pairs].min(axis=1) - passed[long]]
    shape = _shapes(pieces, pairs, length[long], resolution)
    return pairs, np.stack([*(each[long] for each in along), *tall, *shape], axis=1).reshape(-1, 13)


def _sides(pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of neighbouring pixels of two pieces."""
    number = np.arange(pieces.size).reshape(pieces.shape)
    one = np.concatenate([number[:-1].ravel(), number[:, :-1].ravel()])
    other = np.concatenate([number[1:].ravel(), number[:, 1:].ravel()])
    flat = pieces.ravel()
    apart = (flat[one] != flat[other]) & (flat[one] > 0) & (flat[other] > 0)
    return one[apart], other[apart]


def _shapes(pieces: np.ndarray, pairs: np.ndarray, length: np.ndarray, resolution: float) -> list[np.ndarray]:
    """Of each pair: log length, length by the smaller's side, log areas, fill gained, fill, difference of direction."""
    order = np.argsort(pieces.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(pieces.ravel(), minlength=1))
    pixels = [order[end - size : end] for end, size in zip(ends, np.diff(ends, prepend=0), strict=True)]
    wide = pieces.shape[1]
    area = np.array([len(each) for each in pixels]) * resolution**2
    box = {k: _rectangle(pixels[k], wide, resolution) for k in np.unique(pairs)}
    both = [_rectangle(np.concatenate([pixels[i], pixels[j]]), wide, resolution)[0] for i, j in pairs]
    small, big = np.sort(area[pairs], axis=1).T if len(pairs) else np.ones((2, 0))
    filled = np.array([area[i] ** 2 / box[i][0] + area[j] ** 2 / box[j][0] for i, j in pairs]) / (small + big)
    union = (small + big) / np.array(both)
    turn = np.array([box[i][1] - box[j][1] for i, j in pairs])
    turn = np.abs((turn + 45) % 90 - 45)
    return [np.log(length), length / np.sqrt(small), np.log(small), np.log(big), union - filled, union, turn]


def _rectangle(pixels: np.ndarray, wide: int, resolution: float) -> tuple[float, float]:
    """m2 and direction in degrees of the narrowest rectangle around pixels."""
    import cv2

    points = np.stack([pixels % wide, pixels // wide], axis=1).astype(np.float32)
    _, (width, high), angle = cv2.minAreaRect(points)
    return (width + 1) * (high + 1) * resolution**2, angle


# --- deciding ---------------------------------------------------------------------------------------------------------


def _rows(cut: Cut) -> Iterator[tuple[str, ...]]:
    """Rows of the table: whose cells, whose contacts taught, by which model."""
    towns = list(dict.fromkeys(town for town, _ in cut))
    others = [town for town in towns if town != DENSE]
    for model in ("line", "trees"):
        for splits, told in ((HELD, "held-out cells"), ((*HELD, *LEARNED), "all cells")):
            for judged, name in (([DENSE], DENSE), (others, "the others, each")):
                tests = [(town, split) for town in judged for split in HELD if cut.get((town, split))]
                learned = {key: [k for k in cut if k[0] != key[0] and k[1] in splits] for key in tests}
                yield from _row(cut, learned, model, (name, f"other towns, {told}"), judge=True)
        tests = [(DENSE, split) for split in HELD if cut.get((DENSE, split))]
        learned = {key: [k for k in cut if k != key and k[1] in HELD] for key in tests}
        yield from _row(cut, learned, model, (DENSE, "its other held-out cells, other towns"), judge=False)
    yield from _row(cut, {key: [] for key in cut if key[1] in HELD}, "labels", ("all", "the labels themselves"), False)


def _row(
    cut: Cut, learned: Mapping[tuple[str, str], list[tuple[str, str]]], model: str, names: tuple[str, str], judge: bool
) -> Iterator[tuple[str, ...]]:
    if not learned:
        return
    shipped, decided, taught = [], [], 0
    contacts = {key: sum(int(cell.known.sum()) for k in keys for cell in cut[k]) for key, keys in learned.items()}
    for key, keys in learned.items():
        chance = _fitted([cell for k in keys for cell in cut[k]], model)
        taught = max(taught, sum(int(cell.same.sum()) for k in keys for cell in cut[k]))
        for cell in cut[key]:
            shipped.append(_counts(cell, cell.shipped))
            decided.append(_counts(cell, _joined(cell, cell.same if model == "labels" else chance(cell.seen) > 0.5)))
    before, after = np.array(shipped), np.array(decided)
    low, high = interval(before, after)
    figures = (f"{f1(before.sum(axis=0)):.3f}", f"{f1(after.sum(axis=0)):.3f}", f"{low:+.3f} to {high:+.3f}")
    gains = ("yes" if low > 0 else "no") if judge else ""
    yield (*names, model, str(max(contacts.values())), str(taught), str(before[:, 3].sum()), *figures, gains)


def _fitted(cells: Sequence[CutCell], model: str) -> Any:
    """What says the chance that two pieces are one building; never, where too little was learned from."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seen = np.concatenate([np.zeros((0, 13)), *(cell.seen[cell.known] for cell in cells)])
    same = np.concatenate([np.zeros(0, bool), *(cell.same[cell.known] for cell in cells)])
    if min(same.sum(), (~same).sum()) < FEWEST:
        return lambda rows: np.zeros(len(rows))
    line = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=1000))
    trees = GradientBoostingClassifier(n_estimators=60, max_depth=2, subsample=0.7, random_state=0)
    chosen = (line if model == "line" else trees).fit(seen, same)
    return lambda rows: chosen.predict_proba(rows)[:, 1] if len(rows) else np.zeros(0)


def _joined(cell: CutCell, one: np.ndarray) -> np.ndarray:
    """Pieces with those joined whose contact lies within one building: int32 (H, W)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = int(cell.pieces.max()) + 1
    first, second = cell.pairs[one].T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    return (connected_components(graph, directed=False)[1][cell.pieces] * (cell.pieces > 0)).astype(np.int32)


def _counts(cell: CutCell, labels: np.ndarray) -> tuple[int, ...]:
    """Found and right, found, true and hit, true."""
    import shapely

    from groundplan.training.thresholds import outlined

    outlines = outlined(labels, cell.resolution, cell.scene.left)
    outlines = outlines[shapely.area(outlines) >= Thresholds().min_area] if len(outlines) else outlines
    return matched(outlines, cell.scene.truth)


def _counted(cut: Cut, splits: Sequence[str]) -> str:
    """How much there is to learn from, in words."""
    towns = list(dict.fromkeys(town for town, _ in cut))
    told = []
    for town in towns:
        cells = [cell for split in splits for cell in cut.get((town, split), ())]
        told.append(f"{town} {sum(int(c.known.sum()) for c in cells)} ({sum(int(c.same.sum()) for c in cells)})")
    return f"contacts on {' and '.join(splits)} cells (within one building): {', '.join(told)}"


if __name__ == "__main__":
    main()

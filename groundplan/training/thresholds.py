"""Threshold calibration: which probabilities count as a building, chosen on validation, assessed on test ground.

Here: the choice of mask threshold, seed threshold and smallest building, and the figures of a chosen setting.
Not here: telling buildings apart (`outlines`), the figures' definitions (`evaluate`), running a network (`runtime`).

A validation strip holds tens to hundreds of buildings, so its best setting is mostly luck: curves are smoothed over
their neighbours, and the setting nearest to the known good one is taken among those that the sample cannot tell apart.
The more buildings, the fewer are such ties.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from groundplan.core.foreign_warnings import hush_missing_transform
from groundplan.core.progress import counted
from groundplan.inference.runtime import Runtime, load
from groundplan.inference.sliding_window import predict_canvas
from groundplan.labels.classes import BUILDING, IGNORE, INNER_EDGE
from groundplan.polygons.instances import Thresholds, instances
from groundplan.polygons.metrics import Scores, score
from groundplan.training.calibration import fitted

if TYPE_CHECKING:
    from groundplan.project import Project
    from groundplan.training.scenes import Scene


SEEDS = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
MASKS = (0.4, 0.45, 0.5, 0.55, 0.6)
AREAS = (6.0, 10.0, 15.0, 20.0)  # m2
BOUNDARY = 1.0  # metres
MARGIN = 64  # pixels of context around known ground
SIMPLIFY = 0.3  # metres; staircases of pixels would only slow the scores down
APART = 1000.0  # metres between scenes on the common plane


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredScene:
    """A scene's predicted and labeled ground, ready to be scored under any thresholds, on a plane shared by all."""

    probability: np.ndarray
    """uint8 (2, H, W)"""
    known: np.ndarray
    """bool (H, W)"""
    left: float
    """Where its left border lies on the plane."""
    truth: np.ndarray
    """The polygons of its buildings."""
    area: shapely.Geometry
    """What of it is known."""


def choose_thresholds(
    onnx: bytes, scenes: Sequence[Scene], project: Project, check: Callable[[], None] = lambda: None
) -> tuple[Thresholds, dict[str, Any], dict[str, Any] | None]:
    """The thresholds for a network, its figures with them on the same (validation) scenes, and how sure it may be."""
    scored = _scored_scenes(onnx, scenes, project, check)
    resolution = project.grid.resolution
    chosen = best_thresholds(scored, resolution, check)
    return chosen, figures(scored, chosen, resolution), fitted(scored, chosen, resolution)


def assess(
    onnx: bytes, scenes: Sequence[Scene], chosen: Thresholds, project: Project, check: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """A network's figures on (test) scenes with thresholds that were chosen elsewhere."""
    return figures(_scored_scenes(onnx, scenes, project, check), chosen, project.grid.resolution)


def _scored_scenes(
    onnx: bytes, scenes: Sequence[Scene], project: Project, check: Callable[[], None]
) -> list[ScoredScene]:
    settings = project.settings.predict
    runtime = load(onnx, threads=project.workers, precision=settings.precision, views=settings.views)
    return scored_scenes(runtime, scenes, project.grid.resolution, check)


def scored_scenes(
    runtime: Runtime, scenes: Sequence[Scene], resolution: float, check: Callable[[], None] = lambda: None
) -> list[ScoredScene]:
    """Predicted known part of every scene. Scenes without any are left out."""
    found: list[ScoredScene] = []
    left = 0.0
    with counted("predicting ground to judge", scenes, len(scenes)) as counting:
        for scene in counting:
            rows, columns = np.nonzero(scene.label != IGNORE)
            if not len(rows):
                continue
            box = slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)
            label = scene.label[box]
            probability = _predict(runtime, scene.image, box, check)
            found.append(scored_scene(probability, label, resolution, left))
            left += label.shape[1] * resolution + APART
    return found


def _predict(runtime: Runtime, image: np.ndarray, box: tuple[slice, slice], check: Callable[[], None]) -> np.ndarray:
    """Probabilities of a box of a scene, with the scene's pixels around it as context."""
    core = -(-(256 + 2 * MARGIN) // runtime.step) * runtime.step - 2 * MARGIN
    around = np.pad(image, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    canvas = around[:, box[0].start : box[0].stop + 2 * MARGIN, box[1].start : box[1].stop + 2 * MARGIN]
    return predict_canvas(runtime, canvas, np.ones(canvas.shape[1:], bool), core, MARGIN, check)


def scored_scene(probability: np.ndarray, label: np.ndarray, resolution: float, left: float) -> ScoredScene:
    """A scene's uint8 probabilities (2, H, W) beside its label (H, W), laid at `left` metres of the common plane."""
    known = label != IGNORE
    truth = outlined(true_buildings(label), resolution, left)
    area = shapely.union_all(outlined(known.astype(np.int32), resolution, left))
    # Unknown ground cuts buildings; what is left of a small corner is no building that anything could find.
    cut = shapely.distance(truth, area.boundary) < resolution / 2
    truth = truth[~cut | (shapely.area(truth) >= Thresholds().min_area)]
    return ScoredScene(probability=probability, known=known, left=left, truth=truth, area=area)


def true_buildings(label: np.ndarray) -> np.ndarray:
    """Ground-truth instances of a label raster (see `Scene`): int32 (H, W), 0 is ground.

    The insides are apart; each inner edge goes to the nearest inside that it is connected with. A building too narrow
    to have an inside is one by itself.
    """
    import cv2
    from skimage.segmentation import watershed

    _, inside = cv2.connectedComponents((label == BUILDING).view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    building = (label == BUILDING) | (label == INNER_EDGE)
    distance = cv2.distanceTransform((inside == 0).view(np.uint8), cv2.DIST_L2, 5)
    whole = watershed(distance, inside, mask=building)
    _, rest = cv2.connectedComponents((building & (whole == 0)).view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    return np.where(rest > 0, rest + whole.max(), whole).astype(np.int32)


def figures(scored: Sequence[ScoredScene], thresholds: Thresholds, resolution: float) -> dict[str, Any]:
    """Scores over all scenes, rounded; empty when there is none."""
    scores = scores_of(scored, thresholds, resolution)
    return {} if scores is None else {k: round(v, 4) for k, v in asdict(scores).items()}


def scores_of(scored: Sequence[ScoredScene], thresholds: Thresholds, resolution: float) -> Scores | None:
    """Scores under some thresholds: buildings are separated and compared with the truth."""
    if not scored:
        return None
    found = [found_in(ground, thresholds, resolution) for ground in scored]
    return scores_from(scored, found, resolution)


def scores_from(scored: Sequence[ScoredScene], found: Sequence[np.ndarray], resolution: float) -> Scores:
    """Scores of polygons that were found in scenes, each scene by its own thresholds perhaps."""
    truth = np.concatenate([ground.truth for ground in scored])
    area = shapely.union_all([ground.area for ground in scored])
    return score(np.concatenate(found), truth, area=area, resolution=resolution, boundary=BOUNDARY)


def found_in(ground: ScoredScene, thresholds: Thresholds, resolution: float) -> np.ndarray:
    """Polygons of the buildings that thresholds find in a scene, on the common plane."""
    labels = instances(ground.probability, thresholds, resolution)
    labels[~ground.known] = 0
    outlines = outlined(labels, resolution, ground.left)
    return outlines[shapely.area(outlines) >= thresholds.min_area]  # unknown ground cuts these too


def outlined(labels: np.ndarray, resolution: float, left: float) -> np.ndarray:
    """Polygons of labels, int32 (H, W), hardly simplified, their left border at `left` metres: object (N,)."""
    from affine import Affine
    from rasterio.features import shapes

    hush_missing_transform()
    place = Affine(resolution, 0, left, 0, -resolution, 0)
    rings = [shape["coordinates"] for shape, _ in shapes(labels, mask=labels > 0, connectivity=4, transform=place)]
    outlines = np.empty(len(rings), object)
    outlines[:] = [shapely.Polygon(ring[0], ring[1:]) for ring in rings]
    return shapely.make_valid(shapely.simplify(outlines, SIMPLIFY)) if len(rings) else outlines


# --- the choice -------------------------------------------------------------------------------------------------------


def best_thresholds(
    scored: Sequence[ScoredScene], resolution: float, check: Callable[[], None] = lambda: None
) -> Thresholds:
    """Coordinate search: seed threshold, then mask threshold, then smallest area, the others at their best known.

    By object F1; the mask threshold among its ties by pixel IoU. Without buildings the known good ones are returned.
    """
    chosen = Thresholds()
    buildings = sum(len(ground.truth) for ground in scored)
    if buildings == 0:
        return chosen
    # Half a standard error of F1: two settings see the same buildings, so their difference is surer than each.
    slack = 0.25 / math.sqrt(buildings)

    def curve(**tried: Sequence[float]) -> list[Scores]:
        (name, values), results = next(iter(tried.items())), []
        with counted(f"choosing thresholds: {name}", values, len(values)) as trying:
            for value in trying:
                check()
                scores = scores_of(scored, replace(chosen, **{name: value}), resolution)
                assert scores is not None
                results.append(scores)
        return results

    chosen = replace(chosen, seed=stable_choice(SEEDS, [s.object_f1 for s in curve(seed=SEEDS)], chosen.seed, slack))
    masks = curve(mask=MASKS)
    f1 = smooth([s.object_f1 for s in masks])
    level = [s.iou if f >= max(f1) - slack else 0.0 for s, f in zip(masks, f1, strict=True)]
    chosen = replace(chosen, mask=nearest(MASKS, level, chosen.mask, 0.005))
    chosen = replace(
        chosen, min_area=stable_choice(AREAS, [s.object_f1 for s in curve(min_area=AREAS)], chosen.min_area, slack)
    )
    return chosen


def stable_choice(values: Sequence[float], scores: Sequence[float], known_good: float, slack: float) -> float:
    """Choice by smoothed score: the value nearest to `known_good` within `slack` of the best."""
    return nearest(values, smooth(scores), known_good, slack)


def nearest(values: Sequence[float], scores: Sequence[float], known_good: float, slack: float) -> float:
    """Tie-break by prior: the value nearest to `known_good` among those within `slack` of the best score."""
    able = [value for value, score_ in zip(values, scores, strict=True) if score_ >= max(scores) - slack]
    return min(able, key=lambda value: (abs(value - known_good), value))


def smooth(scores: Sequence[float]) -> list[float]:
    """Smoothed scores: each averaged with its neighbors (1 : 2 : 1); the ends count twice."""
    padded = [scores[0], *scores, scores[-1]]
    return [(a + 2 * b + c) / 4 for a, b, c in zip(padded, padded[1:], padded[2:], strict=False)]

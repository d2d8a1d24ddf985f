"""Evaluation metrics: predicted building polygons against true ones.

Belongs here: every figure that the project reports about footprints (pixels, boundaries, objects, shapes), and the
picture that shows them. Training, quality checks, the command line and benchmarks all call `score`; none has its own.
Does not belong here: choosing thresholds, reading files, deciding what is good enough.

Definitions: boundary IoU is that of Cheng et al., "Boundary IoU" (CVPR 2021), on the semantic mask, with the band's
width in metres instead of a share of the image diagonal (the figure depends wholly on it, so it is always stated);
objects match one to one at IoU >= 0.5, as in SpaceNet and COCO.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
import shapely

from groundplan.core.foreign_warnings import hush_missing_transform

if TYPE_CHECKING:
    import geopandas as gpd
    from affine import Affine


Color: TypeAlias = tuple[int, int, int]
Polygons: TypeAlias = "gpd.GeoDataFrame | gpd.GeoSeries | np.ndarray"

TILE = 4096  # pixels; a raster of the whole area is never held
NEAR_RIGHT = 10.0  # degrees
GREEN, RED, YELLOW = (40, 200, 60), (230, 30, 40), (255, 220, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of one set of predicted buildings. A share of nothing (no building, none predicted) is 1."""

    buildings: int
    """Truth buildings whose representative point lies in the scored area."""
    predicted: int
    """Predicted buildings whose representative point lies in the scored area."""
    iou: float
    """Intersection over union of building pixels."""
    pixel_f1: float
    precision_px: float
    recall_px: float
    boundary_iou: float
    """IoU of the inner bands along both masks' contours, `boundary_m` metres wide."""
    boundary_m: float
    object_precision: float
    object_recall: float
    object_f1: float
    """At IoU >= 0.5."""
    object_f1_70: float
    """At IoU >= 0.7."""
    matched: int
    """Truth buildings in the area that were found (IoU >= 0.5)."""
    vertices_per_building: float
    """Mean over predicted buildings, holes included. Read right_angle_share only beside this: staircases cheat it."""
    right_angle_share: float
    """Share of the predicted buildings' corners within 10 degrees of a right angle."""
    area_m2: float
    """Scored ground."""


def score(
    predicted: Polygons, truth: Polygons, *, area: shapely.Geometry, resolution: float, boundary: float = 1.0
) -> Scores:
    """Score predicted buildings against true ones inside `area`.

    predicted, truth: polygons in one projected CRS in metres (frames that know their CRS are checked); they may reach
    out of `area`, and should: then a building on the frame is judged whole. area: polygon; only ground inside counts.
    resolution: metres per pixel of the rasters. boundary: metres of the boundary band.
    Pixel figures count pixels whose centre lies in `area`; its frame is no boundary. A building counts where its
    representative point lies in `area`; its partner may lie outside.
    ValueError for geographic or differing CRS, an empty area, or a resolution that is not positive.
    """
    _check_crs(predicted, truth)
    if not resolution > 0 or not boundary > 0 or area.is_empty or not area.area > 0:
        raise ValueError(
            f"score: needs an area > 0, resolution and boundary in metres; got {area.area} m2, {resolution}, {boundary}"
        )
    found, real = polygons_of(predicted), polygons_of(truth)
    both, either, found_px, real_px, both_edge, either_edge = _pixel_counts(found, real, area, resolution, boundary)
    found_in, real_in = (
        shapely.contains_xy(area, shapely.get_coordinates(shapely.point_on_surface(polygons)))
        for polygons in (found, real)
    )
    pairs, ious = overlaps(found, real)
    objects = {limit: _object_shares(match_one_to_one(pairs, ious, limit), found_in, real_in) for limit in (0.5, 0.7)}
    vertices, right = _corner_shares(found[found_in])
    return Scores(
        buildings=int(real_in.sum()),
        predicted=int(found_in.sum()),
        iou=_share(both, either),
        pixel_f1=_share(2 * both, found_px + real_px),
        precision_px=_share(both, found_px),
        recall_px=_share(both, real_px),
        boundary_iou=_share(both_edge, either_edge),
        boundary_m=boundary,
        object_precision=objects[0.5][0],
        object_recall=objects[0.5][1],
        object_f1=objects[0.5][2],
        object_f1_70=objects[0.7][2],
        matched=objects[0.5][3],
        vertices_per_building=vertices,
        right_angle_share=right,
        area_m2=float(area.area),
    )


def table(scores: Scores) -> list[tuple[str, str]]:
    """The figures as (name with its definition, value with its unit), in reading order, for a terminal or a report."""
    s = scores
    return [
        ("scored ground", f"{s.area_m2 / 1e4:.2f} ha"),
        ("buildings: true / predicted", f"{s.buildings} / {s.predicted}"),
        ("pixel IoU", f"{s.iou:.3f}"),
        ("pixel F1 (precision / recall)", f"{s.pixel_f1:.3f} ({s.precision_px:.3f} / {s.recall_px:.3f})"),
        (f"boundary IoU, {s.boundary_m:g} m band", f"{s.boundary_iou:.3f}"),
        (
            "building F1 at IoU 0.5 (precision / recall)",
            f"{s.object_f1:.3f} ({s.object_precision:.3f} / {s.object_recall:.3f})",
        ),
        ("building F1 at IoU 0.7", f"{s.object_f1_70:.3f}"),
        ("buildings found", f"{s.matched} of {s.buildings}"),
        ("vertices per building", f"{s.vertices_per_building:.1f}"),
        ("right angles (within 10 degrees)", f"{100 * s.right_angle_share:.0f} %"),
    ]


def compare_picture(
    image: np.ndarray, predicted: Polygons, truth: Polygons, transform: Affine, *, side: int = 900, limit: int = 100_000
) -> bytes:
    """Error map: what was found, missed and invented over the image; PNG bytes, fewer than `limit`.

    image: uint8 (H, W, 3); transform: pixel to CRS of the polygons. Outlines: found buildings green (as predicted),
    missed red (as in the truth), false alarms yellow. The longest side is `side` pixels, or less where the picture
    would otherwise be too large. The photograph is kept grey and coarse: it is the outlines that are looked at.
    """
    found, real = polygons_of(predicted), polygons_of(truth)
    hit, detected = matched(found, real)
    layers = [(real[~detected], RED), (found[~hit], YELLOW), (found[hit], GREEN)]
    side = min(side, max(image.shape[:2]))
    levels = 24
    while True:
        picture = _draw(image, layers, transform, side / max(image.shape[:2]), levels)
        if len(picture) < limit or side < 64:
            return picture
        if levels > 8:
            levels = levels * 2 // 3
        else:
            side = int(side * min(0.95, (limit / len(picture)) ** 0.5))


# --- pixels ---------------------------------------------------------------------------------------------------------


def _pixel_counts(
    found: np.ndarray, real: np.ndarray, area: shapely.Geometry, resolution: float, boundary: float
) -> tuple[int, int, int, int, int, int]:
    """Pixels in both, either, found, real; boundary pixels in both, either."""
    width = max(1, round(boundary / resolution))
    # A disc, not the square of Cheng et al.'s code: a slanted wall's band must be as wide as an upright one's.
    kernel = (np.hypot(*np.mgrid[-width : width + 1, -width : width + 1]) <= width).astype(np.uint8)
    trees = [shapely.STRtree(polygons) for polygons in (found, real)]
    totals = np.zeros(6, np.int64)
    for window in _tiles(area, resolution, width):
        inside = _raster(np.array([area]), window, resolution)
        if not inside.any():
            continue
        masks, bands = [], []
        for tree in trees:
            near = np.sort(tree.query(shapely.box(*_bounds(window, resolution))))
            mask = _raster(tree.geometries[near], window, resolution)
            # Ground outside the area counts as building here, so that the frame is nobody's boundary.
            deep = cv2.erode(mask | (1 - inside), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
            core = np.s_[width:-width, width:-width]
            masks.append((mask & inside)[core])
            bands.append((mask & inside & (1 - deep))[core])
        for at, (one, other) in ((0, masks), (4, bands)):
            totals[at] += np.count_nonzero(one & other)
            totals[at + 1] += np.count_nonzero(one | other)
        totals[2:4] += [np.count_nonzero(mask) for mask in masks]
    both, either, found_px, real_px, both_edge, either_edge = (int(n) for n in totals)
    return both, either, found_px, real_px, both_edge, either_edge


def _tiles(area: shapely.Geometry, resolution: float, margin: int) -> Iterator[tuple[int, int, int, int]]:
    """Windows (left, top, right, bottom) in whole pixels, y upward, that cover the area, each with a margin."""
    left, bottom = (int(np.floor(v / resolution)) for v in area.bounds[:2])
    right, top = (int(np.ceil(v / resolution)) for v in area.bounds[2:])
    shapely.prepare(area)
    for y in range(top, bottom, -TILE):
        for x in range(left, right, TILE):
            core = (x, y, min(x + TILE, right), max(y - TILE, bottom))
            if area.intersects(shapely.box(*_bounds(core, resolution))):
                yield core[0] - margin, core[1] + margin, core[2] + margin, core[3] - margin


def _bounds(window: tuple[int, int, int, int], resolution: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = (edge * resolution for edge in window)
    return left, bottom, right, top


def _raster(polygons: np.ndarray, window: tuple[int, int, int, int], resolution: float) -> np.ndarray:
    """uint8 (rows, columns): 1 where a pixel's centre lies in a polygon."""
    from affine import Affine
    from rasterio.features import rasterize

    hush_missing_transform()
    left, top, right, bottom = window
    shape = (top - bottom, right - left)
    if not len(polygons):
        return np.zeros(shape, np.uint8)
    transform = Affine(resolution, 0, left * resolution, 0, -resolution, top * resolution)
    return rasterize(polygons, out_shape=shape, transform=transform, dtype=np.uint8)


# --- objects --------------------------------------------------------------------------------------------------------


def overlaps(found: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that overlap: int (2, P) of (found, real) indices in order, and their IoU."""
    pairs = shapely.STRtree(real).query(found, predicate="intersects")
    pairs = pairs[:, np.lexsort(pairs[::-1])]
    common = shapely.area(shapely.intersection(found[pairs[0]], real[pairs[1]]))
    union = shapely.area(found[pairs[0]]) + shapely.area(real[pairs[1]]) - common
    return pairs, common / np.where(union > 0, union, 1.0)


def match_one_to_one(pairs: np.ndarray, ious: np.ndarray, limit: float) -> np.ndarray:
    """One-to-one matches with IoU >= `limit` of largest summed IoU: int (2, M) of (found, real) indices.

    Solved exactly for each knot of pairs that compete; knots are tiny (at IoU > 0.5 a pair competes only where
    polygons of one side overlap each other).
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs, ious = pairs[:, ious >= limit], ious[ious >= limit]
    if not len(ious):
        return pairs
    left, right = pairs[0], pairs[1] + pairs[0].max() + 1
    size = right.max() + 1
    knots = connected_components(coo_array((np.ones(len(ious)), (left, right)), shape=(size, size)), directed=False)[1]
    alone = np.bincount(knots[left])[knots[left]] == 1
    chosen = [pairs[:, alone]]
    for knot in np.unique(knots[left[~alone]]):
        at = np.flatnonzero(knots[left] == knot)
        a, i = np.unique(pairs[0, at], return_inverse=True)
        b, j = np.unique(pairs[1, at], return_inverse=True)
        gain = np.zeros((len(a), len(b)))
        gain[i, j] = ious[at]
        rows, columns = linear_sum_assignment(gain, maximize=True)
        real_pair = gain[rows, columns] > 0
        chosen.append(np.stack([a[rows[real_pair]], b[columns[real_pair]]]))
    matches = np.concatenate(chosen, axis=1)
    return matches[:, np.argsort(matches[0])]


def matched(found: np.ndarray, real: np.ndarray, limit: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Which of the found and which of the true buildings have a partner: bool (F,), (R,). Arrays of valid polygons."""
    matches = match_one_to_one(*overlaps(found, real), limit)
    return np.isin(np.arange(len(found)), matches[0]), np.isin(np.arange(len(real)), matches[1])


def _object_shares(matches: np.ndarray, found_in: np.ndarray, real_in: np.ndarray) -> tuple[float, float, float, int]:
    """Precision, recall, F1 over the buildings that count, and how many true ones were matched."""
    hits, finds = int(found_in[matches[0]].sum()), int(real_in[matches[1]].sum())
    precision, recall = _share(hits, int(found_in.sum())), _share(finds, int(real_in.sum()))
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return precision, recall, f1, finds


def _corner_shares(polygons: np.ndarray) -> tuple[float, float]:
    """Vertices per polygon, and the share of corners near a right angle (either way)."""
    rings = shapely.get_rings(shapely.get_parts(polygons))
    if not len(rings):
        return 0.0, 0.0
    xy, index = shapely.get_coordinates(rings, return_index=True)
    step = np.diff(xy, axis=0)[np.diff(index) == 0]  # the sides, ring by ring, in order
    side = index[1:][np.diff(index) == 0]
    first = np.flatnonzero(np.diff(side, prepend=-1))
    following = np.arange(1, len(side) + 1)
    following[np.append(first[1:], len(side)) - 1] = first
    turn = np.arctan2(
        step[:, 0] * step[following, 1] - step[:, 1] * step[following, 0], (step * step[following]).sum(axis=1)
    )
    right = np.abs(np.abs(np.degrees(turn)) - 90.0) <= NEAR_RIGHT
    return len(side) / len(polygons), float(right.mean())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


# --- in and out -----------------------------------------------------------------------------------------------------


def polygons_of(polygons: Polygons) -> np.ndarray:
    """A plain array of valid polygons that have an area."""
    if isinstance(polygons, np.ndarray):
        shapes = polygons.copy()
    else:
        geometry: Any = polygons.geometry
        shapes = geometry.to_numpy().copy()
    shapes = shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))]
    broken = ~shapely.is_valid(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken], method="structure", keep_collapsed=False)
    return shapes[shapely.area(shapes) > 0]


def _check_crs(predicted: Polygons, truth: Polygons) -> None:
    known = [crs for crs in (getattr(p, "crs", None) for p in (predicted, truth)) if crs is not None]
    for crs in known:
        if crs.is_geographic:
            raise ValueError(f"score: polygons must be in a projected CRS in metres, got {crs.to_string()}")
    if len(known) == 2 and known[0] != known[1]:
        raise ValueError(f"score: predicted is in {known[0].to_string()}, truth in {known[1].to_string()}")


def _draw(
    image: np.ndarray, layers: list[tuple[np.ndarray, Color]], transform: Affine, zoom: float, levels: int
) -> bytes:
    import io

    from PIL import Image

    shape = [max(1, round(n * zoom)) for n in image.shape[1::-1]]
    gray = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), shape, interpolation=cv2.INTER_AREA)
    indexed = (cv2.GaussianBlur(gray, (0, 0), 0.8).astype(np.uint16) * levels // 256).astype(np.uint8)
    palette = [(v, v, v) for v in np.linspace(20, 235, levels).astype(int).tolist()]
    back = ~transform
    for polygons, color in layers:
        palette.append(color)
        for ring in shapely.get_rings(polygons):
            x, y = shapely.get_coordinates(ring).T
            columns, rows = (back.a * x + back.b * y + back.c), (back.d * x + back.e * y + back.f)
            line = np.round(np.stack([columns, rows], axis=1) * zoom * 16 - 8).astype(np.int32)  # 4 bits of fraction
            cv2.polylines(indexed, [line], True, len(palette) - 1, thickness=2, shift=4)
    picture = Image.fromarray(indexed, mode="P")
    picture.putpalette([c for rgb in palette for c in rgb])
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()

"""Vectorization: from building probabilities to whole building outlines, block by block.

Belongs here: telling touching buildings apart (`instances`), the exact pixel-edge pieces of one block
(`block_outlines`), and gluing the pieces of neighbouring blocks into whole buildings (`merge_outlines`).
Does not belong here: making shapes pretty or free of overlap (`regularize`), judging them (`evaluate`), reading blocks
from a store, and which region owns a building (the caller decides by its anchor).

Separation follows the "edge output + watershed" of U-Net practice (DeepWatershed, SpaceNet winners): seeds are the
components of building x (1 - edge), and they flood the rest of the mask from high to low. The flood here is written as
a cellular automaton with a bounded number of steps instead of a priority queue: what a pixel becomes depends only on
pixels within `reach()` of it, so two blocks that both see a pixel agree about it, and the result does not depend on
how the ground was cut into blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

if TYPE_CHECKING:
    import geopandas as gpd
from groundplan.polygons.instances import Thresholds, grown_labels, pixels_of
from groundplan.polygons.tracing import corners_of, polygons, sums

SIDES = "NESW"  # the order in which a block's borders are numbered


def block_outlines(
    probability: np.ndarray, halo: int, col: int, row: int, thresholds: Thresholds, resolution: float
) -> gpd.GeoDataFrame:
    """Trace the pieces of buildings that lie inside one block.

    probability: uint8 (2, n + 2 halo, n + 2 halo); the block and `halo` pixels of its neighbours on each side, 0 where
    there is no neighbour. Use a halo of at least `reach()`. col, row: the block spans the pixels
    [col n, (col + 1) n) x [row n, (row + 1) n) of the grid, y downward.

    Returns one row per 4-connected piece, in pixel coordinates of the grid (float64, y downward, no CRS), exact pixel
    edges, ordered by place: `geometry`; `col`, `row` of the block; `piece`, its number in the block; `pixels`;
    `total`, the sum of its building probabilities (0..255 each: an exact integer, so merging can not depend on order);
    `touches`, the sides of the block that it touches ("" to "NESW"); `runs`, for pieces on a border what the
    neighbour must know: flat int32 rows of (side, line, start, length, continues): at the grid line `line`, pixels
    start..start+length belong to the piece, and the pixel across is seen from here as the same building or not.
    Pieces on no border are whole and already filtered by `min_area`; the others are filtered after merging.

    ValueError when the array is not uint8, not square, or the halo leaves nothing.
    """
    if probability.dtype != np.uint8 or probability.ndim != 3 or probability.shape[0] != 2:
        raise ValueError(f"probability must be uint8 (2, H, W), got {probability.dtype} {probability.shape}")
    size = probability.shape[1] - 2 * halo
    if probability.shape[1] != probability.shape[2] or halo < 1 or size < 1:
        raise ValueError(f"probability must be a square block and a halo of {halo} >= 1, got {probability.shape}")
    labels = grown_labels(probability, thresholds, resolution)
    framed, block = (labels[halo - rim : halo + size + rim, halo - rim : halo + size + rim] for rim in (1, 0))
    own, across = ([side.copy() for side in _sides(raster)] for raster in (block, framed))
    for side in _sides(framed):
        side[:] = 0
    _part(block)
    along = _sides(block)
    corners = corners_of(framed)
    number, pixels, total = sums(corners, probability[0, halo : halo + size, halo : halo + size])
    keep = (pixels >= max(1, pixels_of(thresholds.min_area, resolution))) | np.isin(number, np.concatenate(along))
    number, pixels, total = number[keep], pixels[keep], total[keep]
    same = [one == other[1:-1] for one, other in zip(own, across, strict=True)]
    return _frame(
        {"pixels": pixels, "total": total, "touches": _touches(number, along)},
        _runs(along, same, col * size, row * size),
        number,
        polygons(corners, number, col * size, row * size),
        (col, row),
    )


def merge_outlines(frames: Iterable[gpd.GeoDataFrame], thresholds: Thresholds, resolution: float) -> gpd.GeoDataFrame:
    """Merge the pieces of blocks (any number, any order) into whole buildings, before anything is simplified.

    Two pieces across a border are one building when most of the border pixels that they share are seen, from both
    sides, as one building; a building larger than a block is glued through a chain of blocks. Work on geometry is
    done for border pieces only.

    Returns, in pixel coordinates of the grid, ordered by anchor: `geometry` (Polygon, exact pixel edges); `pixels`;
    `confidence`, the mean building probability 0..1; `anchor_x`, `anchor_y`, an interior pixel that depends on the
    shape alone (who owns the building, and its stable name, follow from it); `open`, true when the building goes on
    into a block that was not given. ValueError when a block is given twice.
    """
    import pandas as pd

    tables = [frame for frame in frames if len(frame)]
    if not tables:
        return _buildings(np.empty(0, object), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, bool))
    table = pd.concat(tables, ignore_index=True)
    if table.duplicated(["col", "row", "piece"]).any():
        raise ValueError("merge_outlines: a block was given twice; give each block's pieces once")
    group, unanswered = _groups(table["runs"].to_list())
    _, group = np.unique(group, return_inverse=True)
    pixels = np.bincount(group, table["pixels"]).astype(np.int64)
    total = np.bincount(group, table["total"]).astype(np.int64)
    is_open = np.bincount(group, unanswered) > 0
    outlines = _union(table["geometry"].to_numpy(), group)
    keep = pixels >= max(1, pixels_of(thresholds.min_area, resolution))
    return _buildings(outlines[keep], pixels[keep], total[keep], is_open[keep])


# --- one block ------------------------------------------------------------------------------------------------------


def _part(labels: np.ndarray) -> None:
    """Give the 4-connected parts of buildings in a block numbers of their own, in place.

    Only a building that leaves the block can come back into it in several parts, and it meets the border in as many
    stretches then, or more.
    """
    from scipy import ndimage

    north, east, south, west = _sides(labels)
    border = np.concatenate([north, east[1:], south[-2::-1], west[-2:0:-1]])
    begins = border[(border != np.roll(border, 1)) & (border > 0)]
    several, stretches = np.unique(begins, return_counts=True)
    several = several[stretches > 1]
    fresh = int(labels.max()) if len(several) else 0
    for label in several:
        box = _box(labels, label)
        parts, number = ndimage.label(box == label)
        box[parts > 1] = parts[parts > 1] + (fresh - 1)
        fresh += number - 1


def _box(labels: np.ndarray, label: int) -> np.ndarray:
    """The part of a block (a view) with all pixels of a label that lies on the block's border.

    Grows from where the label meets the border until no more of it can lie outside.
    """
    high, wide = labels.shape
    north, east, south, west = (np.flatnonzero(side == label) for side in _sides(labels))
    x = np.concatenate([north, east * 0 + wide - 1, south, west * 0])
    y = np.concatenate([north * 0, east, south * 0 + high - 1, west])
    margin, left, right, top, bottom = 8, x.min(), x.max() + 1, y.min(), y.max() + 1
    while True:
        left, top = max(0, left - margin), max(0, top - margin)
        right, bottom = min(wide, right + margin), min(high, bottom + margin)
        box = labels[top:bottom, left:right]
        within = (top > 0, right < wide, bottom < high, left > 0)
        if not any(more and (side == label).any() for more, side in zip(within, _sides(box), strict=True)):
            return box
        margin *= 2


def _sides(raster: np.ndarray) -> list[np.ndarray]:
    """The outermost pixels of a raster along N, E, S, W, each from low to high coordinate."""
    return [raster[0], raster[:, -1], raster[-1], raster[:, 0]]


def _touches(number: np.ndarray, along: list[np.ndarray]) -> list[str]:
    """The sides of the block that each piece touches."""
    names = ["".join(side for bit, side in enumerate(SIDES) if code >> bit & 1) for code in range(16)]
    codes = sum(np.isin(number, side).astype(np.int64) << bit for bit, side in enumerate(along))
    return [names[code] for code in np.asarray(codes).tolist()]


def _runs(along: list[np.ndarray], same: list[np.ndarray], left: int, top: int) -> dict[int, np.ndarray]:
    """Border contacts of each piece: flat (side, line, start, length, continues) rows.

    along: pieces on each side; same: whether the pixel across is seen from here as the same building.
    """
    size = len(along[0])
    found: dict[int, list[tuple[int, ...]]] = {}
    for side, pieces in enumerate(along):
        line = (top, left + size, top + size, left)[side]
        origin = left if side in (0, 2) else top
        code = pieces.astype(np.int64) * 2 + same[side]
        starts = np.flatnonzero(np.diff(code, prepend=-1))
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), size], strict=True):
            if pieces[start]:
                row = (side, line, origin + start, end - start, int(same[side][start]))
                found.setdefault(int(pieces[start]), []).append(row)
    return {piece: np.array(rows, np.int32).ravel() for piece, rows in found.items()}


def _frame(
    columns: dict[str, Any],
    runs: dict[int, np.ndarray],
    number: np.ndarray,
    shapes: np.ndarray,
    place: tuple[int, int],
) -> gpd.GeoDataFrame:
    """The pieces by place, not by the numbers that they had: no two have the same lowest left corner."""
    import geopandas as gpd

    order = np.lexsort(shapely.get_coordinates(shapely.get_point(shapely.get_exterior_ring(shapes), 0)).T)
    none = np.empty(0, np.int32)
    columns = {
        **{name: np.full(len(number), at, np.int32) for name, at in zip(("col", "row"), place, strict=True)},
        "piece": np.arange(len(number), dtype=np.int32),
        "pixels": columns["pixels"][order],
        "total": columns["total"][order],
        "touches": [columns["touches"][which] for which in order.tolist()],
        "runs": [runs.get(piece, none) for piece in number[order].tolist()],
    }
    return gpd.GeoDataFrame(columns, geometry=shapes[order])


# --- across blocks --------------------------------------------------------------------------------------------------


def _groups(runs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Connected components of pieces across borders, from their border runs.

    Returns per piece the number of its group, and whether it goes on where no block was given.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    lengths = np.array([len(run) // 5 for run in runs])
    rows = np.concatenate([*runs, np.empty(0, np.int32)]).astype(np.int64).reshape(-1, 5)
    owner = np.repeat(np.arange(len(runs)), lengths)
    near, far = (_border_pixels(rows, owner, sides) for sides in ((1, 2), (3, 0)))  # E meets W, S meets N
    _, at_near, at_far = np.intersect1d(near[0], far[0], assume_unique=True, return_indices=True)
    pairs, which = np.unique(np.stack([near[1][at_near], far[1][at_far]]), axis=1, return_inverse=True)
    votes = np.bincount(which.ravel(), near[2][at_near] + far[2][at_far], minlength=pairs.shape[1])
    shared = np.bincount(which.ravel(), minlength=pairs.shape[1])
    one = pairs[:, votes > shared]  # two votes per shared pixel, one from each side: more than half of them
    graph = coo_array((np.ones(one.shape[1]), (one[0], one[1])), shape=(len(runs), len(runs)))
    unanswered = np.zeros(len(runs), bool)
    for (_, who, goes_on), answered in ((near, at_near), (far, at_far)):
        alone = np.ones(len(who), bool)
        alone[answered] = False
        unanswered[who[alone & (goes_on > 0)]] = True
    return connected_components(graph, directed=False)[1], unanswered


def _border_pixels(rows: np.ndarray, owner: np.ndarray, sides: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """The border pixels on two sides: a key that is equal for the two pixels that face each other, owner, goes on."""
    chosen = np.isin(rows[:, 0], sides)
    side, line, start, length, goes_on = rows[chosen].T
    offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    place = np.repeat(start, length) + offset
    upright = np.repeat(side % 2, length)  # E and W lines are upright, N and S lines level
    key = (np.repeat(line, length) * 2 + upright) * (1 << 31) + place
    return key, np.repeat(owner[chosen], length), np.repeat(goes_on, length)


def _union(outlines: np.ndarray, group: np.ndarray) -> np.ndarray:
    """One polygon per group number 0..K-1; only groups of several pieces cost anything."""
    merged = np.empty(group.max() + 1, object)
    several = np.bincount(group)[group] > 1
    merged[group[~several]] = outlines[~several]
    order = np.flatnonzero(several)[np.argsort(group[several], kind="stable")]
    numbers, starts = np.unique(group[order], return_index=True)
    unions = [shapely.union_all(part) for part in np.split(outlines[order], starts[1:])] if len(numbers) else []
    for number, union in zip(numbers, unions, strict=True):
        merged[number] = union
    merged[numbers] = _tidy(merged[numbers])
    return merged


def _tidy(outlines: np.ndarray) -> np.ndarray:
    """Canonical form of polygons (valid, corners only, rings in order): equal shapes are equal bytes."""
    broken = ~shapely.is_valid(outlines)
    outlines[broken] = shapely.make_valid(outlines[broken])
    return shapely.normalize(_corners(outlines)) if len(outlines) else outlines


def _corners(outlines: np.ndarray) -> np.ndarray:
    """Drop vertices that lie on a straight line between their neighbours (where block borders cut an edge)."""
    rings, ring_owner = shapely.get_rings(outlines, return_index=True)
    xy, index = shapely.get_coordinates(rings, return_index=True)
    first = np.flatnonzero(np.diff(index, prepend=-1))
    last = np.append(first[1:], len(index)) - 1
    before = np.arange(-1, len(index) - 1)
    before[first] = last - 1  # a ring's last vertex repeats its first
    after = np.arange(1, len(index) + 1)
    after[last] = first + 1
    corner = (xy[before] != xy[after]).all(axis=1)
    corner[last] = False
    rings = shapely.linearrings(xy[corner], indices=index[corner])
    return shapely.polygons(rings, indices=ring_owner)


def _buildings(outlines: np.ndarray, pixels: np.ndarray, total: np.ndarray, is_open: np.ndarray) -> gpd.GeoDataFrame:
    import geopandas as gpd

    anchor = np.floor(shapely.get_coordinates(shapely.point_on_surface(outlines))).astype(np.int64).reshape(-1, 2)
    columns = {
        "pixels": pixels,
        "confidence": total / (255.0 * pixels),
        "anchor_x": anchor[:, 0],
        "anchor_y": anchor[:, 1],
        "open": is_open,
    }
    frame = gpd.GeoDataFrame(columns, geometry=outlines)
    return frame.sort_values(["anchor_y", "anchor_x"], ignore_index=True)

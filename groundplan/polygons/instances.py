"""Instance separation: from building and edge probabilities to one label per building.

Here: thresholds and the flood from cores, arrays in and out. Not here: tracing polygons (outlines.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count as forever

import cv2
import numpy as np

LEVELS = 16  # heights the flood distinguishes below the seed threshold; more changed nothing that could be seen
STEPS = 3  # pixels that a label may advance per height: LEVELS x STEPS bounds how far a pixel's label is decided from
WHOLE = 255 * 255  # building x (1 - edge) of a certain building pixel away from any edge
STRIP = 32  # rows of pixels that are made ready at once
WAITING, NEXT = 2, 3  # of land, where the flood has come to its height: one that may be taken; one that will be


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds of a building. Chosen on validation ground, never on the ground that is reported."""

    mask: float = 0.5
    """Building probability (0..1) above which a pixel is building."""
    seed: float = 0.45
    """building x (1 - edge), 0..1, above which a pixel may belong to a seed."""
    seed_area: float = 1.0
    """Seeds smaller than this, in m2, are dropped: they are noise, and would split buildings."""
    min_area: float = 15.0
    """Buildings smaller than this, in m2, are dropped."""

    def __post_init__(self) -> None:
        for name in ("mask", "seed"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"thresholds: {name} must be in 0..1, got {getattr(self, name)}")
        for name in ("seed_area", "min_area"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"thresholds: {name} must be an area in m2, got {getattr(self, name)}")


def reach(thresholds: Thresholds, resolution: float) -> int:
    """Reach of the flood: the halo in pixels from which block-wise results equal those on undivided ground.

    The flood looks LEVELS x STEPS pixels far; a seed that is too small is known as such within its own pixel count.
    Only a building with no seed at all within this distance of a border may be decided differently by two blocks.
    """
    return LEVELS * STEPS + pixels_of(thresholds.seed_area, resolution) + 1


def instances(probability: np.ndarray, thresholds: Thresholds, resolution: float) -> np.ndarray:
    """Instance labels of a probability raster.

    probability: uint8 (2, H, W), building and edge, 0..255. resolution: metres per pixel.
    Returns int32 (H, W): 0 is ground, k is building k (1..K by first pixel, each 4-connected and at least `min_area`).
    A part of the mask without any seed is one building when it is large enough.
    """
    labels = grown_labels(probability, thresholds, resolution)
    sizes = np.bincount(labels[labels > 0], minlength=1)
    labels = renumbered(labels, sizes >= max(1, pixels_of(thresholds.min_area, resolution)))
    pixels = np.flatnonzero(labels)[::-1]
    first = np.full(labels.max(initial=0) + 1, -1)
    first[labels.ravel()[pixels]] = pixels  # the last write wins: each building's first pixel
    return np.argsort(np.argsort(first)).astype(np.int32)[labels]


# --- separation -----------------------------------------------------------------------------------------------------


def pixels_of(area: float, resolution: float) -> int:
    return int(np.ceil(area / resolution**2 - 1e-9))


def grown_labels(probability: np.ndarray, thresholds: Thresholds, resolution: float) -> np.ndarray:
    """Instance label of every mask pixel, small buildings included: int32 (H, W)."""
    ceiling = int(WHOLE * thresholds.seed)
    tall, bank, seeds, land = _ground(probability, int(255 * thresholds.mask) + 1, ceiling)
    number, labels = cv2.connectedComponents(seeds.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    flat, sown = labels.reshape(-1), np.flatnonzero(seeds)
    owner = flat[sown]
    sizes = np.bincount(owner, minlength=number)
    small = sizes < pixels_of(thresholds.seed_area, resolution)
    weeds = sown[small[owner]] if small[1:].any() else sown[:0]
    flat[weeds], bank.reshape(-1)[weeds], land.reshape(-1)[weeds] = 0, 0, True
    dry = _flood(labels, tall, bank, land, ceiling)
    if len(dry):  # buildings without a seed
        flat[dry] = _parts(dry, labels.shape[1]) + number
    return labels[1:-1, 1:-1]


def _ground(probability: np.ndarray, least: int, ceiling: int) -> tuple[np.ndarray, ...]:
    """What the flood begins with, each with a rim of ground, so that neighbours never wrap.

    Returns, (H + 2, W + 2): uint16 heights, 1 higher than they are; uint16 the same where a seed may be, else 0; bool
    where that is; and bool, where the mask is not sown. Made in strips of rows that stay in the processor's cache.
    """
    rows, columns = (size + 2 for size in probability.shape[1:])
    tall, bank = np.empty((rows, columns), np.uint16), np.empty((rows, columns), np.uint16)
    seeds, land = np.empty((rows, columns), bool), np.empty((rows, columns), bool)
    for raster, rim in ((tall, 1), (bank, 0), (seeds, 0), (land, 0)):
        raster[[0, -1]] = rim
        raster[:, [0, -1]] = rim
    for top in range(0, rows - 2, STRIP):
        building, edge = probability[:, top : top + STRIP]
        high, sown, wet, at = (one[top + 1 : top + 1 + len(building), 1:-1] for one in (tall, seeds, land, bank))
        np.multiply(building.astype(np.uint16), 255 - edge, out=high)
        np.greater(high, ceiling, out=sown)
        np.greater_equal(building, least, out=wet)
        sown &= wet
        wet ^= sown
        high += 1
        np.multiply(high, sown, out=at)
    return tall, bank, seeds, land


def _parts(pixels: np.ndarray, stride: int) -> np.ndarray:
    """Which 4-connected part each pixel belongs to, 0.. . pixels: flat indices, rising, none at the raster's rim.

    By runs along rows: the pixels are few, and their raster is large.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    run = np.cumsum(np.diff(pixels, prepend=pixels[0] - 1) != 1)
    below = np.minimum(np.searchsorted(pixels, pixels + stride), len(pixels) - 1)
    meet = np.flatnonzero(pixels[below] == pixels + stride)
    links = np.ones(len(meet), bool), (run[meet], run[below[meet]])
    graph = coo_array(links, shape=(int(run[-1]) + 1,) * 2)
    return connected_components(graph, directed=False)[1][run]


def renumbered(labels: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Keep the labels that `keep` marks, numbered 1..K without gaps; the others, and 0, become 0."""
    keep = keep.copy()
    keep[:1] = False
    built = np.flatnonzero(labels > 0)  # most is ground
    fresh = np.zeros(labels.shape, np.int32)
    fresh.reshape(-1)[built] = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels.reshape(-1)[built]]
    return fresh


def _flood(labels: np.ndarray, tall: np.ndarray, bank: np.ndarray, land: np.ndarray, ceiling: int) -> np.ndarray:
    """Marker-controlled flood with bounded reach: labels take the pixels of `land`, highest first.

    Each of LEVELS heights advances by at most STEPS pixels, and the last one until nothing moves: the same water
    levels as a priority queue would see, but a pixel's fate is decided within LEVELS x STEPS pixels of it.
    Returns the pixels that no label has reached, flat indices, rising. Only pixels beside what was taken last, and
    those that the water has just come to, are looked at: beside the others nothing has changed. tall, bank and land as
    `_ground` makes them; labels, bank and land change.
    """
    flat, height, shore, state = (raster.reshape(-1) for raster in (labels, tall, bank, land))
    todo, state = np.flatnonzero(state), state.view(np.uint8)
    depth = LEVELS - 1 - np.minimum(np.arange(WHOLE + 1) * LEVELS // (ceiling + 1), LEVELS - 1)
    level = depth.astype(np.uint8)[height[todo] - np.uint16(1)]
    rising = todo
    todo = todo[np.argsort(level, kind="stable")]  # of bytes: a radix sort
    ends = np.cumsum(np.bincount(level, minlength=LEVELS))
    stride = labels.shape[1]
    front, begin = todo[:0], 0
    for end, steps in zip(ends, [range(STEPS)] * (LEVELS - 1) + [forever()], strict=True):
        state[todo[begin:end]] = WAITING
        front = np.concatenate([front, todo[begin:end]])
        begin = end
        for _ in steps:
            if not len(front):
                break
            highest, reached = _highest_neighbor(shore, front, stride)
            if not reached.all():
                front, highest = front[reached], highest[reached]
            flat[front], shore[front], state[front] = flat.take(highest), height.take(front), 0
            front = _beside(state, front, stride)  # only there can anything change in the next step
    return rising[state[rising] > 0]


def _beside(state: np.ndarray, taken: np.ndarray, stride: int) -> np.ndarray:
    """The pixels beside those just taken that wait, each once; they are NEXT from now on."""
    found = []
    for offset in (-stride, -1, 1, stride):
        at = taken + offset
        at = at[state[at] == WAITING]
        state[at] = NEXT
        found.append(at)
    return np.concatenate(found)


def _highest_neighbor(bank: np.ndarray, pixels: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel's highest labelled neighbour is, and whether there is one. Ties go to N, W, E, S."""
    offsets = np.array([stride, 1, -1, -stride])
    best = np.zeros(len(pixels), np.uint32)
    for rank, offset in enumerate(offsets):  # heights are of 16 bits: the direction takes two more
        np.maximum(best, bank.take(pixels + offset).astype(np.uint32) << 2 | rank, out=best)
    return pixels + offsets.take(best & 3), best > 3

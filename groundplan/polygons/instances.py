"""Instance separation: from building and edge probabilities to one label per building.

Here: thresholds and the flood from cores, arrays in and out. Not here: tracing polygons (outlines.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count as forever
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    pass


LEVELS = 16  # heights the flood distinguishes below the seed threshold; more changed nothing that could be seen
STEPS = 3  # pixels that a label may advance per height: LEVELS x STEPS bounds how far a pixel's label is decided from
WHOLE = 255 * 255  # building x (1 - edge) of a certain building pixel away from any edge


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
    building, edge = np.pad(probability, ((0, 0), (1, 1), (1, 1)))  # a rim of ground, so that neighbours never wrap
    height = np.multiply(building, 255 - edge, dtype=np.uint16)
    mask = building >= int(255 * thresholds.mask) + 1
    ceiling = int(WHOLE * thresholds.seed)
    seeds = mask & (height > ceiling)
    number, labels = cv2.connectedComponents(seeds.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    flat, sown = labels.reshape(-1), np.flatnonzero(seeds)
    owner = flat[sown]
    keep = np.bincount(owner, minlength=number) >= pixels_of(thresholds.seed_area, resolution)
    weeds = sown[~keep[owner]]
    flat[weeds] = 0
    np.logical_xor(mask, seeds, out=mask)  # of the mask what is not sown
    mask.reshape(-1)[weeds] = True
    dry = _flood(labels, height, np.flatnonzero(mask), ceiling)
    if len(dry):  # buildings without a seed
        rest = np.zeros(labels.shape, np.uint8)
        rest.reshape(-1)[dry] = 1
        _, rest = cv2.connectedComponents(rest, connectivity=4, ltype=cv2.CV_32S)
        flat[dry] = rest.reshape(-1)[dry] + (number - 1)
    return labels[1:-1, 1:-1]


def renumbered(labels: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Keep the labels that `keep` marks, numbered 1..K without gaps; the others, and 0, become 0."""
    keep = keep.copy()
    keep[:1] = False
    built = np.flatnonzero(labels > 0)  # most is ground
    fresh = np.zeros(labels.shape, np.int32)
    fresh.reshape(-1)[built] = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels.reshape(-1)[built]]
    return fresh


def _flood(labels: np.ndarray, height: np.ndarray, todo: np.ndarray, ceiling: int) -> np.ndarray:
    """Marker-controlled flood with bounded reach: labels take the `todo` pixels (flat indices), highest first.

    Each of LEVELS heights advances by at most STEPS pixels, and the last one until nothing moves: the same water
    levels as a priority queue would see, but a pixel's fate is decided within LEVELS x STEPS pixels of it.
    Returns the pixels that no label has reached. Only pixels beside what was taken last, and those that the water has
    just come to, are looked at: beside the others nothing has changed.
    """
    flat, tall = labels.reshape(-1), height.reshape(-1)
    depth = LEVELS - 1 - np.minimum(np.arange(ceiling + 2) * LEVELS // (ceiling + 1), LEVELS - 1)
    level = depth.astype(np.uint8)[np.minimum(tall[todo], ceiling + 1)]
    todo = todo[np.argsort(level, kind="stable")]  # of bytes: a radix sort
    ends = np.cumsum(np.bincount(level, minlength=LEVELS))
    stride = labels.shape[1]
    around = np.array([-stride, -1, 1, stride])
    bank = ((height + np.uint16(1)) * (labels > 0)).reshape(-1)  # 1 + height where there is a label, else 0
    waiting = np.zeros(flat.size, bool)
    front, begin = todo[:0], 0
    for end, steps in zip(ends, [range(STEPS)] * (LEVELS - 1) + [forever()], strict=True):
        waiting[todo[begin:end]] = True
        front = np.concatenate([front, todo[begin:end]])
        begin = end
        for _ in steps:
            if not len(front):
                break
            highest = _highest_neighbor(bank, front, stride)
            taken = front[highest > 0]
            label = flat[highest[highest > 0]]
            flat[taken], bank[taken], waiting[taken] = label, tall[taken] + np.uint16(1), False
            # only beside what was just taken can anything change in the next step
            beside = (taken[:, None] + around).ravel()
            front = np.unique(beside[waiting[beside]])
    return todo[waiting[todo]]


def _highest_neighbor(bank: np.ndarray, pixels: np.ndarray, stride: int) -> np.ndarray:
    """Where each pixel's highest labelled neighbour is (0: there is none). Ties go to N, W, E, S."""
    top = np.zeros(len(pixels), np.uint16)
    best = np.zeros(len(pixels), np.int64)  # nothing is labelled at 0, which lies on the rim
    for offset in (-stride, -1, 1, stride):
        at = pixels + offset
        here = bank.take(at)
        np.copyto(best, at, where=here > top)
        np.maximum(top, here, out=top)
    return best

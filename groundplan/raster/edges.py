"""Edges of a block: where they lie, and what is written down of them. Needs numpy alone.

Here: names of directions, windows, digests. Not here: reading them (halo.py).
"""

from __future__ import annotations

import hashlib

import numpy as np

EDGE = 256  # pixels of a block that neighbours may read; the widest halo allowed
DIRECTIONS = {
    "nw": (-1, -1),
    "n": (0, -1),
    "ne": (1, -1),
    "w": (-1, 0),
    "e": (1, 0),
    "sw": (-1, 1),
    "s": (0, 1),
    "se": (1, 1),
}
OPPOSITE = {"nw": "se", "n": "s", "ne": "sw", "w": "e", "e": "w", "sw": "ne", "s": "n", "se": "nw"}


def edge_window(direction: str, size: int, width: int) -> tuple[int, int, int, int]:
    """Edge window (col, row, width, height): the strip or corner that the neighbor in `direction` reads."""
    dx, dy = DIRECTIONS[direction]
    col, wide = {-1: (0, width), 0: (0, size), 1: (size - width, width)}[dx]
    row, high = {-1: (0, width), 0: (0, size), 1: (size - width, width)}[dy]
    return col, row, wide, high


def digest_of(pixels: np.ndarray, mask: np.ndarray) -> str:
    """Digest of an edge: pixels (bands, H, W) and mask bool (H, W)."""
    # as it lies: a copy as `bytes` would be made with Python's lock held
    digest = hashlib.sha256(np.ascontiguousarray(pixels).ravel().data)
    digest.update(np.packbits(mask).data)
    return digest.hexdigest()[:16]

"""Tracing: the exact pixel edges of labelled pieces, as polygons.

Here: labels in, polygons out, without a walk from pixel to pixel. Not here: which pixels are a piece (instances.py,
outlines.py), or fewer corners than the pixels have (regularize.py).

A ring alternates between level and upright edges, so its corners pair up along rows and along columns of the lattice:
two sorts find every edge, and pointer doubling (Wyllie 1979) puts the corners of all rings in order at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import shapely

NW, NE, SW, SE = range(4)
RIGHTWARD = np.array([False, True, False, True])  # the level edge at a corner around this quadrant leads there
DOWNWARD = np.array([False, False, True, True])
STRIP = 32  # rows of the lattice that are looked at together


@dataclass(frozen=True, slots=True, kw_only=True)
class Corners:
    """Corners of all pieces of a label raster, each array (C,)."""

    x: np.ndarray
    """int64: of the lattice of pixel corners, from the raster's left"""
    y: np.ndarray
    """int64: downward from the raster's top"""
    piece: np.ndarray
    """int64: label"""
    quadrant: np.ndarray
    """int64: NW to SE: around which of the four pixels there the piece's edges go"""
    convex: np.ndarray
    """bool: whether the piece is in that quadrant; else it is in both beside"""

    @property
    def rightward(self) -> np.ndarray:
        """Whether the edge that leaves to the right has the piece below, or that which comes from there above."""
        return self.convex == ((self.quadrant == NW) | (self.quadrant == SE))


def traced(pieces: np.ndarray, left: int, top: int) -> np.ndarray:
    """Polygons of the pieces 1..K of a label raster, object (K,): exact pixel edges, corners only, normalised.

    pieces: int32 (H, W), 0 is ground; each piece 4-connected, no number left out. left, top: of the raster in the
    result's coordinates, y downward. Two parts of a ring never touch: where two pixels of a piece meet at a corner
    only, the ground between them is a hole that touches the outer ring there, as the Simple Features standard has it.
    """
    return polygons(corners_of(np.pad(pieces, 1)), np.arange(1, pieces.max(initial=0) + 1), left, top)


def polygons(corners: Corners, pieces: np.ndarray, left: int, top: int) -> np.ndarray:
    """Polygons of some pieces, object (K,), in the order of their labels `pieces`, which rise; as `traced` has them."""
    rank = np.minimum(np.searchsorted(pieces, corners.piece), len(pieces) - 1)
    chosen = np.flatnonzero(pieces[rank] == corners.piece) if len(pieces) else np.empty(0, np.int64)
    x, y, piece, quadrant = corners.x[chosen], corners.y[chosen], rank[chosen], corners.quadrant[chosen]
    level, upright = _edges(y, piece, x, RIGHTWARD[quadrant]), _edges(x, piece, y, DOWNWARD[quadrant])
    # each ring in one direction only: to the right where the piece is below
    first = np.flatnonzero(corners.rightward[chosen])
    ring, order = _rings(first, upright[level[first]], len(x))
    corner = np.stack([first[order], level[first[order]]], axis=1).ravel()
    ring = np.repeat(ring[order], 2)
    return _polygons(x[corner] + left, y[corner] + top, ring, piece[corner])


def sums(corners: Corners, raster: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of all pieces, rising, and of each the number of its pixels and the sum of the raster in it: int64 (K,).

    raster: uint8 (H, W). By corners alone, after Green's theorem in its discrete form: what a summed-area table has
    at each corner, added or taken away.
    """
    pieces, which = np.unique(corners.piece, return_inverse=True)
    sign = np.where(corners.rightward, 1, -1)
    pixels = np.bincount(which, sign * corners.x * corners.y, minlength=len(pieces)).astype(np.int64)
    # in 32 bits the table runs over, but a sum below 2^32 comes out right
    small = raster.size * 255 < 1 << 32
    table = cv2.integral(raster, sdepth=cv2.CV_32S if small else cv2.CV_64F)
    total = np.bincount(which, sign * table[corners.y, corners.x], minlength=len(pieces)).astype(np.int64)
    return pieces, pixels, total % (1 << 32) if small else total


def corners_of(framed: np.ndarray) -> Corners:
    """Corners of all pieces. framed: int32 labels with a rim of ground one pixel wide.

    Where a piece has two quadrants that lie across, it has a corner around each of the other two.
    """
    at = []
    for top in range(0, len(framed) - 1, STRIP):  # what stays in the processor's cache
        part = framed[top : top + STRIP + 1]
        beside, below = part[:, :-1] == part[:, 1:], part[:-1] == part[1:]
        plain = beside[:-1] & beside[1:]
        plain |= below[:, :-1] & below[:, 1:]
        at.append(np.flatnonzero(np.logical_not(plain, out=plain)) + top * plain.shape[1])
    y, x = np.divmod(np.concatenate(at), framed.shape[1] - 1)
    around = np.stack([framed[y + down, x + right] for down in (0, 1) for right in (0, 1)])  # NW, NE, SW, SE
    found = []
    for quadrant in range(4):
        sides, across = (quadrant ^ 1, quadrant ^ 2), quadrant ^ 3
        own, one, other, far = around[[quadrant, *sides, across]]
        alone = (own > 0) & (own != one) & (own != other) & (own != far)
        hollow = (one > 0) & (one == other) & (own != one)
        for convex, here, piece in ((True, alone, own), (False, hollow, one)):
            which = np.flatnonzero(here)
            found.append((x[which], y[which], piece[which], np.full(len(which), quadrant), np.full(len(which), convex)))
    x, y, piece, quadrants, convexes = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Corners(x=x, y=y, piece=piece.astype(np.int64), quadrant=quadrants, convex=convexes)


def _edges(line: np.ndarray, piece: np.ndarray, along: np.ndarray, onward: np.ndarray) -> np.ndarray:
    """The corner at the other end of each corner's edge on its line of the lattice."""
    # where one edge ends and another begins in the same place, the end comes first
    key = ((line.astype(np.int64) << 32 | piece) << 17 | along) << 1 | onward
    order = np.argsort(key)
    other = np.empty(len(key), np.int64)
    other[order[::2]], other[order[1::2]] = order[1::2], order[::2]
    return other


def _rings(first: np.ndarray, after: np.ndarray, corners: int) -> tuple[np.ndarray, np.ndarray]:
    """Number of the ring of each entry of `first`, and the order that follows rings. after: the next entry's corner."""
    place = np.empty(corners, np.int64)
    place[first] = np.arange(len(first))
    step = place[after]
    ring, jump = np.arange(len(first)), step
    while True:  # the lowest entry of each ring is its number
        lower = np.minimum(ring, ring[jump])
        if (lower == ring).all():
            break
        ring, jump = lower, jump[jump]
    ends = ring == np.arange(len(first))
    jump = np.where(ends, ring, step)
    left = np.where(ends, 0, 1)  # steps to the ring's number
    while (jump != ring).any():
        left, jump = left + left[jump], jump[jump]
    return ring, np.lexsort([-left, ring])


def _polygons(x: np.ndarray, y: np.ndarray, ring: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """Rings to polygons by piece: the outer ring is the one that runs the other way than holes do."""
    begin = np.flatnonzero(np.diff(ring, prepend=-1))
    if not len(begin):
        return np.empty(0, object)
    number = np.cumsum(np.diff(ring, prepend=-1) != 0) - 1
    after = np.arange(1, len(x) + 1)
    after[np.append(begin[1:], len(x)) - 1] = begin
    twice = np.bincount(number, x * y[after] - x[after] * y)
    rings = shapely.linearrings(np.stack([x, y], axis=1).astype(np.float64), indices=number)
    owner = piece[begin]
    order = np.lexsort([twice < 0, owner])
    return shapely.normalize(shapely.polygons(rings[order], indices=owner[order]))

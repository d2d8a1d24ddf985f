"""Resampling by coordinates on a mesh: exact at its nodes, linear between, and pixels by OpenCV.

Here: a mesh that is fine enough, the coordinates of each pixel of a tile, kernels, masks. Not here: which CRS leads
where (imagery/warping.py), where the pixels of a file lie (chunk_windows.py), GDAL's warper (imagery/placement.py).

Kernels are OpenCV's: linear as everybody's; cubic with a = -0.75, where GDAL takes -0.5; Lanczos over 8 pixels, where
GDAL takes 6. Positions within a pixel are told apart by 1/32. Where a raster is finer than the grid, it is smoothed
first by GDAL's kernel, stretched to the grid's pixels: else what the grid cannot show would come back as patterns.
Beyond a raster's edge its last pixels go on. Tests bound what of it differs from GDAL's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

Exact = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Columns and rows of a block (pixels; 0 is an edge, 0.5 the middle of a pixel) to those of a raster."""
Box = tuple[int, int, int, int]
"""left, top, right, bottom"""
SPACING = 512
"""Pixels between nodes at most. A power of two, and so are all others."""
LEAST = 8
"""Pixels between nodes at least: a way that bends more than such a mesh can say is left to GDAL."""
TOLERANCE = 1 / 64
"""Of a raster's pixel: as far as positions within a pixel are told apart by OpenCV."""
FINER = 1 / 0.95
"""Pixels of a raster to one of the grid from which on it is smoothed first; GDAL's bound."""
MOST_FINER = 4.0
"""Pixels of a raster to one of the grid, at most: what is held of it grows with the square."""
_FLAGS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
_RADIUS = {"nearest": 0, "bilinear": 1, "cubic": 2, "lanczos": 3}
_REACH = {"nearest": 1, "bilinear": 1, "cubic": 2, "lanczos": 4}
KERNELS = tuple(_FLAGS)


class Bent(Exception):
    """No mesh is fine enough, or the way leads nowhere in places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Where pixels of an area of a block lie in a raster.

    x, y: of each node, float64 (rows, cols), in the raster's pixels; 0 is the middle of the first, as OpenCV counts.
    left, top: pixel of the block at the first node. finer: pixels of the raster to one of the grid, along its x and
    its y. error: greatest distance at a node between linear interpolation on a mesh of twice the spacing and the
    exact way, in pixels of the raster; on this mesh it is about a quarter of that.
    """

    left: int
    top: int
    spacing: int
    x: np.ndarray
    y: np.ndarray
    finer: tuple[float, float]
    error: float

    def nodes(self, area: Box) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of the nodes around an area that begins at one."""
        left, top, right, bottom = area
        rows = slice((top - self.top) // self.spacing, -(-(bottom - self.top) // self.spacing) + 1)
        cols = slice((left - self.left) // self.spacing, -(-(right - self.left) // self.spacing) + 1)
        return self.x[rows, cols], self.y[rows, cols]

    def window(self, area: Box, kernel: str) -> Box:
        """Pixels of the raster, and beyond its edges, that an area is made of."""
        x, y = self.nodes(area)
        across, down = (
            _REACH[kernel] + (0 if finer < FINER else math.ceil(_RADIUS[kernel] * finer)) for finer in self.finer
        )
        low = math.floor(float(x.min())) - across, math.floor(float(y.min())) - down
        return *low, math.ceil(float(x.max())) + across + 1, math.ceil(float(y.max())) + down + 1

    def coordinates(self, area: Box, origin: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """x and y of the middles of an area's pixels, float32 (h, w), counted from a pixel `origin` of the raster."""
        left, top, right, bottom = area
        shape = bottom - top, right - left
        x, y = (
            _between((one - start).astype(np.float32), self.spacing, shape)
            for one, start in zip(self.nodes(area), origin, strict=True)
        )
        return x, y


def _between(nodes: np.ndarray, spacing: int, shape: tuple[int, int]) -> np.ndarray:
    """Linear between nodes, at the middles of pixels. By elements: a product of matrices differs among processors."""
    across = (nodes.shape[1] - 1) * spacing
    share = ((np.arange(spacing) + 0.5) / spacing).astype(np.float32)
    rows = nodes[:-1, None] + np.diff(nodes, axis=0)[:, None] * share[:, None]
    rows = rows.reshape(-1, nodes.shape[1])[: shape[0]]
    found = rows[:, :-1, None] + np.diff(rows, axis=1)[..., None] * share
    return np.ascontiguousarray(found.reshape(shape[0], across)[:, : shape[1]])


def mesh_of(exact: Exact, area: Box) -> Mesh:
    """A mesh over an area whose left and top are multiples of SPACING. Raises Bent."""
    left, top, right, bottom = area
    wide, high = (-(-(end - start) // SPACING) for start, end in ((left, right), (top, bottom)))
    spacing, coarse = SPACING, _exact_nodes(exact, area, SPACING, wide, high)
    while spacing > LEAST:
        spacing //= 2
        many = SPACING // spacing
        fine = _exact_nodes(exact, area, spacing, wide * many, high * many)
        error = max(float(np.abs(_doubled(one) - other).max()) for one, other in zip(coarse, fine, strict=True))
        if error <= TOLERANCE:
            x, y = fine
            return Mesh(left=left, top=top, spacing=spacing, x=x, y=y, finer=_finer(x, y, spacing), error=error)
        coarse = fine
    raise Bent(f"between nodes {spacing} pixels apart it is off by {error:.3g} pixels")


def _exact_nodes(exact: Exact, area: Box, spacing: int, wide: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    cols, rows = np.meshgrid(area[0] + spacing * np.arange(wide + 1.0), area[1] + spacing * np.arange(high + 1.0))
    x, y = (np.reshape(one, cols.shape) - 0.5 for one in exact(cols.ravel(), rows.ravel()))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise Bent("the way leads nowhere in places")
    return x, y


def _doubled(nodes: np.ndarray) -> np.ndarray:
    """Nodes and, between them, their means: (h + 1, w + 1) to (2 h + 1, 2 w + 1)."""
    high, wide = nodes.shape
    found = np.empty((2 * high - 1, 2 * wide - 1))
    found[::2, ::2] = nodes
    found[1::2, ::2] = (nodes[1:] + nodes[:-1]) / 2
    found[:, 1::2] = (found[:, 2::2] + found[:, :-2:2]) / 2
    return found


def _finer(x: np.ndarray, y: np.ndarray, spacing: int) -> tuple[float, float]:
    """Pixels of the raster to one of the grid, along each axis of the raster."""
    steps = [np.hypot(np.diff(one, axis=1)[:-1], np.diff(one, axis=0)[:, :-1]) / spacing for one in (x, y)]
    return float(steps[0].max()), float(steps[1].max())


# ------------------------------------------------------------------------------------------------------- pixels


def resampled(
    pixels: np.ndarray,
    shown: np.ndarray | None,
    x: np.ndarray,
    y: np.ndarray,
    kernel: str,
    finer: tuple[float, float] = (1.0, 1.0),
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels at coordinates: uint8 (h, w, 3) of a raster and float32 (H, W) to uint8 (H, W, 3) and bool (H, W).

    shown: where the raster has any, bool (h, w); None for everywhere, and so is what is returned. What it does not have
    is none of the colours around it.
    """
    if kernel == "nearest":  # halves go up, as with GDAL; OpenCV rounds them to even
        x, y = (np.floor(one + np.float32(0.5 + 1e-4)) for one in (x, y))
    flags, smooth = _FLAGS[kernel], max(finer) >= FINER and kernel != "nearest"
    if shown is not None and not shown.all():
        pixels = pixels if kernel == "nearest" else _spread(pixels, shown, _REACH[kernel])
        there = shown.astype(np.uint8) * 255
        if smooth:
            there = _smoothed(there, "bilinear", finer)
        known = cv2.remap(there, x, y, min(flags, cv2.INTER_LINEAR), borderMode=cv2.BORDER_REPLICATE) >= 128
    else:
        known = None
    if smooth:
        pixels = _smoothed(pixels, kernel, finer)
    return cv2.remap(pixels, x, y, flags, borderMode=cv2.BORDER_REPLICATE), known


def _smoothed(pixels: np.ndarray, kernel: str, finer: tuple[float, float]) -> np.ndarray:
    across, down = (_taps(kernel, one) if one >= FINER else np.ones(1, np.float32) for one in finer)
    return np.asarray(cv2.sepFilter2D(pixels, -1, across, down, borderType=cv2.BORDER_REPLICATE))


@lru_cache(maxsize=32)
def _taps(kernel: str, finer: float) -> np.ndarray:
    """GDAL's kernel, stretched, at whole pixels; its sum is 1."""
    radius = math.ceil(_RADIUS[kernel] * finer)
    taps = weights(np.arange(-radius, radius + 1) / finer, kernel)
    return (taps / taps.sum()).astype(np.float32)


def weights(at: np.ndarray, kernel: str) -> np.ndarray:
    """A kernel of GDAL's at distances in pixels. Cubic: R. Keys, Cubic convolution interpolation (1981), a = -0.5."""
    far = np.abs(at)
    if kernel == "bilinear":
        return np.maximum(0, 1 - far)
    if kernel == "cubic":
        near, outer = (1.5 * far - 2.5) * far**2 + 1, ((-0.5 * far + 2.5) * far - 4) * far + 2
        return np.where(far < 1, near, np.where(far < 2, outer, 0))
    return np.where(far < 3, np.sinc(far) * np.sinc(far / 3), 0)


def _spread(pixels: np.ndarray, shown: np.ndarray, reach: int) -> np.ndarray:
    """Pixels with what is not shown filled from what is, so far as a kernel reaches."""
    total, count = pixels.astype(np.float32) * shown[..., None], shown.astype(np.float32)
    for _ in range(reach):
        near, many = cv2.blur(total, (3, 3)), cv2.blur(count, (3, 3))
        new = (count == 0) & (many > 1e-6)
        total[new], count[new] = near[new] / many[new][:, None], 1
    return np.clip(np.rint(total), 0, 255).astype(np.uint8)

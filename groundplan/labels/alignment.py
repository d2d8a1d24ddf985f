"""Registration offset: how far the register lies beside the image.

Here: measuring a shift. Not here: judging it (quality/checks.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.imagery import tiles
from groundplan.labels.classes import IGNORE, INNER_EDGE
from groundplan.project import Project
from groundplan.raster import cog

if TYPE_CHECKING:
    pass

OFFSET_REACH = 4.0  # metres within which the offset between register and image is looked for
SHIFTS = 8.0  # metres of shifts against which the best one is judged
PEAK = 2.0  # metres around the best shift that belong to it


# ------------------------------------------------------------------------------------------------ health


def offset(image: np.ndarray, classes: np.ndarray, resolution: float) -> tuple[float, float, float] | None:
    """Registration offset by cross-correlation: meters east, meters north, and the peak's prominence.

    image: uint8 (bands, H, W); classes: uint8 (H, W). Cross-correlation of the image's gradient with the outlines of
    the buildings, over shifts up to OFFSET_REACH. Sure: by how many standard deviations the best shift stands out among
    those that are far from it; measured on banepa 10 to 17, on a register of other ground 2 to 4. None where there is
    too little to compare.
    """
    import cv2
    from scipy.signal import fftconvolve

    outline = (classes == INNER_EDGE).astype(np.float32)
    known = classes != IGNORE
    if outline.sum() < 500 or known.mean() < 0.02:
        return None
    gray = cv2.GaussianBlur(image.mean(axis=0).astype(np.float32), (0, 0), 1.5)
    gradient = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    gradient = np.where(known, np.minimum(gradient, np.percentile(gradient[known], 95)), 0)
    gradient[known] -= gradient[known].mean()
    reach = max(2, round(SHIFTS / resolution))
    padded = np.pad(outline - outline.mean(), reach)
    scores = fftconvolve(padded, gradient[::-1, ::-1], mode="valid")
    down, across = np.mgrid[-reach : reach + 1, -reach : reach + 1] * resolution
    near = np.where(np.maximum(np.abs(down), np.abs(across)) <= OFFSET_REACH, scores, -np.inf)
    best = np.unravel_index(int(near.argmax()), scores.shape)
    # the peak is some metres wide: its own slopes must not count as the spread from which it stands out
    far = scores[np.hypot(down - down[best], across - across[best]) > PEAK]
    prominence = float((scores[best] - far.mean()) / (far.std() + 1e-9))
    # the outline had to move by (-across, -down) to meet the image
    return round(float(across[best]), 2), round(float(-down[best]), 2), round(prominence, 2)


def measured_offset(
    project: Project, partition: Partition, objects: dict[str, Any]
) -> tuple[float, float, float] | None:
    """Registration offset of a region: the median over the blocks with most buildings."""
    images = need_manifest(project.store, tiles.DATASET, partition).objects
    fullest = sorted(objects, key=lambda name: (-objects[name].facts["building"], name))[:3]
    shifts = []
    for name in fullest:
        side = min(project.grid.block_size, 2048)
        window = (0, 0, side, side)
        image, _ = cog.read_object(project.store, images[name].key, window)
        classes, _ = cog.read_object(project.store, objects[name].key, window)
        shift = offset(image, classes[0], project.grid.resolution)
        if shift is not None:
            shifts.append(shift)
    if not shifts:
        return None
    east, north, prominence = (float(np.median([shift[index] for shift in shifts])) for index in range(3))
    return round(east, 2), round(north, 2), round(prominence, 2)

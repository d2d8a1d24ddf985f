"""Empty ground: windows that a coarse pass of the same network, at a quarter of the resolution, finds surely empty.

Here: the pass and its rule, from the window alone. Not here: running the network (runtime.py). It costs a tenth of a
window and saves the rest of it where nothing stands. What the network sees at such a resolution it never learned, so a
lone building can be overlooked: docs/benchmarks.md has how many were.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

COARSER = 4
SURELY = 32
"""Probability of a building, 0..255, below which all of a window must lie to be taken for empty."""
SMALLEST = 512
"""Pixels of a core below which nothing is skipped: a small window shows a large building's roof and nothing else."""


def is_empty(window: np.ndarray, margin: int, step: int, seen: Callable[[np.ndarray, int], np.ndarray]) -> bool:
    """Whether a window uint8 (bands, H, W) is surely empty within its margin. seen: as in second_view.py."""
    import cv2

    high, wide = window.shape[1:]
    if min(high, wide) - 2 * margin < SMALLEST:
        return False
    pixels = np.ascontiguousarray(window.transpose(1, 2, 0))
    size = wide // COARSER, high // COARSER
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1).transpose(2, 0, 1)
    widen = ((0, 0), (0, -size[1] % step), (0, -size[0] % step))
    said = seen(np.pad(small, widen, mode="symmetric"), 0)[0]
    rim = margin // COARSER
    return int(said[rim : size[1] - rim, rim : size[0] - rim].max()) < SURELY

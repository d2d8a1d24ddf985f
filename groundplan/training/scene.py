"""Scene: pixels with their labels, as learning takes them.

Here: the value, which needs nothing but numpy. Not here: cutting it out of blocks (scenes.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Scene:
    """Scene: a chip of imagery with its label, at grid resolution."""

    image: np.ndarray
    """uint8 (C, H, W); pixels of no imagery are 0."""
    label: np.ndarray
    """uint8 (H, W): 0 background, 1 building, 2 a building's inner edge, 3 a gap between two buildings, 255 unknown."""
    weight: float = 1.0
    """How often crops are drawn from it, against the other scenes."""

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[1:] != self.label.shape:
            raise ValueError(f"image {self.image.shape} and label {self.label.shape} do not belong together")
        if self.image.dtype != np.uint8 or self.label.dtype != np.uint8:
            raise ValueError(f"image and label must be uint8, got {self.image.dtype} and {self.label.dtype}")

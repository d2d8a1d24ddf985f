"""Imagery of noise, where only the bytes matter."""

from __future__ import annotations

import numpy as np

from groundplan.project import Project

YEAR = 2024


def deliver_picture(
    project: Project, region: str, rgb: np.ndarray, name: str, at: tuple[int, int] = (0, 0), date: str = "2024:05:01"
) -> None:
    """A lossless sheet of pixels (H, W, 3) whose upper left corner is pixel `at` (col, row) of the whole grid."""
    from rasterio import Affine
    from rasterio.io import MemoryFile

    x, y = project.grid.corner(*at)
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": rgb.shape[0], "width": rgb.shape[1]}
    with MemoryFile() as memory:
        transform = Affine(project.grid.resolution, 0, x, 0, -project.grid.resolution, y)
        with memory.open(**profile, crs=project.grid.crs, transform=transform, compress="deflate") as sheet:
            sheet.write(rgb.transpose(2, 0, 1))
            sheet.update_tags(TIFFTAG_DATETIME=f"{date} 12:00:00")
        project.store.put(f"landing/{region}/{YEAR}/{name}", bytes(memory.getbuffer()))


def noise(width: int, height: int, seed: int = 1) -> np.ndarray:
    """Pixels (height, width, 3) with something in them at every scale: no two blocks are the same."""
    rng = np.random.default_rng(seed)
    fine = rng.integers(0, 60, (height, width, 3))
    coarse = rng.integers(20, 190, (height // 32 + 1, width // 32 + 1, 3)).repeat(32, 0).repeat(32, 1)
    return (coarse[:height, :width] + fine).astype(np.uint8)

"""Sheets that tests lay on the grid, and what they expect of the blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from conftest import ORIGIN
from scipy.ndimage import gaussian_filter

from groundplan.core.grid import Block
from groundplan.core.manifest import Manifest
from groundplan.core.partition import Partition
from groundplan.imagery import catalog, tiles
from groundplan.ingest.add_imagery import deliver
from groundplan.pipeline import run_step
from groundplan.project import Project
from groundplan.raster import cog

HERE = Partition(2024, "delft")
LOSSLESS: dict[str, Any] = {"compress": "deflate"}
STORES = ("", "memory://test")


def ground(width: int, height: int, bands: int = 3, seed: int = 0) -> np.ndarray:
    """Soft random colours, uint8 (bands, height, width), never 0: what a photograph could be."""
    noise = np.random.default_rng(seed).normal(size=(bands, height, width))
    soft = gaussian_filter(noise, (0, 2.5, 2.5))
    return np.clip(130 + soft / soft.std() * 45, 1, 255).astype(np.uint8)


def place(col: float, row: float, size: float = 0.30) -> Affine:
    """A sheet whose upper left corner is that pixel of the tests' grid."""
    return Affine(size, 0, ORIGIN[0] + col * 0.30, 0, -size, ORIGIN[1] - row * 0.30)


def lay(
    path: Path, pixels: np.ndarray, transform: Affine | None, crs: str | None = "EPSG:28992", **profile: Any
) -> Path:
    """Write a sheet; `tags`, `mask` (bool), `colors` and `external` are for what a profile does not say."""
    tags, mask = profile.pop("tags", {}), profile.pop("mask", None)
    colors, external = profile.pop("colors", None), profile.pop("external", False)
    bands, height, width = pixels.shape
    told = {"driver": "GTiff", "dtype": pixels.dtype, "count": bands, "height": height, "width": width, **profile}
    told |= {"crs": crs} if crs else {}
    told |= {"transform": transform} if transform is not None else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = rasterio.Env(GDAL_TIFF_INTERNAL_MASK=not external, GDAL_PAM_ENABLED=told["driver"] == "GTiff")
    with environment, rasterio.open(path, "w", **told) as target:
        if colors:
            target.colorinterp = colors
        target.write(pixels)
        if mask is not None:
            target.write_mask(mask)
        if tags:
            target.update_tags(**tags)
    return path


def cataloged(project: Project, files: Sequence[Path]) -> catalog.Catalog:
    deliver(project, [*files], HERE.region, HERE.year)
    run_step(project, "sheets", HERE)
    return tiles.catalog_of(project, HERE)


def tiled(project: Project, files: Sequence[Path]) -> Manifest:
    cataloged(project, files)
    return run_step(project, "aerial_tiles", HERE).manifest


def mosaic(project: Project, manifest: Manifest, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The made blocks as one picture from the grid's origin: pixels (bands, H, W) and mask (H, W)."""
    n = project.grid.block_size
    cols, rows = -(-width // n), -(-height // n)
    pixels = np.zeros((len(project.settings.imagery.bands), rows * n, cols * n), np.uint8)
    mask = np.zeros(pixels.shape[1:], bool)
    for name, made in manifest.objects.items():
        block = Block.parse(name)
        if 0 <= block.col < cols and 0 <= block.row < rows:
            part = np.s_[block.row * n : block.row * n + n, block.col * n : block.col * n + n]
            pixels[(slice(None), *part)], mask[part] = cog.read(project.store.get(made.key))
    return pixels[:, :height, :width], mask[:height, :width]


def here(shape: Any) -> Any:
    """A geometry given in metres east and south of the block's corner."""
    return shapely.transform(shape, lambda xy: np.column_stack([ORIGIN[0] + xy[:, 0], ORIGIN[1] - xy[:, 1]]))


def world(path: Path, transform: Affine) -> Path:
    """The world file that belongs to a sheet: it names the middle of the first pixel."""
    x, y = transform @ (0.5, 0.5)
    target = path.with_suffix({".png": ".pgw", ".jpg": ".jgw", ".tif": ".tfw", ".jp2": ".j2w"}[path.suffix])
    lines = (transform.a, transform.d, transform.b, transform.e, x, y)
    target.write_text("\n".join(f"{value:.10f}" for value in lines))
    return target

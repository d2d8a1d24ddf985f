"""Labels: building polygons as classes of pixels, a block beside each image block.

Here: the classes, how they are drawn, and the health of a register against its imagery. Not here: reading registers
(registers.py), choosing windows to learn from (windows.py).

Classes: 0 ground, 1 building, 2 a building's inner edge, 3 the gap between two buildings, 255 unknown: outside the
register's extent, or no imagery. Unlabelled ground is not background.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from groundplan import cog, registers, tiles
from groundplan.blocks import Check, Output, Partition, Planned, fingerprint, need_manifest, object_key
from groundplan.config import LabelSettings
from groundplan.grid import Block, Grid
from groundplan.project import Project

DATASET = "labels"
VERSION = "1"
BACKGROUND, BUILDING, INNER_EDGE, GAP, IGNORE = 0, 1, 2, 3, 255
OFFSET_REACH = 4.0  # metres within which the offset between register and image is looked for
SHIFTS = 8.0  # metres of shifts against which the best one is judged
PEAK = 2.0  # metres around the best shift that belong to it


def plan(project: Project, partition: Partition) -> list[Planned]:
    """A label block per image block; only the buildings near a block decide it."""
    import shapely

    manifest = need_manifest(project.store, tiles.DATASET, partition)
    register = need_manifest(project.store, registers.DATASET, partition).objects["buildings"]
    frame, complete, _ = registers.from_parquet(project.store.get(register.key))
    buildings = frame.geometry.values
    tree = shapely.STRtree(buildings)
    planned = []
    for name, tile in manifest.objects.items():
        square = project.grid.polygon(Block.parse(name)).buffer(registers.REACH, join_style="mitre")
        near = buildings[np.sort(tree.query(square, predicate="intersects"))]
        known = shapely.normalize(shapely.intersection(complete, square))
        ink = hashlib.sha256(b"".join(shapely.to_wkb(near)) + shapely.to_wkb(known)).hexdigest()[:16]
        settings = project.settings.labels
        mark = fingerprint(
            version=VERSION, tile=tile.fingerprint, ink=ink, inner_edge=settings.inner_edge, gap=settings.gap
        )
        key = object_key(DATASET, partition, name, mark, ".tif")
        planned.append(Planned(name, mark, key, (tile.key, register.key), (Block.parse(name), tile.key, near, known)))
    return planned


def make(project: Project, planned: Planned, check: Check) -> Output:
    """The block's classes as a lossless COG."""
    block, tile_key, buildings, known = planned.args
    _, imaged = cog.read_object(project.store, tile_key)
    classes = draw(buildings, known, project.grid, block, project.settings.labels)
    classes[~imaged] = IGNORE
    encoding = cog.Encoding("deflate", overviews="nearest")
    return Output(
        cog.write(
            classes[None],
            None,
            project.grid.transform(block),
            project.grid.crs,
            encoding,
            ["0 ground, 1 building, 2 inner edge, 3 gap, 255 unknown"],
            {"GROUNDPLAN_FINGERPRINT": planned.fingerprint},
        )
    )


def describe(data: bytes) -> dict[str, Any]:
    """Pixels of each class."""
    classes, _ = cog.read(data)
    counts = np.bincount(classes.ravel(), minlength=256)
    return {
        "known": int(classes.size - counts[IGNORE]),
        "building": int(counts[BUILDING] + counts[INNER_EDGE]),
        "edge": int(counts[INNER_EDGE]),
        "gap": int(counts[GAP]),
    }


def draw(buildings: np.ndarray, known: Any, grid: Grid, block: Block, settings: LabelSettings) -> np.ndarray:
    """Classes uint8 (n, n) of a block.

    buildings: shapely polygons in the grid's CRS; known: the polygon inside which they are complete. A pixel belongs to
    a polygon that holds its centre.
    """
    import shapely
    from rasterio.enums import MergeAlg
    from rasterio.features import rasterize

    n = grid.block_size
    transform = grid.transform(block)
    here = {"out_shape": (n, n), "transform": transform}
    classes = np.full((n, n), IGNORE, np.uint8)
    if known.is_empty:
        return classes
    classes[rasterize([known], **here, dtype="uint8") == 1] = BACKGROUND
    if len(buildings) == 0:
        return classes
    building = rasterize(list(buildings), **here, dtype="uint8") == 1
    interior = shapely.buffer(buildings, -settings.inner_edge, join_style="mitre")
    interior = interior[~shapely.is_empty(interior)]
    inside = rasterize(list(interior), **here, dtype="uint8") == 1 if len(interior) else np.zeros((n, n), bool)
    around = shapely.buffer(buildings, settings.gap, join_style="mitre")
    near = rasterize([(shape, 1) for shape in around], **here, merge_alg=MergeAlg.add, dtype="uint8")
    ground = classes == BACKGROUND
    classes[ground & building & inside] = BUILDING
    # where footprints overlap or touch, the inner edge of each is kept: the shared wall stays visible
    classes[ground & building & ~inside] = INNER_EDGE
    classes[ground & ~building & (near >= 2)] = GAP
    return classes


# ------------------------------------------------------------------------------------------------ health


def offset(image: np.ndarray, classes: np.ndarray, resolution: float) -> tuple[float, float, float] | None:
    """How far the register lies from the image: metres east, metres north, and how sure.

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
    grey = cv2.GaussianBlur(image.mean(axis=0).astype(np.float32), (0, 0), 1.5)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
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
    sure = float((scores[best] - far.mean()) / (far.std() + 1e-9))
    # the outline had to move by (-across, -down) to meet the image
    return round(float(across[best]), 2), round(float(-down[best]), 2), round(sure, 2)

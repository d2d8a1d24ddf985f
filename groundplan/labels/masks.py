"""Label masks: building polygons as classes of pixels, a block beside each image block.

Here: the classes, how they are drawn, and the health of a register against its imagery. Not here: reading registers
(registers.py), choosing windows to learn from (training/windows.py).

Classes: 0 ground, 1 building, 2 a building's inner edge, 3 the gap between two buildings, 255 unknown: outside the
register's extent, or no imagery. Unlabelled ground is not background.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeAlias, TypedDict

import numpy as np

from groundplan.config import LabelSettings
from groundplan.core.foreign_warnings import hush_missing_transform
from groundplan.core.grid import Block, Grid
from groundplan.core.manifest import (
    Dataset,
    Planned,
    fingerprint,
    load_object,
    need_manifest,
    object_key,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.imagery import tiles
from groundplan.labels import registers
from groundplan.labels.classes import BACKGROUND, BUILDING, COLORS, GAP, IGNORE, INNER_EDGE
from groundplan.project import Project
from groundplan.raster import cog
from groundplan.step import COG, About, Scope, Step, Work


class Facts(TypedDict):
    """What a manifest says of an object."""

    known: int  # pixels, as the others
    building: int
    edge: int
    gap: int


DATASET: Dataset[Facts] = Dataset("labels")
VERSION = "1"


Needs: TypeAlias = "tuple[Block, str, Any, Any]"
"""What an object is made from."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """A label block per image block; only the buildings near a block decide it."""
    import shapely

    manifest = need_manifest(project.store, tiles.DATASET, partition)
    register = need_manifest(project.store, registers.DATASET, partition).objects["buildings"]
    frame, complete, _ = load_object(project.store, register, registers.from_parquet)
    buildings = frame.geometry.values
    tree = shapely.STRtree(buildings)
    planned = []
    for name, tile in manifest.objects.items():
        square = project.grid.polygon(Block.parse(name)).buffer(registers.REACH, join_style="mitre")
        near = buildings[np.sort(tree.query(square, predicate="intersects"))]
        known = shapely.normalize(shapely.intersection(complete, square))
        geometry_digest = hashlib.sha256(b"".join(shapely.to_wkb(near)) + shapely.to_wkb(known)).hexdigest()[:16]
        settings = project.settings.labels
        digest = fingerprint(
            version=VERSION,
            tile=tile.fingerprint,
            ink=geometry_digest,
            inner_edge=settings.inner_edge,
            gap=settings.gap,
        )
        key = object_key(DATASET, partition, name, digest, ".tif")
        planned.append(
            Planned(
                name=name,
                fingerprint=digest,
                key=key,
                inputs=(tile.key, register.key),
                args=(Block.parse(name), tile.key, near, known),
            )
        )
    return planned


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """The block's classes as a lossless COG."""
    block, tile_key, buildings, known = planned.needs
    _, imaged = cog.read_object(project.store, tile_key)
    classes = draw(buildings, known, project.grid, block, project.settings.labels)
    classes[~imaged] = IGNORE
    encoding = cog.Encoding("deflate", overviews="nearest", colors=COLORS)
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


def describe(data: bytes) -> Facts:
    """Pixel counts of each class."""
    classes, _ = cog.read(data)
    counts = np.bincount(classes.ravel(), minlength=256)
    return {
        "known": int(classes.size - counts[IGNORE]),
        "building": int(counts[BUILDING] + counts[INNER_EDGE]),
        "edge": int(counts[INNER_EDGE]),
        "gap": int(counts[GAP]),
    }


def draw(buildings: np.ndarray, known: Any, grid: Grid, block: Block, settings: LabelSettings) -> np.ndarray:
    """Rasterize buildings into the classes of a block, uint8 (n, n).

    buildings: shapely polygons in the grid's CRS; known: the polygon inside which they are complete. A pixel belongs to
    a polygon that holds its centre.
    """
    import shapely
    from rasterio.enums import MergeAlg
    from rasterio.features import rasterize

    hush_missing_transform()
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


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.REGION,
    reads=(tiles.DATASET, registers.DATASET),
    needs_register=True,
    automated=True,
    starts_when="new tiles or buildings, and a register of the year",
    work=Work(short="labels", objects="block", of=tiles.DATASET),
    about=About(
        title="Label masks: classes of pixels drawn from the register",
        description="What the model learns from: the register's buildings as classes of pixels (building, its inner "
        "edge, the gap between two buildings). Ground outside the register's extent, or without imagery, is unknown: "
        "unlabelled is not background.",
        group="labels",
        kinds=frozenset({"cog"}),
        format=COG,
        page="docs/architecture.md",
        bands=(
            (
                "1",
                "uint8",
                "0 ground, 1 building, 2 inner edge of a building, 3 gap between two buildings, 255 unknown",
            ),
        ),
    ),
)

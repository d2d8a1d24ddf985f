"""Aerial tiles: the region's blocks, mosaicked from sheets and aligned on the grid.

Here: which sheets make up a block, in which order, and the block's pixels. Not here: opening sheets (sheets.py),
encoding (cog.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from groundplan import cog, sheets
from groundplan.blocks import Check, Output, Partition, Planned, fingerprint, need_manifest, object_key, read_manifest
from groundplan.errors import BadSheet, MissingInput
from groundplan.grid import Block
from groundplan.project import Project
from groundplan.regions import other_regions, owned_blocks

DATASET = "aerial_tiles"
VERSION = "1"
STRIP = 2048  # rows of a block that are put together at once: bounds memory while sheets are warped


def catalogue_of(project: Project, partition: Partition) -> sheets.Catalogue:
    """The committed catalogue of a region's sheets. Raises MissingInput."""
    manifest = need_manifest(project.store, sheets.DATASET, partition)
    return sheets.from_parquet(project.store.get(manifest.objects["catalogue"].key))


def sheets_around(project: Project, partition: Partition) -> list[sheets.Sheet]:
    """The year's sheets of this region and of regions beside it, in the order in which they are laid.

    A block at a region's border is whole: what a neighbour's sheets show of it belongs to it.
    """
    found = {sheet.sha256: sheet for sheet in catalogue_of(project, partition).sheets}
    prefix = f"manifests/{sheets.DATASET}/{partition.year}"
    for region in other_regions(project, prefix, partition.region):
        other = Partition(partition.year, region)
        if read_manifest(project.store, sheets.DATASET, other):
            for sheet in catalogue_of(project, other).sheets:
                found.setdefault(sheet.sha256, sheet)
    return sorted(found.values(), key=sheets.Sheet.order)


def plan(project: Project, partition: Partition) -> list[Planned]:
    """One block for each that the region owns and any sheet touches."""
    import shapely

    blocks = owned_blocks(project, partition.region, catalogue_of(project, partition))
    around = sheets_around(project, partition)
    tree = shapely.STRtree([sheet.polygon for sheet in around])
    planned = []
    for block in blocks:
        square = project.grid.polygon(block)
        hits = sorted(int(index) for index in tree.query(square, predicate="intersects"))
        touching = [around[i] for i in hits if around[i].polygon.intersection(square).area > project.grid.resolution**2]
        if touching:
            planned.append(_planned(project, partition, block, touching))
    if not planned:
        raise MissingInput(
            f"aerial_tiles of {partition}",
            "no sheet lies on a block of this region",
            "Check the regions file and where the sheets lie; `groundplan status` lists both",
        )
    return planned


def _planned(project: Project, partition: Partition, block: Block, touching: list[sheets.Sheet]) -> Planned:
    settings = project.settings.imagery
    mark = fingerprint(
        version=VERSION,
        grid=project.grid.identity(),
        block=block.name,
        sheets=[sheet.sha256 for sheet in touching],
        bands=settings.bands,
        scale=settings.uint16_range,
        resampling=settings.resampling,
        compress=settings.compress,
        quality=settings.quality if settings.compress == "jpeg" else 0,
    )
    key = object_key(DATASET, partition, block.name, mark, ".tif")
    return Planned(block.name, mark, key, tuple(sheet.key for sheet in touching), (block, tuple(touching)))


def make(project: Project, planned: Planned, check: Check) -> Output:
    """The block's COG. Later sheets lie on top of earlier ones; ground without imagery is masked out."""
    block, touching = planned.args
    n, grid = project.grid.block_size, project.grid
    pixels = np.zeros((len(project.settings.imagery.bands), n, n), np.uint8)
    mask = np.zeros((n, n), bool)
    left, _, right, top = grid.bounds(block)
    for row in range(0, n, STRIP):
        high = min(STRIP, n - row)
        bounds = (left, top - (row + high) * grid.resolution, right, top - row * grid.resolution)
        for sheet in touching:
            check()
            part = sheets.read_onto(project, sheet, bounds, (high, n))
            if part is not None:
                data, known = part
                np.copyto(pixels[:, row : row + high], data, where=known)
                mask[row : row + high] |= known
    if not mask.any():
        raise BadSheet(planned.inputs[0], f"it shows nothing on block {block.name}", "Check its mask and nodata value")
    settings = project.settings.imagery
    encoding = cog.Encoding(settings.compress, settings.quality)
    tags = {"GROUNDPLAN_FINGERPRINT": planned.fingerprint}
    return Output(cog.write(pixels, mask, grid.transform(block), grid.crs, encoding, tags=tags))


def describe(data: bytes) -> dict[str, Any]:
    """Share of the block that has imagery, and what its neighbours see of it."""
    from rasterio.io import MemoryFile

    with MemoryFile(data) as memory, memory.open() as source:
        mask = source.dataset_mask() > 0
    return {"covered": round(float(mask.mean()), 6), "edges": cog.edge_digests(data)}



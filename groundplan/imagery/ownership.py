"""Block ownership: which region makes a block, and whose a building is.

Here: the one rule. Not here: the file of regions (regions.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.core.grid import Block, Bounds, Grid, unique
from groundplan.core.partition import Partition
from groundplan.imagery.regions import region_polygons

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

    from groundplan.imagery.catalog import Catalog
    from groundplan.project import Project

Outline = tuple[tuple[float, float], ...]
"""A sheet's border in the grid's CRS."""


def blocks_of(grid: Grid, outlines: Iterable[Outline]) -> set[Block]:
    """Blocks on which these sheets show more than a sliver: one rule for steps and sensors."""
    import shapely

    found: set[Block] = set()
    for outline in outlines:
        sheet = shapely.Polygon(outline)
        blocks = grid.touching(sheet.bounds)
        shared = shapely.area(shapely.intersection(np.array([grid.polygon(block) for block in blocks]), sheet))
        found |= {block for block, area in zip(blocks, shared, strict=True) if area > grid.resolution**2}
    return found


def owner(grid: Grid, block: Block, polygons: Mapping[str, Any]) -> str | None:
    """The region of the polygon file that owns a block.

    The block's center decides; where it lies in no region, as at a country's border, the largest share does. A sliver
    of less than a pixel is rounding, not ground.
    """
    square = grid.polygon(block)
    chosen = next((name for name, shape in sorted(polygons.items()) if shape.intersects(square.centroid)), None)
    if chosen is not None:
        return chosen if polygons[chosen].intersection(square).area > grid.resolution**2 else None
    shares = {name: shape.intersection(square).area for name, shape in polygons.items() if shape.intersects(square)}
    largest = max(shares, key=lambda name: (shares[name], name), default=None)
    return largest if largest and shares[largest] > grid.resolution**2 else None


def touched(
    grid: Grid, changed: Sequence[Outline], others: Mapping[Partition, Sequence[Outline]], polygons: Mapping[str, Any]
) -> frozenset[Partition]:
    """Those of `others` (delivered partitions of the same year and their sheets) that have a block under `changed`."""
    import shapely

    blocks = blocks_of(grid, changed)
    ground = shapely.buffer(shapely.MultiPoint([point for outline in changed for point in outline]).envelope, grid.span)
    close = {name: shape for name, shape in polygons.items() if shape.intersects(ground)}
    owners = {owner(grid, block, close) for block in blocks}
    return frozenset(
        partition
        for partition, outlines in others.items()
        if (partition.region in owners if partition.region in polygons else blocks & blocks_of(grid, outlines))
    )


def bounds_of(outlines: Iterable[Outline]) -> Bounds | None:
    points = np.array([point for outline in outlines for point in outline])
    if not points.size:
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def near(grid: Grid, one: Bounds | None, other: Bounds | None) -> bool:
    """Whether two grounds may share a block; unknown ground is near to all."""
    if one is None or other is None:
        return True
    reach = grid.span
    return (
        one[0] - reach < other[2]
        and other[0] - reach < one[2]
        and (one[1] - reach < other[3] and other[1] - reach < one[3])
    )


def owned_blocks(project: Project, region: str, sheet_catalog: Catalog) -> list[Block]:
    """The region's blocks, row by row: those of its polygon, or, without one, those that its sheets touch."""
    polygons = region_polygons(project)
    if region not in polygons:
        return unique(blocks_of(project.grid, [sheet.outline for sheet in sheet_catalog.sheets]))
    polygon, reach = polygons[region], project.grid.span * 2
    close = {name: other for name, other in polygons.items() if other.dwithin(polygon, reach)}
    candidates = project.grid.touching(polygon.bounds)
    return unique([block for block in candidates if owner(project.grid, block, close) == region])


def region_area(project: Project, region: str, sheet_catalog: Catalog, blocks: list[Block]) -> Polygon | MultiPolygon:
    """Area of a region, in which a building's anchor must lie for it to be the region's; exclusive between regions."""
    import shapely

    if region in region_polygons(project):
        return shapely.union_all([project.grid.polygon(block) for block in blocks])
    return shapely.union_all([sheet.polygon for sheet in sheet_catalog.sheets])

"""Accuracy assessment: footprints against a register or another truth.

Here: on which ground, and by split. Not here: the measures (polygons/metrics.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundplan.core.grid import Block
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.core.pictures import signed_png
from groundplan.errors import BadRegister, MissingInput
from groundplan.footprints import footprints
from groundplan.imagery import tiles
from groundplan.imagery.credits import credits_of
from groundplan.labels import registers
from groundplan.polygons import metrics
from groundplan.previews import pictures
from groundplan.project import Project
from groundplan.training import models, windows
from groundplan.training.split import split_area

if TYPE_CHECKING:
    import geopandas as gpd

SIGNED = 6000  # bytes that a line of credits may add to a picture
AROUND = 10.0  # metres of a picture beyond the scored ground


def compare_with_truth(
    project: Project,
    region: str,
    year: int,
    truth: Path,
    extent: Path | None,
    picture: Path | None,
    choice: registers.FeatureChoice | None = None,
    notes: list[str] | None = None,
) -> dict[str, metrics.Scores]:
    """Scores of a region's footprints by split: 'all' first, and each split where the model learned here.

    notes: gets what a person should know of the files.
    """
    partition = Partition(year, region)
    real, complete = read_truth(project, partition, truth, extent, choice, notes)
    scores = score_splits(project, partition, real, complete)
    if not scores:
        raise BadRegister(
            str(extent or truth), f"it covers no imaged ground of {partition}", "Check its CRS, the region and the year"
        )
    if picture is not None:
        picture.write_bytes(_picture(project, partition, real, complete))
    return scores


def read_truth(
    project: Project,
    partition: Partition,
    truth: Path,
    extent: Path | None,
    choice: registers.FeatureChoice | None = None,
    notes: list[str] | None = None,
) -> tuple[gpd.GeoDataFrame, Any]:
    """True buildings, in the grid's CRS, and the ground where they are complete."""
    import shapely

    choice = choice or registers.FeatureChoice()
    real, unknown = registers.read_buildings(project, partition, truth, choice, notes)
    if extent is not None:
        area = registers.read_ground(project, extent, choice, notes)
    else:
        area = shapely.convex_hull(shapely.union_all(real.geometry.values))
    return real, shapely.difference(area, unknown)


def _picture(project: Project, partition: Partition, real: gpd.GeoDataFrame, extent: Any) -> bytes:
    """What was found, missed and invented on the scored ground, and no more of the imagery than that."""
    from affine import Affine

    ground = scored_ground(project, partition, extent, "all")
    left, bottom, right, top = ground.bounds
    bounds = left - AROUND, bottom - AROUND, right + AROUND, top + AROUND
    objects = need_manifest(project.store, tiles.DATASET, partition).objects
    canvas, (left, top, pixel) = pictures.overview(project, objects, 1600, bounds)
    frame = footprints.load_around(project, partition)
    found, true = (each[each.geometry.intersects(ground)] for each in (frame, real))
    transform = Affine(pixel, 0, left, 0, -pixel, top)
    drawn = metrics.compare_picture(pictures.rgb(canvas), found, true, transform, side=1600, limit=2_000_000)
    return signed_png(drawn, credits_of(project, partition).imagery_line)


def errors_picture(project: Project, partition: Partition) -> bytes:
    """Error map against the register: found green, missed red, false alarms yellow."""
    from affine import Affine

    images = need_manifest(project.store, tiles.DATASET, partition).objects
    canvas, (left, top, pixel) = pictures.overview(project, images, bounds=pictures.imaged_bounds(project, images))
    frame, (real, _) = footprints.load_around(project, partition), registers.load(project, partition)
    transform = Affine(pixel, 0, left, 0, -pixel, top)
    drawn = metrics.compare_picture(pictures.rgb(canvas), frame, real, transform, limit=pictures.LIMIT - SIGNED)
    return signed_png(drawn, credits_of(project, partition).sources_line)


def against_register(project: Project, partition: Partition) -> tuple[metrics.Scores, str] | None:
    """Scores inside the register's extent: on test ground where the year's model learned from this region."""
    buildings, complete = registers.load(project, partition)
    if complete.is_empty:
        return None
    learned = models.learned_here(project, partition.year)
    split = "test" if learned else "all"
    area = scored_ground(project, partition, complete, split)
    if area.is_empty or area.area < 100:
        return None
    return score_region(project, partition, buildings, area), split


def scored_ground(project: Project, partition: Partition, extent: Any, split: str) -> Any:
    """The region's imaged ground inside `extent` that belongs to a split ('all' for any), in the grid's CRS."""
    import shapely

    names = need_manifest(project.store, tiles.DATASET, partition).objects
    blocks = [Block.parse(name) for name in names]
    sheet_catalog = tiles.catalog_of(project, partition)
    imaged = shapely.union_all([sheet.polygon for sheet in sheet_catalog.sheets])
    grid, cell, turn = project.grid, project.settings.split.cell, project.settings.split.turn
    cells = [grid.polygon(block) if split == "all" else split_area(grid, block, split, cell, turn) for block in blocks]
    return shapely.intersection_all([shapely.union_all(cells), imaged, extent])


def score_region(project: Project, partition: Partition, truth: gpd.GeoDataFrame, area: Any) -> metrics.Scores:
    """Scores of a region's footprints, with those of its neighbours so that buildings on the border are whole."""
    frame = footprints.load_around(project, partition)
    return metrics.score(
        frame, truth, area=area, resolution=project.grid.resolution, boundary=project.settings.quality.boundary
    )


def score_splits(
    project: Project, partition: Partition, truth: gpd.GeoDataFrame, extent: Any
) -> dict[str, metrics.Scores]:
    """Scores on all ground and, where the year's model learned from this region, on each split."""
    names = ["all"]
    try:
        learned = not models.was_added(project, partition.year) and partition.region in windows.labeled(
            project, partition.year
        )
    except MissingInput:
        learned = False
    if learned:
        names += ["test", "validation", "train"]
    scores = {}
    for name in names:
        area = scored_ground(project, partition, extent, name)
        if area.area > 0:
            scores[name] = score_region(project, partition, truth, area)
    return scores

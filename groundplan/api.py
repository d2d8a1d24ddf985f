"""The library in a few names: what `import groundplan` gives to a notebook or a script.

Here: those functions. Each is thin: what it does, the rooms do, for commands and assets too. Not here: anything that
only one of them needs. Nothing heavy is imported before a function is called.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from groundplan import starter
from groundplan.errors import BadConfig, unknown
from groundplan.project import Project, open_project

if TYPE_CHECKING:
    import geopandas as gpd
    import numpy as np
    import shapely

    from groundplan.polygons.metrics import Scores
    from groundplan.polygons.regularize import Regularity
    from groundplan.quality.comparison import Difference

Place: TypeAlias = "str | os.PathLike[str]"
Extent: TypeAlias = "gpd.GeoDataFrame | gpd.GeoSeries | shapely.Geometry"


def read_block(
    project: Project, block: str, *, region: str, year: int, dataset: str = "aerial_tiles", halo: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Read a block of a dataset of blocks: `aerial_tiles`, `labels` or `predictions`.

    block: its name, such as "x12y07". halo: pixels of the neighbouring blocks of the region around it, 0 to 256.

    Returns pixels uint8 (bands, n + 2 halo, n + 2 halo) and a mask bool (n + 2 halo, n + 2 halo), True where there is
    data; elsewhere pixels are 0. Both are on the project's grid, the first row in the north: pixel corners are
    `project.grid.transform(Block.parse(block), halo)`, metres in `project.grid.crs`.

    Raises BadConfig for a dataset without blocks or a block that the partition does not have, MissingInput where it was
    not made yet, StoreFailed.
    """
    from groundplan.core.grid import Block
    from groundplan.core.manifest import need_manifest
    from groundplan.core.partition import Partition
    from groundplan.raster.halo import EDGE, read_with_halo

    datasets = ("aerial_tiles", "labels", "predictions")
    if dataset not in datasets:
        raise unknown("dataset", dataset, datasets, "it has no blocks of pixels, or is none")
    if not 0 <= halo <= min(EDGE, project.grid.block_size):
        raise BadConfig("halo", f"{halo} pixels cannot be read of a neighbour", f"Give 0 to {EDGE}")
    objects = need_manifest(project.store, dataset, Partition(year, region)).objects
    if block not in objects:
        raise unknown("block", block, objects, f"{dataset} of {region} {year} has none of that name")
    keys = {Block.parse(name): made.key for name, made in objects.items()}
    return read_with_halo(project.store, project.grid, Block.parse(block), halo, keys)


def predict(
    sheet: Place,
    *,
    model: Place | None = None,
    project: Project | Place | None = None,
    year: int | None = None,
    crs: str | None = None,
) -> gpd.GeoDataFrame:
    """Find the buildings in a georeferenced image of any size.

    sheet: path, or URL in an object store (s3, az, gs): GeoTIFF, COG, JP2, PNG or JPEG; it is read where it lies.
    model: a model's file, `.zip` or `.onnx` with its card; without one, the project's; without a project too, or by the
    name "starter", the one that ships with Groundplan (docs/models.md). project: a project or its folder, whose grid
    and settings are taken; without one the grid is the sheet's own in a CRS in metres, and settings are the defaults.
    year: of the imagery, where the sheet does not say; of the project's models, that year's is taken, without one the
    newest. crs: of a sheet that states none, and without a project the projected one to work in.

    The steps are those of `groundplan build`, so with a project the result is what a build would make of this sheet.
    Memory is that of a block of at most 4096 pixels, or of the project's; a temporary folder holds up to about the
    sheet's size.

    Returns a row per building in the grid's CRS: `id`, `confidence` (float32, 0..1), `area` (m2), `image_date` (ISO
    8601; null where nothing states the day), `sheet`, `model`, `geometry` (Polygon, none overlapping another).
    `attrs["notes"]` lists what a person should know of the sheet.

    Raises BadSheet, ModelMismatch (the model is for other bands or another resolution), BadConfig, MissingInput where
    the project has no model, StoreFailed.
    """
    from groundplan.footprints.single_sheet import address_of, footprints_of
    from groundplan.training.model_files import model_of, read_model

    address = address_of(sheet)
    like = project if project is None or isinstance(project, Project) else open_project(project)
    if like is not None and model is None:
        data = model_of(like, year)
    else:
        data = read_model(starter.FILE if model in (None, starter.NAME) else Path(model))
    return footprints_of(address, data, like, year, crs)


def evaluate(
    found: gpd.GeoDataFrame,
    truth: gpd.GeoDataFrame,
    extent: Extent | None = None,
    *,
    resolution: float = 0.3,
    boundary: float = 1.0,
) -> Scores:
    """Score found buildings against true ones: pixels, boundaries, objects and shapes.

    found, truth: polygons; `truth` and a framed `extent` are brought into the CRS of `found`, which must be one in
    metres. extent: ground where the truth is complete, a bare geometry in the CRS of `found`; without one the convex
    hull of the truth. resolution: metres per pixel of the rasters that are compared. boundary: metres of the band of
    the boundary IoU.

    Raises BadConfig where a CRS is missing, is not in metres, or no ground is left to score.
    """
    from groundplan.polygons.metrics import score

    real = truth.to_crs(_metres(found, "found")) if truth.crs is not None else truth
    _metres(real, "truth")
    area = _ground(real, extent)
    if area.is_empty or not area.area > 0:
        raise BadConfig("extent", "it holds no ground", "Give polygons that cover the buildings, or more of the truth")
    return score(found, real, area=area, resolution=resolution, boundary=boundary)


def compare(
    a: gpd.GeoDataFrame,
    b: gpd.GeoDataFrame,
    truth: gpd.GeoDataFrame,
    extent: Extent | None = None,
    *,
    cell: float = 64.0,
) -> list[Difference]:
    """Compare two results against one truth, by the paired bootstrap over cells of ground.

    a, b, truth: polygons; all are brought into the CRS of `a`, which must be one in metres. extent: ground where the
    truth is complete, as of `evaluate`. cell: metres; its buildings are drawn together.

    Returns figures of both and the 95 % interval of B less A, the same for the same input. Raises BadConfig as
    `evaluate` does, and where there are fewer than two cells with buildings.
    """
    from groundplan.quality.comparison import compare as compared

    crs = _metres(a, "a")
    other, real = (each.to_crs(crs) if each.crs is not None else each for each in (b, truth))
    area = _ground(real, extent)
    if area.is_empty or not area.area > 0:
        raise BadConfig("extent", "it holds no ground", "Give polygons that cover the buildings, or more of the truth")
    return compared(a, other, real, area, cell)


def _metres(frame: gpd.GeoDataFrame, name: str) -> str:
    """The frame's CRS, which must be one in metres. Raises BadConfig."""
    if frame.crs is None:
        raise BadConfig(name, "it states no CRS", "Set it: frame.set_crs(...)")
    if not frame.crs.is_projected or any(axis.unit_name not in ("metre", "meter") for axis in frame.crs.axis_info):
        raise BadConfig(name, f"{frame.crs.name} is not in metres", "Bring it into a projected CRS: frame.to_crs(...)")
    return frame.crs


def _ground(
    truth: gpd.GeoDataFrame, extent: gpd.GeoDataFrame | gpd.GeoSeries | shapely.Geometry | None
) -> shapely.Geometry:
    import shapely

    if extent is None:
        there = truth.geometry[truth.geometry.notna()]  # a hull needs no union, which crossing outlines would refuse
        return shapely.convex_hull(shapely.geometrycollections(there.values))
    if isinstance(extent, shapely.Geometry):
        return shapely.make_valid(extent)
    placed = extent.to_crs(truth.crs) if extent.crs is not None else extent
    return shapely.union_all(placed.geometry.make_valid().values)


def regularise(polygons: gpd.GeoDataFrame, rule: Regularity | None = None) -> gpd.GeoDataFrame:
    """Square outlines traced from pixels: few corners, right angles where the building has them, no overlaps.

    Buildings that touch are squared together and share their walls.

    polygons: Polygons or MultiPolygons in a CRS in metres; a MultiPolygon becomes a row for each part. rule: tolerances
    (`groundplan.polygons.Regularity`); its `simplify`, in metres, must exceed the pixels that were traced.

    Returns a copy with the same columns and index order, whose geometry are single Polygons of which none overlaps
    another. Raises BadConfig where the CRS is missing or not in metres, or something is no polygon.
    """
    import shapely

    from groundplan.polygons.regularize import separate
    from groundplan.polygons.walls import contacts, together

    _metres(polygons, "polygons")
    single = polygons.explode(ignore_index=True)
    raw = single.geometry.values
    strange = sorted({str(kind) for kind in single.geom_type if kind != "Polygon"})
    if strange:
        raise BadConfig("polygons", f"they hold {', '.join(strange)}", "Give Polygons only, such as building outlines")
    raw = shapely.make_valid(raw)
    return single.set_geometry(separate(together(raw, contacts(raw), rule), raw), crs=polygons.crs)


regularize = regularise
"""The same, as the rest of the library spells it."""


def export(buildings: gpd.GeoDataFrame, path: Place) -> Path:
    """Write buildings to a file of the format of its ending, such as .parquet, .fgb, .gpkg or .geojson.

    Readers see nothing or all of it; a style for QGIS comes beside it. Of a project's footprints, `groundplan export`
    writes more: their region and year, and whom to name. Returns the path. Raises BadConfig for another ending or a
    place that cannot be written.
    """
    from groundplan.footprints.export import write

    return write(buildings, Path(path))


__all__ = ["compare", "evaluate", "export", "predict", "read_block", "regularise", "regularize"]

"""Regions: named areas, and which blocks each one owns.

Here: the polygon file, ownership, neighbours. Not here: partition keys (assets/partitions.py).

With a polygon file a region owns the blocks whose centre lies in it; a block whose centre lies in none belongs to the
region that holds most of it. So every block has one owner, and no ground of a region is lost. Without a file a region
is the ground of the sheets delivered for it, and owns every block that they touch: nothing at its edge is lost. A block
that two such regions share is made in both, from the same sheets; a building belongs to one of them (`ground`).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from groundplan.core.datum import shift_notes
from groundplan.core.grid import Block
from groundplan.core.manifest import Made, committed, parsed, read_manifest
from groundplan.core.partition import Partition
from groundplan.errors import BadRegister, Damaged, MissingInput, unknown

if TYPE_CHECKING:
    from shapely import MultiPolygon, Polygon

    from groundplan.project import Project


KEY = "regions/regions.parquet"
REMEDY = "Add the regions again: `groundplan add-regions FILE`"


def add_regions(project: Project, file: Path, layer: str | None = None, notes: list[str] | None = None) -> list[str]:
    """Take a polygon file with a column `name` into the project. notes: gets what a person should know.

    Raises BadRegister; changes nothing then.
    """
    import geopandas as gpd

    from groundplan.imagery.landing import check_region_name
    from groundplan.polygons.vector_files import check_area_of_use, polygonal, read_vector

    frame = read_vector(file, columns=("name", "region"), layer=layer, limits=project.settings.registers)
    name = next((column for column in frame.columns if column.lower() in ("name", "region")), None)
    if name is None:
        raise BadRegister(str(file), "it has no column 'name'", f"It has: {', '.join(frame.attrs['columns'])}")
    if not frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"]).all():
        raise BadRegister(str(file), "it must hold polygons and nothing else", "Remove the other geometries")
    if frame[name].isna().any():
        raise BadRegister(str(file), f"polygon {int(frame[name].isna().argmax()) + 1} has no name", "Name every region")
    check_area_of_use(project.grid.crs, frame, file)
    names = [check_region_name(str(value)) for value in frame[name]]
    duplicates = {value for value in names if [other.casefold() for other in names].count(value.casefold()) > 1}
    if duplicates:
        raise BadRegister(
            str(file), f"the name {sorted(duplicates)[0]!r} occurs twice", "Merge or rename those regions"
        )
    if notes is not None:
        tolerance = project.datum_tolerance
        notes += frame.attrs.get("notes", ())
        notes += shift_notes(frame.crs, project.grid.crs, frame.total_bounds, tolerance)
    ground = [polygonal(shape) for shape in frame.geometry.to_crs(project.grid.crs).make_valid()]
    regions = gpd.GeoDataFrame({"name": names}, geometry=ground, crs=project.grid.crs).sort_values("name")
    buffer = io.BytesIO()
    regions.to_parquet(buffer, index=False, write_page_checksum=True)
    project.store.put(KEY, buffer.getvalue())
    return sorted(names)


def region_polygons(project: Project) -> dict[str, Polygon | MultiPolygon]:
    """Name to polygon in the grid's CRS; empty in a project without a polygon file.

    Raises Damaged: who owns a block must not be guessed.
    """
    try:
        data = project.store.get(KEY)
    except MissingInput:
        return {}
    return parsed(data, _polygons, project.store.uri(KEY), REMEDY)


def readable_polygons(project: Project) -> dict[str, Polygon | MultiPolygon]:
    """As `region_polygons`, and empty too where they are broken: for who only draws them, or asks what may be near."""
    try:
        return region_polygons(project)
    except Damaged:
        return {}


def _polygons(data: bytes) -> dict[str, Polygon | MultiPolygon]:
    import geopandas as gpd

    frame = gpd.read_parquet(io.BytesIO(data), page_checksum_verification=True)
    return dict(zip(frame["name"], frame.geometry, strict=True))


def check_known(project: Project, region: str) -> None:
    """Raise BadConfig for a region that the project's polygon file does not name."""
    names = region_polygons(project)
    if names and region not in names:
        raise unknown("region", region, names, "the regions file does not name it")


def blocks_around(project: Project, dataset: str, partition: Partition, own: dict[str, Made]) -> dict[Block, Made]:
    """A dataset's blocks of this partition and, around them, those of other regions in the same year.

    Where two regions both made a block, this region's counts.
    """
    mine = {Block.parse(name): made for name, made in own.items()}
    near = {neighbor for block in mine for neighbor in block.neighbors()} - set(mine)
    around: dict[Block, Made] = {}
    for region in other_regions(project, dataset, partition):
        manifest = read_manifest(project.store, dataset, Partition(partition.year, region))
        if manifest is None:
            continue
        for name, made in manifest.objects.items():
            block = Block.parse(name)
            if block in near:
                around.setdefault(block, made)
    return {**around, **mine}


def other_regions(project: Project, dataset: str, partition: Partition) -> list[str]:
    """Other regions for which the dataset of the year is made, and that may touch this one, sorted."""
    names = sorted(one.partition.region for one in committed(project.store, dataset, partition.year))
    polygons = readable_polygons(project)
    here, reach = polygons.get(partition.region), 2 * project.grid.span
    others = [name for name in names if name != partition.region]
    if here is None:
        return others
    return [name for name in others if name not in polygons or polygons[name].dwithin(here, reach)]

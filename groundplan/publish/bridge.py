"""Bridge files: which footprint is which building of a register.

Here: matching one to one, region by region, and the file. Not here: the matcher (polygons/metrics.py), reading a
register (polygons/vector_files.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.core.manifest import need_manifest, read_object
from groundplan.core.partition import Partition
from groundplan.errors import BadRegister, MissingInput
from groundplan.footprints import footprints
from groundplan.footprints.national_pieces import named, own_ids
from groundplan.footprints.national_tables import bounds_of, from_bytes
from groundplan.labels import registers
from groundplan.polygons.metrics import match_one_to_one, overlaps
from groundplan.polygons.vector_files import polygonal, read_vector
from groundplan.project import Project

if TYPE_CHECKING:
    import pyarrow as pa

LEAST_IOU = 0.5


@dataclass(frozen=True, slots=True)
class RegisterIds:
    """A register's polygons in the grid's CRS, and what it calls them."""

    name: str
    shapes: np.ndarray
    ids: np.ndarray


def read_ids(project: Project, file: Path, column: str) -> RegisterIds:
    """Polygons of a register with their ids. Raises BadRegister where the file has no such column."""
    import shapely

    key = "".join(sign for sign in column.lower() if sign.isalnum())
    frame = read_vector(file, columns=(key,), limits=project.settings.registers)
    here = next((name for name in frame.columns if name != "geometry"), None)
    if here is None:
        told = ", ".join(frame.attrs["columns"])
        raise BadRegister(str(file), f"it has no column '{column}'", f"Give one of: {told}")
    shapes = frame.geometry.to_crs(project.grid.crs).make_valid()
    whole = np.array([polygonal(shape) for shape in shapes], object)
    there = ~shapely.is_empty(whole)
    ids = np.array([None if one is None else str(one) for one in frame[here]], object)
    return RegisterIds(file.stem, whole[there], ids[there])


def write_bridge(project: Project, path: Path, regions: Sequence[Partition], ids: RegisterIds | None) -> dict[str, int]:
    """Write pairs of footprints and register buildings, a region at a time. Returns pairs by region.

    ids: a register with its own ids; without it the polygons that the project keeps are matched, which have none.
    Regions that no register covers are left out. Raises OSError, MissingInput, Damaged.
    """
    import pyarrow.parquet as pq

    counts: dict[str, int] = {}
    with pq.ParquetWriter(path, _schema(), compression="zstd") as file:
        for region in regions:
            for name, shapes, theirs in _known(project, region, ids):
                pairs = _pairs(project, region, name, shapes, theirs)
                counts[region.region] = counts.get(region.region, 0) + pairs.num_rows
                file.write_table(pairs)
    return counts


def _schema() -> pa.Schema:
    import pyarrow as pa

    texts = ("id", "building_id", "region", "register", "register_id")
    numbers = ("register_x", "register_y", "iou")
    return pa.schema([*((name, pa.string()) for name in texts), *((name, pa.float64()) for name in numbers)])


def _known(
    project: Project, region: Partition, ids: RegisterIds | None
) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """Registers near a region: name, polygons, ids."""
    import shapely

    if ids is not None:
        (facts,) = need_manifest(project.store, footprints.DATASET, region).objects.values()
        table = from_bytes(read_object(project.store, facts), ["bbox"])
        bounds = bounds_of(table)
        if len(bounds):
            near = shapely.STRtree(ids.shapes).query(shapely.box(*bounds[:, :2].min(0), *bounds[:, 2:].max(0)))
            yield ids.name, ids.shapes[np.sort(near)], ids.ids[np.sort(near)]
        return
    try:
        frame, _ = registers.load(project, region)
    except MissingInput:
        return
    for name, rows in frame.groupby("register", sort=True):
        yield str(name), rows.geometry.values.to_numpy(), None


def _pairs(project: Project, region: Partition, name: str, shapes: np.ndarray, theirs: np.ndarray | None) -> pa.Table:
    import pyarrow as pa
    import shapely

    found = footprints.load(project, region)
    pairs, ious = overlaps(found.geometry.values.to_numpy(), shapes)
    matches = match_one_to_one(pairs, ious, LEAST_IOU)
    iou = {(int(a), int(b)): float(value) for a, b, value in zip(*pairs, ious, strict=True)}
    points = shapely.point_on_surface(shapes[matches[1]])
    mine = found["id"].to_numpy()[matches[0]]
    columns: dict[str, Any] = {
        "id": mine,
        "building_id": named(mine, own_ids(project, region)),
        "region": [region.region] * len(mine),
        "register": [name] * len(mine),
        "register_id": [None] * len(mine) if theirs is None else theirs[matches[1]],
        "register_x": shapely.get_x(points).round(3),
        "register_y": shapely.get_y(points).round(3),
        "iou": [round(iou[int(a), int(b)], 4) for a, b in matches.T],
    }
    return pa.table(columns, schema=_schema())

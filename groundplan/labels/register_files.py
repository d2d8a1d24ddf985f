"""Registers as files: what is kept of one, what of it lies near an area, and a region's cleaned buildings.

Here: GeoParquet in and out. Not here: which registers there are, and what is made of them (registers.py).
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from groundplan.core.datum import shift_notes, transformer
from groundplan.project import Project

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely import Geometry


def register_parquet(frame: gpd.GeoDataFrame, columns: Mapping[str, list[Any]] | None = None) -> bytes:
    import geopandas as gpd

    buffer = io.BytesIO()
    bare = gpd.GeoDataFrame(columns or None, geometry=frame.geometry.values, crs=frame.crs)
    bare.to_parquet(buffer, index=False, compression="zstd", write_covering_bbox=True, schema_version="1.1.0")
    return buffer.getvalue()


def beyond_180(project: Project, frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Polygons on both sides of the 180th meridian in the grid's CRS: in degrees their hull would be half the earth."""
    left, _, right, _ = frame.total_bounds
    return frame.to_crs(project.grid.crs) if frame.crs.is_geographic and right - left > 180 else frame


def notes_of(project: Project, frame: gpd.GeoDataFrame) -> list[str]:
    """What is to be said of the way from a file's CRS to the grid's."""
    tolerance = project.datum_tolerance
    return shift_notes(frame.crs, project.grid.crs, frame.total_bounds, tolerance)


def near_of(project: Project, data: bytes, area: Any) -> gpd.GeoDataFrame:
    import geopandas as gpd
    import shapely

    file = io.BytesIO(data)
    crs = gpd.read_parquet(file, columns=["geometry"], bbox=(0, 0, 0, 0)).crs
    # straight lines bend between CRSs: bounds of corners alone would lose buildings at a wide region's edge
    left, bottom, right, top = area.bounds
    there = transformer(project.grid.crs, crs.to_wkt())
    bounds = there.transform_bounds(left, bottom, right, top, densify_pts=41)
    if bounds[0] > bounds[2]:  # across the 180th meridian: all the way around, and by place below
        bounds = (-360.0, bounds[1], 360.0, bounds[3])
    frame = gpd.read_parquet(file, bbox=bounds).to_crs(project.grid.crs)
    # by their boxes: predicates are not defined on the invalid rings that are yet to be mended
    return frame[shapely.intersects(shapely.envelope(frame.geometry.values), area)] if not frame.empty else frame


def to_parquet(frame: gpd.GeoDataFrame, complete: Geometry, counts: dict[str, int]) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd", write_covering_bbox=True, schema_version="1.1.0")
    table = pq.read_table(io.BytesIO(buffer.getvalue()))
    more = {b"groundplan:complete": complete.wkb_hex.encode(), b"groundplan:counts": json.dumps(counts).encode()}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, **more}), buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes) -> tuple[gpd.GeoDataFrame, Geometry, dict[str, int]]:
    """Buildings in the grid's CRS, the polygon inside which they are complete, and what was repaired."""
    import geopandas as gpd
    import pyarrow.parquet as pq
    import shapely

    metadata = pq.read_schema(io.BytesIO(data)).metadata
    complete = shapely.from_wkb(metadata[b"groundplan:complete"].decode())
    return gpd.read_parquet(io.BytesIO(data)), complete, json.loads(metadata[b"groundplan:counts"])

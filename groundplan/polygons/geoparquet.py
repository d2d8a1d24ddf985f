"""GeoParquet: polygons to bytes and back.

Here: the one way tables of polygons are stored. Not here: foreign vector files (vector_files.py).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import geopandas as gpd


def to_parquet(frame: gpd.GeoDataFrame) -> bytes:
    """GeoParquet 1.1 with a bounding-box column, the same bytes for the same buildings."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd", write_covering_bbox=True, schema_version="1.1.0")
    return buffer.getvalue()


def read(data: bytes) -> gpd.GeoDataFrame:
    import geopandas as gpd

    return gpd.read_parquet(io.BytesIO(data))

"""GeoParquet: polygons to bytes and back.

Here: the one way tables of polygons are stored. Not here: foreign vector files (vector_files.py).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import geopandas as gpd


def to_parquet(frame: gpd.GeoDataFrame, words: Mapping[str, str] | None = None) -> bytes:
    """GeoParquet 1.1 with a bounding-box column, the same bytes for the same buildings.

    words: what the file says of itself, as key-value metadata beside GeoParquet's own.
    """
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd", write_covering_bbox=True, schema_version="1.1.0")
    return _told(buffer.getvalue(), words) if words else buffer.getvalue()


def _told(data: bytes, words: Mapping[str, str]) -> bytes:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, **words}), buffer, compression="zstd")
    return buffer.getvalue()


def read(data: bytes) -> gpd.GeoDataFrame:
    import geopandas as gpd

    return gpd.read_parquet(io.BytesIO(data))

"""Footprints without imagery: committed partitions of houses, as many as asked for, anywhere on the grid.

Here: for tests and benchmarks of what reads footprints. Not here: footprints that a network found (conftest.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from groundplan.core.manifest import Made, Manifest, content_of, manifest_key
from groundplan.core.partition import Partition
from groundplan.footprints import footprints
from groundplan.polygons.geoparquet import to_parquet
from groundplan.project import Project

Box = tuple[float, float, float, float]


def houses(count: int, box: Box, seed: int = 7, crs: str = "EPSG:28992") -> Any:
    """A GeoDataFrame of L-shaped houses (six corners) as `building_footprints` stores them, by id.

    box: left, bottom, right, top in the CRS.
    """
    import geopandas as gpd
    import pandas as pd
    import shapely

    random = np.random.default_rng(seed)
    x, y = random.uniform(box[0], box[2], count), random.uniform(box[1], box[3], count)
    width, depth, turn = random.uniform(6, 14, count), random.uniform(6, 14, count), random.uniform(0, np.pi / 2, count)
    corners = np.array([[0, 0], [1, 0], [1, 0.5], [0.5, 0.5], [0.5, 1], [0, 1], [0, 0]])
    local = corners[None] * np.stack([width, depth], 1)[:, None]
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    across, along = local[..., 0] * cos - local[..., 1] * sin, local[..., 0] * sin + local[..., 1] * cos
    rings = np.stack([across + x[:, None], along + y[:, None]], -1)
    shapes = shapely.polygons(rings)
    ids = random.integers(0, 2**63, count, dtype=np.int64)
    dates = np.where(random.random(count) < 0.1, None, "2024-05-17")
    columns = {
        "id": [f"{one:016x}" for one in ids],
        "confidence": random.uniform(0.4, 1, count).astype("float32").round(4),
        "area": shapely.area(shapes).round(2),
        "image_date": pd.array(dates, dtype="str"),
        "sheet": "sheet-1.tif",
        "model": "2024-1234567890ab",
        "block": "x0y0",
        "fingerprint": "0123456789abcdef",
    }
    frame = gpd.GeoDataFrame(columns, geometry=shapes, crs=crs)
    return frame.sort_values("id").drop_duplicates("id").reset_index(drop=True)


def commit_houses(project: Project, partition: Partition, frame: Any) -> None:
    """Let these be the committed footprints of a partition."""
    data = to_parquet(frame)
    content = content_of(data)
    key = f"{footprints.DATASET}/{partition.path}/footprints-{content.sha256[:16]}.parquet"
    made = Made(
        name="footprints",
        key=key,
        fingerprint=content.sha256[:16],
        bytes=content.bytes,
        sha256=content.sha256,
        seconds=0.0,
        cpu_seconds=0.0,
        facts=footprints.describe(data),
    )
    manifest = Manifest(
        dataset=footprints.DATASET,
        partition=partition,
        version=footprints.VERSION,
        fingerprint=content.sha256[:16],
        objects={"footprints": made},
    )
    project.store.put(key, data)
    project.store.put(manifest_key(footprints.DATASET, partition), manifest.to_json())

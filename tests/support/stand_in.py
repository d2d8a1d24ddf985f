"""Footprints and years that nobody had to compute, for looking at: a map cares where they lie, not who made them.

Here: committing them into a project as its own. Not here: starting servers and browsers (browser.py).
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np

from groundplan.core.manifest import Made, Manifest, fingerprint, manifest_key, need_manifest, object_key
from groundplan.core.partition import Partition
from groundplan.footprints import footprints
from groundplan.imagery import landing
from groundplan.labels import registers
from groundplan.pipeline import ALWAYS, STEPS
from groundplan.polygons.geoparquet import to_parquet
from groundplan.project import Project
from groundplan.step import Scope

BY_REGION = tuple(name for name in ALWAYS if STEPS[name].scope is Scope.REGION)


def stand_in_footprints(project: Project, partition: Partition, leave_out: int = 3) -> dict[str, int]:
    """Footprints as the register has them, without each `leave_out`th, and two that are nowhere else: what is found,
    missed and false on all ground."""
    import geopandas as gpd

    real, _ = registers.load(project, partition)
    shapes = real.geometry[real.geometry.area > 4].reset_index(drop=True)
    kept = shapes[np.arange(len(shapes)) % leave_out > 0]
    wrong = shapes[:2].translate(0, -4).buffer(-0.5)
    drawn = gpd.GeoSeries([*kept, *wrong], crs=real.crs)
    columns = {
        "id": [fingerprint(at=[partition.region, i]) for i in range(len(drawn))],
        "confidence": np.linspace(0.4, 0.95, len(drawn)).astype("float32"),
        "area": drawn.area.round(2),
        "image_date": "2024-05-01",
        "sheet": "a.tif",
        "model": "2024-stand-in",
        "block": "x0y0",
        "fingerprint": "0" * 16,
    }
    _commit(project, partition, to_parquet(gpd.GeoDataFrame(columns, geometry=drawn)))
    return {"found": len(kept), "false": len(wrong)}


def _commit(project: Project, partition: Partition, data: bytes) -> None:
    digest = fingerprint(bytes=data.hex())
    key = object_key(footprints.DATASET, partition, "footprints", digest, ".parquet")
    project.store.put(key, data)
    made = Made(
        name="footprints",
        key=key,
        fingerprint=digest,
        bytes=len(data),
        seconds=0.0,
        cpu_seconds=0.0,
        facts=footprints.describe(data),
    )
    before = need_manifest(project.store, footprints.DATASET, partition)
    _put(project, replace(before, fingerprint=digest, objects={"footprints": made}))


def another_year(project: Project, partition: Partition, year: int) -> Partition:
    """The region in another year: delivered and made as in this one, of the same objects."""
    other = Partition(year, partition.region)
    source = project.store.local_path(landing.landing_prefix(partition))
    assert source, "it is a folder that can be copied"
    target = source.parent / str(year)
    shutil.copytree(source, target)
    for name in BY_REGION:
        _put(project, replace(need_manifest(project.store, name, partition), partition=other))
    return other


def _put(project: Project, manifest: Manifest) -> None:
    project.store.put(manifest_key(manifest.dataset, manifest.partition), manifest.to_json())

"""Footprints as a file to keep: GeoPackage, GeoParquet or CSV, with licence and attribution.

Here: a bounded selection out of the database in the forms of `groundplan export`. Not here: the formats
(groundplan/footprints/export.py), what is asked (asked.py).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from groundplan.database import queries
from groundplan.database.tables import footprint
from groundplan.footprints import export
from serving.api.problems import Problem
from serving.ogc import asked
from serving.ogc.results import Collection, Results

MOST = 100_000  # buildings of one file: about 200 MB while it is made


def file_of(results: Results, collection: Collection, query: asked.Query, kind: str) -> bytes:
    """A file of the footprints that are asked for. A CSV has no room for words: it comes as a zip with them beside it.

    Raises Problem: 413 for more than MOST buildings.
    """
    import geopandas as gpd
    import shapely

    asked.check_names(query, asked.SELECTING)
    selection = asked.selection_of(results, collection, query)
    rows: Sequence[Any] = []
    if selection is not None:
        with results.reading() as connection:
            wanted = queries.select(connection, selection, footprint).limit(MOST + 1)
            rows = connection.execute(wanted).all()
    if len(rows) > MOST:
        told = f"A file holds {MOST:,} buildings at most: name a region or a bbox, or take `groundplan export`"
        raise Problem(413, "too-many", told, most_buildings=MOST)
    names = [column.name for column in footprint.columns if column.name not in ("geom", "area", "image_date")]
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    shapes = shapely.from_wkb(np.array([bytes(row.geom) for row in rows], dtype=object))
    frame = gpd.GeoDataFrame(
        {
            **columns,
            "area_m2": [row.area for row in rows],
            "image_date": export.dates([row.image_date for row in rows]),
        },
        geometry=shapely.set_srid(shapes, 0),
        crs=results.project.grid.crs,
    )
    frame = frame.astype({"year": "int32", "confidence": "float64"}).round({"confidence": 4, "area_m2": 2})
    return _written(frame.sort_values(["region", "id"], ignore_index=True), collection, kind)


def _written(frame: object, collection: Collection, kind: str) -> bytes:
    words = export.LayerWords(
        title=f"Building footprints, {collection.year}",
        description="Buildings found in aerial imagery by Groundplan.",
        attribution=collection.attribution,
        licence=collection.licence,
    )
    with TemporaryDirectory(prefix="groundplan-download-") as folder:
        target = Path(folder, f"{collection.id}.{kind}")
        export.write(frame, target, words)  # type: ignore[arg-type]
        if kind != "csv":
            return target.read_bytes()
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(target, target.name)
            told = "\n".join(f"{name}: {text}" for name, text in words.told.items())
            archive.writestr("LICENCE-AND-ATTRIBUTION.txt", told + "\n")
        return packed.getvalue()

"""A result as JSON: GeoJSON for footprints, classes with their probabilities for a classifier.

Here: the form that is answered with and stored. Not here: HTTP, keys.

Of a georeferenced image polygons are in longitude and latitude, as RFC 7946 wants; else in pixels of the upright image,
columns to the right and rows downward, and `coordinates` says which.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from groundplan.core.geographic import geographic
from groundplan.single.analyse import Analysis, FoundBuilding
from groundplan.single.georeference import Georeference


def as_json(analysis: Analysis, identity: str, image: str) -> dict[str, Any]:
    """A JSON object. identity: of the analysis; image: SHA-256 of the bytes that came."""
    told: dict[str, Any] = {
        "id": identity,
        "image": image,
        "model": analysis.model,
        "version": analysis.version,
        "figures": {name: round(value, 6) for name, value in analysis.figures.items()},
    }
    if analysis.kind == "class":
        labels = [{"label": label, "probability": round(share, 6)} for label, share in analysis.labels]
        vector = {} if analysis.vector is None else {"features": [round(float(one), 6) for one in analysis.vector]}
        return {**told, "kind": "class", "labels": labels, **vector}
    where = (
        {"coordinates": "pixels"} if analysis.place is None else {"coordinates": "degrees", "crs": analysis.place.crs}
    )
    return {"type": "FeatureCollection", **told, "kind": "footprints", **where, "features": _features(analysis)}


def _features(analysis: Analysis) -> list[dict[str, Any]]:
    shapes = _shapes(analysis.buildings, analysis.place)
    return [
        {
            "type": "Feature",
            "id": number,
            "geometry": geometry,
            "properties": {"confidence": building.confidence, "area": building.area, "cut": building.cut},
        }
        for number, (building, geometry) in enumerate(zip(analysis.buildings, shapes, strict=True))
    ]


def _shapes(buildings: tuple[FoundBuilding, ...], place: Georeference | None) -> list[Any]:
    if not buildings:
        return []
    if place is None:
        return [_in_pixels(building) for building in buildings]
    import json

    import shapely

    shapes = np.array([shapely.Polygon(one.rings[0], one.rings[1:]) for one in buildings], object)
    turned = shapely.orient_polygons(geographic(shapes, place.crs))
    return [json.loads(text) for text in shapely.to_geojson(turned)]


def _in_pixels(building: FoundBuilding) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [ring.round(2).tolist() for ring in building.rings]}

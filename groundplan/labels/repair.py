"""Repair of building polygons: rings mended, collections taken apart, slivers and twins dropped, and all counted.

Here: geometry, with shapely. Not here: which registers there are and where they lie (registers.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import geopandas as gpd

LEAST_AREA = 1.0  # m2; smaller polygons are slivers of digitising


def no_counts() -> dict[str, int]:
    return {"repaired": 0, "multi": 0, "slivers": 0, "twins": 0}


def repair(geometries: np.ndarray, counts: dict[str, int]) -> np.ndarray:
    """Geometry repair: rings mended, collections reduced to polygons, slivers dropped; all counted."""
    import shapely

    broken = ~shapely.is_valid(geometries)
    counts["repaired"] += int(broken.sum())
    counts["multi"] += int((shapely.get_type_id(geometries) == 6).sum())
    mended = geometries.copy()
    # "structure" keeps ground that overlapping rings share; "linework" would make it a hole
    mended[broken] = shapely.make_valid(geometries[broken], method="structure", keep_collapsed=False)
    counts["slivers"] += int(shapely.is_empty(mended).sum())  # rings without any area
    parts = shapely.get_parts(shapely.get_parts(mended))  # twice: a collection may hold a MultiPolygon
    parts = parts[(shapely.get_type_id(parts) == 3) & ~shapely.is_empty(parts)]
    big = shapely.area(parts) >= LEAST_AREA
    counts["slivers"] += int((~big).sum())
    return parts[big]


def without_duplicates(frame: gpd.GeoDataFrame, counts: dict[str, int]) -> gpd.GeoDataFrame:
    """Deduplication by geometry, in a fixed order: registers overlap, and one building may be in both."""
    import shapely

    wkb = shapely.to_wkb(shapely.normalize(shapely.set_precision(frame.geometry.values, 0.001)), hex=True)
    frame = frame.assign(_wkb=wkb).sort_values(["_wkb", "register"]).drop_duplicates("_wkb")
    counts["twins"] = len(wkb) - len(frame)
    return frame.drop(columns="_wkb").reset_index(drop=True)


def mostly_within(buildings: Any, extents: list[Any]) -> np.ndarray:
    """Which buildings have half of their area in any of the extents."""
    import shapely

    shapes = np.asarray(buildings)
    return shapely.area(shapely.intersection(shapes, shapely.union_all(extents))) > 0.5 * shapely.area(shapes)

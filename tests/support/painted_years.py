"""Years of bright houses on dark ground, whose changes are known: as arrays, and as a project with its whole chain.

Here: for tests of what is compared between years. The network is `bright` of tiny_models.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from conftest import ORIGIN, new_project
from laid_sheets import LOSSLESS, lay, place
from tiny_models import bright_file

from groundplan.changes.comparing import ComparedYear
from groundplan.core.grid import Block, Grid
from groundplan.core.partition import Partition
from groundplan.project import Project

SIDE, RESOLUTION = 256, 0.3
GRID = Grid(crs="EPSG:28992", resolution=RESOLUTION, block_size=SIDE, origin=ORIGIN)
REGION = "delft"
CHAIN = ("sheets", "aerial_tiles", "register_buildings", "labels", "predictions", "building_footprints")
Box = tuple[float, float, float, float]
"""Left, top, width, height of a house [m], from the upper left corner of block x0y0, downward."""
ROW: dict[str, Box] = {f"h{i}": (6 + 14 * (i % 5), 6 + 16 * (i // 5), 9.0, 7.5) for i in range(20)}
"""20 houses, in rows of five, in one block: some of each year."""


def house(box: Box, east: float = 0.0, north: float = 0.0) -> shapely.Polygon:
    left, top = ORIGIN[0] + box[0] + east, ORIGIN[1] - box[1] + north
    return shapely.box(left, top - box[3], left + box[2], top)


def year_of(
    year: int, shapes: Mapping[str, shapely.Polygon], seen: Mapping[str, shapely.Polygon] | None = None, **more: Any
) -> ComparedYear:
    """A year whose outlines are these, and whose imagery shows those `seen`, the same by default.

    more: probability: of what is seen; hidden: ground without imagery.
    """
    import geopandas as gpd
    import pandas as pd

    names = list(shapes)
    columns: dict[str, Any] = {name: pd.array([text] * len(names), dtype="str") for name, text in _TEXTS.items()}
    frame = gpd.GeoDataFrame({"id": names, **columns}, geometry=list(shapes.values()), crs=GRID.crs)
    return ComparedYear(year=year, footprints=frame, blocks=blocks((shapes if seen is None else seen).values(), **more))


_TEXTS = {"image_date": "2024-05-17", "model": "one"}


def blocks(shapes: Any, probability: float = 1.0, hidden: shapely.Geometry | None = None) -> dict[Block, Any]:
    """Four blocks that show these polygons."""
    every = np.array(list(shapes), object)
    found = {}
    for block in (Block(0, 0), Block(1, 0), Block(0, 1), Block(1, 1)):
        left, _, _, top = GRID.bounds(block)
        x, y = np.meshgrid(left + (np.arange(SIDE) + 0.5) * RESOLUTION, top - (np.arange(SIDE) + 0.5) * RESOLUTION)
        inside = shapely.contains_xy(shapely.union_all(every), x, y) if len(every) else np.zeros(x.shape, bool)
        sight = np.ones(x.shape, bool) if hidden is None else ~shapely.contains_xy(hidden, x, y)
        pair = (np.round(inside * probability * 255) * sight).astype(np.uint8), sight
        found[block] = lambda pair=pair: pair
    return found


def made_project(folder: Path, years: Mapping[int, Sequence[Box]], **settings: dict[str, Any]) -> Project:
    """A project whose imagery shows these houses, made up to the footprints by the network `bright`."""
    from groundplan.ingest.add_imagery import deliver
    from groundplan.pipeline import run_asset
    from groundplan.training.model_files import add_model

    first = min(years)
    given = {"imagery": LOSSLESS, "predict": {"core": 256, "margin": 32, "model_year": first}, **settings}
    project = new_project(folder / "home", **given)
    add_model(project, bright_file(RESOLUTION), first, "tests")
    for year, houses in years.items():
        sheet = lay(folder / "delivery" / f"{year}.tif", painted(houses, year), place(0, 0))
        deliver(project, [sheet], REGION, year)
        for name in CHAIN:
            run_asset(project, name, Partition(year, REGION))
    return project


def painted(houses: Sequence[Box], seed: int, side: int = 256) -> np.ndarray:
    """Imagery uint8 (3, side, side): bright roofs on dark ground, each year with its own noise."""
    noise = np.random.default_rng(seed).normal(0, 6, (3, side, side))
    pixels = np.full((3, side, side), 60.0)
    for left, top, wide, high in houses:
        rows, columns = (slice(round(a / 0.3), round((a + b) / 0.3)) for a, b in ((top, high), (left, wide)))
        pixels[:, rows, columns] = 220
    return np.clip(pixels + noise, 1, 255).astype(np.uint8)

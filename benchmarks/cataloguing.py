"""Cataloguing: what one of many small sheets costs, and how that grows with their number.

    python -m benchmarks.cataloguing [--sheets 500 2000 8000] [--small]

Sheets of 32 x 32 pixels in one folder, as tiles of a web map come. Against: what a tile index does (gdaltindex), with
the same library: open each file, transform its corners, write a GeoPackage; and, for the files that lie beside a sheet,
the walk over all names for each sheet that the index by name replaces.
Bound by: opening a file and looking at its pixels; nothing grows with the square.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, clock, show
from benchmarks.ground import PARTITION, RESOLUTION, lay_sheets, new_project, picture, scratch
from groundplan.core.materialize import Cancellation
from groundplan.imagery import catalog
from groundplan.imagery.landing import landed_files

SIDE = 32


def laid(home: Path, sheets: int) -> Any:
    project = new_project(home, 2048)
    across = round(sheets**0.5)
    lay_sheets(project, picture(), (0, 0, across * SIDE, -(-sheets // across) * SIDE), (SIDE, SIDE))
    return project


def tile_index(project: Any, target: Path) -> None:
    """What gdaltindex does, in the same language."""
    import geopandas as gpd
    import rasterio
    import shapely
    from rasterio.warp import transform_bounds

    shapes, names = [], []
    for item in landed_files(project, PARTITION):
        with rasterio.open(project.store.local_path(item.key)) as source:
            shapes.append(shapely.box(*transform_bounds(source.crs, "EPSG:4326", *source.bounds)))
            names.append(item.key)
    gpd.GeoDataFrame({"location": names}, geometry=shapes, crs=4326).to_file(target)


def walk(digests: catalog.Digests) -> None:
    """What lies beside each sheet, by a look at every other name."""
    for key in digests:
        folder, name = key.rsplit("/", 1)
        stem = name.lower().rpartition(".")[0]
        [other for other in digests if other.startswith(folder) and other.lower().startswith(f"{folder}/{stem}.")]


def by_name(digests: catalog.Digests) -> None:
    beside = catalog.beside_by_name(digests)
    for key in digests:
        beside(key)


def measured(folder: Path, sheets: int) -> tuple[Any, ...]:
    project = laid(folder / "gp", sheets)
    planned = catalog.plan(project, PARTITION)[0]  # hashed: that is the disk's
    digests = planned.needs[1]
    costs: list[float] = []
    made = clock(lambda: costs.append(catalog.make(project, planned, Cancellation()).facts.get("cpu_seconds", 0.0)))
    cpu = costs[0] or made.cpu  # of many sheets, other processes look at them
    index = clock(lambda: tile_index(project, folder / "index.gpkg")).cpu
    names = {f"{key}.{copy}.tif": value for key, value in digests.items() for copy in range(4)}
    n, square = len(names), clock(lambda: walk(names)).cpu
    named = clock(lambda: by_name(names)).cpu
    count = len(digests)
    a_sheet = 1000 / count
    return count, a_sheet * cpu, a_sheet * made.wall, f"{cpu / index:.1f}", 1e6 * named / n, 1e6 * square / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sheets", type=int, nargs="+", default=[500, 2000, 8000])
    given = arguments(parser, sheets=[49, 100])
    with scratch() as first:
        measured(first, 9)  # imports and first use are not the work
    rows = []
    for sheets in given.sheets:
        with scratch() as folder:
            rows.append(measured(folder, sheets))
    columns = ("sheets", "ms a sheet", "wall ms a sheet", "x a tile index", "beside: us a name", "by a walk us")
    notes = [f"each once; {len(os.sched_getaffinity(0))} processors, load {os.getloadavg()[0]:.1f}"]
    show(f"Cataloguing: sheets of {SIDE} px at {RESOLUTION} m", columns, rows, notes)


if __name__ == "__main__":
    main()

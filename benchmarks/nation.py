"""One country: what merging all regions of a year costs, what its checks cost, and what its tiles cost.

    python -m benchmarks.nation [--regions 200] [--buildings 5000] [--tiled 20] [--small]

Regions are squares of 4 km beside each other, with L-shaped houses anywhere in them, as `building_footprints` stores
them. Each figure is a fresh process, which says its processor-seconds and its peak (VmHWM), above what it held when all
was imported.
Against: geopandas, which reads all regions, sorts them by its own Hilbert distance and writes one file; for tiles,
GDAL's PMTiles driver with the same buildings at the same zooms, and no density.
Bound by: reading and writing Parquet; of tiles, the bytes of each feature.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, show
from benchmarks.ground import scratch
from benchmarks.memory import peak
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.footprints import footprints, national, national_pieces
from groundplan.pipeline import run_step
from groundplan.project import Project, open_project

YEAR = Partition(2024)
SIDE = 4000.0  # metres of a region
SETTINGS = '[grid]\ncrs = "EPSG:28992"\nresolution = 0.25\nblock_size = 4096\norigin = [0.0, 700000.0]\n'
MOST_SHARE = 1.0  # of geopandas' processor-seconds and of GDAL's
MOST_MEMORY = 0.5  # of geopandas' peak


def support() -> None:
    """Let footprints be made as tests make them."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))


def regions(project: Project, count: int, buildings: int) -> None:
    """Commit footprints of so many regions, as square as they may be."""
    support()
    from made_footprints import commit_houses, houses

    wide = max(1, round(count**0.5))
    for number in range(count):
        left, bottom = 100_000 + SIDE * (number % wide), 400_000 + SIDE * (number // wide)
        box = (left, bottom, left + SIDE, bottom + SIDE)
        commit_houses(project, Partition(2024, f"region-{number:04d}"), houses(buildings, box, seed=number))


def merge(project: Project, _: int) -> None:
    run_step(project, national_pieces.DATASET, YEAR)
    run_step(project, national.DATASET, YEAR)


def again(project: Project, _: int) -> None:
    """One region made anew, and the merge again."""
    support()
    from made_footprints import commit_houses, houses

    box = (100_000.0, 400_000.0, 100_000 + SIDE, 400_000 + SIDE)
    commit_houses(project, Partition(2024, "region-0000"), houses(100, box, seed=99))
    merge(project, 0)


def by_geopandas(project: Project, _: int) -> None:
    """The whole country in memory."""
    import geopandas as gpd
    import pandas as pd

    listed = [item.key for item in project.store.list(footprints.DATASET)]
    whole = pd.concat([gpd.read_parquet(str(project.store.local_path(key))) for key in listed], ignore_index=True)
    whole = whole.iloc[whole.hilbert_distance().argsort()]
    whole.to_parquet(
        project.home / "whole.parquet",
        index=False,
        compression="zstd",
        write_covering_bbox=True,
        schema_version="1.1.0",
        row_group_size=20_000,
    )


def checks(project: Project, _: int) -> None:
    from groundplan.quality.national import national_apart, national_whole

    national_whole(project, YEAR)
    national_apart(project, YEAR)


def _some(project: Project, buildings: int) -> list[Any]:
    """Files, along the curve, with at least so many buildings."""
    made, count = [], 0
    for _, one in sorted(need_manifest(project.store, national.DATASET, YEAR).objects.items()):
        if count < buildings:
            made.append(one)
            count += one.facts["buildings"]
    return made


def tiles(project: Project, buildings: int) -> None:
    from groundplan.publish.nation_tiles import write_tiles

    write_tiles(project, _some(project, buildings), project.home / "ours.pmtiles", "a country", "nobody")


def by_gdal(project: Project, buildings: int) -> None:
    """GDAL's driver, fed in pieces."""
    import pyarrow as pa
    import pyogrio

    def batches() -> Iterator[Any]:
        columns = ["id", "region", "image_date", "model", "confidence", "area", "geometry"]
        for table in national.tables(project, _some(project, buildings), columns):
            yield from table.to_batches()

    every = batches()
    first = next(every)
    reader = pa.RecordBatchReader.from_batches(first.schema, (one for each in ([first], every) for one in each))
    pyogrio.write_arrow(
        reader,
        project.home / "gdal.pmtiles",
        driver="PMTiles",
        layer="footprints",
        geometry_name="geometry",
        geometry_type="Polygon",
        crs=project.grid.crs,
        dataset_options={"MINZOOM": "12", "MAXZOOM": "14"},
    )


WORKS: dict[str, Callable[[Project, int], None]] = {
    "geopandas, in memory": by_geopandas,
    "merge": merge,
    "checks": checks,
    "tiles": tiles,
    "GDAL's PMTiles": by_gdal,
    "merge again, one region anew": again,
}


def child(home: str, name: str, buildings: int) -> None:
    """Do one piece of work in this process and print what it took."""
    import geopandas  # noqa: F401 (what is imported is no part of the growth)
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401

    project = open_project(Path(home))
    base, begin = peak(), time.process_time()
    WORKS[name](project, buildings)
    print(json.dumps({"cpu": time.process_time() - begin, "base": base, "peak": peak()}))


def measured(home: Path, name: str, buildings: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.nation", "--child", str(home), name, str(buildings)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def bar(what: str, value: float, most: float) -> str:
    return f"{what}: {value:.2f}, at most {most:g}: {'met' if value <= most else 'NOT MET'}"


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        return child(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=200)
    parser.add_argument("--buildings", type=int, default=5000, help="of each region")
    parser.add_argument("--tiled", type=int, default=100_000, help="buildings on tiles")
    options = arguments(parser, regions=6, buildings=400, tiled=1000)
    with scratch() as folder:
        (folder / "groundplan.toml").write_text(SETTINGS)
        regions(open_project(folder), options.regions, options.buildings)
        found = {name: measured(folder, name, options.tiled) for name in WORKS}
    rows = [[name, one["cpu"], round(one["peak"] - one["base"]), round(one["peak"])] for name, one in found.items()]
    ours, theirs = found["merge"], found["geopandas, in memory"]
    notes = [
        bar("merge, processor-seconds over geopandas'", ours["cpu"] / theirs["cpu"], MOST_SHARE),
        bar("merge, peak over geopandas'", ours["peak"] / theirs["peak"], MOST_MEMORY),
        bar("tiles, processor-seconds over GDAL's", found["tiles"]["cpu"] / found["GDAL's PMTiles"]["cpu"], MOST_SHARE),
    ]
    title = f"{options.regions} regions of {options.buildings} buildings; tiles of {options.tiled}"
    show(title, ("work", "cpu-s", "MiB above imports", "peak MiB"), rows, notes)
    return None


if __name__ == "__main__":
    main()

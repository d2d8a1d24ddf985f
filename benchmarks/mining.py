"""Mining: does learning from places on empty ground pay, here? Three arms of a trial, as `groundplan mine` makes one.

On a drawn country, or with --data on a folder of real ground: *.tif (its imagery, one region and year), `buildings.*`
(a register), `extent.*` (where it is complete) and `empty.*` (polygons in which no building stands, drawn by a person).
With --aerial, Banepa: imagery beyond its labels, and polygons drawn there by eye (banepa_empty.geojson; credits in it).
Validation and test ground is kept apart by the project's own split.
Printed are the trial's own figures; the interval is of cells, at 95 %.

    python -m benchmarks.mining --small
    python -m benchmarks.mining --data FOLDER --crs EPSG:32645 --resolution 0.15 --steps 400
    python -m benchmarks.mining --aerial ../shared/data/aerial --steps 60 --cell 64 --turn 2
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, show
from groundplan.core.partition import Partition
from groundplan.project import Project, open_project

YEAR, REGION = 2024, "here"
CHAIN = (
    *("sheets", "aerial_tiles", "register_buildings", "labels", "training_windows", "trained_model", "predictions"),
    "hard_negatives",
)
CLEAR = 4.0  # metres from the nearest building that drawn empty ground keeps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of real ground; without, a country is drawn")
    parser.add_argument("--aerial", type=Path, help="folder of aerial imagery of towns: Banepa's is taken")
    parser.add_argument("--crs", default="EPSG:28992")
    parser.add_argument("--resolution", type=float, default=0.25)
    parser.add_argument("--size", type=float, default=400.0, help="metres of the drawn country's region")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--trial-steps", type=int, help="of each training of the trial [default: --steps]")
    parser.add_argument("--home", type=Path, help="where the project is made and kept; without, it is thrown away")
    parser.add_argument("--cell", type=float, default=32.0, help="metres of a cell of the split")
    parser.add_argument("--turn", type=int, default=0, help="turn of the split")
    chosen = arguments(parser, size=150.0, steps=6, cell=16.0)
    if chosen.aerial:
        chosen.crs, chosen.resolution = "EPSG:32645", 0.15
    with tempfile.TemporaryDirectory() as folder:
        project = _project(chosen.home or Path(folder) / "home", chosen)
        if chosen.aerial:
            _deliver(project, *_banepa(chosen.aerial))
        elif chosen.data:
            _deliver(project, *_of_folder(chosen.data))
        else:
            _draw(project, Path(folder) / "drawn", chosen.size)
        _run(project, "real ground" if chosen.data or chosen.aerial else "a drawn country")


def _project(home: Path, chosen: argparse.Namespace) -> Project:
    """A project whose training is so many steps; small cells, crops and blocks where it is only to be seen to run."""
    from groundplan.core.grid import default_origin

    small = chosen.small
    settings: dict[str, dict[str, Any]] = {
        "grid": {"crs": chosen.crs, "resolution": chosen.resolution, "block_size": 512 if small else 2048},
        "model": {"steps": chosen.steps, "minutes": 600.0, "start": "starter"},
        "split": {"cell": chosen.cell, "turn": chosen.turn, "window": 256 if small else 512, "overlap": 64},
        "mining": {"rounds": 1},
    }
    if chosen.trial_steps:
        settings["mining"]["steps"] = chosen.trial_steps
    if small:
        settings["model"] |= {"batch": 2, "crop": 128}
    grid = settings["grid"]
    grid["origin"] = list(default_origin(grid["crs"], grid["resolution"], grid["block_size"]))
    lines = []
    for section, values in settings.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    home.mkdir(parents=True)
    (home / "groundplan.toml").write_text("\n".join(lines) + "\n", "utf-8")
    return open_project(home)


def _of_folder(folder: Path) -> tuple[list[Path], Path, Path, Path]:
    """Sheets, buildings, where they are complete, and empty ground."""
    buildings, extent, empty = (
        next(iter(sorted(folder.glob(f"{name}.*")))) for name in ("buildings", "extent", "empty")
    )
    return sorted(folder.glob("*.tif")), buildings, extent, empty


def _banepa(aerial: Path) -> tuple[list[Path], Path, Path, Path]:
    """As `_of_folder`: the wide sheet of Banepa, labels of a sixth of it, and ground drawn as empty on the rest."""
    labels = aerial / "banepa" / "labels"
    return (
        [aerial / "banepa_wide" / "2022" / "banepa_wide_2022.tif"],
        labels / "banepa_2022_buildings.geojson",
        labels / "banepa_label_extent.geojson",
        Path(__file__).with_name("banepa_empty.geojson"),
    )


def _deliver(project: Project, sheets: list[Path], buildings: Path, extent: Path, empty: Path) -> None:
    from groundplan.ingest.add_imagery import deliver
    from groundplan.labels.empty_ground import add_empty_ground
    from groundplan.labels.registers import add_register

    deliver(project, sheets, REGION, YEAR)
    add_register(project, buildings, YEAR, extent)
    add_empty_ground(project, empty, YEAR)


def _draw(project: Project, folder: Path, size: float) -> None:
    """One region of a drawn country; its truth says which ground is empty, a lattice of squares of 12 m."""
    import geopandas as gpd
    import numpy as np
    import shapely

    from groundplan.ingest.add_imagery import deliver
    from groundplan.labels.empty_ground import add_empty_ground
    from groundplan.labels.registers import add_register
    from groundplan.synthetic.country import REGIONS, draw

    country = draw(folder, size_m=size, regions=REGIONS[:1], years=(YEAR,))
    deliver(project, country.sheets[country.names[0], YEAR], REGION, YEAR)
    register, extent = country.registers[YEAR]
    add_register(project, register, YEAR, extent)
    true = gpd.read_parquet(country.truth[YEAR]).geometry
    left, bottom, right, top = gpd.read_file(extent).to_crs(country.crs).total_bounds
    x, y = (part.ravel() for part in np.meshgrid(np.arange(left, right, 12.0), np.arange(bottom, top, 12.0)))
    squares = shapely.box(x, y, x + 12, y + 12)
    near = shapely.STRtree(true.values.to_numpy()).query(squares, predicate="dwithin", distance=CLEAR)[0]
    empty = np.delete(squares, np.unique(near))
    gpd.GeoDataFrame(geometry=empty, crs=country.crs).to_file(folder / "empty.gpkg")
    add_empty_ground(project, folder / "empty.gpkg", YEAR)


def _run(project: Project, ground: str) -> None:
    """The chain to the trial, and what it says."""
    from groundplan.mining import trial
    from groundplan.mining.proof import judged
    from groundplan.mining.rounds import mined_places, why_stop
    from groundplan.pipeline import partitions_of, run_asset

    year, began, spent = Partition(YEAR), time.perf_counter(), time.process_time()
    for name in CHAIN:
        for partition in partitions_of(project, name, asked=True):
            run_asset(project, name, partition)
    count = mined_places(project, year)
    print(f"{count} places on empty ground look like buildings")
    if why := why_stop([count]):
        print(f"no trial: {why}")
        return
    run_asset(project, trial.DATASET, year)
    proof = judged(trial.results(project, year))
    header, *rows = proof.rows()
    cost = f"{time.process_time() - spent:.0f} cpu-s, {time.perf_counter() - began:.0f} s wall, both with the chain"
    met = "met" if proof.pays else "not met" if proof.compared else "nothing to compare"
    notes = [proof.words, f"bar: mining pays: {met}", f"{proof.cells} empty validation cells; {cost}"]
    show(f"Mining on {ground}, {count} places", header, rows, notes)


if __name__ == "__main__":
    main()

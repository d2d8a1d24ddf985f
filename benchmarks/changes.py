"""Changes between years: how many true ones are found, how many are false, on ground whose changes are known.

`python -m benchmarks.changes --data FOLDER`, or GROUNDPLAN_TOWNS, names the folder of labeled towns (each
`NAME/YEAR/*.tif` and `NAME/labels/NAME_changes_OLD_NEW.geojson` with a column `change`). The starter model predicts
both years; nothing is trained. It has learned from part of that ground in both years, so the figures say what the
comparison adds to good predictions, and not how good predictions are elsewhere. Without a folder, or with --small, a
drawn street is compared instead, with a network that sees brightness: it shows that all runs.

Bars: of all true changes at least nine in ten found; at most one false `new` or `gone` per 114 buildings of the year
before; the null set at most at 1 in 100.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, show

RESOLUTION, BLOCK = 0.15, 2048
TOWNS = {"kampala": "EPSG:32636", "zanzibar": "EPSG:32737", "banepa": "EPSG:32645"}
ONE_YEAR = ("banepa",)  # dense, and flown once: its null set alone
OLD, NEW = 2022, 2024
FOUND, FALSE, NULL = 27 / 30, 2 / 228, 1.0
TELLING = 300  # unchanged buildings, without which no null set can meet the bar
TOUCHING = 0.3  # share of the smaller of a true change and a row that they have in common
CHAIN = ("sheets", "aerial_tiles", "predictions", "building_footprints")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Of one town, or all of them."""

    name: str
    true: int
    found: int
    false: int
    changed: int
    unsure: int
    before: int
    null_wrong: int
    null_of: int
    cpu: float


def town(data: Path, name: str, null_years: tuple[int, ...]) -> Score:
    """One town's two years by the real chain, in a project that is thrown away."""
    import geopandas as gpd

    from groundplan.core.partition import Partition

    with tempfile.TemporaryDirectory(prefix="groundplan-changes-") as folder:
        project = delivered(Path(folder), data / name, name)
        if name in ONE_YEAR:
            return unchanged(project, Partition(OLD, name))
        spent = compared(project, name)
        labels = data / name / "labels"
        truth = gpd.read_file(labels / f"{name}_changes_{OLD}_{NEW}.geojson").to_crs(project.grid.crs)
        before = len(gpd.read_file(labels / f"{name}_{OLD}_buildings.geojson"))
        wrong, of = null_of(project, [Partition(year, name) for year in null_years])
        return scored(project, Partition(NEW, name), truth, before, wrong, of, spent)


def delivered(home: Path, data: Path, name: str) -> Any:
    """A project with both years' sheets, predicted by the starter model."""
    from groundplan import config, starter
    from groundplan.core.grid import default_origin
    from groundplan.ingest.add_imagery import deliver
    from groundplan.project import open_project
    from groundplan.training.model_files import add_model, read_model

    origin = default_origin(TOWNS[name], RESOLUTION, BLOCK)
    grid = {"crs": TOWNS[name], "resolution": RESOLUTION, "block_size": BLOCK, "origin": origin}
    file = config.write(home, grid, "")
    file.write_text(file.read_text("utf-8").replace("[predict]\n", f"[predict]\nmodel_year = {OLD}\n"), "utf-8")
    project = open_project(home)
    for year in (OLD,) if name in ONE_YEAR else (OLD, NEW):
        deliver(project, sorted((data / str(year)).glob("*.tif")), name, year)
    add_model(project, read_model(starter.FILE), OLD, "starter")
    return project


def compared(project: Any, name: str) -> float:
    """Make both years and their changes. Returns the processor seconds of the comparison without the null set."""
    from groundplan.core.manifest import need_manifest
    from groundplan.core.partition import Partition
    from groundplan.pipeline import run_asset

    for year in (OLD, NEW):
        for step in CHAIN:
            run_asset(project, step, Partition(year, name))
    run_asset(project, "building_changes", Partition(NEW, name))
    made = [need_manifest(project.store, one, Partition(NEW, name)) for one in ("building_ids", "building_changes")]
    return sum(one.cpu_seconds for one in made)


def unchanged(project: Any, partition: Any) -> Score:
    """The null set of a town of one year."""
    from groundplan.pipeline import run_asset

    for step in CHAIN:
        run_asset(project, step, partition)
    wrong, of = null_of(project, [partition])
    none = dict.fromkeys(("true", "found", "false", "changed", "unsure", "before"), 0)
    return Score(name=f"{partition.region}, one year", null_wrong=wrong, null_of=of, cpu=0.0, **none)


def null_of(project: Any, partitions: list[Any]) -> tuple[int, int]:
    """False changes and unchanged buildings of the null sets of these regions and years."""
    from groundplan.core.manifest import read_manifest
    from groundplan.pipeline import run_step

    wrong = of = 0
    for partition in partitions:
        if read_manifest(project.store, "change_null", partition) is None:
            run_step(project, "change_null", partition)
        facts = read_manifest(project.store, "change_null", partition).objects["null"].facts  # type: ignore[union-attr]
        wrong, of = wrong + facts["false_new"] + facts["false_gone"], of + facts["unchanged"]
    return wrong, of


def scored(project: Any, partition: Any, truth: Any, before: int, wrong: int, of: int, spent: float) -> Score:
    """truth: polygons with a column `change`: added or removed."""
    from groundplan.changes import changes

    rows = changes.load(project, partition)
    found = false = 0
    for state, word in (("new", "added"), ("gone", "removed")):
        mine, real = rows[rows["state"] == state].geometry, truth[truth["change"] == word].geometry
        found += sum(any(_touch(shape, row) for row in mine) for shape in real)
        false += sum(not any(_touch(shape, row) for shape in real) for row in mine)
    states = rows["state"].value_counts()
    return Score(
        name=partition.region,
        true=len(truth),
        found=found,
        false=false,
        changed=int(states.get("changed", 0)),
        unsure=int(states.get("unsure", 0)),
        before=before,
        null_wrong=wrong,
        null_of=of,
        cpu=spent,
    )


def _touch(one: Any, other: Any) -> bool:
    return bool(one.intersection(other).area > TOUCHING * min(one.area, other.area))


def street(number: int) -> Score:
    """A drawn street of houses that come and go, in one block."""
    import sys

    import geopandas as gpd

    from groundplan.core.partition import Partition

    sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / part) for part in ("", "support")]
    from painted_years import REGION, house, made_project
    from painted_years import ROW as BOXES

    houses = list(BOXES.values())
    with tempfile.TemporaryDirectory(prefix="groundplan-changes-") as folder:
        years = {OLD: houses[number:], NEW: houses[: len(houses) - number]}
        project = made_project(Path(folder), years)
        spent = compared(project, REGION)
        kinds = ["removed"] * number + ["added"] * number
        shapes = [house(box) for box in (*houses[len(houses) - number :], *houses[:number])]
        truth = gpd.GeoDataFrame({"change": kinds}, geometry=shapes, crs=project.grid.crs)
        wrong, of = null_of(project, [Partition(NEW, REGION)])
        return scored(project, Partition(NEW, REGION), truth, len(houses) - number, wrong, of, spent)


def report(scores: list[Score]) -> bool:
    """Print the table and the bars; whether all are met."""
    from groundplan.changes.null import upper_bound

    names = "true", "found", "false", "changed", "unsure", "before", "null_wrong", "null_of", "cpu"
    columns = "", *names[:5], "buildings before", "null: false", "of", "cpu-s"
    show("Changes between years", columns, [(one.name, *(getattr(one, name) for name in names)) for one in scores])
    true, found, false, before, wrong, of = (
        sum(getattr(one, name) for one in scores)
        for name in ("true", "found", "false", "before", "null_wrong", "null_of")
    )
    bound = upper_bound(wrong, of)
    bars = [
        (f"found {found} of {true}, at least {FOUND:.0%}", found >= FOUND * true),
        (f"false {false} of {before} buildings, at most {FALSE:.2%}", false <= FALSE * before),
    ]
    if bound is not None and of >= TELLING:
        bars.append((f"null set {wrong} of {of}: at most {bound} in 100 (95 %), bar {NULL:g}", bound <= NULL))
    for words, met in bars:
        print(f"{'met    ' if met else 'NOT MET'}  {words}")
    return all(met for _, met in bars)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("GROUNDPLAN_TOWNS")
    parser.add_argument("--data", type=Path, default=Path(folder) if folder else None, help="folder of labeled towns")
    parser.add_argument("--null", type=int, nargs="*", default=[OLD, NEW], help="years whose null sets are counted")
    given = arguments(parser, data=None)
    began = time.process_time()
    if given.data is None:
        report([street(3)])
        print("A drawn street: its null set is too small to tell. Name a folder with --data for figures.")
    else:
        report([town(given.data, name, tuple(given.null)) for name in TOWNS])
    print(f"{time.process_time() - began:.0f} processor-seconds in all")


if __name__ == "__main__":
    main()

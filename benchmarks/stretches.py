"""Stretches: what a small region costs in a run that it shares, against a process of its own.

    python -m benchmarks.stretches [--regions 8] [--repeats 3] [--small]

Regions of one block of 512 pixels, one JPEG sheet each; `sheets` and `aerial_tiles` with all their checks, everything
made before, so that runs make nothing: what is left is the launch. Measured, each in a fresh process that writes its
events to SQLite: a run of one region; a run of a stretch of all of them. Against: the same work called bare.
Bound by: importing Dagster and the definitions, once a process; in a stretch by the events of each region's own run.
A pod's start, which no process here has, comes on top of the first only.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import Cost, arguments, clock, fresh, show
from benchmarks.ground import YEAR, new_project, picture, scratch
from groundplan.core.partition import Partition
from groundplan.pipeline import run_asset
from groundplan.project import Project, open_project

ASSETS = ("sheets", "aerial_tiles")
MOST = 1 / 3  # of a process's cost that a region in a stretch may cost


def laid(home: Path, regions: int) -> tuple[Project, list[Partition]]:
    """A project of so many regions with a sheet each, all of it made."""
    import rasterio
    from affine import Affine

    from groundplan.imagery.landing import landing_prefix

    project = new_project(home, 512)
    pixels, names = picture(), [f"r{number:03}" for number in range(regions)]
    x, y = project.grid.origin
    for number, name in enumerate(names):
        folder = project.store.local_path(landing_prefix(Partition(YEAR, name)))
        folder.mkdir(parents=True, exist_ok=True)
        place = Affine(0.25, 0, x + number * 512 * 0.25, 0, -0.25, y)
        profile: dict[str, Any] = {"driver": "GTiff", "count": 3, "dtype": "uint8", "width": 512, "height": 512}
        with rasterio.open(folder / "a.tif", "w", crs=project.grid.crs, transform=place, **profile) as target:
            target.write(pixels[:, :512, :512])
    partitions = [Partition(YEAR, name) for name in names]
    made(project, partitions)
    return project, partitions


def made(project: Project, partitions: list[Partition]) -> None:
    """The work, bare."""
    for name in ASSETS:
        for partition in partitions:
            run_asset(project, name, partition)


def run(home: str, assets: str, key: str) -> None:
    """In a process of its own: one run, as a launched one, of a region or of a stretch."""
    import dagster as dg
    from dagster._core.definitions.reconstruct import ReconstructableRepository

    os.environ["GROUNDPLAN_HOME"] = home
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # runs within the run speak of all that they do
    repository = ReconstructableRepository.for_module("orchestration.definitions", "defs")
    job = repository.get_reconstructable_job("__ASSET_JOB")
    selection = [dg.AssetKey(name) for name in assets.split(",")]
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with (
        dg.DagsterInstance.from_config(f"{home}/dagster") as instance,
        dg.execute_job(
            job, instance, run_config=quiet, asset_selection=selection, tags={"dagster/partition": key}
        ) as done,
    ):
        sys.exit(not done.success)


def prepared(project: Project, partitions: list[Partition]) -> str:
    """The home's Dagster, which knows the regions; returns the key of the stretch of all of them."""
    import dagster as dg

    from assets.partitions import add_partitions
    from assets.stretches import Stretch, stretches
    from orchestration.cli.in_process import dagster_home

    key = Stretch(YEAR, ASSETS, partitions[0].region, partitions[-1].region).key
    with dg.DagsterInstance.from_config(str(dagster_home(project.home))) as instance:
        add_partitions(instance, partitions)
        instance.add_dynamic_partitions(stretches.name or "", [key])
    return key


def rows(home: Path, regions: int, repeats: int) -> tuple[list[tuple[Any, ...]], float]:
    project, partitions = laid(home, regions)
    key = prepared(project, partitions)
    words = ("-W", "ignore", "-m", "benchmarks.stretches", "--run", str(home))
    alone = fresh(repeats, *words, ",".join(ASSETS), f"{partitions[0].region}|{YEAR}")
    whole = fresh(repeats, *words, "region_stretches", key)
    bare = clock(lambda: made(open_project(home), partitions))
    # a stretch is a process, and each of its regions a run more
    more = Cost((whole.cpu - alone.cpu) / (regions - 1), (whole.wall - alone.wall) / (regions - 1))
    lines = [
        ("a region, in a process of its own", alone.cpu, alone.wall),
        (f"{regions} regions, in processes of their own (arithmetic)", regions * alone.cpu, regions * alone.wall),
        (f"{regions} regions, in one stretch", whole.cpu, whole.wall),
        ("a region more in a stretch", more.cpu, more.wall),
        ("  of which the work, bare", bare.cpu / regions, bare.wall / regions),
    ]
    return lines, more.cpu / alone.cpu


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        run(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regions", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    given = arguments(parser, regions=2, repeats=1)
    with scratch() as folder:
        lines, share = rows(folder / "gp", given.regions, given.repeats)
        bar = f"bar: a region more costs at most {MOST:.2f} of a process: {share:.2f}, "
        bar += "met" if share <= MOST else "not met"
        show("Small regions in one run", ("work", "cpu-s", "wall s"), lines, [f"median of {given.repeats}", bar])


if __name__ == "__main__":
    main()

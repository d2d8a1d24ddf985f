"""Dagster: what a run costs beside the work that it runs, and how long the command line takes to start.

    python -m benchmarks.dagster_run [--repeats 5] [--small]

A partition of `aerial_tiles` (2 x 2 blocks of 512 pixels) that is current, so that its step makes nothing. Measured:
`orchestration.cli.build.materialize` of it (definitions, run, events in SQLite, picture, check) in a process that has
done it before; the first one in a process, which imports Dagster and opens its instance; the commands `--help` and
`status`. Against: what the run does besides being a run, called bare (`run_asset`, the picture, the check), and an
interpreter that does nothing. Bound by: Dagster's event log (SQLite; its commits make wall longer than cpu); imports
for the command line. A run is paid once per partition of an asset, not per block.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, fresh, medians, show
from benchmarks.ground import PARTITION, lay_sheets, new_project, picture, scratch
from groundplan.core.manifest import need_manifest
from groundplan.pipeline import run_asset
from groundplan.previews import pictures
from groundplan.quality import checks
from orchestration.cli.build import materialize
from orchestration.cli.in_process import open_instance

NAME = "aerial_tiles"
CLI = ("-m", "orchestration.cli.main")


def runs(project: Any, repeats: int) -> list[tuple[Any, ...]]:
    objects = need_manifest(project.store, NAME, PARTITION).objects

    def run(instance: Any) -> None:
        done = materialize(project, instance, NAME, PARTITION)
        if (done.outcome, done.made) != ("made", 0):
            raise RuntimeError(f"the partition was not current: {done}")

    first = medians(1, run=lambda: run(open_instance(project)))["run"]
    instance = open_instance(project)
    cost = medians(
        repeats,
        run=lambda: run(instance),
        bare=lambda: run_asset(project, NAME, PARTITION),
        picture=lambda: pictures.tiles_picture(project, objects),
        check=lambda: checks.tiles_complete(project, PARTITION),
    )
    whole = cost.pop("run")
    rest_cpu = whole.cpu - sum(one.cpu for one in cost.values())
    rest_wall = whole.wall - sum(one.wall for one in cost.values())

    def row(name: str, cpu: float, wall: float) -> tuple[Any, ...]:
        return name, cpu, f"{cpu / whole.cpu:.2f}", wall

    return [
        row("one run of a current partition", whole.cpu, whole.wall),
        row("  of which the step, bare (run_asset)", cost["bare"].cpu, cost["bare"].wall),
        row("  of which picture", cost["picture"].cpu, cost["picture"].wall),
        row("  of which check", cost["check"].cpu, cost["check"].wall),
        row("  of which Dagster (the rest)", rest_cpu, rest_wall),
        row("the first run in a process", first.cpu, first.wall),
    ]


def starts(home: Path, repeats: int) -> list[tuple[Any, ...]]:
    cases = {
        "python -c pass (limit)": ("-c", "pass"),
        "groundplan --help": (*CLI, "--help"),
        "groundplan status": (*CLI, "status", "--home", str(home)),
        "groundplan build, nothing to do": (*CLI, "build", "--select", NAME, "--home", str(home)),
        "import of the definitions": ("-W", "ignore", "-c", "import orchestration.definitions"),
    }
    cost = {name: fresh(repeats, *words) for name, words in cases.items()}
    least = next(iter(cost.values())).cpu
    return [(name, one.cpu, f"{one.cpu / least:.0f}", one.wall) for name, one in cost.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = arguments(parser, repeats=1).repeats
    with scratch() as folder:
        project = new_project(folder / "gp", 512)
        lay_sheets(project, picture(), (0, 0, 1024, 1024))
        for name in ("sheets", NAME):
            run_asset(project, name, PARTITION)
        note = [f"median of {repeats}"]
        show("One Dagster run", ("work", "cpu-s", "share", "wall s"), runs(project, repeats), note)
        columns = ("work", "cpu-s", "x limit", "wall s")
        show("Start of the command line, fresh processes", columns, starts(project.home, repeats), note)


if __name__ == "__main__":
    main()

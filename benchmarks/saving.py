"""Saving: how much of each step's time goes into putting its objects into the store (write, fsync, rename).

    python -m benchmarks.saving [--block 2048] [--side 2] [--repeats 5] [--small]

A region of side x side blocks is built from sheets to footprints in a folder store; seconds per object come from the
manifests, seconds of its saving from the watched store. The network has random weights, so outlines and footprints are
made from invented probabilities. Wall time, summed over objects: saving waits for the disk and not for a processor.
Against: the same bytes written as one file with one fsync (the limit), and as one object per 512 x 512 window through
the same store (what a script does that saves every window).
Bound by: the disk's flushes, two per object (file and folder), more than by bytes: so few large objects.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, medians, show, watched
from benchmarks.ground import PARTITION, commit_model, lay_sheets, new_project, picture, scratch, trained
from benchmarks.memory import NAMES, invented_predictions
from groundplan.core.manifest import Manifest, need_manifest
from groundplan.pipeline import run_step

WINDOW = 512


def built(home: Path, block: int, side: int) -> tuple[Any, list[tuple[Manifest, float]]]:
    """The project, and for each step its manifest and the seconds that it spent saving objects."""
    with scratch() as first:  # imports and first use are not the work
        once(first / "gp", 256, 1)
    return once(home, block, side)


def once(home: Path, block: int, side: int) -> tuple[Any, list[tuple[Manifest, float]]]:
    project = new_project(home, block)
    lay_sheets(project, picture(), (0, 0, side * block, side * block), (1500, 1200))
    commit_model(project, *trained(0))
    run_step(project, "sheets", PARTITION)
    steps = []
    for name in NAMES:
        if name == "building_outlines":
            invented_predictions(project)
        seen, requests = watched(project)
        run_step(seen, name, PARTITION)
        manifest = need_manifest(project.store, name, PARTITION)
        steps.append((manifest, sum(requests.saving[made.key] for made in manifest.objects.values())))
    return project, steps


def one_file(path: Path, objects: list[bytes]) -> None:
    with path.open("wb") as file:
        for data in objects:
            file.write(data)
        file.flush()
        os.fsync(file.fileno())


def put(project: Any, objects: list[bytes], pieces: int) -> None:
    for index, data in enumerate(objects):
        cut = -(-len(data) // pieces)
        for piece in range(pieces):
            project.store.put(f"benchmark/{index}_{piece}", data[piece * cut : (piece + 1) * cut])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--side", type=int, default=2, help="blocks along a side of the region")
    parser.add_argument("--repeats", type=int, default=5)
    given = arguments(parser, block=512, side=1, repeats=1)
    pieces = max(1, given.block // WINDOW) ** 2
    rows: list[tuple[Any, ...]] = []
    with scratch() as folder:
        project, steps = built(folder / "gp", given.block, given.side)
        for manifest, saved in steps:
            spent = sum(made.seconds for made in manifest.objects.values())
            objects = [project.store.get(made.key) for made in manifest.objects.values()]
            cost = medians(
                given.repeats,
                put=partial(put, project, objects, 1),
                one=partial(one_file, folder / "limit", objects),
                many=partial(put, project, objects, pieces),
            )
            limit, alone, many = cost["one"].wall, cost["put"].wall, cost["many"].wall
            size = sum(map(len, objects)) / 1e6
            shares = f"{saved / spent:.1%}", alone, f"{alone / limit:.1f}", f"{many / alone:.1f}"
            rows.append((manifest.dataset, len(objects), size, spent, saved, *shares))
    columns = (
        "step",
        "objects",
        "MB",
        "making + saving s",
        "saving s",
        "share",
        "alone s",
        "x one file",
        f"in {pieces} pieces x",
    )
    note = f"{project.workers} workers; built once; alone, one file, in pieces: median of {given.repeats}; wall seconds"
    show(f"Saving: {given.side} x {given.side} blocks of {given.block} px", columns, rows, [note])


if __name__ == "__main__":
    main()

"""Memory: peak resident size of a process that makes one dataset, over the size of the region and of the block.

    python -m benchmarks.memory [--block 1024] [--regions 1 2 4] [--blocks 512 1024 2048 4096 8192] [--small]

Each figure is a fresh process that opens the project, runs one step and says its peak (VmHWM). Tiles come from
JPEG-in-TIFF sheets, predictions from the default network with random weights, outlines and footprints from invented
probabilities with houses on every border, since an untrained network shows none.
Against: the same process before it begins ("above imports"), and the pixels in hand: three bands and a mask of each
block that is worked on at once.
Bound by: the blocks in hand; region size may show only in what is held per building and per block.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import arguments, show
from benchmarks.ground import PARTITION, commit, commit_model, lay_sheets, new_project, picture, scratch, trained
from benchmarks.vectorise import invent
from groundplan import pipeline
from groundplan.core.manifest import Planned, object_key
from groundplan.foreign_reports import silent_openvino
from groundplan.project import open_project

NAMES = ("aerial_tiles", "predictions", "building_outlines", "building_footprints")


def peak() -> float:
    """MiB. Not getrusage's: there Linux lets a child begin with the peak of the process that started it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def child(home: str, name: str) -> None:
    """Run one step in this process and print what it took."""
    import geopandas  # noqa: F401 (what a step imports is no part of its growth)
    import rasterio.warp  # noqa: F401

    if name == "predictions":
        silent_openvino()

    project = open_project(Path(home))
    base = peak()
    pipeline.run_step(project, name, PARTITION)
    print(json.dumps({"base": base, "peak": peak()}))


def measured(home: Path, name: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", "--child", str(home), name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def invented_predictions(project: Any) -> int:
    """Commit probabilities with houses instead of what the untrained network said; returns buildings per block."""
    from groundplan.footprints import predictions
    from groundplan.polygons.instances import Thresholds, instances
    from groundplan.raster import cog

    n = project.grid.block_size
    tile = np.roll(invent(min(n, 1024)), (300, 300), (1, 2))  # houses lie across the borders of blocks
    times = max(1, n // 1024)
    probability = np.tile(tile, (1, times, times))

    def make(planned: Planned) -> tuple[bytes, dict[str, Any]]:
        place = project.grid.transform(planned.args[0])
        data = cog.write(probability, None, place, project.grid.crs, cog.Encoding("deflate"))
        return data, predictions.describe(data)

    planned = []
    for one in predictions.plan(project, PARTITION):
        key = object_key(predictions.DATASET, PARTITION, one.name, "invented", ".tif")
        planned.append(Planned(name=one.name, fingerprint="invented", key=key, inputs=(), args=one.args))
    commit(project, predictions.DATASET, planned, make)
    return int(instances(tile, Thresholds(), project.grid.resolution).max()) * times**2


def region(home: Path, block: int, side: int, network: tuple[dict[str, Any], bytes]) -> list[tuple[Any, ...]]:
    """A row per step for a region of side x side blocks."""
    project = new_project(home, block)
    lay_sheets(project, picture(), (0, 0, side * block, side * block), (1500, 1200))
    pipeline.run_step(project, "sheets", PARTITION)
    commit_model(project, *network)
    rows: list[tuple[Any, ...]] = []
    buildings = 0
    for name in NAMES:
        if name == "building_outlines":
            buildings = invented_predictions(project) * side**2
        found = measured(home, name)
        hands = 1 if pipeline.STEPS[name].alone else min(project.workers, side**2)
        image = f"{hands * 4 * block**2 / 2**20:.0f} MiB of pixels in hand"
        grows = f"{buildings} buildings" if name == "building_footprints" else image
        rows.append((name, f"{side} x {side}", block, found["peak"], found["peak"] - found["base"], grows))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--block", type=int, default=1024, help="block size while the region grows")
    parser.add_argument("--regions", type=int, nargs="*", default=[1, 2, 4], help="blocks along a side of the region")
    sizes = [512, 1024, 2048, 4096, 8192]
    parser.add_argument("--blocks", type=int, nargs="*", default=sizes, help="block sizes, one block of each")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = arguments(parser, block=256, regions=[1, 2], blocks=[256, 512])
    if given.child:
        child(*given.child)
        return
    network = trained(0)
    for title, cases in (
        (f"Peak memory over the region, blocks of {given.block} px", [(given.block, side) for side in given.regions]),
        ("Peak memory over the block, one block", [(block, 1) for block in given.blocks]),
    ):
        rows: list[tuple[Any, ...]] = []
        for block, side in cases:
            with scratch() as home:
                rows += region(home / "gp", block, side, network)
        rows.sort(key=lambda row: NAMES.index(row[0]))
        first = {row[0]: row[3] for row in reversed(rows)}
        told = [(*row[:3], f"{row[3]:.0f}", f"{row[4]:.0f}", row[5], f"{row[3] / first[row[0]]:.2f}") for row in rows]
        show(title, ("step", "blocks", "block px", "peak MiB", "above imports", "what grows", "x first"), told)


if __name__ == "__main__":
    main()

"""Memory: peak resident size of a process that makes one dataset, over the size of the region and of the block.

    python -m benchmarks.memory [--block 1024] [--regions 1 2 4] [--blocks 512 1024 2048 4096]

Each figure is a fresh process that opens the project, runs one step and says its peak (VmHWM). Tiles come from
JPEG-in-TIFF sheets, predictions from the default network with random weights, outlines and footprints from invented
probabilities with houses on every border, since an untrained network shows none.
Against: a process that imports the step's libraries and does nothing, and the pixels in hand: `workers` blocks of three
bands and a mask.
Bound by: blocks in hand times workers. A region's size may show only in what is held per building and per block
(manifests, outlines), which the last column tells.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import REGION, YEAR, commit, commit_model, lay_sheets, new_project, picture, scratch, show, trained
from benchmarks.vectorise import invent
from groundplan.blocks import Partition, Planned, object_key

STEPS = ("aerial_tiles", "predictions", "building_outlines", "building_footprints")
PARTITION = Partition(YEAR, REGION)


def peak() -> float:
    """MiB. Not getrusage's: there Linux lets a child begin with the peak of the process that started it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def child(home: str, name: str) -> None:
    """Run one step in this process and print what it took."""
    import geopandas  # noqa: F401 (the base is what all steps import)
    import rasterio.warp  # noqa: F401

    if name == "predictions":
        import openvino  # noqa: F401

    from groundplan.project import open_project
    from groundplan.steps import run_step

    base = peak()
    report = run_step(open_project(home), name, PARTITION)
    print(json.dumps({"base": base, "peak": peak(), "made": len(report.made)}))


def measured(home: Path, name: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", "--child", str(home), name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def invented_predictions(project: Any) -> int:
    """Commit probabilities with houses instead of what the untrained network said; returns buildings per block."""
    from groundplan import cog, outlines, predictions

    n = project.grid.block_size
    tile = np.roll(invent(min(n, 1024)), (300, 300), (1, 2))  # houses lie across the borders of blocks
    probability = np.tile(tile, (1, max(1, n // 1024), max(1, n // 1024)))

    def make(planned: Planned) -> tuple[bytes, dict[str, Any]]:
        block = planned.args[0]
        data = cog.write(probability, None, project.grid.transform(block), project.grid.crs, cog.Encoding("deflate"))
        return data, predictions.describe(data)

    plan = [
        Planned(one.name, "invented", object_key(predictions.DATASET, PARTITION, one.name, "invented", ".tif"), (), one.args)
        for one in predictions.plan(project, PARTITION)
    ]
    commit(project, predictions.DATASET, PARTITION, plan, make)
    return int(outlines.instances(tile, outlines.Thresholds(), project.grid.resolution).max()) * (probability.size // tile.size)


def region(home: Path, block: int, side: int, network: tuple[dict[str, Any], bytes]) -> list[tuple[Any, ...]]:
    """A row per step for a region of side x side blocks."""
    from groundplan.steps import run_step

    project = new_project(home, block)
    lay_sheets(project, picture(), (0, 0, side * block, side * block), (1500, 1200))
    run_step(project, "sheets", PARTITION)
    commit_model(project, *network)
    rows = []
    for name in STEPS:
        if name == "building_outlines":
            buildings = invented_predictions(project) * side**2
        found = measured(home, name)
        pixels = project.workers * 4 * block**2 / 2**20 if name != "building_footprints" else 0.0
        detail = f"{buildings} buildings" if name.startswith("building") else f"{pixels:.0f} MiB of pixels in hand"
        rows.append((name, f"{side} x {side}", block, round(found["peak"]), round(found["peak"] - found["base"]), detail))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--block", type=int, default=1024, help="block size while the region grows")
    parser.add_argument("--regions", type=int, nargs="*", default=[1, 2, 4], help="blocks along a side of the region")
    parser.add_argument("--blocks", type=int, nargs="*", default=[512, 1024, 2048, 4096], help="block sizes, region 1 x 1")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
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
        rows.sort(key=lambda row: STEPS.index(row[0]))
        least = {name: min((row[4] for row in rows if row[0] == name), default=0) for name in STEPS}
        ratios = [(*row, f"{row[4] / max(1, least[row[0]]):.2f}") for row in rows]
        columns = ("step", "blocks", "block px", "peak MiB", "above imports", "what grows", "above / least")
        show(title, columns, ratios)


if __name__ == "__main__":
    main()

"""Cutting: the tile step's megapixels per processor-second, beside what a script would do with the same sheets.

    python -m benchmarks.cutting [--size 8192] [--repeats 3] [--image FILE] [--small]

One block from JPEG-in-TIFF sheets of 5000 x 4000 pixels that lie on the grid's pixels but not on its blocks; then one
from sheets in another CRS, which are resampled; then all blocks of a region of 2 x 2 blocks, of a quarter of that
side, from JPEG 2000 sheets (lossy, tiles of 1024), decoded once for all blocks and by each block for itself.
Against: rasterio read -> dataset in memory -> GDAL's COG driver (JPEG q90, OVERVIEWS=AUTO and none); a rasterio loop
that writes a JPEG file per 512 window; for the resampled one, WarpedVRT over all sheets -> COG driver, and WarpedVRT
alone, which reads and warps and writes nothing: its bar is against what our step takes for the same. All read the
sheets through one VRT. The same block by our own step with `imagery.reader = "gdal"`. The limit is libjpeg-turbo
(OpenCV's): decode as many 512 tiles as the block has, encode as many, nothing else.
Bound by: the JPEG work; the lines "of which" say the rest. Memory is the peak of a fresh process that cuts the block
over what it holds after its imports. The ground is an invented town, mirrored until it fills the sheets, or the
pixels of `--image`: rates follow the entropy of the pixels, so compare within one run only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import arguments, clock, medians, show, timed
from benchmarks.ground import CRS, FOREIGN, JP2, PARTITION, lay_sheets, new_project, picture, scratch
from benchmarks.memory import peak
from benchmarks.peers import gdal_cog, mosaic, turbo, warped_read, window_loop
from groundplan.core.grid import Block
from groundplan.core.kept_memory import keep_memory
from groundplan.core.materialize import Cancellation
from groundplan.imagery import catalog, direct, tiles
from groundplan.pipeline import run_step
from groundplan.project import open_project
from groundplan.raster.jpeg_cog import JpegCog

BLOCK = Block(0, 0)
TILE_JP2 = JP2["blockxsize"]


def prepared(home: Path, size: int, pixels: np.ndarray, crs: str) -> tuple[Any, Any, str]:
    """A project with catalogued sheets around its first block, the block's plan, and a VRT of all sheets."""
    project = new_project(home, size)
    margin = size // 8 if crs == FOREIGN else 0  # another CRS is turned: more ground is needed to cover the block
    lay_sheets(project, pixels, (-1234 - margin, -777 - margin, size + 300 + margin, size + 300 + margin), crs=crs)
    run_step(project, catalog.DATASET, PARTITION)
    planned = next(one for one in tiles.plan(project, PARTITION) if one.name == BLOCK.name)
    files = [project.store.local_path(key) for key in sorted(planned.inputs)]
    return project, planned, mosaic(home / "sheets.vrt", files, crs)


def step(project: Any, planned: Any) -> None:
    """The tile step as a build runs it: make, save, describe where making did not."""
    made = tiles.make(project, planned, Cancellation())
    project.store.put(planned.key, made.data)
    if not made.described:
        tiles.describe(made.data)


def by_gdal(project: Any) -> Any:
    """The project with imagery.reader = "gdal"."""
    imagery = project.settings.imagery.model_copy(update={"reader": "gdal"})
    return replace(project, settings=project.settings.model_copy(update={"imagery": imagery}))


def measure(home: Path, size: int, repeats: int, pixels: np.ndarray, crs: str) -> list[tuple[Any, ...]]:
    project, planned, vrt = prepared(home, size, pixels, crs)
    warp, grid = crs != CRS, project.grid
    spent = {"read": 0.0, "code": 0.0}

    def ours() -> None:
        with timed(direct, "_layer", "_paint", "_lay") as read, timed(JpegCog, "add", "finish") as code:
            step(project, planned)
        spent["read"] += sum(read.values())
        spent["code"] += sum(code.values())

    works: dict[str, Callable[[], None]] = {
        "ours": ours,
        "gdal": lambda: step(by_gdal(project), planned),
        "auto": lambda: gdal_cog(vrt, grid, BLOCK, home / "auto.tif", "AUTO", warp),
        "none": lambda: gdal_cog(vrt, grid, BLOCK, home / "none.tif", "NONE", warp),
    }
    if warp:
        works["vrt"] = lambda: warped_read(vrt, grid, BLOCK)
    else:
        works["loop"] = lambda: window_loop(vrt, grid, BLOCK, home / "tiles")
        works["turbo"] = turbo(pixels, size)
    own = {name: works.pop(name) for name in ("ours", "turbo") if name in works}
    for work in own.values():  # imports and first use are not the work
        clock(work)
    spent.update(read=0.0, code=0.0)
    cost = medians(repeats, **own)  # before GDAL's scripts, as in a run: what they leave of memory costs ours 6 %
    clock(works["none"])
    cost |= medians(repeats, **works)
    all_, area = cost["ours"].cpu, size**2 / 1e6

    def row(name: str, key: str) -> tuple[Any, ...]:
        return name, cost[key].cpu, area / cost[key].cpu, f"{cost[key].cpu / all_:.2f}", cost[key].wall

    def share(name: str, seconds: float) -> tuple[Any, ...]:
        return f"  of which {name}", seconds / repeats, "", f"{seconds / repeats / all_:.2f}", ""

    rows = [
        row("groundplan, step (make, save, describe)", "ours"),
        share("read sheets, decode" + (", warp" if warp else ""), spent["read"]),
        share("overviews, digests of edges, encode, file", spent["code"]),
        row('groundplan, imagery.reader = "gdal"', "gdal"),
        row(f"script: {'WarpedVRT' if warp else 'read'} -> COG, OVERVIEWS=AUTO", "auto"),
        row("script: the same, no overviews", "none"),
    ]
    base, held = json.loads(in_fresh_process(project.home))
    memory = bar(f"peak MiB of a process that cuts it, above its imports ({base:.0f})", held - base, 300, at_most=True)
    if warp:
        rows.append(row("script: WarpedVRT, read and warp alone", "vrt"))
        times = cost["vrt"].cpu / (spent["read"] / repeats)
        return [*rows, bar("times WarpedVRT, read and warp alone", times, 4), memory]
    rows.append(row("script: loop over 512 windows -> JPEG files", "loop"))
    rows.append(row("limit: libjpeg-turbo decode + encode", "turbo"))
    bars = [
        bar("share of the limit", cost["turbo"].cpu / all_, 0.65),
        bar("times GDAL's COG driver, with overviews", cost["auto"].cpu / all_, 8),
        bar("times the loop over windows", cost["loop"].cpu / all_, 5),
        memory,
        bar("times one block at once, two blocks at once (wall)", at_once(project, planned), 1.8),
    ]
    return [*rows, *bars]


def at_once(project: Any, planned: Any) -> float:
    """Wall seconds of four blocks one after the other, over those of two at a time: the better of two runs each."""

    def wall(workers: int) -> float:
        with ThreadPoolExecutor(workers) as pool:
            return clock(lambda: list(pool.map(lambda _: step(project, planned), range(4)))).wall

    return min(wall(1) for _ in range(2)) / min(wall(2) for _ in range(2))


def jpeg_2000(home: Path, size: int, repeats: int, pixels: np.ndarray) -> list[tuple[Any, ...]]:
    """All blocks of a region from JPEG 2000: each tile decoded once for all of them, or by each block that shows it."""
    project = new_project(home, size)
    lay_sheets(project, pixels, (100, 100, 2 * size - 100, 2 * size - 100), (3000, 3000), form=("jp2", JP2))
    run_step(project, catalog.DATASET, PARTITION)
    told: dict[str, int] = {}

    def cut(gib: float) -> None:
        run = project.settings.run.model_copy(update={"scratch": gib})
        project.store.delete([item.key for item in project.store.list() if tiles.DATASET in item.key])
        asked = replace(project, settings=project.settings.model_copy(update={"run": run}))
        told.update(run_step(asked, tiles.DATASET, PARTITION).told)

    cut(4.0)  # imports and first use are not the work
    sheets = tiles.catalog_of(project, PARTITION).sheets
    many = sum(-(-sheet.width // TILE_JP2) * -(-sheet.height // TILE_JP2) for sheet in sheets)
    kept = sum(told.values())
    cost = medians(repeats, once=lambda: cut(4.0), each=lambda: cut(0.0))
    area = (2 * size - 200) ** 2 / 1e6
    rows = [
        (name, cost[key].cpu, area / cost[key].cpu, f"{cost[key].cpu / cost['once'].cpu:.2f}", cost[key].wall)
        for key, name in {
            "once": f"each of {many} tiles decoded once; {kept} kept for other blocks",
            "each": f"run.scratch = 0: by each block, {shown(project)} or more decoded",
        }.items()
    ]
    return [*rows, bar("times decoding by each block", cost["each"].cpu / cost["once"].cpu, 1)]


def shown(project: Any) -> int:
    """How many tiles of sheets all blocks show, each counted for each block."""
    found, n, grid = 0, project.grid.block_size, project.grid
    for planned in tiles.plan(project, PARTITION):
        block, sheets = planned.needs
        left, _, _, top = grid.bounds(block)
        for sheet in sheets:
            across = (left - sheet.transform[2]) / grid.resolution, sheet.width
            down = (sheet.transform[5] - top) / grid.resolution, sheet.height
            col, row = (
                -(-min(start + n, side) // TILE_JP2) - max(0, start) // TILE_JP2 for start, side in (across, down)
            )
            found += max(0, round(col)) * max(0, round(row))
    return found


def bar(name: str, value: float, wanted: float, at_most: bool = False) -> tuple[Any, ...]:
    met = value <= wanted if at_most else value >= wanted
    sign = "<=" if at_most else ">="
    return f"bar: {name}", f"{value:.3g}", f"{sign} {wanted:g}", "met" if met else "not met", ""


def in_fresh_process(home: Path) -> str:
    """MiB of a process after its imports, and its peak when it has cut the first block of a project; as JSON."""
    command = [sys.executable, "-m", "benchmarks.cutting", "--child", str(home)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]


def child(home: Path) -> None:
    import geopandas  # noqa: F401 (what a step imports is no part of its growth)
    import rasterio.warp  # noqa: F401

    project = open_project(home)
    planned = next(one for one in tiles.plan(project, PARTITION) if one.name == BLOCK.name)
    keep_memory()
    base = peak()
    step(project, planned)
    print(json.dumps([base, peak()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=8192, help="pixels of the block's side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--image", type=Path, help="take pixels from this 3-band file instead of the invented town")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = arguments(parser, size=1024, repeats=1)
    if given.child:
        child(given.child)
        return
    keep_memory()  # as a run that cuts blocks does
    pixels = picture(given.image)
    for crs, kind in ((CRS, "sheets on the grid's pixels"), (FOREIGN, "sheets in another CRS, resampled (cubic)")):
        with scratch() as home:
            rows = measure(home / "gp", given.size, given.repeats, pixels, crs)
        columns = ("work", "cpu-s / block", "MPx / cpu-s", "cpu / ours", "wall s")
        note = f"median of {given.repeats}; pixels of {given.image.name if given.image else 'the invented town'}"
        show(f"Cutting one block of {given.size} px: {kind}", columns, rows, [note])
    with scratch() as home:
        rows = jpeg_2000(home / "gp", max(1024, given.size // 4), given.repeats, pixels)
    columns = ("work", "cpu-s", "MPx / cpu-s", "cpu / ours", "wall s")
    show(f"Cutting 2 x 2 blocks of {max(1024, given.size // 4)} px: JPEG 2000", columns, rows, [note])


if __name__ == "__main__":
    main()

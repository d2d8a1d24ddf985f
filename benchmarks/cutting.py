"""Cutting: the tile step's megapixels per processor-second, beside what a script would do with the same sheets.

    python -m benchmarks.cutting [--size 8192] [--repeats 3] [--image FILE] [--small]

One block from JPEG-in-TIFF sheets of 5000 x 4000 pixels that lie on the grid's pixels but not on its blocks; then one
from sheets in another CRS, which are resampled.
Against: rasterio read -> dataset in memory -> GDAL's COG driver (JPEG q90, OVERVIEWS=AUTO and none); a rasterio loop
that writes a JPEG file per 512 window; for the resampled one, WarpedVRT over all sheets -> COG driver. All read the
sheets through one VRT. The limit is libjpeg-turbo (Pillow's): decode as many 512 tiles as the block has, encode as
many, nothing else.
Bound by: what the lines "of which" say. The ground is an invented town, mirrored until it fills the sheets, or the
pixels of `--image`: rates follow the entropy of the pixels, so compare within one run only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import arguments, clock, medians, show, timed
from benchmarks.ground import CRS, FOREIGN, PARTITION, lay_sheets, new_project, picture, scratch
from benchmarks.peers import gdal_cog, mosaic, turbo, window_loop
from groundplan.core.grid import Block
from groundplan.core.materialize import Cancellation
from groundplan.imagery import catalog, tiles
from groundplan.pipeline import run_step
from groundplan.raster import cog

BLOCK = Block(0, 0)


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
    """The tile step as a build runs it: make, save, describe."""
    data = tiles.make(project, planned, Cancellation()).data
    project.store.put(planned.key, data)
    tiles.describe(data)


def measure(home: Path, size: int, repeats: int, pixels: np.ndarray, crs: str) -> list[tuple[Any, ...]]:
    project, planned, vrt = prepared(home, size, pixels, crs)
    warp, grid = crs != CRS, project.grid
    spent = {"all": 0.0, "read_onto": 0.0, "write": 0.0, "describe": 0.0}

    def ours() -> None:
        with timed(catalog, "read_onto") as read, timed(cog, "write") as write, timed(tiles, "describe") as describe:
            spent["all"] += clock(lambda: step(project, planned)).cpu
        for name, seconds in (read | write | describe).items():
            spent[name] += seconds

    works: dict[str, Callable[[], None]] = {
        "ours": ours,
        "auto": lambda: gdal_cog(vrt, grid, BLOCK, home / "auto.tif", "AUTO", warp),
        "none": lambda: gdal_cog(vrt, grid, BLOCK, home / "none.tif", "NONE", warp),
    }
    if not warp:
        works["loop"] = lambda: window_loop(vrt, grid, BLOCK, home / "tiles")
        works["turbo"] = turbo(pixels, size)
    clock(works["none"])  # imports and first use are not the work
    cost = medians(repeats, **works)
    all_, area = cost["ours"].cpu, size**2 / 1e6
    overviews = cost["auto"].cpu - cost["none"].cpu

    def row(name: str, key: str) -> tuple[Any, ...]:
        return name, cost[key].cpu, area / cost[key].cpu, f"{cost[key].cpu / all_:.2f}", cost[key].wall

    def share(name: str, seconds: float) -> tuple[Any, ...]:
        return f"  of which {name}", seconds, "", f"{seconds / all_:.2f}", ""

    mean = {name: seconds / spent["all"] * all_ for name, seconds in spent.items()}
    rows = [
        row("groundplan, step (make, save, describe)", "ours"),
        share("read sheets" + (" and warp" if warp else ""), mean["read_onto"]),
        share("write COG", mean["write"]),
        share("  its overviews (as in the script)", overviews),
        share("describe (mask, digests of edges)", mean["describe"]),
        row(f"script: {'WarpedVRT' if warp else 'read'} -> COG, OVERVIEWS=AUTO", "auto"),
        row("script: the same, no overviews", "none"),
    ]
    if not warp:
        rows.append(row("script: loop over 512 windows -> JPEG files", "loop"))
        rows.append(row("limit: libjpeg-turbo decode + encode", "turbo"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=8192, help="pixels of the block's side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--image", type=Path, help="take pixels from this 3-band file instead of the invented town")
    given = arguments(parser, size=1024, repeats=1)
    pixels = picture(given.image)
    for crs, kind in ((CRS, "sheets on the grid's pixels"), (FOREIGN, "sheets in another CRS, resampled (cubic)")):
        with scratch() as home:
            rows = measure(home / "gp", given.size, given.repeats, pixels, crs)
        columns = ("work", "cpu-s / block", "MPx / cpu-s", "cpu / ours", "wall s")
        note = f"median of {given.repeats}; pixels of {given.image.name if given.image else 'the invented town'}"
        show(f"Cutting one block of {given.size} px: {kind}", columns, rows, [note])


if __name__ == "__main__":
    main()

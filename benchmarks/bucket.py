"""A block out of a bucket: whole by a few ranges, beside windows through /vsis3; and whether prediction waits for it.

    python -m benchmarks.bucket [--size 8192] [--repeats 3] [--delay 0.02] [--blocks 6] [--block 2048] [--small]

A stored aerial block (JPEG, with overviews) on an S3 server of this machine that takes `--delay` seconds for each
answer (slow_s3.py). Ours: the whole block as a device's prediction reads it, and the windows of a prediction cut out of
it; and as processors read it, in rows, decoded by GDAL. Against, in the same run: rasterio reading the same windows
through /vsis3, with the settings that guides to COGs in buckets name (GDAL below): windows that overlap, as a script
has them (512 pixels, stride 384), row by row and in any order; and, its best case, the file's own tiles, each once.
Then a region of `--blocks` blocks of `--block` pixels is predicted on processors out of the bucket (default network,
random weights, new projects' settings), the next block fetched while one is predicted, and with nothing fetched ahead:
the share of the wall time in which no block is being predicted though one is still to be.
Bars: at most 20 requests, 12 times /vsis3, 5 % waiting.
Bound by: decoding, for the whole block; for /vsis3 by decoding too while windows come row by row, as it then asks for
2 MB at a time, and in any order by the delay times its requests. Wall seconds: what is measured is waiting.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.collections import BUCKET, server
from benchmarks.common import arguments, show
from benchmarks.ground import (
    CRS,
    ORIGIN,
    PARTITION,
    RESOLUTION,
    commit_model,
    lay_sheets,
    new_project,
    picture,
    scratch,
    trained,
)
from benchmarks.peers import STRIDE, WINDOW
from benchmarks.slow_s3 import asked
from groundplan import config
from groundplan.core.grid import Block
from groundplan.core.store import open_store
from groundplan.footprints import predictions
from groundplan.footprints.on_device import StoredInput
from groundplan.imagery import catalog, tiles
from groundplan.pipeline import run_step
from groundplan.project import open_project
from groundplan.raster.halo import open_with_halo
from groundplan.step import run_step_of

MOST_REQUESTS, TIMES, WAITING = 20, 12, 0.05
GDAL = {
    "AWS_HTTPS": "NO",
    "AWS_VIRTUAL_HOSTING": "FALSE",
    "AWS_NO_SIGN_REQUEST": "YES",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_CACHEMAX": 200 << 20,
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": "5000000",
}
Corners = list[tuple[int, int]]
"""Left and top of windows of WINDOW pixels."""


def corners(size: int, stride: int) -> Corners:
    """Windows that cover a block; the last ones end at its edge."""
    starts = [*range(0, size - WINDOW, stride), size - WINDOW]
    return [(left, top) for top in starts for left in starts]


def region(home: Path, block: int, blocks: int) -> Any:
    """A project in a folder with aerial tiles of so many blocks in two rows, of one block in one."""
    project = new_project(home, block)
    rows = min(2, blocks)
    lay_sheets(project, picture(), (0, 0, -(-blocks // rows) * block, rows * block))
    for name in (catalog.DATASET, tiles.DATASET):
        run_step(project, name, PARTITION)
    return project


def in_bucket(home: Path, project: Any) -> Any:
    """The same project with its objects in a bucket."""
    store = f"s3://{BUCKET}/{home.name}"
    grid = {"crs": CRS, "resolution": RESOLUTION, "block_size": project.grid.block_size, "origin": ORIGIN}
    config.write(home, grid, store)
    found = open_project(home)
    for item in project.store.list():
        found.store.put(item.key, project.store.get(item.key))
    return found


# ---------------------------------------------------------------------------------------------------------- reading


def whole(store: Any, size: int, places: Corners, key: str) -> None:
    """As a device's prediction reads a block, and the windows that a script would ask for."""
    canvas = np.empty((size, size, 3), np.uint8)
    with ThreadPoolExecutor(2) as pool:
        StoredInput(store, {"": key}).own(canvas, pool, lambda: None)
    for left, top in places:
        canvas[top : top + WINDOW, left : left + WINDOW].copy()


def in_rows(project: Any, size: int, key: str) -> None:
    """As processors read it: a row of windows at a time, decoded by GDAL."""
    block = Block(0, 0)
    with open_with_halo(project.store, project.grid, block, 0, {block: key}) as ground:
        for top in range(0, size, 1024):
            ground.rows(top, min(size, top + 1024))


def vsis3(endpoint: str, places: Corners, path: str) -> None:
    import rasterio
    from rasterio.windows import Window

    with rasterio.Env(AWS_S3_ENDPOINT=endpoint, **GDAL), rasterio.open(f"/vsis3/{BUCKET}/{path}") as source:
        for left, top in places:
            source.read(window=Window(left, top, WINDOW, WINDOW))


def reading(home: Path, size: int, repeats: int, address: str) -> list[tuple[Any, ...]]:
    local = region(home / "local", size, 1)
    (made,) = [item for item in local.store.list(tiles.DATASET) if item.key.endswith(".tif")]
    data, store = local.store.get(made.key), open_store(f"s3://{BUCKET}/read")
    remote = replace(local, store=store)
    overlapping, own = corners(size, STRIDE), corners(size, WINDOW)
    mixed = random.Random(1).sample(overlapping, len(overlapping))
    endpoint = address.removeprefix("http://")
    works: dict[str, Callable[[str], None]] = {
        "whole": partial(whole, store, size, overlapping),
        "rows": partial(in_rows, remote, size),
        "windows": lambda key: vsis3(endpoint, overlapping, f"read/{key}"),
        "tiles": lambda key: vsis3(endpoint, own, f"read/{key}"),
        "any": lambda key: vsis3(endpoint, mixed, f"read/{key}"),
    }
    found: dict[str, list[tuple[float, float, int, int]]] = {name: [] for name in works}
    for turn in range(repeats):
        for name, work in works.items():
            key = f"{name}{turn}.tif"  # of its own: GDAL remembers what it read of an address
            store.put(key, data)
            asked(address)
            begin, cpu = time.perf_counter(), time.process_time()
            work(key)
            spent = time.perf_counter() - begin, time.process_time() - cpu
            found[name].append((*spent, *asked(address)))
            store.delete([key])
    return rows_of(size, len(overlapping), len(own), found)


def rows_of(size: int, overlapping: int, own: int, found: dict[str, Any]) -> list[tuple[Any, ...]]:
    middle = {
        name: [statistics.median(one[place] for one in all_) for place in range(4)] for name, all_ in found.items()
    }
    names = {
        "whole": f"whole by ranges, tiles decoded once, {overlapping} windows cut out (a device's way)",
        "rows": "whole by one request, in rows by GDAL (the processors' way)",
        "windows": f"/vsis3, the same {overlapping} windows, stride {STRIDE}",
        "tiles": f"/vsis3, {own} windows that are the file's tiles",
        "any": f"/vsis3, the {overlapping} windows in any order",
    }
    base = middle["whole"][0]
    rows: list[tuple[Any, ...]] = [
        (names[key], wall, cpu, f"{requests:.0f}", size_ / 1e6, f"{wall / base:.1f}")
        for key, (wall, cpu, requests, size_) in middle.items()
    ]
    requests, times = middle["whole"][2], middle["windows"][0] / base
    return [
        *rows,
        bar("requests for the block", requests, MOST_REQUESTS, at_most=True),
        bar("times /vsis3, the same windows (wall)", times, TIMES),
        bar("times /vsis3, the same windows in any order (wall)", middle["any"][0] / base, TIMES),
    ]


def bar(name: str, value: float, wanted: float, at_most: bool = False) -> tuple[Any, ...]:
    met = value <= wanted if at_most else value >= wanted
    return (
        f"bar: {name}",
        f"{value:.3g}",
        f"{'<=' if at_most else '>='} {wanted:g}",
        "met" if met else "not met",
        "",
        "",
    )


# ------------------------------------------------------------------------------------------------------- predicting


@contextmanager
def turns() -> Iterator[list[tuple[float, float]]]:
    """When a block was predicted: begin and end."""
    found: list[tuple[float, float]] = []
    real = predictions._on_processors

    def noted(*args: Any) -> Any:
        begin = time.perf_counter()
        try:
            return real(*args)
        finally:
            found.append((begin, time.perf_counter()))

    with patch.object(predictions, "_on_processors", noted):
        yield found


def waiting(project: Any, step: Any) -> tuple[float, float, float]:
    """Wall seconds of a region's predictions, in how many of them no block was predicted, and how many to the first."""
    store = project.store
    gone = [item.key for item in store.list() if "predictions" in item.key]
    store.delete(gone)
    with turns() as found:
        begin = time.perf_counter()
        run_step_of(project, step, PARTITION)
    end = max(last for _, last in found)
    return end - begin, end - begin - sum(last - first for first, last in found), min(found)[0] - begin


def predicting(home: Path, block: int, blocks: int) -> list[tuple[Any, ...]]:
    project = in_bucket(home / "remote", region(home / "folder", block, blocks))
    settings = project.settings
    new = settings.predict.model_copy(update={"precision": "auto", "views": "unsure", "runtime": "openvino"})
    project = replace(project, settings=settings.model_copy(update={"predict": new}))
    commit_model(project, *trained(0))
    step = predictions.STEP
    waiting(project, step)  # compiling the network is not the work
    ways = {
        "the next block is fetched while one is predicted": step,
        "nothing is fetched ahead": replace(step, at_once=None),
    }
    rows: list[tuple[Any, ...]] = []
    shares = []
    for name, each in ways.items():
        wall, idle, first = waiting(project, each)
        shares.append(idle / wall)
        rows.append((name, wall, idle, first, f"{idle / wall:.1%}", f"{(idle - first) / wall:.1%}"))
    met = "met" if shares[0] <= WAITING else "not met"
    rows.append(
        ("bar: share of the time in which prediction waits", f"{shares[0]:.1%}", f"<= {WAITING:.0%}", met, "", "")
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=8192, help="pixels of the side of the block that is read")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds that the server takes for each answer")
    parser.add_argument("--blocks", type=int, default=6, help="blocks that are predicted")
    parser.add_argument("--block", type=int, default=2048, help="pixels of their sides")
    given = arguments(parser, size=1024, repeats=1, blocks=2, block=512)
    note = f"{1000 * given.delay:.0f} ms a request"
    with server(given.delay) as address, scratch() as home:
        rows = reading(home, given.size, given.repeats, address)
        columns = ("work", "wall s", "cpu s", "requests", "MB", "wall / ours")
        show(f"A block of {given.size} px out of a bucket", columns, rows, [f"{note}; median of {given.repeats}"])
        rows = predicting(home, given.block, given.blocks)
        columns = ("predicting", "wall s", "waiting s", "of which first", "waiting", "without the first")
        title = f"{given.blocks} blocks of {given.block} px predicted out of a bucket, on processors"
        show(title, columns, rows, [f"{note}; one run"])


if __name__ == "__main__":
    main()

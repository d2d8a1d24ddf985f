"""What the benchmarks share: invented ground, projects on it, a network, clocks, a table.

Here: making work to measure, and saying what was measured. Not here: any figure, and no verdict: nothing here gates.

Times are processor-seconds (user + system, all threads of the process) unless a column says wall: on a machine that
others use too, wall time is not about the code.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

CRS = "EPSG:28992"
FOREIGN = "EPSG:25831"  # turned by two degrees against CRS here
ORIGIN = (182_400.0, 447_600.0)
RESOLUTION = 0.25
YEAR, REGION = 2024, "north"


# ------------------------------------------------------------------------------------------------ clocks and tables


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one piece of work."""

    cpu: float
    wall: float


def clock(work: Callable[[], Any]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def medians(repeats: int, **works: Callable[[], Any]) -> dict[str, Cost]:
    """Each work `repeats` times, in turns, so that a busy minute falls on all of them; the median of each."""
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            costs[name].append(clock(work))
    return {
        name: Cost(statistics.median(c.cpu for c in all_), statistics.median(c.wall for c in all_))
        for name, all_ in costs.items()
    }


@contextmanager
def timed(module: Any, *names: str) -> Iterator[Counter[str]]:
    """Within this context, functions of `module` add their processor-seconds to a counter (one thread at a time)."""
    spent: Counter[str] = Counter()

    def wrap(name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def outer(*args: Any, **options: Any) -> Any:
            begin = time.process_time()
            try:
                return inner(*args, **options)
            finally:
                spent[name] += time.process_time() - begin

        return outer

    with patch.multiple(module, **{name: wrap(name, getattr(module, name)) for name in names}):
        yield spent


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], notes: Sequence[str] = ()) -> None:
    """Print one table, and under which circumstances it came about."""
    from rich.console import Console
    from rich.table import Table

    out = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    out.print(table)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    for note in (*notes, f"{when}; {machine()}; load {load}"):
        out.print(note, highlight=False, soft_wrap=True)


def machine() -> str:
    """Cores and kind of the processor; no names."""
    facts = dict(
        (part.strip() for part in line.split(":", 1))
        for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        if ":" in line
    )
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in facts.get("flags", "").split()]
    kind = f"{facts.get('vendor_id', '?')} family {facts.get('cpu family', '?')} model {facts.get('model', '?')}"
    return f"{len(os.sched_getaffinity(0))} cores, {kind}, {', '.join(flags)}"


# ------------------------------------------------------------------------------------------------ ground and projects


@lru_cache(maxsize=1)
def town() -> tuple[np.ndarray, Any]:
    """An invented town: pixels uint8 (3, H, W) and its place (EPSG:28992, 0.3 m)."""
    from groundplan import synthetic
    from groundplan.synthetic_draw import paint

    place = synthetic.plan(7, 400.0, synthetic.REGIONS[:1], (YEAR,))
    return np.ascontiguousarray(paint(place, YEAR, 0).rgb.transpose(2, 0, 1)), place


def picture(file: Path | None = None) -> np.ndarray:
    """Pixels uint8 (3, H, W) to build sheets from: of a file, or of the invented town."""
    if file is None:
        return town()[0]
    import rasterio

    with rasterio.open(file) as source:
        return source.read([1, 2, 3])


def part(pixels: np.ndarray, col: int, row: int, width: int, height: int) -> np.ndarray:
    """A window of the endless ground that mirrors `pixels` in both directions."""
    def mirrored(start: int, count: int, side: int) -> np.ndarray:
        place = np.arange(start, start + count) % (2 * side)
        return np.where(place < side, place, 2 * side - 1 - place)

    rows, cols = mirrored(row, height, pixels.shape[1]), mirrored(col, width, pixels.shape[2])
    return np.ascontiguousarray(pixels[:, rows[:, None], cols])


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="groundplan-benchmark-") as folder:
        yield Path(folder)


def new_project(home: Path, block_size: int) -> Any:
    from groundplan import config
    from groundplan.project import open_project

    grid = {"crs": CRS, "resolution": RESOLUTION, "block_size": block_size, "origin": ORIGIN}
    config.write(home, grid, "")
    return open_project(home)


def lay_sheets(project: Any, pixels: np.ndarray, ground: tuple[int, int, int, int], side: tuple[int, int] = (5000, 4000),
               crs: str = CRS) -> Any:  # fmt: skip
    """Deliver JPEG-in-TIFF sheets (512 tiles, q92) of `side` pixels that cover `ground` and end there.

    ground: (left, top, right, bottom) in pixels from the grid's origin, or from the same point in another CRS.
    """
    import rasterio
    from affine import Affine
    from rasterio.warp import transform

    from groundplan.blocks import Partition
    from groundplan.project import landing_prefix

    (x,), (y,) = transform(CRS, crs, [ORIGIN[0]], [ORIGIN[1]])
    x, y = (round(value / RESOLUTION) * RESOLUTION for value in (x, y))
    partition = Partition(YEAR, REGION)
    folder = project.store.local_path(landing_prefix(partition))
    folder.mkdir(parents=True, exist_ok=True)
    for top in range(ground[1], ground[3], side[1]):
        for left in range(ground[0], ground[2], side[0]):
            width, height = min(side[0], ground[2] - left), min(side[1], ground[3] - top)
            place = Affine(RESOLUTION, 0, x + left * RESOLUTION, 0, -RESOLUTION, y - top * RESOLUTION)
            with rasterio.open(
                folder / f"{left}_{top}.tif", "w", driver="GTiff", count=3, dtype="uint8", width=width, height=height,
                crs=crs, transform=place, tiled=True, blockxsize=512, blockysize=512, compress="jpeg",
                photometric="ycbcr", jpeg_quality=92,
            ) as sheet:  # fmt: skip
                sheet.write(part(pixels, left, top, width, height))
    return partition


def commit(project: Any, dataset: str, partition: Any, planned: Sequence[Any],
           make: Callable[[Any], tuple[bytes, dict[str, Any]]]) -> None:  # fmt: skip
    """Make and commit planned objects with a stand-in for the step's own work."""
    from groundplan.blocks import Output, make_blocks
    from groundplan.steps import STEPS

    version = STEPS[dataset].version
    make_blocks(project.store, dataset, partition, version, planned, lambda one, _: Output(*make(one)))


# ------------------------------------------------------------------------------------------------ a network


def settings(resolution: float = RESOLUTION, steps: int = 1) -> Any:
    from groundplan.train import TrainSettings

    return TrainSettings(
        encoder_weights="none", grid_resolution=resolution, resolution=resolution, minutes=60.0, steps=steps,
        batch=4, seed=7,
    )  # fmt: skip


def trained(steps: int) -> tuple[dict[str, Any], bytes]:
    """State and ONNX graph of the default network with random weights from a seed, after `steps` steps on the town."""
    from groundplan import network
    from groundplan.labels import draw
    from groundplan.train import Scene, train

    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # else torch's waiting threads burn what is to be measured
    chosen = settings(steps=max(1, steps))
    if steps == 0:
        import torch

        torch.manual_seed(chosen.seed)
        state = network.build(chosen).state_dict()
        return state, network.export(state, chosen)
    import shapely

    from groundplan.config import LabelSettings
    from groundplan.grid import Block, Grid

    pixels, place = town()
    side = min(pixels.shape[1:]) // 256 * 256
    grid = Grid(CRS, place.frame.resolution, side, (place.frame.left, place.frame.top))
    buildings = np.array([building.footprint() for building in place.buildings if building.stands(YEAR)])
    classes = draw(buildings, shapely.box(*grid.bounds(Block(0, 0))), grid, Block(0, 0), LabelSettings())
    scene = Scene(np.ascontiguousarray(pixels[:, :side, :side]), classes)
    learned = train([scene], [], chosen, load=lambda: None, save=lambda data: None)
    return learned.state, network.export(learned.state, chosen)


def commit_model(project: Any, state: dict[str, Any], onnx: bytes) -> None:
    """Let the project have this network as its year's model."""
    from dataclasses import asdict

    from groundplan import models
    from groundplan.blocks import Partition, Planned
    from groundplan.outlines import Thresholds
    from groundplan.train import Trained

    card = {
        "year": YEAR, "bands": [1, 2, 3], "resolution": project.grid.resolution, "steps": 0, "validation": None,
        "test": None, "settings_print": models.settings_print(project), "thresholds": asdict(Thresholds()),
    }  # fmt: skip
    data = models.pack(Trained(state, [], 0, 0.0), onnx, card)
    planned = Planned("model", "benchmark", f"{models.DATASET}/{YEAR}/model-benchmark.zip")
    commit(project, models.DATASET, Partition(YEAR), [planned], lambda _: (data, models.describe(data)))


# ------------------------------------------------------------------------------------------------ the store


@dataclass(frozen=True)
class Requests:
    """What a watched store was asked for: how often, and for how many seconds, by verb."""

    count: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)


def watched(project: Any) -> tuple[Any, Requests]:
    """The project with a store that counts and times its requests."""
    from groundplan.store import Store

    requests = Requests()

    @dataclass(frozen=True)
    class Watched(Store):
        def _try(self, thing: str, verb: str, operation: Callable[[], Any]) -> Any:
            begin = time.perf_counter()
            try:
                return super()._try(thing, verb, operation)
            finally:
                requests.count[verb] += 1
                requests.seconds[verb] += time.perf_counter() - begin

    store = project.store
    return replace(project, store=Watched(store.url, store.client, store.root, store.retries)), requests

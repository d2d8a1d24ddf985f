"""What the benchmarks work on: invented ground, sheets and projects on it, a network.

Here: making inputs, the same ones every time. Not here: clocks (common.py), peers (peers.py), figures.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from groundplan.core.manifest import Planned
from groundplan.core.materialize import Destination, Output, make_blocks
from groundplan.core.partition import Partition

CRS = "EPSG:28992"
FOREIGN = "EPSG:25831"  # turned by two degrees against CRS here
ORIGIN = (182_400.0, 447_600.0)
RESOLUTION = 0.25
JPEG: Mapping[str, Any] = {
    "driver": "GTiff",
    "tiled": True,
    "blockxsize": 512,
    "blockysize": 512,
    "compress": "jpeg",
    "photometric": "ycbcr",
    "jpeg_quality": 92,
}
JP2: Mapping[str, Any] = {"driver": "JP2OpenJPEG", "quality": 15, "blockxsize": 1024, "blockysize": 1024}
"""Lossy, as national deliveries are."""
YEAR = 2024
PARTITION = Partition(YEAR, "north")


@lru_cache(maxsize=1)
def town() -> tuple[np.ndarray, Any]:
    """An invented town: pixels uint8 (3, H, W) and its place (EPSG:28992, 0.3 m)."""
    from groundplan.synthetic import country
    from groundplan.synthetic.paint import paint

    place = country.plan(7, 400.0, country.REGIONS[:1], (YEAR,), country.DUTCH)
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


def lay_sheets(
    project: Any,
    pixels: np.ndarray,
    ground: tuple[int, int, int, int],
    side: tuple[int, int] = (5000, 4000),
    crs: str = CRS,
    form: tuple[str, Mapping[str, Any]] = ("tif", JPEG),
) -> None:
    """Deliver sheets of `side` pixels that cover `ground` and end there.

    ground: (left, top, right, bottom) in pixels from the grid's origin, or from the same point in another CRS.
    form: ending and profile of the files; unless said, JPEG-in-TIFF (512 tiles, q92).
    """
    import rasterio
    from affine import Affine
    from rasterio.warp import transform

    from groundplan.imagery.landing import landing_prefix

    (x,), (y,) = transform(CRS, crs, [ORIGIN[0]], [ORIGIN[1]])
    x, y = (round(value / RESOLUTION) * RESOLUTION for value in (x, y))
    folder = project.store.local_path(landing_prefix(PARTITION))
    folder.mkdir(parents=True, exist_ok=True)
    for top in range(ground[1], ground[3], side[1]):
        for left in range(ground[0], ground[2], side[0]):
            width, height = min(side[0], ground[2] - left), min(side[1], ground[3] - top)
            place = Affine(RESOLUTION, 0, x + left * RESOLUTION, 0, -RESOLUTION, y - top * RESOLUTION)
            with rasterio.open(
                folder / f"{left}_{top}.{form[0]}",
                "w",
                count=3,
                dtype="uint8",
                width=width,
                height=height,
                crs=crs,
                transform=place,
                **form[1],
            ) as sheet:
                sheet.write(part(pixels, left, top, width, height))


def commit(
    project: Any, dataset: str, planned: Sequence[Planned], make: Callable[[Planned], tuple[bytes, dict[str, Any]]]
) -> None:
    """Make and commit planned objects with a stand-in for the step's own work."""
    from groundplan.pipeline import STEPS

    step = STEPS[dataset]
    partition = PARTITION if not step.scope.wide else Partition(YEAR)
    make_blocks(
        Destination(store=project.store, dataset=dataset, partition=partition, version=step.version),
        planned,
        lambda one, _: Output(*make(one)),
    )


# ----------------------------------------------------------------------------------------------------- a network


def settings(resolution: float = RESOLUTION, steps: int = 1) -> Any:
    from groundplan.training.settings import TrainSettings

    return TrainSettings(
        encoder_weights="none",
        grid_resolution=resolution,
        resolution=resolution,
        minutes=60.0,
        steps=steps,
        batch=4,
        seed=7,
    )


def trained(steps: int) -> tuple[dict[str, Any], bytes]:
    """State and ONNX graph of the default network with random weights from a seed, after `steps` steps on the town."""
    from groundplan.labels.masks import draw
    from groundplan.training import network
    from groundplan.training.export import export
    from groundplan.training.loop import train
    from groundplan.training.scenes import Scene

    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # else torch's waiting threads burn what is to be measured
    chosen = settings(steps=max(1, steps))
    if steps == 0:
        import torch

        torch.manual_seed(chosen.seed)
        state = network.build(chosen).state_dict()
        return state, export(state, chosen)
    import shapely

    from groundplan.config import LabelSettings
    from groundplan.core.grid import Block, Grid

    pixels, place = town()
    side = min(pixels.shape[1:]) // 256 * 256
    grid = Grid(CRS, place.frame.resolution, side, (place.frame.left, place.frame.top))
    buildings = np.array([building.footprint() for building in place.buildings if building.stands(YEAR)])
    classes = draw(buildings, shapely.box(*grid.bounds(Block(0, 0))), grid, Block(0, 0), LabelSettings())
    scene = Scene(np.ascontiguousarray(pixels[:, :side, :side]), classes)
    learned = train([scene], [], chosen, load=lambda: None, save=lambda data: None)
    return learned.state, export(learned.state, chosen)


def commit_model(project: Any, state: dict[str, Any], onnx: bytes) -> None:
    """Let the project have this network as its year's model."""
    from dataclasses import asdict

    from groundplan.polygons.instances import Thresholds
    from groundplan.training import models
    from groundplan.training.loop import Trained

    card = {
        "year": YEAR,
        "bands": [1, 2, 3],
        "resolution": project.grid.resolution,
        "steps": 0,
        "validation": None,
        "test": None,
        "settings_print": models.settings_fingerprint(project),
        "thresholds": asdict(Thresholds()),
    }
    data = models.pack(Trained(state, [], 0, 0.0), onnx, card)
    planned = Planned(name="model", fingerprint="benchmark", key=f"{models.DATASET}/{YEAR}/model-benchmark.zip")
    commit(project, models.DATASET, [planned], lambda _: (data, models.describe(data)))

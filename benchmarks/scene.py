"""The same scene, the same network: from a file of pixels to probabilities, by us and by what others use.

    python -m benchmarks.scene [--size 2048] [--small]

Others that are not installed are left out of the table. To have them, in an environment of its own (Python 3.11), with
a file ours.txt of the lines geopandas>=1.1, pydantic>=2.10 and boto3>=1.35, since eo-grow asks for older ones:

    uv pip install --override ours.txt '.[train]' 'torchgeo<0.9' terratorch geoai-py segment-geospatial
                   rastervision-pytorch-learner eo-grow 'setuptools<81'
    uv pip install --no-deps terratorch==1.2.13

(One of eo-grow's needs asks for the older setuptools; that terratorch for a torchgeo that is for Python 3.12.) All of
them get the same network in the same torch, since torch runs it the same for all; ours runs it in OpenVINO. So each
ratio has two parts, and a row says what of it is OpenVINO: the window loop there. Each runs once over a corner before,
so that nobody's imports are counted. "Not network": the cost with a network that does nothing. "Near": pixels on the
same side of 0.5 as with windows of 1,280 px in float32; "at tile borders": the same of pixels within 8 of the borders
of 512 px tiles. With --steps 0 all probabilities lie near 0.5, so that both say nothing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import arguments, medians, show
from benchmarks.ground import CRS, ORIGIN, RESOLUTION, part, scratch, settings, town, trained
from benchmarks.scene_eogrow import eogrow_patches
from benchmarks.scene_peers import (
    BUFFER,
    STRIDE,
    WINDOW,
    Network,
    buffered_tiles,
    geoai_tiled,
    rastervision_windows,
    samgeo_blocks,
    stored,
    terratorch_tiled,
    torchgeo_grid,
)
from groundplan.inference.precision import Precision
from groundplan.inference.runtime import Runtime, load
from groundplan.inference.second_view import Views
from groundplan.inference.sliding_window import predict_canvas

CORE, MARGIN = 1024, 128
BORDER = 8  # pixels
OURS: dict[str, tuple[Precision, Views]] = {
    "ours, f32, one view": ("f32", 1),
    "ours, auto, one view": ("auto", 1),
    "ours, auto, a second view by need (new projects)": ("auto", "unsure"),
    "ours, f32, two views (nothing set)": ("f32", 2),
}
Way = Callable[[Path, Network, Path], np.ndarray]
PEERS: dict[str, Way] = {  # by the package that it comes in
    "terratorch": terratorch_tiled,
    "torchgeo": torchgeo_grid,
    "rastervision-pytorch-learner": rastervision_windows,
    "geoai-py": geoai_tiled,
    "segment-geospatial": samgeo_blocks,
    "eo-grow": eogrow_patches,
}


def there() -> dict[str, Way]:
    """The peers that this environment has, with their versions."""
    ways: dict[str, Way] = {f"robosat's way: {WINDOW} tiles, buffer {BUFFER}": buffered_tiles}
    for package, way in PEERS.items():
        with suppress(PackageNotFoundError):
            ways[f"{package} {version(package)}"] = way
    return ways


def in_torch(state: dict[str, Any], threads: int) -> Network:
    """The network as all scripts run it: torch, float32, a window at a time."""
    import torch

    from groundplan.training import network

    torch.set_num_threads(threads)
    layers = network.load_state(state, settings())

    def run(window: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(torch.sigmoid(layers(torch.from_numpy(window.astype(np.float32))[None]))[0].numpy())

    return run


def idle(window: np.ndarray) -> np.ndarray:
    """A network that costs nothing: what is left is the way's own work."""
    return np.full((2, *window.shape[1:]), 0.25, np.float32)


def in_openvino(runtime: Runtime) -> Network:
    return lambda window: runtime.predict(window).astype(np.float32) / 255


def write_scene(file: Path, size: int) -> None:
    import rasterio
    from affine import Affine

    place = Affine(RESOLUTION, 0, ORIGIN[0], 0, -RESOLUTION, ORIGIN[1])
    shape = {"count": 3, "height": size, "width": size, "dtype": "uint8"}
    with rasterio.open(file, "w", driver="GTiff", crs=CRS, transform=place, tiled=True, **shape) as target:
        target.write(part(town()[0], 0, 0, size, size))


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def loop(scene: Path, network: Network, _: Path) -> np.ndarray:
    """Windows of a scene, averaged where they overlap: what a short script does."""
    import rasterio

    with rasterio.open(scene) as source:
        side = source.width
        total, times = np.zeros((2, side, side), np.float32)
        starts = [*range(0, side - WINDOW, STRIDE), side - WINDOW]
        for top, left in product(starts, starts):
            place = np.s_[top : top + WINDOW, left : left + WINDOW]
            window = source.read(window=rasterio.windows.Window(left, top, WINDOW, WINDOW))
            total[place] += network(window)[0]
            times[place] += 1
    return stored(total / times.clip(1))


def ours(runtime: Runtime, scene: Path, core: int) -> np.ndarray:
    import rasterio

    with rasterio.open(scene) as source:
        image = np.pad(source.read(), ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    return predict_canvas(runtime, image, np.ones(image.shape[1:], bool), core, MARGIN)[0]


def saved(work: Callable[[], np.ndarray], name: str, folder: Path, found: dict[str, np.ndarray]) -> None:
    """All of them end with a file."""
    import cv2

    found[name] = work()
    cv2.imwrite(str(folder / "probabilities.png"), found[name])


def agreement(found: np.ndarray, exact: np.ndarray) -> tuple[str, str]:
    same = (found > 127) == (exact > 127)
    at = np.minimum(np.arange(len(same)) % WINDOW, WINDOW - 1 - np.arange(len(same)) % WINDOW) < BORDER
    return f"{same.mean():.2%}", f"{same[at[:, None] | at].mean():.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048, help="pixels of the scene's side, a multiple of 512")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--steps", type=int, default=60, help="training steps of the network, 0 for none")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    given = arguments(parser, size=512, steps=1)
    state, onnx = trained(given.steps)
    core = min(CORE, given.size)
    runtimes = {name: load(onnx, threads=given.threads, precision=how[0], views=how[1]) for name, how in OURS.items()}
    one = next(iter(runtimes.values()))
    found: dict[str, np.ndarray] = {}
    with scratch() as folder:
        scene, corner = folder / "scene.tif", folder / "corner.tif"
        write_scene(scene, given.size)
        write_scene(corner, WINDOW)
        network = in_torch(state, given.threads)
        ways: dict[str, Callable[[], np.ndarray]] = {
            name: partial(ours, runtime, scene, core) for name, runtime in runtimes.items()
        }
        ways["script: window loop, our OpenVINO f32"] = partial(loop, scene, in_openvino(one), folder)
        others: dict[str, Way] = {"script: window loop, torch": loop, **there()}
        for name, way in others.items():
            way(corner, idle, made(folder / "corner"))  # importing is not the work
            ways[name] = partial(way, scene, network, made(folder / "scene"))
        for side in (core + 2 * MARGIN, WINDOW):  # compiling is not the work
            for runtime in runtimes.values() if side != WINDOW else [one]:
                runtime.predict(np.zeros((3, side, side), np.uint8))
        network(np.zeros((3, WINDOW, WINDOW), np.uint8))
        cost = medians(given.repeats, **{name: partial(saved, way, name, folder, found) for name, way in ways.items()})
        alone = {name: partial(way, scene, idle, folder / "scene") for name, way in others.items()}
        without = medians(given.repeats, **alone)
    new = cost[list(OURS)[2]].cpu
    exact = found[next(iter(OURS))]
    rows = [
        (
            name,
            given.size**2 / 1e6 / cost[name].cpu,
            cost[name].cpu / new,
            cost[name].wall,
            f"{without[name].cpu / cost[name].cpu:.1%}" if name in without else "",
            *agreement(found[name], exact),
        )
        for name in ways
    ]
    columns = ("way", "MPx / cpu-s", "cost, of new projects'", "wall s", "not network", "near", "at tile borders")
    notes = [f"scene of {given.size} px, {given.threads} threads, median of {given.repeats}"]
    notes += [f"not installed: {name}" for name in PEERS if not any(way.startswith(f"{name} ") for way in ways)]
    show("The same scene, the same network: file to probabilities", columns, rows, notes)


if __name__ == "__main__":
    main()

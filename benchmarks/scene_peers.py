"""What others do with a scene and a network: their ways, as scripts, for benchmarks/scene.py.

Here: tiles of a web map with buffers, the way of robosat; torchgeo's and terratorch's own loops where they are
installed. Each reads the scene from its file and ends with probabilities of building in a file. Not here: our own step.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

WINDOW, STRIDE = 512, 384
BUFFER = 32  # pixels that a tile gets from those beside it

Network = Callable[[np.ndarray], np.ndarray]
"""uint8 (3, h, w) to float32 (2, h, w)."""


def buffered_tiles(scene: Path, network: Network, folder: Path) -> np.ndarray:
    """Tiles z/x/y: cut to files, each read with a buffer from the eight beside it, predicted alone, kept as PNG."""
    import cv2
    import rasterio

    with rasterio.open(scene) as source:
        side = source.width
        places = list(product(range(side // WINDOW), repeat=2))
        for x, y in places:
            tile = source.read(window=rasterio.windows.Window(x * WINDOW, y * WINDOW, WINDOW, WINDOW))
            (folder / "18" / str(x)).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / "18" / str(x) / f"{y}.png"), np.ascontiguousarray(tile.transpose(1, 2, 0)))
    for x, y in places:
        wide = np.zeros((WINDOW * 3, WINDOW * 3, 3), np.uint8)
        for dx, dy in product((-1, 0, 1), repeat=2):
            if (file := folder / "18" / str(x + dx) / f"{y + dy}.png").exists():
                top, left = (dy + 1) * WINDOW, (dx + 1) * WINDOW
                wide[top : top + WINDOW, left : left + WINDOW] = cv2.imread(str(file))
        seen = wide[WINDOW - BUFFER : 2 * WINDOW + BUFFER, WINDOW - BUFFER : 2 * WINDOW + BUFFER]
        found = network(np.ascontiguousarray(seen.transpose(2, 0, 1)))[0, BUFFER:-BUFFER, BUFFER:-BUFFER]
        cv2.imwrite(str(folder / f"{x}_{y}.png"), (found * 255).astype(np.uint8))
    whole = np.zeros((side, side), np.uint8)
    for x, y in places:
        tile = cv2.imread(str(folder / f"{x}_{y}.png"), cv2.IMREAD_GRAYSCALE)
        whole[y * WINDOW : (y + 1) * WINDOW, x * WINDOW : (x + 1) * WINDOW] = tile
    return whole


def torchgeo_grid(scene: Path, network: Network, _: Path) -> np.ndarray:
    """torchgeo's dataset, its grid sampler and torch's loader, windows averaged where they overlap."""
    import rasterio
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    data = RasterDataset(str(scene))
    sampler = GridGeoSampler(data, size=WINDOW, stride=STRIDE)
    with rasterio.open(scene) as source:
        place, side = source.transform, source.width
    total, times = np.zeros((2, side + 2 * WINDOW, side + 2 * WINDOW), np.float32)  # its last windows leave the scene
    windows = list(sampler)
    loader = DataLoader(data, batch_size=1, sampler=windows, collate_fn=stack_samples)
    for where, sample in zip(windows, loader, strict=True):
        x, y = where[0], where[1]
        left, top = WINDOW + round((x.start - place.c) / place.a), WINDOW + round((y.stop - place.f) / place.e)
        found = network(sample["image"][0].numpy().astype(np.uint8))[0]
        total[top : top + WINDOW, left : left + WINDOW] += found
        times[top : top + WINDOW, left : left + WINDOW] += 1
    return (total / times.clip(1) * 255).astype(np.uint8)[WINDOW:-WINDOW, WINDOW:-WINDOW]


def terratorch_tiled(scene: Path, network: Network, _: Path) -> np.ndarray:
    """terratorch's tiled inference over the whole scene in memory, with its own blending."""
    import rasterio
    import torch

    loop = _module("terratorch", "tasks/tiled_inference.py").tiled_inference
    with rasterio.open(scene) as source:
        image = torch.from_numpy(source.read())[None].float()

    def forward(batch: Any, **_: Any) -> Any:
        return torch.stack([torch.from_numpy(network(one.numpy().astype(np.uint8))) for one in batch])

    found = loop(forward, image, crop=WINDOW, stride=STRIDE, batch_size=1)
    return (found[0, 0].numpy() * 255).astype(np.uint8)


def there() -> dict[str, Callable[[Path, Network, Path], np.ndarray]]:
    """The peers that this environment has."""
    ways: dict[str, Callable[[Path, Network, Path], np.ndarray]] = {
        f"robosat's way: {WINDOW} tiles, buffer {BUFFER}": buffered_tiles
    }
    for name, way in (("torchgeo", torchgeo_grid), ("terratorch", terratorch_tiled)):
        if importlib.util.find_spec(name):
            ways[f"{name}: {WINDOW} windows, stride {STRIDE}"] = way
    return ways


def _module(package: str, file: str) -> Any:
    """One file of an installed package, without what the whole package needs and this file does not."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    if "terratorch.models.utils" not in sys.modules:  # it asks for one function, of images that do not fill a patch
        for name in ("terratorch", "terratorch.models", "terratorch.models.utils"):
            sys.modules[name] = types.ModuleType(name)
        sys.modules["terratorch.models.utils"].pad_images = lambda images, *_, **__: images  # type: ignore[attr-defined]
    place = importlib.util.spec_from_file_location("tiled", Path(spec.submodule_search_locations[0]) / file)
    assert place is not None
    assert place.loader is not None
    found = importlib.util.module_from_spec(place)
    place.loader.exec_module(found)
    return found

"""What others do with a scene and a network: their ways, as scripts, for benchmarks/scene.py.

Here: tiles of a web map with buffers, the way of robosat; the own loops of torchgeo, terratorch, raster-vision, geoai
and samgeo, which need these installed. Each reads the scene from its file and returns probabilities of building, uint8
(h, w). Not here: our own step; eo-grow (scene_eogrow.py); which are installed (scene.py).
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

WINDOW, STRIDE = 512, 384
BUFFER = 32  # pixels that a tile gets from those beside it

Network = Callable[[np.ndarray], np.ndarray]
"""uint8 (3, h, w) to float32 (2, h, w)."""


def stored(found: np.ndarray) -> np.ndarray:
    """Probabilities 0 to 1 as all of them are kept: 0 to 255, rounded as our runtime rounds."""
    return (found * 255 + 0.5).astype(np.uint8)


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
        cv2.imwrite(str(folder / f"{x}_{y}.png"), stored(found))
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
    return stored(total / times.clip(1))[WINDOW:-WINDOW, WINDOW:-WINDOW]


def terratorch_tiled(scene: Path, network: Network, _: Path) -> np.ndarray:
    """terratorch's tiled inference over the whole scene in memory, with its own blending."""
    import rasterio
    import torch

    unused = ("terratorch.models.utils", "pad_images")
    loop = _module("terratorch", "tasks/tiled_inference.py", unused).tiled_inference
    with rasterio.open(scene) as source:
        image = torch.from_numpy(source.read())[None].float()

    def forward(batch: Any, **_: Any) -> Any:
        return torch.stack([torch.from_numpy(network(one.numpy().astype(np.uint8))) for one in batch])

    found = loop(forward, image, crop=WINDOW, stride=STRIDE, batch_size=1)
    return stored(found[0, 0].numpy())


def rastervision_windows(scene: Path, network: Network, _: Path) -> np.ndarray:
    """raster-vision's sliding windows, its learner's prediction and its sums of scores, in float16 as it keeps them."""
    from rastervision.core.data import ClassConfig, SemanticSegmentationLabels
    from rastervision.pytorch_learner import (
        SemanticSegmentationGeoDataConfig,
        SemanticSegmentationLearner,
        SemanticSegmentationLearnerConfig,
        SemanticSegmentationSlidingWindowGeoDataset,
    )

    classes = ClassConfig(names=["building", "background"])
    data = SemanticSegmentationSlidingWindowGeoDataset.from_uris(
        image_uri=str(scene), class_config=classes, size=WINDOW, stride=STRIDE, normalize=False
    )
    settings = SemanticSegmentationLearnerConfig(
        data=SemanticSegmentationGeoDataConfig(class_config=classes, num_workers=0)  # its time is this process's
    )
    learner = SemanticSegmentationLearner(settings, model=_layers(network, _as_two_classes), training=False)
    options = {"raw_out": True, "numpy_out": True, "progress_bar": False, "dataloader_kw": {"batch_size": 1}}
    found = learner.predict_dataset(data, **options)
    labels = SemanticSegmentationLabels.from_predictions(data.windows, found, data.scene.extent, 2, smooth=True)
    return stored(labels.get_score_arr(data.scene.extent)[0])


def geoai_tiled(scene: Path, network: Network, folder: Path) -> np.ndarray:
    """geoai's inference from a GeoTIFF to a GeoTIFF, with its own blending."""
    from geoai.inference import predict_geotiff

    target = folder / "geoai.tif"
    predict_geotiff(
        _layers(network, lambda found: found[:1]),
        str(scene),
        str(target),
        tile_size=WINDOW,
        overlap=WINDOW - STRIDE,
        batch_size=1,
        preprocess_fn=lambda tile: tile,
        device="cpu",
        verbose=False,
    )
    return stored(read_band(target))


def samgeo_blocks(scene: Path, network: Network, folder: Path) -> np.ndarray:
    """samgeo's blocks with a bound, of which the middle is kept; our network in the place of SAM."""
    from samgeo.common import tiff_to_tiff

    def predict(block: np.ndarray, **_: Any) -> np.ndarray:
        return stored(network(np.ascontiguousarray(block.transpose(2, 0, 1)))[0])

    bound = (WINDOW - STRIDE) // 2
    target = folder / "samgeo.tif"
    tiff_to_tiff(str(scene), str(target), predict, sample_size=(STRIDE, STRIDE), bound=bound, erosion_kernel=None)
    return read_band(target)


def _layers(network: Network, heads: Callable[[np.ndarray], np.ndarray]) -> Any:
    """The network as a torch module, for loops that ask for one: float32 (n, 3, h, w) of 0 to 255 to (n, c, h, w)."""
    import torch

    class Layers(torch.nn.Module):
        def forward(self, batch: Any) -> Any:
            return torch.stack([torch.from_numpy(heads(network(one.numpy().astype(np.uint8)))) for one in batch])

    return Layers()


def _as_two_classes(found: np.ndarray) -> np.ndarray:
    """Scores whose softmax is the probability of building, and the rest: for a loop that takes a softmax itself."""
    inside = found[0].clip(1e-6, 1 - 1e-6)
    return np.stack([np.log(inside / (1 - inside)), np.zeros_like(inside)])


def read_band(file: Path) -> np.ndarray:
    import rasterio

    with rasterio.open(file) as source:
        return np.asarray(source.read(1))


def _module(package: str, file: str, unused: tuple[str, str]) -> Any:
    """One file of an installed package without the rest; `unused`: module and name that it imports and never calls."""
    outer = importlib.util.find_spec(package)
    assert outer is not None
    assert outer.submodule_search_locations
    place = importlib.util.spec_from_file_location("tiled", Path(outer.submodule_search_locations[0]) / file)
    assert place is not None
    assert place.loader is not None
    found = importlib.util.module_from_spec(place)
    where, name = unused
    parts = where.split(".")
    empty = {".".join(parts[:count]): types.ModuleType(where) for count in range(1, len(parts) + 1)}
    setattr(empty[where], name, None)
    with patch.dict(sys.modules, empty):
        place.loader.exec_module(found)
    return found

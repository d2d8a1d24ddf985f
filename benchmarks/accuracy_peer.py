"""What torchgeo's segmentation task finds on the same ground, learned from the same ground, in `--steps` steps.

    GROUND="--home gp --region banepa --truth buildings.geojson --extent extent.geojson --work peer"
    python -m benchmarks.accuracy_peer prepare $GROUND
    /other/venv/bin/python -m benchmarks.accuracy_peer learn --work peer --weights mobilenet_v2.safetensors
    python -m benchmarks.accuracy_peer score $GROUND

The project is built first (`groundplan build`). `learn` runs in an environment of its own with torchgeo 0.8, geopandas
and safetensors, and imports nothing of ours: U-Net on MobileNetV2 with ImageNet weights, cross-entropy, torchgeo's
samplers, batches of 8 x 256 px turned, flipped, recoloured, windows of 512 with overlap averaged, outlines simplified
by 0.3 m, those below 15 m2 dropped. Both are scored by the same function on each split of the same ground.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

YEAR = 2022
UNKNOWN = 255
BATCH, CROP, WINDOW, STRIDE = 8, 256, 512, 384
SIMPLIFY, SMALLEST = 0.3, 15.0  # m, m2


def prepare(home: Path, region: str, truth: Path, extent: Path, work: Path) -> None:
    """image.tif and mask.tif (1 building, 0 ground, 255 not to be learned from) of the region's blocks."""
    import geopandas as gpd
    import numpy as np
    import rasterio
    import rasterio.features
    from rasterio.io import MemoryFile
    from rasterio.merge import merge

    from groundplan.core.manifest import need_manifest
    from groundplan.core.partition import Partition
    from groundplan.project import open_project
    from groundplan.training.split import SPLITS, split_of

    project = open_project(home)
    objects = need_manifest(project.store, "aerial_tiles", Partition(YEAR, region)).objects
    files = [MemoryFile(project.store.get(made.key)) for made in objects.values()]
    image, transform = merge([file.open() for file in files], indexes=[1, 2, 3])
    size = image.shape[1:]
    xs = transform.c + (np.arange(size[1]) + 0.5) * transform.a
    ys = transform.f + (np.arange(size[0]) + 0.5) * transform.e
    train = split_of(xs[None, :], ys[:, None], project.settings.split.cell) == SPLITS.index("train")
    real, ground = (gpd.read_file(path).to_crs(project.grid.crs).geometry for path in (truth, extent))
    mask = rasterio.features.rasterize(real, size, transform=transform)
    known = rasterio.features.rasterize(ground, size, transform=transform).astype(bool)
    mask[~(train & known & image.any(axis=0))] = UNKNOWN
    work.mkdir(parents=True, exist_ok=True)
    for name, bands in (("image", image), ("mask", mask[None])):
        (work / name).mkdir(exist_ok=True)
        with rasterio.open(
            work / name / f"{name}.tif", "w", driver="GTiff", dtype="uint8", count=len(bands), height=size[0],
            width=size[1], transform=transform, crs=project.grid.crs,
        ) as target:  # fmt: skip
            target.write(bands)


def learn(work: Path, weights: Path, steps: int, seed: int) -> None:
    """Train and predict with torchgeo; found.gpkg."""
    import lightning
    import torch
    from kornia import augmentation
    from safetensors.torch import load_file
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import RandomGeoSampler
    from torchgeo.trainers import SemanticSegmentationTask

    class Image(RasterDataset):
        filename_glob = "image.tif"

    class Mask(RasterDataset):
        filename_glob = "mask.tif"
        is_image = False

    lightning.seed_everything(seed)
    both = Image(work / "image") & Mask(work / "mask")
    sampler = RandomGeoSampler(both, size=CROP, length=steps * BATCH)
    loader = DataLoader(both, batch_size=BATCH, sampler=sampler, collate_fn=stack_samples)
    task = SemanticSegmentationTask(
        model="unet", backbone="mobilenet_v2", weights=None, in_channels=3, task="multiclass", num_classes=2,
        loss="ce", ignore_index=UNKNOWN, lr=1e-3,
    )  # fmt: skip
    ours = task.model.encoder.state_dict()
    found = {name: value for name, value in load_file(weights).items() if name in ours}
    assert len(found) > 200, "these are no weights of torchvision's mobilenet_v2"
    task.model.encoder.load_state_dict({**ours, **found})
    change = augmentation.AugmentationSequential(
        augmentation.RandomHorizontalFlip(),
        augmentation.RandomVerticalFlip(),
        augmentation.RandomRotation(degrees=180.0, p=0.5),
        augmentation.ColorJitter(0.2, 0.2, 0.2, 0.02, p=0.7), data_keys=None, keepdim=True,
        extra_args={"mask": {"padding_mode": "border"}},
    )  # fmt: skip
    mean, deviation = (torch.tensor(part).view(1, 3, 1, 1) for part in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps, pct_start=0.1)
    task.model.train().to(memory_format=torch.channels_last)
    for number, batch in enumerate(loader):
        image, mask = batch["image"].float() / 255, batch["mask"].float()
        mask = mask.unsqueeze(1) if mask.ndim == 3 else mask
        changed = change({"image": image, "mask": mask})
        inputs = ((changed["image"] - mean) / deviation).contiguous(memory_format=torch.channels_last)
        loss = task.criterion(task.model(inputs), changed["mask"].squeeze(1).round().long())
        if torch.isfinite(loss):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        if number % 25 == 0:
            print(f"step {number} of {steps}, loss {float(loss):.3f}", flush=True)
    _outline(work, task.model.eval(), mean, deviation)


def _outline(work: Path, model: Any, mean: Any, deviation: Any) -> None:
    """Windows averaged where they overlap, the mask's outlines simplified."""
    import geopandas as gpd
    import numpy as np
    import rasterio
    import rasterio.features
    import shapely
    import torch

    with rasterio.open(work / "image" / "image.tif") as source:
        image, transform, crs = source.read(), source.transform, source.crs
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (0, WINDOW), (0, WINDOW)), mode="reflect")
    total, times = np.zeros(padded.shape[1:], np.float32), np.zeros(padded.shape[1:], np.float32)
    with torch.inference_mode():
        for top in range(0, height, STRIDE):
            for left in range(0, width, STRIDE):
                place = np.s_[top : top + WINDOW, left : left + WINDOW]
                part = torch.from_numpy(padded[:, place[0], place[1]].copy())[None].float() / 255
                building = model((part - mean) / deviation).softmax(1)[0, 1]
                total[place] += building.float().numpy()
                times[place] += 1
    mask = ((total / times.clip(1))[:height, :width] > 0.5) & image.any(axis=0)
    pieces = rasterio.features.shapes(mask.astype(np.uint8), mask, transform=transform)
    outlines = [shapely.make_valid(shapely.simplify(shapely.geometry.shape(piece), SIMPLIFY)) for piece, _ in pieces]
    kept = [outline for outline in outlines if outline.area >= SMALLEST and outline.geom_type == "Polygon"]
    gpd.GeoDataFrame(geometry=kept, crs=crs).to_file(work / "found.gpkg")
    print(f"{len(kept)} outlines")


def score(home: Path, region: str, truth: Path, extent: Path, work: Path) -> dict[str, Any]:
    """The peer's outlines and the project's footprints, on each split."""
    import dataclasses

    import geopandas as gpd
    import shapely

    from groundplan.core.partition import Partition
    from groundplan.footprints import footprints
    from groundplan.polygons import metrics
    from groundplan.project import open_project
    from groundplan.quality.scores import scored_ground

    project = open_project(home)
    partition = Partition(YEAR, region)
    real, ground = (gpd.read_file(path).to_crs(project.grid.crs) for path in (truth, extent))
    area = shapely.union_all(ground.geometry.values)
    found = {"groundplan": footprints.load_around(project, partition), "torchgeo": gpd.read_file(work / "found.gpkg")}
    result: dict[str, Any] = {}
    for split in ("test", "validation", "train", "all"):
        scored = scored_ground(project, partition, area, split)
        for who, frame in found.items():
            scores = metrics.score(
                frame, real, area=scored, resolution=project.grid.resolution, boundary=project.settings.quality.boundary
            )
            result[f"{split} {who}"] = dataclasses.asdict(scores)
    return result


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("what", choices=["prepare", "learn", "score"])
    for name in ("home", "truth", "extent", "work", "weights"):
        asked.add_argument(f"--{name}", type=Path)
    asked.add_argument("--region")
    asked.add_argument("--steps", type=int, default=810)
    asked.add_argument("--seed", type=int, default=1)
    given = asked.parse_args()
    if given.what == "learn":
        learn(given.work, given.weights, given.steps, given.seed)
    elif given.what == "prepare":
        prepare(given.home, given.region, given.truth, given.extent, given.work)
    else:
        print(json.dumps(score(given.home, given.region, given.truth, given.extent, given.work), indent=1, default=str))


if __name__ == "__main__":
    main()

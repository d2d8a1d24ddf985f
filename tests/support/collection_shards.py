"""Small collections for tests: pictures that can be told apart, and features that need no network.

Here: drawing class folders, and committing features as the real step would. Not here: what is expected of them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from groundplan.collections import catalog
from groundplan.collections.classification import classifier
from groundplan.collections.descriptors import features, reduced, shards
from groundplan.collections.files import images_prefix
from groundplan.collections.report import report
from groundplan.core.manifest import Planned, fingerprint, need_manifest, object_key
from groundplan.core.materialize import Cancellation, Destination, Output, Report, make_blocks
from groundplan.core.partition import ClassPartition
from groundplan.project import Project

WIDTH = 24  # features of an image
CLASSES = ("Äpfel, rot", "Birnen [alt]", "Zitronen | gelb")


def draw(folder: Path, labels: tuple[str, ...] = CLASSES, count: int = 12, seed: int = 0) -> Path:
    """Class folders of 48 x 48 pixel images, a colour and a texture for each class, each image its own."""
    from PIL import Image

    for label in labels:
        mark = int.from_bytes(hashlib.sha256(label.encode()).digest()[:4], "big")
        own = np.random.default_rng(mark)
        base, wave = own.integers(40, 215, 3), own.uniform(0.15, 1.2, 2)
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            random = np.random.default_rng([seed, mark, number])
            y, x = np.mgrid[:48, :48]
            pattern = 40 * np.sin(wave[0] * x + wave[1] * y + random.uniform(0, 6))
            shade = random.normal(0, 12, (6, 6, 3)).repeat(8, 0).repeat(8, 1)  # looks of its own, not a near-duplicate
            pixels = np.clip(base + pattern[..., None] + shade, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"bild {number:02d}.jpg", quality=92)
    return folder


def deliver(project: Project, folder: Path, collection: str) -> None:
    """The files of class folders into the store, as they are."""
    for file in sorted(folder.glob("*/*")):
        key = f"{images_prefix(ClassPartition(collection, file.parent.name))}/{file.name}"
        project.store.put(key, file.read_bytes())


def write_catalog(project: Project, partition: ClassPartition) -> None:
    def make(planned: Planned, check: Cancellation) -> Output:
        data = catalog.make(project, planned, check).data
        return Output(data, catalog.describe(data))

    plan = catalog.plan(project, partition)
    make_blocks(
        Destination(store=project.store, dataset=catalog.DATASET, partition=partition, version=catalog.VERSION),
        plan,
        make,
    )


def feature(label: str, digest: str) -> np.ndarray:
    """float32 (WIDTH,): the class's centre, and what follows from the image's bytes."""
    center = np.random.default_rng(int.from_bytes(hashlib.sha256(label.encode()).digest()[:4], "big"))
    own = np.random.default_rng(int(digest[:8], 16))
    spread = 2.0 * 0.8 ** np.arange(WIDTH)
    return (center.normal(0, 2, WIDTH) + own.normal(0, 1, WIDTH) * spread).astype(np.float32)


def write_features(project: Project, partition: ClassPartition, shard: int = 5) -> None:
    """Commit `image_features` of a catalogued class, `shard` images to an object."""
    frame = catalog.load(project, partition)
    frame = frame[frame["state"] == "ok"].reset_index(drop=True)
    plan = []
    for number, start in enumerate(range(0, len(frame), shard)):
        part = frame.iloc[start : start + shard]
        mark = fingerprint(digests=part["digest"].tolist(), splits=part["split"].tolist())
        key = object_key(features.DATASET, partition, f"s{number:03d}", mark, ".parquet")
        plan.append(Planned(name=f"s{number:03d}", fingerprint=mark, key=key, inputs=(), args=part))

    def make(planned: Planned, _check: Cancellation) -> Output:
        part = planned.args
        rows = [feature(*pair) for pair in zip(part["label"], part["digest"], strict=True)]
        return Output(shards.to_parquet(part.to_dict("records"), np.stack(rows)), {"images": len(part)})

    make_blocks(
        Destination(store=project.store, dataset=features.DATASET, partition=partition, version="synthetic"), plan, make
    )


def features_of(project: Project, collection: str) -> tuple[np.ndarray, np.ndarray]:
    """All features in memory, and the split of each image: what an oracle works on."""
    rows, splits = [], []
    for each in catalog.classes(project, collection):
        for made in need_manifest(project.store, features.DATASET, each).objects.values():
            frame, part = shards.from_parquet(project.store.get(made.key))
            rows.append(part)
            splits.append(frame["split"].to_numpy())
    return np.concatenate(rows), np.concatenate(splits)


def step(project: Project, name: str, partition: ClassPartition) -> Report:
    plan, make, describe, version = {
        reduced.SUMS: (reduced.plan_sums, reduced.make_sums, reduced.describe_sums, reduced.SUMS_VERSION),
        reduced.AXES: (reduced.plan_axes, reduced.make_axes, reduced.describe_axes, reduced.AXES_VERSION),
        reduced.DATASET: (reduced.plan, reduced.make, reduced.describe, reduced.VERSION),
        classifier.DATASET: (classifier.plan, classifier.make, classifier.describe, classifier.VERSION),
        report.DATASET: (
            report.plan,
            report.make,
            report.describe,
            report.VERSION,
        ),
    }[name]

    def made(planned: Planned, check: Cancellation) -> Output:
        data = make(project, planned, check).data
        return Output(data, describe(data))

    return make_blocks(
        Destination(store=project.store, dataset=name, partition=partition, version=version),
        plan(project, partition),
        made,
        describe=describe,
    )


def reduce(project: Project) -> dict[str, list[str]]:
    """All steps of the collection `fruits`: `class/object` that was made, by dataset."""
    made: dict[str, list[str]] = {}
    classes = catalog.classes(project, "fruits")
    order = [(reduced.SUMS, each) for each in classes] + [(reduced.AXES, ClassPartition("fruits"))]
    for name, each in order + [(reduced.DATASET, each) for each in classes]:
        made.setdefault(name, []).extend(f"{each.label}/{object_}" for object_ in step(project, name, each).made)
    return made

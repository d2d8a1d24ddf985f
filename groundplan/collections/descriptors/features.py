"""Features of a class: one Parquet per shard, float32, with key, class, digest, split and group.

Here: the step, and reading it. Not here: what the numbers are (encoders.py, visual_words.py), which shards there are
(shards.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from groundplan.collections import catalog
from groundplan.collections.descriptors import encoders, visual_words
from groundplan.collections.descriptors.shards import COLUMNS, from_parquet, shards, to_parquet
from groundplan.collections.files import check_same, images_prefix
from groundplan.collections.images.decode import decode, square
from groundplan.core.bulk import fetch
from groundplan.core.manifest import (
    Dataset,
    Planned,
    fingerprint,
    load_object,
    need_manifest,
    object_key,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import ClassPartition
from groundplan.project import Project
from groundplan.step import About, Scope, Step

if TYPE_CHECKING:
    import pandas as pd


class Facts(TypedDict):
    """What a manifest says of an object."""

    images: int
    features: int
    splits: dict[str, int]


DATASET: Dataset[Facts] = Dataset("image_features")
VERSION = "1"


Needs: TypeAlias = "tuple[ClassPartition, list[dict[str, Any]]]"
"""What an object is made from."""


def plan(project: Project, partition: ClassPartition) -> list[Planned[Needs]]:
    """The class's shards, each decided by its images' contents and splits and by what describes them.

    Raises MissingInput: the catalogue, or the visual words, have not been made.
    """
    frame = catalog.load(project, partition)
    good = frame[frame["state"] == "ok"]
    rows = {row["key"]: row for row in good[[*COLUMNS, "bytes"]].to_dict("records")}
    settings = project.settings.collections
    described_by = (
        encoders.encoder_fingerprint(project)
        if settings.features == "deep"
        else visual_words.vocabulary_fingerprint(project, partition)
    )
    found = []
    for name, keys in shards(rows, settings.shard).items():
        images = [[rows[key][column] for column in COLUMNS] for key in keys]
        digest = fingerprint(version=VERSION, features=described_by, limit=settings.max_pixels, images=images)
        key = object_key(DATASET, partition, name, digest, ".parquet")
        found.append(
            Planned(
                name=name,
                fingerprint=digest,
                key=key,
                inputs=(images_prefix(partition),),
                args=(partition, [rows[key] for key in keys]),
            )
        )
    return found


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """Fetch, decode and describe a shard's images, at most two batches of them in memory."""
    partition, rows = planned.needs
    began = time.process_time()
    found = squares(project, rows, check)
    if project.settings.collections.features == "deep":
        features = encoders.encoder(project)(found)
    else:
        features = visual_words.describe_images(visual_words.vocabulary(project, partition), found, project.workers)
    spent = round(time.process_time() - began, 4)  # of all threads; the step makes one object at a time
    return Output(to_parquet(rows, features), {"cpu_seconds": spent})


def squares(project: Project, rows: list[dict[str, Any]], check: Cancellation) -> Iterator[np.ndarray]:
    """Each image as RGB uint8 (size, size, 3), in the order of the rows. Raises StoreFailed for one that changed."""
    settings = project.settings.collections
    digests = {row["key"]: row["digest"] for row in rows}
    answers = fetch(project.store, [(row["key"], row["bytes"]) for row in rows], settings.concurrency)
    while chunk := list(islice(answers, 64)):
        check()
        for key, data in chunk:
            same = check_same(project, key, data, digests[key])
            yield square(decode(same, settings.max_pixels, settings.size).pixels, settings.size)


def describe(data: bytes) -> Facts:
    frame, features = from_parquet(data)
    splits = frame["split"].value_counts().sort_index()
    return {"images": len(frame), "features": features.shape[1], "splits": {str(k): int(v) for k, v in splits.items()}}


def load(project: Project, partition: ClassPartition) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows (key, label, digest, split, group) by key, and features float32 (N, D). Raises MissingInput.

    A class without a usable image has none: (0, 0).
    """
    import pandas as pd

    manifest = need_manifest(project.store, DATASET, partition)
    parts = [load_object(project.store, made, from_parquet) for made in manifest.objects.values()]
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=str) for name in COLUMNS}), np.zeros((0, 0), np.float32)
    frame = pd.concat([frame for frame, _ in parts], ignore_index=True).sort_values("key")
    features = np.concatenate([features for _, features in parts])[frame.index.to_numpy()]
    return frame.reset_index(drop=True), features


STEP: Step[ClassPartition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.CLASS,
    reads=(catalog.DATASET,),
    alone=True,
    accelerator=True,
    about=About(
        title="Image features: a row of numbers for each image",
        description="Deep features of an encoder, or a bag of visual words, float32, a row for each image. A shard is "
        "made once: a new image remakes one. The sums that components follow from are made with it.",
        group="collections",
        kinds=frozenset({"parquet", "openvino"}),
    ),
)

"""Bag of visual words: ORB corners of an image, counted against a vocabulary learned by k-means.

Here: grey, exposure, contrast and noise, OpenCV's ORB, learning the vocabulary (a step of its own, `visual_words`, one
object per collection), and counting. Not here: shards and files of features (features.py).

A vocabulary stays while its settings stay, like a trained model: a class that is added later must not remake the
others. Numbers do not depend on threads or on the order of sums: descriptors are bits, words are kept in whole 1024ths,
so every product and sum is a whole number that float32 holds exactly.
Sources: Rublee et al. 2011 (ORB); Csurka et al. 2004 (bag of visual words); Lloyd 1982 (k-means).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias, TypedDict

import numpy as np

from groundplan.collections import catalog
from groundplan.collections.files import check_same
from groundplan.collections.images.decode import decode, square
from groundplan.core.bulk import fetch
from groundplan.core.manifest import (
    Dataset,
    Planned,
    fingerprint,
    is_whole,
    load_object,
    need_manifest,
    object_key,
    readable_manifest,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import ClassPartition
from groundplan.errors import BadConfig, MissingInput
from groundplan.project import Project
from groundplan.step import Scope, Step


class Facts(TypedDict):
    """What a manifest says of an object."""

    words: int
    images: int
    settings: str
    sha256: str


DATASET: Dataset[Facts] = Dataset("visual_words")
VERSION = "1"
BITS = 256  # of an ORB descriptor
WHOLE = 1024  # parts of one that a word's coordinates are kept in
CORNERS = 300  # of an image, at most
SAMPLE_IMAGES = 1000  # of all classes together
SAMPLE_PER_WORD = 60  # descriptors
ROUNDS = 15
CHUNK = 64  # images at a time
ROWS = 4096  # descriptors compared at a time
EDGE = 16  # pixels at an image's edge in which no corner is looked for
FAINT = 10  # levels by which a corner must differ from its surroundings


@dataclass(frozen=True)
class Vocabulary:
    """words: uint16 (W, 256), in 1024ths; digests: SHA-256 of the images it was learned from."""

    words: np.ndarray
    digests: tuple[str, ...]
    settings: str


# -------------------------------------------------------------------------------------------------- corners


def corrected(square_: np.ndarray) -> np.ndarray:
    """Gray uint8 (H, W) of RGB uint8 (H, W, 3): exposure by gamma, contrast by CLAHE, noise by a median of 3 x 3."""
    import cv2

    gray = cv2.cvtColor(square_, cv2.COLOR_RGB2GRAY)
    middle = np.clip(gray.mean() / 255, 0.05, 0.95)
    gamma = np.clip(np.log(0.5) / np.log(middle), 0.4, 2.5)  # brings the mean near the middle
    levels = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return cv2.medianBlur(cv2.createCLAHE(2.0, (8, 8)).apply(levels[gray]), 3)


def corners(square_: np.ndarray) -> np.ndarray:
    """ORB descriptors uint8 (n, 32) of an RGB image uint8 (H, W, 3); n from 0 to `CORNERS`."""
    import cv2

    orb = cv2.ORB.create(nfeatures=CORNERS, edgeThreshold=EDGE, fastThreshold=FAINT)
    _, found = orb.detectAndCompute(corrected(square_), None)
    return np.zeros((0, BITS // 8), np.uint8) if found is None else found


def nearest_words(descriptors: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Nearest word of each descriptor uint8 (n, 32), Euclidean on its bits: int64 (n,); the first of equals."""
    # |x - w|^2 is least where x.w - w.w / 2 is largest; in 1024ths, all of it exact in float64
    half = (words.astype(np.int64) ** 2).sum(axis=1) / (2 * WHOLE)
    turned = words.T.astype(np.float32)
    nearest = np.zeros(len(descriptors), np.int64)
    for start in range(0, len(descriptors), ROWS):
        part = slice(start, start + ROWS)
        products = np.unpackbits(descriptors[part], axis=1).astype(np.float32) @ turned  # whole, below 2**24: exact
        nearest[part] = np.argmax(products - half, axis=1)
    return nearest


def describe_images(vocabulary: Vocabulary, squares: Iterable[np.ndarray], workers: int) -> np.ndarray:
    """Histograms of visual words, float32 (N, W); zeros for an image without corners."""
    count, parts, waiting = len(vocabulary.words), [], iter(squares)
    with ThreadPoolExecutor(workers, thread_name_prefix="words") as pool:
        while chunk := list(islice(waiting, CHUNK)):  # a pool's own map would hold all images
            found = list(pool.map(corners, chunk))
            each = np.array([len(one) for one in found])
            places = np.repeat(np.arange(len(found)), each) * count + nearest_words(
                np.concatenate(found), vocabulary.words
            )
            counts = np.bincount(places, minlength=len(found) * count).reshape(len(found), count)
            parts.append((counts / np.maximum(1, each)[:, None]).astype(np.float32))
    return np.concatenate(parts)


# ------------------------------------------------------------------------------------------------- the vocabulary


def learn_words(descriptors: np.ndarray, count: int) -> np.ndarray:
    """Exact k-means on bits: at most `count` words, uint16 (W, 256) in 1024ths, of descriptors uint8 (n, 32)."""
    distinct = np.unique(descriptors, axis=0)
    chosen = np.random.default_rng(7).permutation(len(distinct))[:count]
    words = np.unpackbits(distinct[np.sort(chosen)], axis=1).astype(np.uint16) * WHOLE
    bits = np.unpackbits(descriptors, axis=1).astype(np.float32)
    for _ in range(ROUNDS):
        nearest = nearest_words(descriptors, words)
        order = np.argsort(nearest, kind="stable")
        members = np.bincount(nearest, minlength=len(words))
        filled = np.flatnonzero(members)
        starts = np.concatenate([[0], np.cumsum(members)[:-1]])[filled]
        sums = np.add.reduceat(bits[order], starts, axis=0)  # whole numbers: exact
        moved = words.copy()  # a word without members stays where it is
        moved[filled] = np.rint(sums.astype(np.float64) * WHOLE / members[filled, None]).astype(np.uint16)
        if np.array_equal(moved, words):
            break
        words = moved
    return words


def settings_fingerprint(project: Project) -> str:
    settings = project.settings.collections
    return fingerprint(version=VERSION, words=settings.words, side=settings.size)


Needs: TypeAlias = "tuple[list[dict[str, Any]], str]"
"""What an object is made from."""


def plan(project: Project, partition: ClassPartition) -> list[Planned[Needs]]:
    """The committed vocabulary while its settings are the same; else one from a sample of all classes.

    partition: of the collection as a whole. Raises MissingInput: a class has no catalogue yet.
    """
    mine = settings_fingerprint(project)
    before = readable_manifest(project.store, DATASET, partition)
    if before and before.objects["words"].facts.get("settings") == mine and is_whole(project.store, before):
        made = before.objects["words"]
        return [Planned(name="words", fingerprint=made.fingerprint, key=made.key, inputs=made.inputs, args=None)]
    rows = _sample(project, partition)
    digest = fingerprint(settings=mine, images=[row["digest"] for row in rows])
    return [
        Planned(
            name="words",
            fingerprint=digest,
            key=object_key(DATASET, partition, "words", digest, ".parquet"),
            inputs=(),
            args=(rows, mine),
        )
    ]


def _sample(project: Project, partition: ClassPartition) -> list[dict[str, Any]]:
    """Catalogue rows of some training images of every class, the same share of each, by digest."""
    found = catalog.classes(project, partition.collection)
    each = max(1, SAMPLE_IMAGES // max(1, len(found)))
    rows: list[dict[str, Any]] = []
    for part in found:
        frame = catalog.load(project, part)
        good = frame[(frame["state"] == "ok") & (frame["split"] == "train")].sort_values("digest")
        rows += good.head(each)[["key", "digest", "bytes"]].to_dict("records")  # a digest is as good as a die
    return rows


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    rows, mine = planned.needs
    settings = project.settings.collections
    digests = {row["key"]: row["digest"] for row in rows}
    answers = fetch(project.store, [(row["key"], row["bytes"]) for row in rows], settings.concurrency)

    def one(answer: tuple[str, bytes | MissingInput]) -> np.ndarray:
        check()
        same = check_same(project, *answer, digests[answer[0]])
        return corners(square(decode(same, settings.max_pixels, settings.size).pixels, settings.size))

    with ThreadPoolExecutor(project.workers, thread_name_prefix="words") as pool:
        found: list[np.ndarray] = []
        while chunk := list(islice(answers, CHUNK)):
            found += pool.map(one, chunk)
    descriptors = np.concatenate([*found, np.zeros((0, BITS // 8), np.uint8)])
    if not len(descriptors):
        raise BadConfig("visual words", "no image of the sample has a corner", "Set collections.features to 'deep'")
    most = min(len(descriptors), settings.words * SAMPLE_PER_WORD)
    picked = descriptors[np.linspace(0, len(descriptors) - 1, most).astype(np.int64)]
    return Output(
        to_parquet(Vocabulary(learn_words(picked, settings.words), tuple(row["digest"] for row in rows), mine))
    )


def to_parquet(vocabulary: Vocabulary) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.FixedSizeListArray.from_arrays(pa.array(vocabulary.words.ravel()), BITS)
    metadata = json.dumps({"digests": vocabulary.digests, "settings": vocabulary.settings})
    buffer = io.BytesIO()
    table = pa.table({"word": column}).replace_schema_metadata({"groundplan:words": metadata})
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes) -> Vocabulary:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data)).combine_chunks()
    metadata = json.loads(table.schema.metadata[b"groundplan:words"])
    flat = table["word"].chunk(0).flatten().to_numpy(zero_copy_only=False)
    return Vocabulary(flat.reshape(-1, BITS), tuple(metadata["digests"]), metadata["settings"])


def describe(data: bytes) -> Facts:
    vocabulary = from_parquet(data)
    return {
        "words": len(vocabulary.words),
        "images": len(vocabulary.digests),
        "settings": vocabulary.settings,
        "sha256": hashlib.sha256(vocabulary.words.tobytes()).hexdigest(),
    }


def vocabulary(project: Project, partition: ClassPartition) -> Vocabulary:
    """The committed vocabulary of the partition's collection. Raises MissingInput."""
    made = need_manifest(project.store, DATASET, ClassPartition(partition.collection)).objects["words"]
    return load_object(project.store, made, from_parquet)


def vocabulary_fingerprint(project: Project, partition: ClassPartition) -> str:
    """Fingerprint of all that decides features by words, images aside. Raises MissingInput."""
    whole = ClassPartition(partition.collection)
    made = need_manifest(project.store, DATASET, whole).objects["words"]
    if made.facts.get("settings") != settings_fingerprint(project):
        remedy = f"Run `groundplan build {whole.options}`"
        raise MissingInput(f"{DATASET} of {whole}", "it was made with other settings", remedy)
    return fingerprint(words=made.facts["sha256"], version=VERSION)


STEP: Step[ClassPartition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.COLLECTION,
    reads=(catalog.DATASET,),
    comes_with="image_features",
    wanted=lambda settings: settings.collections.features == "orb",
    alone=True,
)

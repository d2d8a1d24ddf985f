"""Fine-tuned classifier of a collection: an encoder with its own head, one zip of graph, weights and card.

Here: which images teach, choose and test, the card, and where the checkpoint lies. Not here: the loop (fine_tuning.py),
or the linear classifier that is always made (classifier.py). Made where `collections.fine_tune` gives it minutes.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any, TypeAlias, TypedDict

import numpy as np

from groundplan.collections import catalog
from groundplan.collections.classification import calibration, linear
from groundplan.collections.descriptors import encoders, features, reduced
from groundplan.collections.descriptors.shards import COLUMNS
from groundplan.core.archive import packed
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
from groundplan.core.progress import current_progress
from groundplan.errors import MissingInput, ModelMismatch
from groundplan.project import Project
from groundplan.step import Scope, Step


class Facts(TypedDict):
    """What a manifest says of an object."""

    sha256: str
    classes: int
    steps: int
    temperature: float
    test_images: int
    test_accuracy: float | None
    calibration_error: float | None


DATASET: Dataset[Facts] = Dataset("tuned_classifier")
VERSION = "1"
STEPS_PER_MINUTE = 15.0  # of 16 images of 224 pixels; mobilenet_v2 made 13, looks included, on 2 busy processors
BATCH = 16
VALIDATION_IMAGES = 256  # validation images that choose the step; all of them choose the temperature
SPLITS = ("train", "validation", "test")
SEED = 0


@dataclass(frozen=True)
class TunedClassifier:
    """A fine-tuned classifier. onnx: the graph; state: .safetensors of encoder and head; sha256: of the whole file."""

    onnx: bytes
    state: bytes
    card: dict[str, Any]
    sha256: str


def steps_of(project: Project) -> int:
    """Steps that the minutes buy at the stated pace, whatever the machine: so that a resumed training is the same."""
    settings = project.settings.collections
    work = (settings.size / 224) ** 2
    return max(3, round(settings.fine_tune * STEPS_PER_MINUTE / work))


Needs: TypeAlias = "tuple[ClassPartition, Any, list[str], str]"
"""What an object is made from."""


def plan(project: Project, partition: ClassPartition) -> list[Planned[Needs]]:
    """One planned object, from the images of all classes. Raises MissingInput, also for fewer than two classes."""
    rows = []
    for each in catalog.classes(project, partition.collection):
        frame = catalog.load(project, each)
        rows += frame.loc[frame["state"] == "ok", [*COLUMNS, "bytes"]].to_dict("records")
    rows = [row for row in rows if row["split"] in SPLITS]
    labels = sorted({row["label"] for row in rows if row["split"] == "train"})
    if len(labels) < 2:
        raise MissingInput(
            f"fine-tuned classifier of {partition}",
            f"it needs training images of two classes, not of {len(labels)}",
            "Deliver more classes, or more images of each",
        )
    rows = sorted((row for row in rows if row["label"] in labels), key=lambda row: str(row["key"]))
    digest = fingerprint(
        version=VERSION,
        encoder=encoders.encoder_fingerprint(project),
        name=project.settings.collections.encoder,
        steps=steps_of(project),
        batch=BATCH,
        seed=SEED,
        limit=project.settings.collections.max_pixels,
        images=[[row[name] for name in ("key", "digest", "label", "split")] for row in rows],
    )
    key = object_key(DATASET, partition, "classifier", digest, ".zip")
    return [Planned(name="classifier", fingerprint=digest, key=key, inputs=(), args=(partition, rows, labels, digest))]


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """Tune, choose the temperature on validation images, judge on test images, and pack it all."""
    partition, rows, labels, digest = planned.needs
    recipe = _recipe(project, len(labels))
    from groundplan.collections.classification import fine_tuning

    number = {label: place for place, label in enumerate(labels)}
    parts = {name: [row for row in rows if row["split"] == name] for name in SPLITS}
    truths = {name: np.array([number[row["label"]] for row in part], np.int64) for name, part in parts.items()}
    sampled = sorted(range(len(parts["validation"])), key=lambda at: parts["validation"][at]["digest"])[
        :VALIDATION_IMAGES
    ]
    few = features.squares(project, [parts["validation"][at] for at in sampled], check)
    validation = fine_tuning.squares_in(few, recipe.side), truths["validation"][sampled]
    saved = f"{_room(partition)}/{digest}.pt"

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = batch_order(step, len(parts["train"]))
        found = features.squares(project, [parts["train"][at] for at in chosen], check)
        return fine_tuning.squares_in(found, recipe.side), truths["train"][chosen]

    def load() -> bytes | None:
        try:
            return project.store.get(saved)
        except MissingInput:
            return None

    with current_progress().task(f"fine-tuning {partition}", recipe.steps, 0) as tick:
        done = 0

        def progress(steps: int, figures: str) -> None:
            nonlocal done
            tick(0, parts=steps - done, note=figures, aloud=steps == recipe.steps)
            done = steps

        network, history = fine_tuning.tune(
            recipe,
            draw,
            validation,
            load=load,
            save=lambda data: project.store.put(saved, data),
            progress=progress,
            check=check,
        )
    logits = {
        name: fine_tuning.logits_of(network, features.squares(project, parts[name], check), recipe.scaling)
        for name in ("validation", "test")
    }
    card = _card(project, partition, labels, recipe, history, truths, logits)
    facts = {"labels": json.dumps(labels), "scaling": recipe.scaling, "size": str(recipe.side)}
    return Output(pack(network, fine_tuning.export(network, recipe.side, card["temperature"], facts), card))


def batch_order(step: int, images: int) -> np.ndarray:
    """Indices of a step's images: every image once in each epoch, in an order drawn from the epoch's number."""
    at = np.arange(step * BATCH, (step + 1) * BATCH)
    orders = {turn: np.random.default_rng([SEED, 1, turn]).permutation(images) for turn in set((at // images).tolist())}
    return np.array([orders[int(place) // images][int(place) % images] for place in at])


def _recipe(project: Project, classes: int) -> Any:
    """Raises ModelMismatch where there is no torch, or where the weights are a finished graph."""
    settings = project.settings.collections
    path = None if settings.weights == "imagenet" else project.home / settings.weights
    if path is not None and path.suffix == ".onnx":
        raise ModelMismatch(
            str(path),
            "a graph cannot be fine-tuned",
            "Set collections.weights to 'imagenet' or to a .safetensors, or collections.fine_tune to 0",
        )
    from groundplan.collections.classification.fine_tuning import Recipe, need_torch

    need_torch()
    return Recipe(
        encoder=settings.encoder,
        weights=path,
        side=settings.size,
        scaling=encoders.scaling_of(project),
        classes=classes,
        steps=steps_of(project),
    )


def _card(
    project: Project,
    partition: ClassPartition,
    labels: list[str],
    recipe: Any,
    history: list[dict[str, float]],
    truths: dict[str, np.ndarray],
    logits: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Model card of the fine-tuned classifier. No time of day: the same images, the same bytes."""
    from importlib.metadata import version

    temperature = calibration.temperature(logits["validation"], truths["validation"])
    figures: dict[str, Any] = {}
    for name, scores in logits.items():
        figures[name] = None
        if len(scores):
            figures[name] = linear.judge(calibration.softmax(scores / temperature), truths[name], labels)
            raw = calibration.calibration_error(calibration.softmax(scores), truths[name])
            figures[name]["calibration_error_before"] = round(raw, 6)
    return {
        "collection": partition.collection,
        "labels": labels,
        "recipe": asdict(recipe) | {"weights": recipe.weights and PurePath(recipe.weights).name, "batch": BATCH},
        "images": {name: len(truth) for name, truth in truths.items()},
        "history": history,
        "temperature": temperature,
        **figures,
        "split": "by groups of near-duplicates: no group is in two splits",
        "versions": {name: version(name) for name in ("groundplan", "numpy", "torch", "timm")},
        "use": "Images like the collection's, one object each. An image of no class gets the nearest one: check others "
        "first.",
    }


def pack(network: Any, onnx: bytes, card: dict[str, Any]) -> bytes:
    """One zip, uncompressed and without times, so that the same network is the same bytes."""
    from safetensors.torch import save

    parts = {
        "card.json": json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False).encode(),
        "model.onnx": onnx,
        "weights.safetensors": save({name: value.contiguous() for name, value in network.state_dict().items()}),
    }
    return packed(parts)


def unpack(data: bytes) -> TunedClassifier:
    """The network in a file's bytes. Raises ModelMismatch when there is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            onnx, state, card = (archive.read(name) for name in ("model.onnx", "weights.safetensors", "card.json"))
            return TunedClassifier(onnx, state, json.loads(card), hashlib.sha256(data).hexdigest())
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ModelMismatch(
            "the fine-tuned classifier", f"its file holds none ({str(error)[:100]})", "Build the collection again"
        ) from error


def describe(data: bytes) -> Facts:
    found = unpack(data)
    test = found.card["test"]
    return {
        "sha256": found.sha256,
        "classes": len(found.card["labels"]),
        "steps": found.card["recipe"]["steps"],
        "temperature": found.card["temperature"],
        "test_images": found.card["images"]["test"],
        "test_accuracy": test and test["accuracy"],
        "calibration_error": test and test["calibration_error"],
    }


def load(project: Project, collection: str) -> TunedClassifier:
    """The collection's fine-tuned classifier. Raises MissingInput, ModelMismatch."""
    made = need_manifest(project.store, DATASET, ClassPartition(collection)).objects["classifier"]
    return load_object(project.store, made, unpack)


def _room(partition: ClassPartition) -> str:
    return f"checkpoints/{DATASET}/{partition.path}"


def forget_checkpoints(project: Project, partition: ClassPartition) -> None:
    """After the commit: a finished training is not resumed."""
    if saved := [item.key for item in project.store.list(_room(partition))]:
        project.store.delete(saved)


STEP: Step[ClassPartition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.COLLECTION,
    reads=(reduced.DATASET,),
    comes_with="image_classifier",  # after it: the linear one is there if this fails
    wanted=lambda settings: bool(settings.collections.fine_tune),
    alone=True,
    after=forget_checkpoints,
)

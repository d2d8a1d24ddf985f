"""Image classifier of a collection: one file with axes, weights, temperature and card.

Here: which images teach, choose and test, the card, and finding the classifier again. Not here: learning and the file's
form (linear.py).
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, TypeAlias, TypedDict

import numpy as np

from groundplan.collections.classification import calibration, linear
from groundplan.collections.descriptors import reduced
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
from groundplan.errors import MissingInput
from groundplan.project import Project
from groundplan.step import About, Scope, Step


class Facts(TypedDict):
    """What a manifest says of an object."""

    sha256: str
    classes: int
    components: int
    temperature: float
    penalty: float
    validation_accuracy: float | None
    test_images: int
    test_accuracy: float | None
    calibration_error: float | None


DATASET: Dataset[Facts] = Dataset("image_classifier")
VERSION = "1"
SPLITS = ("train", "validation", "test")


Needs: TypeAlias = "ClassPartition"
"""What an object is made from."""


def plan(project: Project, partition: ClassPartition) -> list[Planned[Needs]]:
    """One planned object, from the reduced features of all classes. Raises MissingInput, also where fewer than two
    classes have training images.
    """
    count = len(reduced.train_images(project, partition))
    if count < 2:
        raise MissingInput(
            f"classifier of {partition}",
            f"it needs training images of two classes, and there are {count}",
            "Deliver more classes, or more images of each",
        )
    axes = need_manifest(project.store, reduced.AXES, partition).objects["axes"]
    parts = [
        (f"{manifest.partition.path}/{name}", made.fingerprint, made.key)
        for _, manifest in reduced.current(project, partition)
        for name, made in manifest.objects.items()
    ]
    parts.sort()
    digest = fingerprint(
        version=VERSION, axes=axes.fingerprint, reduced=[part[:2] for part in parts], told=feature_settings(project)
    )
    inputs = (axes.key, *(part[2] for part in parts))
    return [
        Planned(
            name="classifier",
            fingerprint=digest,
            key=object_key(DATASET, partition, "classifier", digest, ".zip"),
            inputs=inputs,
            args=partition,
        )
    ]


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    partition = planned.needs
    frame, places = reduced.load(project, partition)
    axes = reduced.load_axes(project, partition)
    split = frame["split"].to_numpy()
    labels = sorted(set(frame["label"][split == "train"]))
    number = {label: place for place, label in enumerate(labels)}
    truth = np.array([number.get(label, -1) for label in frame["label"]])
    parts = {name: (places[(split == name) & (truth >= 0)], truth[(split == name) & (truth >= 0)]) for name in SPLITS}
    learned = linear.learn(parts["train"], parts["validation"], len(labels), check)
    check()
    card = _card(project, partition, labels, learned, parts)
    card |= {
        "components": axes.kept,
        "variance": round(axes.explained, 6),
        "images_axes": axes.count,
        "left_out": sorted(set(frame["label"]) - set(labels)),
    }
    return Output(linear.pack(axes, learned.linear, learned.temperature, card))


def _card(
    project: Project,
    partition: ClassPartition,
    labels: list[str],
    learned: linear.Learned,
    parts: dict[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, Any]:
    """Model card of the classifier. No time of day: the same images, the same bytes."""
    from importlib.metadata import version

    figures: dict[str, Any] = {}
    for name in ("validation", "test"):
        features, truth = parts[name]
        logits = learned.linear.logits(features)
        figures[name] = None
        if len(truth):
            figures[name] = linear.judge(calibration.softmax(logits / learned.temperature), truth, labels)
            raw = calibration.calibration_error(calibration.softmax(logits), truth)
            figures[name]["calibration_error_before"] = round(raw, 6)
    return {
        "collection": partition.collection,
        "labels": labels,
        "features": feature_settings(project),
        "images": {name: len(parts[name][1]) for name in SPLITS},
        "penalty": learned.penalty,
        "penalties_tried": {str(penalty): loss for penalty, loss in learned.tried.items()},
        "temperature": learned.temperature,
        **figures,
        "split": "by groups of near-duplicates: no group is in two splits",
        "versions": {name: version(name) for name in ("groundplan", "numpy", "scipy")},
        "use": "Images like the collection's, one object each. An image of no class gets the nearest one: check others "
        "first.",
    }


def feature_settings(project: Project) -> dict[str, Any]:
    """Feature settings that the classifier asks for; of local weights the file's name, not its place."""
    settings = project.settings.collections
    if settings.features == "orb":
        return {"features": "orb", "words": settings.words, "size": settings.size}
    return {
        "features": "deep",
        "encoder": settings.encoder,
        "weights": PurePath(settings.weights).name,
        "scaling": settings.scaling,
        "size": settings.size,
    }


def describe(data: bytes) -> Facts:
    found = linear.unpack(data)
    test, validation = found.card["test"], found.card["validation"]
    return {
        "sha256": found.sha256,
        "classes": len(found.labels),
        "components": found.card["components"],
        "temperature": found.temperature,
        "penalty": found.card["penalty"],
        "validation_accuracy": validation and validation["accuracy"],
        "test_images": found.card["images"]["test"],
        "test_accuracy": test and test["accuracy"],
        "calibration_error": test and test["calibration_error"],
    }


def load(project: Project, collection: str) -> linear.ImageClassifier:
    """The collection's classifier, ready to be asked. Raises MissingInput, ModelMismatch."""
    made = need_manifest(project.store, DATASET, ClassPartition(collection)).objects["classifier"]
    return load_object(project.store, made, linear.unpack)


STEP: Step[ClassPartition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.COLLECTION,
    reads=(reduced.DATASET,),
    about=About(
        title="The collection's classifier with calibrated probabilities and a card",
        description="Weights from training images, penalty and temperature from validation images, figures on test "
        "images of groups that neither has seen. One file: components, weights, temperature, card.",
        group="collections",
        kinds=frozenset({"scipy"}),
    ),
)

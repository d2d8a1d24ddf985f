"""Models that are ready to be asked about single images, made of what a project holds.

Here: from a trained network or a collection's classifier to a value that `analyse` takes. Not here: names, versions and
aliases (groundplan/registry), asking (analyse.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.errors import ModelMismatch
from groundplan.polygons.drawing import Drawing
from groundplan.project import Project
from groundplan.single.analyse import ClassModel, FootprintModel

if TYPE_CHECKING:
    from groundplan.collections.classification.linear import ImageClassifier
    from groundplan.training.models import Model


def footprint_model(project: Project, model: Model, name: str, version: str = "", threads: int = 0) -> FootprintModel:
    """A network that was trained here or added, loaded onto the CPU; takes a second or two.

    version: by default the first 12 digits of the file's SHA-256. threads: 0 takes the project's workers. A single
    image is seen once, not in the turned views that a country is seen in. Raises ModelMismatch.
    """
    from groundplan.inference import runtime

    settings = project.settings.footprints
    return FootprintModel(
        name=name,
        version=version or model.sha256[:12],
        runtime=runtime.load(model.onnx, threads=threads or project.workers, views=1, contract=model.contract),
        thresholds=model.thresholds,
        drawing=Drawing(settings.simplify, settings.regularise, settings.shared_walls),
    )


def class_model(project: Project, classifier: ImageClassifier, name: str, version: str = "") -> ClassModel:
    """A collection's classifier with the encoder that its card names. Raises ModelMismatch, MissingInput.

    version: by default the first 12 digits of the file's SHA-256.
    """
    from groundplan.collections.classification.classifier import feature_settings

    wanted, here = classifier.card["features"], feature_settings(project)
    if wanted != here:
        reason = f"it was learned on features {wanted}, and the project's are {here}"
        raise ModelMismatch(f"classifier {classifier.sha256[:8]}", reason, "Set [collections] as it was, or build anew")
    return ClassModel(
        name=name,
        version=version or classifier.sha256[:12],
        classifier=classifier,
        describe=_describing(project, classifier.card["collection"]),
        side=int(wanted["size"]),
    )


def _describing(project: Project, collection: str) -> Callable[[np.ndarray], np.ndarray]:
    """Features of one square at a time; calls of several threads take turns."""
    turn = threading.Lock()
    many: Callable[[list[np.ndarray]], Any]
    if project.settings.collections.features == "deep":
        from groundplan.collections.descriptors import encoders

        many = encoders.encoder(project)
    else:
        from groundplan.collections.descriptors import visual_words
        from groundplan.core.partition import ClassPartition

        words = visual_words.vocabulary(project, ClassPartition(collection))

        def many(squares: list[np.ndarray]) -> np.ndarray:
            return visual_words.describe_images(words, squares, 1)

    def one(square: np.ndarray) -> np.ndarray:
        with turn:
            return np.asarray(many([square])[0])

    return one

"""Where a training starts: weights of its encoder, or a whole model to learn on from.

Here: which file the settings mean, and its part in a model's fingerprint. Not here: whether it can be used, looked at
before a build begins (starting_weights.py); loading it (network.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from groundplan import starter
from groundplan.core.manifest import Dataset
from groundplan.core.records import digest_outside
from groundplan.errors import ModelMismatch
from groundplan.project import Project

BASELINE_MODEL: Dataset[Any] = Dataset("baseline_model")
"""A model of all labelled regions (baseline.py); model.start = "baseline" has a year's model learn on from it."""
BASELINE = "baseline"


def weights_path(project: Project) -> str:
    """Path of the starting weights, from the project's home. Raises ModelMismatch when there is no such file."""
    given = project.settings.model.encoder_weights
    if given in ("imagenet", "none"):
        return given
    path = project.home / given
    if not path.is_file():
        raise ModelMismatch(
            str(path), "there is no such weights file", "Set model.encoder_weights to 'imagenet', 'none' or a file"
        )
    return str(path)


def start_path(project: Project) -> str | None:
    """Path of the model that a training learns on from, None without one. Raises ModelMismatch when it is not there.

    None for the baseline too: that lies in the store, and is written to a file when the training begins.
    """
    given = project.settings.model.start
    if given in ("", BASELINE):
        return None
    path = _start_file(project)
    if not path.is_file():
        raise ModelMismatch(
            str(path), "there is no such model to start from", "Set model.start to 'starter', 'baseline', a file, or ''"
        )
    return str(path)


def start_digest(project: Project) -> str:
    """What a training starts from, as part of a fingerprint; a model that was trained needs the file no longer."""
    start, weights = project.settings.model.start, project.settings.model.encoder_weights
    if start == BASELINE:  # which one it is stands in the plan of the year's model (models.py)
        return f"start {BASELINE}"
    if start:
        return f"start {digest_outside(project.store, start, _start_file(project)) or start_path(project)}"
    if weights in ("imagenet", "none"):
        return weights
    return digest_outside(project.store, weights, project.home / weights) or weights_path(project)


def _start_file(project: Project) -> Path:
    given = project.settings.model.start
    return starter.FILE if given == starter.NAME else project.home / given

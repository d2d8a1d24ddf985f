"""What a build looks for before its first step: weights, and the network where they come from it.

Here: whether they will be needed. Not here: looking (groundplan/training/starting_weights.py,
groundplan/collections/descriptors/starting_weights.py). A build that has nothing to train needs neither.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groundplan.project import Project

MODEL = "trained_model"


def check_training(
    project: Project, region: str | None, year: int | None, select: Collection[str] | None, retrain: bool
) -> None:
    """Raise ModelMismatch or BadConfig where the build would come to a training that cannot begin."""
    from groundplan.training.starting_weights import check_weights

    if years_to_train(project, region, year, select, retrain):
        check_weights(project)


def years_to_train(
    project: Project, region: str | None, year: int | None, select: Collection[str] | None, retrain: bool
) -> set[int]:
    """Years of a build whose model is not current, and for which there is a register to learn from."""
    from groundplan.operations.prerequisites import register_years
    from orchestration.cli.build import wanted
    from orchestration.cli.planned import state_or_note

    models = [] if select is not None and MODEL not in select else wanted(project, region, year, [MODEL])
    found = {
        partition.year
        for _, partition in models
        if retrain or state_or_note(project, MODEL, partition).state != "current"
    }
    return found & register_years(project) if found else found


def check_features(project: Project, collection: str, first: str, select: Collection[str] | None) -> None:
    """As `check_training`, of a collection. first: the first asset of which anything is to be made."""
    from groundplan.collections import pipeline
    from groundplan.collections.descriptors import features
    from groundplan.collections.descriptors.starting_weights import check_weights

    name, order = features.DATASET, pipeline.ASSETS
    chosen = select is None or name in select
    if project.settings.collections.features != "deep" or not chosen or order.index(first) > order.index(name):
        return
    states = pipeline.asset_states(project, name, pipeline.partitions_of(project, name, collection))
    if any(state.state != "current" for state in states):
        check_weights(project)

"""Rounds of mining: when to go on, and having the year's model learn from what was mined.

Here: the rule that ends the loop, and adopting a round's windows. Not here: running it (orchestration/cli/mine.py).
"""

from __future__ import annotations

from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from groundplan.mining import hard_negatives, trial
from groundplan.project import Project
from groundplan.training import mined, models

FEW = 0.1
"""Share of the first round's places below which a further round is not worth its trainings."""


def check_own_model(project: Project, year: int) -> None:
    """Raises BadConfig where a year is predicted with a model that mining would not change."""
    predict = project.settings.predict
    if predict.model_alias or predict.model_year not in (None, year):
        chosen = predict.model_alias or predict.model_year
        reason = f"the model of {chosen} predicts it, and mining changes the year's own"
        raise BadConfig(f"mining of {year}", reason, "Leave predict.model_year and model_alias out, or mine that year")
    if models.was_added(project, year):
        remedy = "Train one first: `groundplan build --retrain`"
        raise BadConfig(f"mining of {year}", "its model was added, not trained here", remedy)


def why_stop(counts: list[int]) -> str:
    """Why a round should be the last, before its trial; '' to go on. counts: places of each round so far."""
    if not counts[-1]:
        return "the model sees no building on ground that is known to be empty"
    if len(counts) > 1 and counts[-1] < FEW * counts[0]:
        return f"it mined {counts[-1]} places, less than a tenth of the {counts[0]} of the first round"
    return ""


def mined_places(project: Project, partition: Partition) -> int:
    """Places of all regions of a year that are made now."""
    from groundplan.core.manifest import committed, need_manifest

    found = [one.partition for one in committed(project.store, hard_negatives.DATASET, partition.year)]
    made = (need_manifest(project.store, hard_negatives.DATASET, one).objects["places"] for one in found)
    return sum(one.facts["places"] for one in made)


def adopt(project: Project, partition: Partition) -> mined.Mined:
    """Have the year's model learn from the places of this round beside those of earlier ones: a further generation."""
    windows = trial.mined_windows(project, partition)
    before = mined.read_mined(project, partition.year)
    if before:
        windows = trial.stacked(mined.load_mined(project, before), windows)
    generation = before.generation + 1 if before else 1
    return mined.adopt(project, partition.year, hard_negatives.to_bytes(windows), generation, len(windows))

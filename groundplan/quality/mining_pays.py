"""Check of a mining trial: whether learning from mined places pays.

Here: the verdict. Not here: the figures (mining/proof.py), the trainings (mining/trial.py).
"""

from __future__ import annotations

from groundplan.core.partition import Partition
from groundplan.mining import trial
from groundplan.mining.proof import LEAST_CELLS, MOST_LOSS, judged
from groundplan.project import Project
from groundplan.quality.verdict import Verdict


def mining_pays(project: Project, partition: Partition) -> Verdict:
    """Check of a mining trial: fewer false alarms than by chance, at 95 %, and hardly a building lost.

    Raises MissingInput where no trial was made.
    """
    proof = judged(trial.results(project, partition))
    facts = {
        "empty validation cells": proof.cells,
        "km2 of them": round(proof.km2, 6),
        "validation cells with buildings": proof.built_cells,
        **{f"false alarms per km2, {arm}": round(value, 2) for arm, value in proof.alarms.items()},
        **{f"recall, {arm}": round(value, 4) for arm, value in proof.recall.items()},
        **{f"F1, {arm}": round(value, 4) for arm, value in proof.f1.items()},
    }
    if not proof.compared:
        remedy = f"Add ground that is known to be empty until {LEAST_CELLS} validation cells lie on it"
        return Verdict(passed=True, compared=False, message=proof.words, serious=False, facts=facts, remedy=remedy)
    if proof.pays:
        return Verdict(passed=True, message=proof.words, facts=facts)
    lost = f"recall falls by {proof.loss:.3f}, {MOST_LOSS} or more"
    why = lost if proof.fewer else "mined places do no better than chance"
    return Verdict(
        passed=False,
        message=f"{why}: {proof.words}",
        serious=False,
        facts=facts,
        remedy="Leave the model as it is; more empty ground, of the kinds that it is wrong on, may change that",
        wrong=tuple(proof.rows()),
    )

"""The trial that says whether learning from hard negatives pays."""

import dagster as dg

from assets.describe import declared
from assets.report import make, result, rows
from groundplan.mining import trial as step
from groundplan.mining.proof import judged
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def mining_trial(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "mining_trial")
    proof = judged(step.results(opened, partition))
    header, *lines = proof.rows()
    low, high = proof.alarms_less_random
    more = {
        "arms": rows(header, lines),
        "judgment": proof.words,
        "mined less random, false alarms per km2": f"{low:+.1f} to {high:+.1f} (95 %)",
        "mined less base, recall": "{:+.3f} to {:+.3f} (95 %)".format(*proof.recall_less_base),
        "mined less base, F1": "{:+.3f} to {:+.3f} (95 %)".format(*proof.f1_less_base),
        "empty validation cells": proof.cells,
    }
    return result(opened, reports, None, more)

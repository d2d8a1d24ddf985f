"""The trial that says whether learning from hard negatives pays."""

import dagster as dg

from assets.describe import declared
from assets.report import make, result, rows
from groundplan.mining import trial as step
from groundplan.mining.proof import Proof, judged
from groundplan.previews.pictures import plan_picture
from resources.project import ProjectResource

COLORS = {"base": (120, 126, 134), "random": (46, 110, 170), "mined": (200, 50, 60)}


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
    return result(opened, reports, ("false alarms per km2: base, random, mined", _bars(proof)), more)


def _bars(proof: Proof) -> bytes:
    """A bar for each arm, as high as its false alarms, PNG."""
    from shapely import box

    most = max(*proof.alarms.values(), 1e-9)
    layers = [
        ([box(2 * number, 0, 2 * number + 1.5, 6 * proof.alarms[arm] / most + 0.02)], color, 120)
        for number, (arm, color) in enumerate(COLORS.items())
    ]
    return plan_picture(layers)

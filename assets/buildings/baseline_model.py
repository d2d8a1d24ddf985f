"""The baseline: one model of all labelled regions, from which a year's model may learn on."""

import dagster as dg

from assets.buildings.trained_model import TrainConfig, observer, told
from assets.describe import declared
from assets.report import make
from groundplan.core.progress import watching_training
from groundplan.training import baseline as step
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def baseline_model(
    context: dg.AssetExecutionContext, project: ProjectResource, config: TrainConfig
) -> dg.MaterializeResult:
    opened = project.open()
    with watching_training(observer(context, opened)):
        _, reports = make(context, opened, "baseline_model", retrain=config.retrain)
    return told(opened, reports)

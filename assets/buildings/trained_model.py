"""The year's model: weights, exported graph, thresholds and card in one file."""

from typing import Any

import dagster as dg

from assets.describe import declared
from assets.report import make, result, rows
from groundplan.core.manifest import load_object
from groundplan.previews.pictures import curves_picture
from groundplan.training import models as step
from resources.project import ProjectResource


class TrainConfig(dg.Config):
    """retrain: learn again although the settings are the same, because the data changed."""

    retrain: bool = False


@dg.asset(**declared(step.STEP))
def trained_model(
    context: dg.AssetExecutionContext, project: ProjectResource, config: TrainConfig
) -> dg.MaterializeResult:
    opened = project.open()
    _, reports = make(context, opened, "trained_model", retrain=config.retrain)
    made = reports[-1].manifest.objects["model"]
    card = load_object(opened.store, made, step.unpack).card
    more: dict[str, Any] = {name: made.facts[name] for name in ("steps", "thresholds")}
    more["card"] = dg.MetadataValue.json(card)
    for split in ("validation", "test"):
        if made.facts[split]:
            more[f"{split} ground"] = rows(("figure", "value"), list(made.facts[split].items()))
    return result(opened, reports, ("training curves", curves_picture(card["history"])), more)

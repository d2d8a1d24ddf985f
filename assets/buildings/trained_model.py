"""The year's model: weights, exported graph, thresholds and card in one file."""

from typing import Any

import dagster as dg

from assets.conditions import CONDITIONS
from assets.describe import OWNERS, PROFILE_TAG, YEARLY, about
from assets.partitions import years
from assets.report import make, result, rows
from groundplan.previews.pictures import curves_picture
from groundplan.training import models as step
from resources.project import ProjectResource


class TrainConfig(dg.Config):
    """retrain: learn again although the settings are the same, because the data changed."""

    retrain: bool = False


@dg.asset(
    deps=["training_windows"],
    partitions_def=years,
    group_name="model",
    kinds={"pytorch", "onnx"},
    owners=OWNERS,
    automation_condition=CONDITIONS["trained_model"],
    tags={PROFILE_TAG: "train"},
    pool="accelerator",
    code_version=step.VERSION,
    description="The year's network: a U-Net that tells buildings and their edges, learned within a budget of "
    "minutes. Thresholds are chosen on validation ground, the card reports on test ground. It stays until "
    "settings change or `retrain` is asked, so that a late sheet does not remake a country.",
    metadata=about("trained_model"),
    freshness_policy=YEARLY,
)
def trained_model(
    context: dg.AssetExecutionContext, project: ProjectResource, config: TrainConfig
) -> dg.MaterializeResult:
    opened = project.open()
    _, reports = make(context, opened, "trained_model", retrain=config.retrain)
    made = reports[-1].manifest.objects["model"]
    card = step.unpack(opened.store.get(made.key)).card
    more: dict[str, Any] = {name: made.facts[name] for name in ("steps", "thresholds")}
    more["card"] = dg.MetadataValue.json(card)
    for split in ("validation", "test"):
        if made.facts[split]:
            more[f"{split} ground"] = rows(("figure", "value"), list(made.facts[split].items()))
    return result(opened, reports, ("training curves", curves_picture(card["history"])), more)

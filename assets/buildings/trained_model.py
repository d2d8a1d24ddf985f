"""The year's model: weights, exported graph, thresholds and card in one file."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from assets.describe import declared
from assets.report import make, result, rows, shown
from groundplan.core.manifest import load_object
from groundplan.core.materialize import Report
from groundplan.core.progress import TrainingStep, Watcher, watching_training
from groundplan.previews.pictures import curves_picture
from groundplan.project import Project
from groundplan.training import models as step
from resources.project import ProjectResource

CURVES = {"step": "{:.0f}", "loss": "{:.4f}", "iou": "{:.4f}", "cores": "{:.4f}", "score": "{:.4f}", "rate": "{:.2e}"}
"""Columns of the table of curves, and how their figures are written."""

KINDS = ("imagery", "register")


class TrainConfig(dg.Config):
    """retrain: learn again although the settings are the same, because the data changed."""

    retrain: bool = False


@dg.asset(**declared(step.STEP))
def trained_model(
    context: dg.AssetExecutionContext, project: ProjectResource, config: TrainConfig
) -> dg.MaterializeResult:
    opened = project.open()
    with watching_training(observer(context, opened)):
        _, reports = make(context, opened, "trained_model", retrain=config.retrain)
    return told(opened, reports)


def told(opened: Project, reports: list[Report]) -> dg.MaterializeResult:
    """What is said of a model: its figures, its curves, its card."""
    made = reports[-1].manifest.objects["model"]
    card = load_object(opened.store, made, step.unpack).card
    more: dict[str, Any] = {name: made.facts[name] for name in ("steps", "thresholds")}
    history = card.get("history", [])
    if history:
        more["curves"] = _table(history)
    if learned := card.get("learned_from"):
        more["learned from"] = rows(
            ("region", "year", "windows", "imagery", "register"),
            [(one["region"], one["year"], one["windows"], *(_named(one[kind]) for kind in KINDS)) for one in learned],
        )
    more["card"] = dg.MetadataValue.json(card)
    for split in ("validation", "test"):
        if made.facts[split]:
            more[f"{split} ground"] = rows(("figure", "value"), list(made.facts[split].items()))
    return result(opened, reports, ("training curves", curves_picture(history)), more)


def _named(credit: Mapping[str, Any]) -> str:
    """Whom to name for data, and their licence."""
    return ", ".join(credit[part] for part in ("attribution", "licence") if credit[part]) or "not stated"


def observer(context: dg.AssetExecutionContext, project: Project) -> Watcher:
    """After each validation an observation of the asset: figures that Dagster plots, and the curves until then."""
    history: list[Mapping[str, float]] = []

    def told(training: TrainingStep) -> None:
        if not training.validated:
            return
        history.append(training.validation)
        figures = {name: training.validation[name] for name in CURVES if name in training.validation}
        name = f"{context.asset_key.to_user_string()}/{context.partition_key}-so-far"
        picture = shown(project, name, "training curves so far", curves_picture(map(dict, history)))
        context.log_event(
            dg.AssetObservation(
                context.asset_key,
                description=f"Validated at step {training.step} of {training.steps}",
                partition=context.partition_key,
                metadata={"picture": picture, **figures, "curves": _table(history)},
            )
        )

    return told


def _table(history: Sequence[Mapping[str, float]]) -> dg.MetadataValue:
    """The curves as a table: a row for each validation."""
    names = [name for name in CURVES if name in history[0]]
    return rows(tuple(names), [tuple(CURVES[name].format(row[name]) for name in names) for row in history])

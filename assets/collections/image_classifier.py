"""The collection's classifier: softmax regression on reduced features, with calibrated probabilities and a card."""

import dagster as dg

from assets.collections.collection_parts import make_whole
from assets.describe import declared
from assets.report import result, rows
from groundplan.collections.classification import classifier as step
from groundplan.collections.report.figures import confusion
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def image_classifier(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make_whole(context, opened, "image_classifier")
    reports.sort(key=lambda report: report.manifest.dataset == "image_classifier")  # last: not what came along with it
    card = step.load(opened, partition.collection).card
    facts = {key: value for key, value in reports[-1].manifest.objects["classifier"].facts.items() if value is not None}
    more = {**facts, "card": dg.MetadataValue.json(card)}
    test = card["test"]
    if not test:
        return result(opened, reports, more=more)
    lines = [tuple(row.values()) for row in test["classes"]]
    more["test images by class"] = rows(("class", "images", "right", "precision", "recall"), lines)
    return result(opened, reports, ("what is taken for what", confusion(test["confusion"], card["labels"])), more)

"""How sure the model is of a building, per pixel: a probability block per image block."""

import dagster as dg

from assets.describe import declared
from assets.report import make, result, throughput
from groundplan.core.manifest import need_manifest
from groundplan.footprints import predictions as step
from groundplan.imagery import tiles
from groundplan.previews.pictures import probability_picture
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def predictions(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "predictions")
    objects = reports[-1].manifest.objects
    share = sum(made.facts["building"] for made in objects.values()) / len(objects)
    images = need_manifest(opened.store, tiles.DATASET, partition).objects
    return result(
        opened,
        reports,
        ("building probability", probability_picture(opened, images, objects)),
        {"blocks": len(objects), "building share": round(share, 4), **throughput(opened, reports[-1])},
    )

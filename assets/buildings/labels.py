"""Masks to learn from: building, edge, gap and unknown ground, a block beside each image block."""

import dagster as dg

from assets.describe import declared
from assets.report import make, result
from groundplan.core.manifest import need_manifest
from groundplan.imagery import tiles
from groundplan.imagery.credits import credits_of
from groundplan.labels import masks as step
from groundplan.previews.pictures import labels_picture
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def labels(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "labels")
    objects = reports[-1].manifest.objects
    known = sum(made.facts["known"] for made in objects.values())
    building = sum(made.facts["building"] for made in objects.values())
    square = opened.grid.resolution**2
    more = {
        "labelled ground [ha]": round(known * square / 1e4, 3),
        "buildings [ha]": round(building * square / 1e4, 3),
        "building share": round(building / known, 4) if known else 0.0,
    }
    images = need_manifest(opened.store, tiles.DATASET, partition).objects
    picture = labels_picture(opened, images, objects, credits_of(opened, partition).sources_line)
    return result(opened, reports, ("labels over image", picture), more)

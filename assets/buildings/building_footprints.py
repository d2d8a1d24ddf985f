"""Building polygons with confidence, image date and model."""

import dagster as dg

from assets.describe import declared
from assets.report import make, result
from groundplan.core.manifest import (
    load_object,
    need_manifest,
)
from groundplan.footprints import footprints as step
from groundplan.imagery import tiles
from groundplan.imagery.credits import credits_of
from groundplan.polygons.geoparquet import read
from groundplan.previews.pictures import footprints_picture
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def building_footprints(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "building_footprints")
    made = reports[-1].manifest.objects["footprints"]
    images = need_manifest(opened.store, tiles.DATASET, partition).objects
    frame = load_object(opened.store, made, read)
    drawn = footprints_picture(opened, images, frame, credit=credits_of(opened, partition).imagery_line)
    picture = ("footprints over image", drawn)
    return result(opened, reports, picture, {**made.facts, "dagster/row_count": made.facts["buildings"]})

"""Building polygons with confidence, image date and model."""

import dagster as dg

from assets.conditions import CONDITIONS
from assets.describe import OWNERS, PROFILE_TAG, YEARLY, about
from assets.partitions import region_years
from assets.report import make, result
from groundplan.core.manifest import need_manifest
from groundplan.footprints import footprints as step
from groundplan.footprints.outlines import OUTLINES_VERSION
from groundplan.imagery import tiles
from groundplan.polygons.geoparquet import read
from groundplan.previews.pictures import footprints_picture
from resources.project import ProjectResource


@dg.asset(
    deps=["predictions", "aerial_tiles"],
    partitions_def=region_years,
    group_name="footprints",
    kinds={"geoparquet"},
    owners=OWNERS,
    automation_condition=CONDITIONS["building_footprints"],
    tags={PROFILE_TAG: "cpu"},
    code_version=f"{OUTLINES_VERSION}.{step.VERSION}",
    description="The result: a polygon per building, touching buildings apart, merged across block and region "
    "borders, right-angled where the building is, with confidence, image date, sheet and model. "
    "GeoParquet 1.1 in the grid's CRS; `groundplan export` writes other formats.",
    metadata=about("building_footprints"),
    freshness_policy=YEARLY,
)
def building_footprints(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "building_footprints")
    made = reports[-1].manifest.objects["footprints"]
    images = need_manifest(opened.store, tiles.DATASET, partition).objects
    frame = read(opened.store.get(made.key))
    picture = ("footprints over image", footprints_picture(opened, images, frame))
    return result(opened, reports, picture, {**made.facts, "dagster/row_count": made.facts["buildings"]})

"""The region's imagery as blocks: aligned on the national grid, mosaicked, cloud-optimised."""

import dagster as dg

from assets.describe import OWNERS, PROFILE_TAG, YEARLY, about
from assets.partitions import region_years
from assets.report import make, result
from groundplan.imagery import tiles as step
from groundplan.previews.pictures import tiles_picture
from resources.project import ProjectResource


@dg.asset(
    deps=["sheets"],
    partitions_def=region_years,
    group_name="imagery",
    kinds={"cog", "gdal"},
    owners=OWNERS,
    tags={PROFILE_TAG: "cpu"},
    code_version=step.VERSION,
    description="The year's aerial image of the region: sheets laid on the national grid, the newest on top, cut into "
    "blocks, each a cloud-optimised GeoTIFF with overviews and a mask that QGIS opens as it is. Sheets "
    "aligned with the grid are not resampled. Blocks are made once: a late sheet remakes only the blocks "
    "that it touches.",
    metadata=about("aerial_tiles"),
    freshness_policy=YEARLY,
)
def aerial_tiles(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    _, reports = make(context, opened, "aerial_tiles")
    objects = reports[-1].manifest.objects
    covered = sum(made.facts["covered"] for made in objects.values()) * opened.grid.span**2
    more = {"blocks": len(objects), "imagery [km2]": round(covered / 1e6, 4)}
    return result(opened, reports, ("tiles", tiles_picture(opened, objects)), more)

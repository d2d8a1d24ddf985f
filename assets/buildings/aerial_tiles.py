"""The region's imagery as blocks: aligned on the national grid, mosaicked, cloud-optimised."""

import dagster as dg

from assets.describe import declared
from assets.report import make, result, throughput
from groundplan.imagery import tiles as step
from groundplan.imagery.credits import credits_of
from groundplan.previews.pictures import tiles_picture
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def aerial_tiles(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "aerial_tiles")
    objects = reports[-1].manifest.objects
    covered = sum(made.facts["covered"] for made in objects.values()) * opened.grid.span**2
    more = {"blocks": len(objects), "imagery [km2]": round(covered / 1e6, 4), **throughput(opened, reports[-1])}
    picture = tiles_picture(opened, objects, credits_of(opened, partition).imagery_line)
    return result(opened, reports, ("tiles", picture), more)

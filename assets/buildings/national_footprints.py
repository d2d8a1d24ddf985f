"""All regions of a year in one set of files: where the buildings are, by square and by region."""

import dagster as dg

from assets.describe import declared
from assets.report import make, result, rows
from groundplan.footprints import national as step
from groundplan.previews.density import density_picture
from resources.project import ProjectResource

MOST = 100  # lines of a table


@dg.asset(**declared(step.STEP))
def national_footprints(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "national_footprints")
    objects = reports[-1].manifest.objects
    regions = step.by_region(list(objects.values()))
    lacking = step.lacking(opened, partition).sentences()
    more = {
        "buildings": sum(regions.values()),
        "regions": len(regions),
        "not in it": "; ".join(lacking) or "nothing",
        "parts": rows(("part", "buildings", "regions", "MB"), step.part_lines(objects)[:MOST]),
        "by region": rows(("region", "buildings"), list(regions.items())[:MOST]),
        "dagster/row_count": sum(regions.values()),
    }
    picture = density_picture(opened, list(objects.values()))
    return result(opened, reports, ("buildings of the country", picture), more)

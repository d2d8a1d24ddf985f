"""The register's buildings of a region and year, cleaned, and where the register is complete."""

import dagster as dg

from assets.describe import declared
from assets.report import make, result
from groundplan.labels import registers as step
from groundplan.previews.pictures import plan_picture
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def register_buildings(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "register_buildings")
    facts = dict(reports[-1].manifest.objects["buildings"].facts)
    complete = facts.pop("complete_m2")
    found, extent = step.load(opened, partition)
    picture = plan_picture([([extent], (70, 140, 90), 25), (found.geometry.values, (200, 90, 40), 140)])
    more = {**facts, "register complete on [km2]": round(complete / 1e6, 4), "dagster/row_count": facts["buildings"]}
    return result(opened, reports, ("register, and where it is complete", picture), more)

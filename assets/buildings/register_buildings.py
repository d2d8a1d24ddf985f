"""The register's buildings of a region and year, cleaned, and where the register is complete."""

import dagster as dg

from assets.conditions import CONDITIONS
from assets.describe import OWNERS, PROFILE_TAG, YEARLY, about
from assets.partitions import region_years
from assets.report import make, result
from groundplan.labels import registers as step
from groundplan.previews.pictures import plan_picture
from resources.project import ProjectResource


@dg.asset(
    deps=["aerial_tiles"],
    partitions_def=region_years,
    group_name="labels",
    kinds={"geoparquet"},
    owners=OWNERS,
    automation_condition=CONDITIONS["register_buildings"],
    tags={PROFILE_TAG: "io"},
    code_version=step.VERSION,
    description="The buildings that the year's registers know near the region, in the grid's CRS: rings repaired, "
    "multipolygons taken apart, twins and slivers dropped and counted. Empty where no register covers the "
    "region; such a region is predicted with the year's model.",
    metadata=about("register_buildings"),
    freshness_policy=YEARLY,
)
def register_buildings(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "register_buildings")
    facts = dict(reports[-1].manifest.objects["buildings"].facts)
    complete = facts.pop("complete_m2")
    found, extent = step.load(opened, partition)
    picture = plan_picture([([extent], (70, 140, 90), 25), (found.geometry.values, (200, 90, 40), 140)])
    more = {**facts, "register complete on [km2]": round(complete / 1e6, 4), "dagster/row_count": facts["buildings"]}
    return result(opened, reports, ("register, and where it is complete", picture), more)

"""The register's buildings of a region and year, cleaned, and where the register is complete."""

import dagster as dg

from assets.report import OWNERS, make, result
from groundplan import registers as step
from orchestration.partitions import region_years
from orchestration.profiles import PROFILE_TAG
from resources.project import ProjectResource


@dg.asset(
    deps=["aerial_tiles"], partitions_def=region_years, group_name="labels", kinds={"geoparquet"}, owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version=step.VERSION,
    description="Building polygons of the year's registers near the region's blocks, in the grid's CRS: rings "
    "repaired, multipolygons taken apart, twins and slivers dropped and counted. Empty where no register covers "
    "the region.",
)  # fmt: skip
def register_buildings(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    _, reports = make(context, opened, "register_buildings")
    facts = dict(reports[-1].manifest.objects["buildings"].facts)
    complete = facts.pop("complete_m2")
    return result(opened, reports, more={**facts, "register complete on [km2]": round(complete / 1e6, 4)})

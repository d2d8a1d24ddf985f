"""The delivered sheets of a region and year: which can be used, where they lie, and what is wrong with the others."""

import dagster as dg

from assets.report import OWNERS, make, result, rows
from groundplan import sheets as step
from orchestration.partitions import region_years
from orchestration.profiles import PROFILE_TAG
from resources.project import ProjectResource


@dg.asset(
    partitions_def=region_years, group_name="imagery", kinds={"stac", "geoparquet"}, owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version=step.VERSION,
    description="Every image file delivered for a region and year, checked without decoding all of it and catalogued "
    "as STAC items in GeoParquet. A file that cannot be used is set aside with the reason and the remedy.",
)  # fmt: skip
def sheets(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    _, reports = make(context, opened, "sheets")
    facts = reports[-1].manifest.objects["catalogue"].facts
    aside = [(item["file"], item["reason"], item["remedy"]) for item in facts["quarantined"]]
    more = {"sheets": facts["sheets"], "quarantined": len(aside)}
    if aside:
        more["set aside"] = rows(("file", "reason", "remedy"), aside)
    return result(opened, reports, more=more)

"""The delivered sheets of a region and year: which can be used, where they lie, and what is wrong with the others."""

import dagster as dg

from assets.describe import OWNERS, PROFILE_TAG, YEARLY, about
from assets.partitions import region_years
from assets.report import make, result, rows
from groundplan.imagery import catalog as step
from groundplan.previews.pictures import sheets_picture
from resources.project import ProjectResource


@dg.asset(
    partitions_def=region_years,
    group_name="imagery",
    kinds={"stac", "geoparquet"},
    owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version=step.VERSION,
    description="The image files that were delivered for a region and year, checked without decoding all of them and "
    "listed with place, date and size as STAC items in GeoParquet. Look here first when a region lacks "
    "imagery: a file that cannot be used is set aside with the reason and the remedy. The picture shows "
    "where the sheets lie.",
    metadata=about("sheets"),
    freshness_policy=YEARLY,
)
def sheets(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "sheets")
    made = reports[-1].manifest.objects["catalogue"]
    facts = made.facts
    aside = [(item["file"], item["reason"], item["remedy"]) for item in facts["quarantined"]]
    more = {"sheets": facts["sheets"], "quarantined": len(aside)}
    if aside:
        more["set aside"] = rows(("file", "reason", "remedy"), aside)
    picture = sheets_picture(opened, step.from_parquet(opened.store.get(made.key)), partition.region)
    return result(opened, reports, ("sheets of the region", picture), more)

"""The delivered sheets of a region and year: which can be used, where they lie, and what is wrong with the others."""

import dagster as dg

from assets.describe import declared
from assets.report import make, result, rows
from groundplan.core.manifest import load_object
from groundplan.imagery import catalog as step
from groundplan.previews.pictures import sheets_picture
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def sheets(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "sheets")
    made = reports[-1].manifest.objects["catalogue"]
    facts = made.facts
    aside = [(item["file"], item["reason"], item["remedy"]) for item in facts["quarantined"]]
    more = {"sheets": facts["sheets"], "quarantined": len(aside)}
    if aside:
        more["set aside"] = rows(("file", "reason", "remedy"), aside)
    picture = sheets_picture(opened, load_object(opened.store, made, step.from_parquet), partition.region)
    return result(opened, reports, ("sheets of the region", picture), more)

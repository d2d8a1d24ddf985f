"""The collection's report: one HTML file with what came out, what was set aside, and where everything lies."""

from typing import Any

import dagster as dg

from assets.collections.collection_parts import make_whole
from assets.describe import declared
from assets.report import result
from groundplan.collections.report import report as step
from groundplan.collections.report.html import pictures_in
from groundplan.core.manifest import read_object
from groundplan.core.pictures import markdown
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def collection_report(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make_whole(context, opened, "collection_report")
    step.write_report(opened, partition.collection)
    html = read_object(opened.store, reports[-1].manifest.objects["report"]).decode()
    pictures = pictures_in(html)
    more: dict[str, Any] = {"report": opened.store.uri(step.preview_key(partition.collection))}
    if "scree" in pictures:
        more["scree plot"] = dg.MetadataValue.md(markdown(pictures["scree"], "variance by component"))
    picture = ("the collection on its first two components", pictures["map"]) if "map" in pictures else None
    return result(opened, reports, picture, more)

"""What became of each building since the year before, with pairs of chips of the most certain changes."""

import dagster as dg

from assets.describe import declared
from assets.report import make, result
from groundplan.changes import changes as step
from groundplan.changes import null
from groundplan.previews.chips import changes_picture
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def building_changes(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "building_changes")
    facts = reports[-1].manifest.objects["changes"].facts
    tested = null.facts_of(opened, partition)
    more = {**facts, "dagster/row_count": sum(facts.values())}
    if tested and tested["at_most"] is not None:
        more |= {
            "null set: unchanged buildings": tested["unchanged"],
            "null set: false changes": tested["false_new"] + tested["false_gone"],
            "false changes per 100, at most (95 %)": tested["at_most"],
        }
    picture = changes_picture(opened, partition)
    return result(opened, reports, ("the most certain changes, before and after", picture) if picture else None, more)

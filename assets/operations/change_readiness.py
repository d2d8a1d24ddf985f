"""Which regions' newest imagery is complete, so that its change with the year before can be made."""

import dagster as dg

from assets.describe import OWNERS, PROFILE_TAG
from assets.report import rows
from groundplan.operations import change_readiness as readiness
from resources.project import ProjectResource

MOST_LINES = 50  # of a table in the web UI


@dg.asset(
    group_name="operations",
    deps=["aerial_tiles"],
    kinds={"table"},
    owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version="1",
    description="Per region: whether its newest year covers what the year before covered, with no sheet set aside, "
    "and why not. Regions that are ready can be compared; the schedule `yearly_changes` looks every week.",
)
def change_readiness(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    found = readiness.standings(project.open())
    ready = [standing for standing in found if standing.ready]
    lines = [
        (
            standing.partition.region,
            standing.partition.year,
            standing.before or "",
            "yes" if standing.ready else "no",
            standing.why,
        )
        for standing in sorted(found, key=lambda standing: (standing.ready, standing.partition))[:MOST_LINES]
    ]
    header = ("region", "year", "compared with", "ready", "why")
    return dg.MaterializeResult(
        metadata={"regions": len(found), "ready": len(ready), "not ready first": rows(header, lines)}
    )

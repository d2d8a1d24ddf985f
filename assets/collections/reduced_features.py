"""Each image of a class on the components that carry most of the collection's variance."""

import dagster as dg

from assets.collections.collection_parts import make_classes
from assets.describe import declared
from groundplan.collections.descriptors import reduced as step
from groundplan.collections.report.report import map_of
from groundplan.core.materialize import Report
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def reduced_features(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()

    def say(reports: list[Report]) -> dict[str, object]:
        axes = step.facts_of_axes(opened, reports[-1].manifest.partition)
        rows = sum(made.facts["images"] for made in reports[-1].manifest.objects.values())
        return {"dagster/row_count": rows, "components": axes["components"], "variance": axes["variance"]}

    return make_classes(context, opened, "reduced_features", say, lambda partition: map_of(opened, partition))

"""What each image of a class looks like, in numbers: a Parquet per shard of some thousand images."""

import dagster as dg

from assets.collections.collection_parts import make_classes
from assets.describe import declared
from groundplan.collections.descriptors import features as step
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def image_features(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    return make_classes(
        context,
        project.open(),
        "image_features",
        lambda reports: {
            "shards": len(reports[-1].manifest.objects),
            "dagster/row_count": sum(made.facts["images"] for made in reports[-1].manifest.objects.values()),
        },
    )

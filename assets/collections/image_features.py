"""What each image of a class looks like, in numbers: a Parquet per shard of some thousand images."""

import dagster as dg

from assets.collection_partitions import image_classes
from assets.collections.collection_parts import make_classes
from assets.describe import OWNERS, PROFILE_TAG
from groundplan.collections.descriptors import features as step
from groundplan.collections.descriptors import reduced
from resources.project import ProjectResource


@dg.asset(
    deps=["image_catalog"],
    partitions_def=image_classes,
    group_name="collections",
    kinds={"parquet", "openvino"},
    owners=OWNERS,
    tags={PROFILE_TAG: "cpu"},
    pool="accelerator",
    code_version=f"{step.VERSION}.{reduced.SUMS_VERSION}",
    description="Deep features of an encoder, or a bag of visual words, float32, a row for each image. A shard is made "
    "once: a new image remakes one. The sums that components follow from are made with it.",
)
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

"""Each image of a class on the components that carry most of the collection's variance."""

import dagster as dg

from assets.collection_partitions import all_classes, image_classes
from assets.collections.collection_parts import make_classes
from assets.describe import OWNERS, PROFILE_TAG
from groundplan.collections.descriptors import reduced as step
from groundplan.collections.report.report import map_of
from groundplan.core.materialize import Report
from resources.project import ProjectResource

COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("key", "string", "the image's object in the store"),
        dg.TableColumn("label", "string", "its class"),
        dg.TableColumn("digest", "string", "SHA-256 of the stored image"),
        dg.TableColumn("split", "string", "train, validation or test"),
        dg.TableColumn("group", "string", "near-duplicates share one"),
        dg.TableColumn("pc_001", "float", "place on the first component; pc_002 ... as many as were kept"),
    ]
)


@dg.asset(
    deps=[dg.AssetDep("image_features", partition_mapping=all_classes)],
    partitions_def=image_classes,
    group_name="collections",
    kinds={"parquet", "scipy"},
    owners=OWNERS,
    tags={PROFILE_TAG: "cpu"},
    code_version=f"{step.AXES_VERSION}.{step.VERSION}",
    description="Exact principal components from the sums of all classes' training images: the same as on one machine "
    "with all data in memory. Parquet with a column for each component, to be queried where it lies.",
    metadata={"dagster/column_schema": COLUMNS},
)
def reduced_features(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()

    def say(reports: list[Report]) -> dict[str, object]:
        axes = step.facts_of_axes(opened, reports[-1].manifest.partition)
        rows = sum(made.facts["images"] for made in reports[-1].manifest.objects.values())
        return {"dagster/row_count": rows, "components": axes["components"], "variance": axes["variance"]}

    return make_classes(context, opened, "reduced_features", say, lambda partition: map_of(opened, partition))

"""How sure the model is of a building, per pixel: a probability block per image block."""

import dagster as dg

from assets.conditions import CONDITIONS
from assets.describe import OWNERS, PROFILE_TAG, YEARLY, about
from assets.partitions import by_year, region_years
from assets.report import make, result
from groundplan.core.manifest import need_manifest
from groundplan.footprints import predictions as step
from groundplan.imagery import tiles
from groundplan.previews.pictures import probability_picture
from resources.project import ProjectResource


@dg.asset(
    deps=["aerial_tiles", dg.AssetDep("trained_model", partition_mapping=by_year)],
    partitions_def=region_years,
    group_name="footprints",
    kinds={"cog", "openvino"},
    owners=OWNERS,
    automation_condition=CONDITIONS["predictions"],
    tags={PROFILE_TAG: "cpu"},
    pool="accelerator",
    code_version=step.VERSION,
    description="How sure the model is of a building, pixel by pixel: two bands per block, 0..255, building and edge "
    "between buildings. Windows overlap and read across block and region borders, so that no seam shows.",
    metadata=about("predictions"),
    freshness_policy=YEARLY,
)
def predictions(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "predictions")
    objects = reports[-1].manifest.objects
    share = sum(made.facts["building"] for made in objects.values()) / len(objects)
    images = need_manifest(opened.store, tiles.DATASET, partition).objects
    return result(
        opened,
        reports,
        ("building probability", probability_picture(opened, images, objects)),
        {"blocks": len(objects), "building share": round(share, 4)},
    )

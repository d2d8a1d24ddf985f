"""The year's windows to learn from, split by place into train, validation and test."""

import dagster as dg

from assets.conditions import CONDITIONS
from assets.describe import OWNERS, PROFILE_TAG, YEARLY, about
from assets.partitions import by_year, years
from assets.report import make, result
from groundplan.previews.pictures import plan_picture
from groundplan.training import windows as step
from resources.project import ProjectResource


@dg.asset(
    deps=[dg.AssetDep("labels", partition_mapping=by_year)],
    partitions_def=years,
    group_name="model",
    kinds={"geoparquet"},
    owners=OWNERS,
    automation_condition=CONDITIONS["training_windows"],
    tags={PROFILE_TAG: "io"},
    code_version=step.VERSION,
    description="Where to learn: windows over all labelled regions of the year with their weight. Ground is split by "
    "place in cells of 64 m into training, validation and test, so that no ground is in two splits, in "
    "any year.",
    metadata=about("training_windows"),
    freshness_policy=YEARLY,
)
def training_windows(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    _, reports = make(context, opened, "training_windows")
    made = reports[-1].manifest.objects["windows"]
    frame = step.read(opened.store.get(made.key))
    learned, held = frame[frame["train"] > 0], frame[frame["train"] == 0]
    picture = plan_picture([(held.geometry.values, (150, 156, 164), 60), (learned.geometry.values, (46, 110, 170), 40)])
    more = {**made.facts, "dagster/row_count": made.facts["windows"]}
    return result(opened, reports, ("windows to learn from, blue", picture), more)

"""The year's windows to learn from, split by place into train, validation and test."""

import dagster as dg

from assets.report import OWNERS, make, result
from groundplan import windows as step
from orchestration.partitions import by_year, years
from orchestration.profiles import PROFILE_TAG
from resources.project import ProjectResource


@dg.asset(
    deps=[dg.AssetDep("labels", partition_mapping=by_year)], partitions_def=years, group_name="model",
    kinds={"geoparquet"}, owners=OWNERS,
    tags={PROFILE_TAG: "io"}, code_version=step.VERSION,
    description="Where to learn: windows over all labelled regions of the year with their weight. Ground is split by "
    "place in cells, so that no ground is in two splits, in any year.",
)  # fmt: skip
def training_windows(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    _, reports = make(context, opened, "training_windows")
    return result(opened, reports, more=reports[-1].manifest.objects["windows"].facts)

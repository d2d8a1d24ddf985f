"""Many small regions in one launched run: each is made in a run of its own, without a pod of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from assets.describe import OWNERS, PROFILE_TAG, about
from assets.report import rows
from assets.stretches import ASSET, PARTS_FAILED, StretchPart, make_parts, stretch_of, stretches
from groundplan.operations.region_work import WhyTogether, reason_for
from groundplan.step import About
from resources.project import ProjectResource


@dg.asset(
    name=ASSET,
    partitions_def=stretches,
    group_name="operations",
    kinds={"runs"},
    owners=OWNERS,
    tags={PROFILE_TAG: "io"},  # of a stretch, the coordinator takes that of its datasets
    code_version="1",
    description="Neighboring regions of one year that each take less time than a launch, made one after the other by "
    "one launched run. A partition is such a stretch: year, datasets, first and last region. Each region has a run of "
    "its own in it, with its events and checks. Sensors and the nightly backfill ask for stretches; to make one region "
    "again, materialize its dataset.",
    metadata=about(About(page="docs/kubernetes.md")),
)
def region_stretches(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    stretch = stretch_of(context.partition_key)
    why = reason_for(project.open(), stretch.key)
    context.log.info(f"{stretch.key}: {why}")
    parts = list(make_parts(context, stretch))
    failed = [part for part in parts if part.outcome == "failed"]
    if failed:
        context.instance.add_run_tags(context.run.run_id, {PARTS_FAILED: str(len(failed))})
        said = f"{len(failed)} of {len(parts)} regions failed, such as {failed[0].partition}: {failed[0].why}"
        raise dg.Failure(f"{said}. The others are made", metadata=told(parts, why), allow_retries=False)
    return dg.MaterializeResult(metadata=told(parts, why))


def told(parts: Sequence[StretchPart], why: WhyTogether) -> Mapping[str, Any]:
    """Which regions, why in one run, and what became of each: expected against what it took."""
    spent = {part.partition.region: part.seconds for part in parts}
    lines = [
        (
            part.partition.region,
            part.outcome,
            _seconds(why.expected.get(part.partition.region)),
            _seconds(spent[part.partition.region] or None),
            part.run[:8],
            part.why,
        )
        for part in parts
    ]
    header = ("region", "outcome", "expected [s]", "took [s]", "run", "why")
    return {
        "why one run": str(why),
        "regions": len(parts),
        "launches saved": len(parts) - 1,
        "expected work [s]": round(sum(why.expected.values()), 1),
        "a launch [s]": why.launch_seconds,
        "took [s]": round(sum(spent.values()), 1),
        "each region": rows(header, lines),
    }


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"

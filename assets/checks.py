"""Asset checks: what must hold of each partition before the next asset may use it.

Here: which verdict guards which asset, and whether it blocks. Not here: how it is judged (groundplan/quality.py).
https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Callable

import dagster as dg

from groundplan import quality
from groundplan.blocks import Partition
from groundplan.project import Project
from orchestration.partitions import partition_of, region_years
from resources.project import ProjectResource

Judge = Callable[[Project, Partition], quality.Verdict]


def _check(asset: str, name: str, judge: Judge, description: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=name, partitions_def=region_years, blocking=True, description=description)
    def check(context: dg.AssetCheckExecutionContext, project: ProjectResource) -> dg.AssetCheckResult:
        verdict = judge(project.open(), partition_of(context.partition_key))
        # a warning never blocks: the rest of the partition goes on, marked by a failing check
        severity = dg.AssetCheckSeverity.ERROR if verdict.serious else dg.AssetCheckSeverity.WARN
        return dg.AssetCheckResult(
            passed=verdict.passed, severity=severity, description=verdict.message, metadata=verdict.facts
        )

    return check


checks = [
    _check("sheets", "sheets_usable", quality.sheets_usable, "Every delivered file is readable and in its place."),
    _check("aerial_tiles", "tiles_complete", quality.tiles_complete, "Every block is there and a valid COG."),
    _check("labels", "labels_healthy", quality.labels_healthy, "Labels hold buildings and lie on the imagery."),
    _check("building_footprints", "footprints_valid", quality.footprints_valid, "Valid polygons that do not overlap."),
    _check(
        "building_footprints", "footprints_quality", quality.footprints_quality,
        "Agreement with the register on ground that the model did not learn from.",
    ),
]  # fmt: skip

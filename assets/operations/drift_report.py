"""Whether a region's imagery and predictions are like those that the model is known to do well on, and where not."""

import io
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.conditions import watched
from assets.describe import OWNERS, PROFILE_TAG, about
from assets.partitions import partition_of, region_years
from assets.report import rows, shown
from groundplan.monitoring import report as drift
from groundplan.monitoring.figures import FIGURES
from groundplan.project import Project
from groundplan.step import About
from resources.database import DatabaseResource
from resources.project import ProjectResource


@dg.asset(
    group_name="operations",
    deps=["building_footprints"],
    partitions_def=region_years,
    kinds={"table"},
    owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version=drift.VERSION,
    automation_condition=watched(),
    metadata=about(About(page="docs/monitoring.md")),
    check_specs=[
        dg.AssetCheckSpec(
            "like_the_baseline",
            asset="drift_report",
            description="Thirty figures of imagery, predictions and buildings are like those of the model's baseline.",
        )
    ],
    description="Compares the figures of a region and year (light, colour, detail, compression, predictions, "
    "buildings) with those of the regions of the model's baseline: which are unlike, the likely cause, and the blocks "
    "that are furthest out. `groundplan drift --baseline` makes the baseline; until then nothing is said.",
)
def drift_report(
    context: dg.AssetExecutionContext, project: ProjectResource, database: DatabaseResource
) -> dg.MaterializeResult:
    opened, partition, now = project.open(), partition_of(context.partition_key), datetime.now(UTC)
    found = drift.look(opened, partition, now, context.run_id)
    if opened.settings.database.url:
        from groundplan.database.drift import keep_verdicts

        with database.open(opened) as engine:
            keep_verdicts(engine, found.name, now, found.figures)
    metadata: dict[str, Any] = {
        "like the baseline": {None: "not known", True: "no", False: "yes"}[found.out],
        "likely cause": found.cause or found.why or "nothing is unlike",
        "regions compared with": found.compared,
    }
    if picture := _picture(opened, found):
        metadata["picture"] = shown(opened, f"drift_report/{partition.path}", "the most unusual blocks", picture)
    if found.unusual:
        metadata["unlike"] = rows(("figure", "is", "usually", "what it is", "deviations"), _lines(found))
    return dg.MaterializeResult(metadata=metadata, check_results=[verdict(found)])


def verdict(found: drift.DriftReport) -> dg.AssetCheckResult:
    """A warning: imagery that is unlike may be all right, and footprints of it are made either way."""
    figures = ", ".join(dict.fromkeys(one.figure for one in found.unusual))
    said = f"{figures} are unlike. Likely: {found.cause}" if found.out else found.why or "nothing is unlike"
    return dg.AssetCheckResult(
        passed=found.out is not True,
        check_name="like_the_baseline",
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
    )


def _lines(found: drift.DriftReport) -> list[tuple[Any, ...]]:
    return [
        (
            f"{one.figure} ({one.sort})",
            f"{one.value:.3g}",
            "{:.3g} to {:.3g}".format(*one.usual),
            about_,
            f"{one.score:+.1f}",
        )
        for one in found.unusual
        for about_ in (FIGURES[one.figure].about,)
    ]


def _picture(opened: Project, found: drift.DriftReport) -> bytes:
    strip = drift.thumbnails(opened, found)
    if strip is None:
        return b""
    buffer = io.BytesIO()
    strip.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()

"""Whether the images that arrive one by one are like those of days of which nothing was wrong, by camera."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.describe import OWNERS, PROFILE_TAG, about
from assets.report import rows
from groundplan.database import image_drift as drift
from groundplan.step import About
from resources.database import DatabaseResource
from resources.piled import is_used
from resources.project import ProjectResource

WORDS = {None: "not known", True: "no", False: "yes"}


@dg.asset(
    group_name="serving",
    kinds={"table"},
    owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version="1",
    automation_condition=dg.AutomationCondition.on_cron("20 0 * * *").with_label(
        "every night, soon after midnight UTC"
    ),
    metadata=about(About(page="docs/monitoring.md")),
    check_specs=[
        dg.AssetCheckSpec(
            "cameras_like_the_baseline",
            asset="image_drift",
            description="The figures of yesterday's images are, for each camera, like those of the baseline's days.",
        )
    ],
    description="Compares the figures of yesterday's single images, by camera, with those of days that were accepted. "
    "`groundplan drift --images --baseline` takes the days so far as such; until then nothing is said.",
)
def image_drift(project: ProjectResource, database: DatabaseResource) -> dg.MaterializeResult:
    opened, now = project.open(), datetime.now(UTC)
    found: list[drift.CameraReport] = []
    if is_used(opened):
        with database.open(opened) as engine:
            found = drift.look(opened, engine, now.date() - timedelta(days=1), now)
    lines = [(one.camera, one.model, one.images, WORDS[one.out], one.cause or one.why) for one in found]
    shown = {"cameras": rows(("camera", "model", "images", "like", "why"), lines)} if lines else {}
    return dg.MaterializeResult(metadata={"units": len(found), **shown}, check_results=[verdict(found)])


def verdict(found: list[drift.CameraReport]) -> dg.AssetCheckResult:
    """A warning: the images were answered all the same."""
    out = [f"{one.name}: {one.cause}" for one in found if one.out]
    return dg.AssetCheckResult(
        passed=not out,
        check_name="cameras_like_the_baseline",
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(out) or f"of {len(found)} cameras none is unlike",
    )

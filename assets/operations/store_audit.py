"""Whether the store and the manifests agree, and what nobody needs any more: the weekly care."""

from datetime import UTC, datetime

import dagster as dg

from assets.describe import OWNERS, PROFILE_TAG
from assets.report import rows
from groundplan.operations import store_audit as audit
from groundplan.operations.store_audit import garbage
from resources.project import ProjectResource

MOST_LINES = 50  # of a table in the web UI


@dg.asset(
    group_name="operations",
    deps=["building_footprints"],
    kinds={"table"},
    owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version="1",
    check_specs=[
        dg.AssetCheckSpec(
            "store_and_manifests_agree",
            asset="store_audit",
            description="Every object that a manifest names is in the store, with its size, and what was read of this "
            "week's share is what was made.",
        )
    ],
    description="Compares manifests with the store, of imagery and of collections: the sizes of all objects, and the "
    "contents of a fifty-second part of them, another each week. What is damaged is marked, and the next build makes "
    "it again. Lists objects that no manifest names; it removes those only when `nightly.collect_garbage` is set. The "
    "schedule `weekly_maintenance` materializes it.",
)
def store_audit(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    settings = opened.settings.nightly
    agreement = audit.check(opened, audit.turn_of(audit.week_of(datetime.now(UTC))))
    left = garbage(opened, settings.garbage_hours)
    if settings.collect_garbage and not agreement.wrong:  # not while something is wrong: it may be needed to mend it
        opened.store.delete([item.key for item in left])
    metadata = {
        "manifests": agreement.manifests,
        "objects": agreement.objects,
        "wrong": agreement.wrong,
        "contents read": agreement.read,
        "contents read [MB]": round(agreement.read_bytes / 1e6, 3),
        "objects without a digest": agreement.unknown,
        "objects that nobody names": len(left),
        "of size [MB]": round(sum(item.size for item in left) / 1e6, 3),
        "removed": bool(settings.collect_garbage and not agreement.wrong and left),
    }
    return dg.MaterializeResult(metadata=metadata, check_results=[verdict(agreement)])


def verdict(agreement: audit.Agreement) -> dg.AssetCheckResult:
    lines = [(found.key, found.reason, found.remedy) for found in agreement.findings[:MOST_LINES]]
    return dg.AssetCheckResult(
        passed=not agreement.wrong,
        check_name="store_and_manifests_agree",
        description=f"{agreement.wrong} of {agreement.objects} objects are not as their manifests say",
        metadata={"findings": rows(("object", "reason", "remedy"), lines)} if lines else {},
    )

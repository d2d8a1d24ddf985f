"""What is made, missing and failed in the whole country: materialize it at any time to know where things stand."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.describe import OWNERS, PROFILE_TAG, WEEKLY, about
from assets.partitions import partition_of
from assets.report import rows, shown
from groundplan.core.partition import Partition
from groundplan.operations import status
from groundplan.pipeline import ASSETS
from groundplan.step import About
from resources.project import ProjectResource

MOST_LINES = 50  # of a table in the web UI


@dg.asset(
    group_name="operations",
    deps=["building_footprints"],
    kinds={"png"},
    owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version="1",
    check_specs=[
        dg.AssetCheckSpec(
            "no_partition_failed_or_missing",
            asset="country_status",
            description="Every delivered region and year is made in every dataset; what exhausted its retries shows.",
        )
    ],
    description="Which regions and years are made, missing or failed, in every dataset, from the store and from the "
    "runs. Nothing depends on it. To ask again for what is red: open the asset it names, Materialize, "
    "'Failed and missing only'.",
    metadata=about(About(page="docs/kubernetes.md")),
    freshness_policy=WEEKLY,
)
def country_status(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    entries = status.take(opened)
    bad = {(entry.dataset, entry.partition): entry.state for entry in entries if entry.state != status.MADE}
    bad |= dict.fromkeys(failed_runs(context.instance), "run failed")
    picture = status.picture(entries)
    missing = sum(state == status.MISSING for state in bad.values())
    metadata: dict[str, Any] = {
        "made": len(entries) - len(bad),
        "missing": missing,
        "failed": len(bad) - missing,
        "picture": shown(opened, "country_status", "regions by year", picture),
    }
    return dg.MaterializeResult(metadata=metadata, check_results=[verdict(bad, missing)])


def verdict(bad: Mapping[tuple[str, Partition], str], missing: int) -> dg.AssetCheckResult:
    """Failed ones first: what is missing may only not have been asked for yet."""
    order = sorted(bad.items(), key=lambda item: (item[1] == status.MISSING, item[0]))
    lines = [(name, part.region or "all", part.year, state) for (name, part), state in order[:MOST_LINES]]
    return dg.AssetCheckResult(
        passed=not bad,
        check_name="no_partition_failed_or_missing",
        severity=dg.AssetCheckSeverity.ERROR if len(bad) > missing else dg.AssetCheckSeverity.WARN,
        description=f"{len(bad) - missing} failed, {missing} missing",
        metadata={"partitions": rows(("dataset", "region", "year", "state"), lines)},
    )


def failed_runs(instance: dg.DagsterInstance) -> set[tuple[str, Partition]]:
    """Partitions whose last run ended without making them, although it never wrote why: its pod was lost."""
    found, storage = set(), instance.event_log_storage
    for name in ASSETS:
        attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(
            dg.AssetKey(name)
        )
        for key, (run_id, _) in attempts.items():
            run = instance.get_run_by_id(run_id)
            if run is not None and run.is_failure:
                found.add((name, partition_of(key)))
    return found

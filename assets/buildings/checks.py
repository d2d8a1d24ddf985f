"""Asset checks: what must hold of each partition before the next asset may use it.

Here: which verdict guards which asset, whether it blocks, and how a verdict is told: why, where, what to do. Not here:
how it is judged (groundplan/quality/checks.py). https://docs.dagster.io/guides/test/asset-checks
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import dagster as dg

from assets.beta import known_beta
from assets.describe import PARTITIONS
from assets.partitions import partition_of
from assets.report import preview_key, rows, shown
from groundplan.core.partition import Partition
from groundplan.errors import GroundplanError
from groundplan.foreign_text import in_markdown
from groundplan.pipeline import STEPS
from groundplan.project import Project
from groundplan.quality import checks as quality
from groundplan.quality.verdict import NOTHING_TO_COMPARE, Verdict, verdict_key
from resources.project import ProjectResource


def _check(guard: quality.Guard) -> dg.AssetChecksDefinition:
    declared = dg.asset_check(
        asset=guard.dataset,
        name=guard.name,
        partitions_def=PARTITIONS[STEPS[guard.dataset].scope],
        blocking=True,
        description=guard.description,
    )

    def check(context: dg.AssetCheckExecutionContext, project: ProjectResource) -> dg.AssetCheckResult:
        opened, partition = project.open(), partition_of(context.partition_key)
        verdict = guard.judge(opened, partition)
        # a warning never blocks: the rest of the partition goes on, marked by a failing check
        serious = verdict.serious and not verdict.passed
        severity = dg.AssetCheckSeverity.ERROR if serious else dg.AssetCheckSeverity.WARN
        metadata = told(opened, guard.name, partition, verdict)
        said = with_picture(opened, words(verdict), metadata)
        # green would say that it holds, which nobody knows where there is nothing to compare with
        passed = verdict.passed and verdict.compared
        return dg.AssetCheckResult(passed=passed, severity=severity, metadata=metadata, description=said)

    with known_beta("Specifying a partitions_def on an AssetCheckSpec"):
        return declared(check)


def words(verdict: Verdict) -> str:
    """What a check says in one line."""
    return verdict.message if verdict.compared else f"{NOTHING_TO_COMPARE}: {verdict.message}"


def told(project: Project, name: str, partition: Partition, verdict: Verdict) -> dict[str, Any]:
    """A verdict as metadata, the remedy first; also kept in the store, where the map finds it."""
    metadata: dict[str, Any] = {}
    if not verdict.passed:
        metadata["why"] = verdict.message
        if verdict.remedy:
            metadata["what to do"] = verdict.remedy
    if verdict.wrong:
        metadata["what is wrong"] = rows(verdict.wrong[0], list(verdict.wrong[1:]))
    picture = _picture(verdict)
    if picture:
        metadata["where"] = shown(project, f"checks/{name}/{partition.path}", name, picture)
    if (root := project.settings.serving.url) and partition.region:
        metadata["map"] = dg.MetadataValue.url(f"{root}/map/{quote(partition.region)}/{partition.year}/")
    keep(project, name, partition, verdict, picture)
    return {**metadata, **verdict.facts}


def keep(project: Project, name: str, partition: Partition, verdict: Verdict, picture: bytes | None) -> None:
    """A verdict in the store."""
    record = {
        "check": name,
        "passed": verdict.passed,
        "serious": verdict.serious,
        "compared": verdict.compared,
        "message": verdict.message,
        "facts": verdict.facts,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "picture": preview_key(f"checks/{name}/{partition.path}", picture) if picture else None,
    }
    project.store.put(verdict_key(name, partition), json.dumps(record, ensure_ascii=False).encode())


def with_picture(project: Project, message: str, metadata: Mapping[str, Any]) -> str:
    """A verdict's words and, after an empty line, its picture where it has a short address.

    Of a check, Dagster's pages render the description in place, and pictures in the metadata only on a click.
    """
    if "where" not in metadata or not project.settings.serving.url:
        return in_markdown(message)
    return f"{in_markdown(message)}\n\n{metadata['where'].value}"


def _picture(verdict: Verdict) -> bytes | None:
    """Where it is wrong. What a check found must be told even where its ground can no longer be drawn."""
    if verdict.draw is None:
        return None
    try:
        return verdict.draw()
    except GroundplanError:
        return None


checks = [_check(guard) for guard in quality.GUARDS]

"""What the web UI asks Dagster's GraphQL for, in the words that it uses.

Here: mutations and their variables. Not here: who answers (a schema in the test's process, or a web server).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LAUNCH = """mutation Launch($what: ExecutionParams!) { launchPipelineExecution(executionParams: $what) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message stack } } }"""
BACKFILL = """mutation Fill($what: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $what) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message stack } } }"""
TERMINATE = """mutation End($what: String!) { terminateRun(runId: $what) {
  __typename ... on PythonError { message } ... on TerminateRunFailure { message } } }"""
FORCE = TERMINATE.replace("runId: $what", "runId: $what, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY")


def materialize(
    names: Iterable[str], partition: str, tags: Mapping[str, str] | None = None, checks: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """For LAUNCH: the Materialize button, on one partition ('' on none).

    checks: asset to a check that is part of it; the UI names those, and Dagster refuses the asset without them.
    """
    given = {**({"dagster/partition": partition} if partition else {}), **(tags or {})}
    return {
        "selector": {
            "repositoryLocationName": "groundplan",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [name]} for name in names],
            "assetCheckSelection": [
                {"assetKey": {"path": [name]}, "name": check} for name, check in (checks or {}).items()
            ],
        },
        "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in given.items()]},
        "mode": "default",
    }


def backfill(names: Iterable[str], partitions: Iterable[str], title: str) -> dict[str, Any]:
    """For BACKFILL: partitions of the first of these assets, and what depends on them of the others."""
    return {
        "assetSelection": [{"path": [name]} for name in names],
        "partitionNames": list(partitions),
        "title": title,
    }

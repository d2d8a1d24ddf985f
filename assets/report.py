"""What every asset says of a materialization: the numbers and the picture a person looks at.

Here: turning the library's reports into Dagster metadata. Not here: making anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from groundplan.blocks import Partition, Report
from groundplan.pictures import markdown
from groundplan.progress import LogProgress, reporting_to, somebody_listens
from groundplan.project import Project
from groundplan.steps import run_asset
from orchestration.partitions import partition_of

OWNERS = ["team:groundplan"]


def make(
    context: dg.AssetExecutionContext, project: Project, name: str, **options: Any
) -> tuple[Partition, list[Report]]:
    """Run the library's step for the partition of this run; progress goes to the run's log, or to the command line."""
    partition = partition_of(context.partition_key)
    if somebody_listens():
        return partition, run_asset(project, name, partition, context.run_id, **options)
    with reporting_to(LogProgress(context.log.info)):
        return partition, run_asset(project, name, partition, context.run_id, **options)


def result(
    project: Project, reports: list[Report], picture: tuple[str, bytes] | None = None,
    more: Mapping[str, Any] | None = None,
) -> dg.MaterializeResult[Any]:  # fmt: skip
    """Metadata of a materialization. The data version is the bytes' identity: downstream sees whether they changed."""
    manifest = reports[-1].manifest
    metadata: dict[str, Any] = {
        "blocks made": sum(len(report.made) for report in reports),
        "blocks kept": sum(report.skipped for report in reports),
        "size [MB]": round(manifest.total_bytes / 1e6, 3),
        "seconds": round(sum(report.seconds for report in reports), 2),
        "processor seconds": round(sum(report.manifest.cpu_seconds for report in reports), 2),
        "dagster/uri": project.store.uri(f"manifests/{manifest.dataset}/{manifest.partition.path}.json"),
        **(more or {}),
    }
    if picture:
        title, data = picture
        ending = "png" if data.startswith(b"\x89PNG") else "jpg"
        project.store.put(f"previews/{manifest.dataset}/{manifest.partition.path}.{ending}", data)
        metadata["picture"] = dg.MetadataValue.md(markdown(data, title))
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(manifest.identity()))


def rows(header: tuple[str, ...], lines: list[tuple[Any, ...]]) -> dg.MetadataValue:
    """A table in Markdown."""
    table = [header, tuple("---" for _ in header), *lines]
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in table))

"""What every asset says of a materialization: the numbers and the picture a person looks at.

Here: turning the library's reports into Dagster metadata. Not here: making anything, or what an asset is (describe.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import dagster as dg

from assets.partitions import partition_of
from groundplan.core.manifest import Manifest
from groundplan.core.materialize import Report
from groundplan.core.partition import Partition
from groundplan.core.pictures import markdown, shrunk
from groundplan.core.progress import LogProgress, reporting_to
from groundplan.core.stopwatch import PARTS, Pace, pace
from groundplan.footprints import predictions
from groundplan.foreign_text import in_markdown
from groundplan.imagery import tiles
from groundplan.pipeline import run_asset
from groundplan.project import Project

BESIDE = 560  # pixels of a picture's longer side, beside the numbers on Dagster's pages


def make(
    context: dg.AssetExecutionContext, project: Project, name: str, **options: Any
) -> tuple[Partition, list[Report]]:
    """Run the library's step for the partition of this run; progress goes to the run's log too."""
    partition = partition_of(context.partition_key)
    with reporting_to(LogProgress(context.log.info)):
        reports = run_asset(project, name, partition, context.run_id, **options)
    for report in reports:
        if said := pace_of(project, report):
            context.log.info(f"{report.manifest.dataset} {partition}: {said}")
    return partition, reports


def pace_of(project: Project, report: Report) -> Pace | None:
    """Of blocks of pixels that were made, if any; each is a block of the grid."""
    if report.manifest.dataset not in (tiles.DATASET, predictions.DATASET):
        return None
    return pace(len(report.made) * project.grid.block_size**2 / 1e6, report.seconds, report.spent)


def throughput(project: Project, report: Report) -> dict[str, Any]:
    """What a run's page says of its pace: of the run, not of what it made, so it is stored with neither."""
    found = pace_of(project, report)
    if found is None:
        return {}
    shares = {f"time in {part} [%]": round(100 * found.shares[part], 1) for part in PARTS}
    return {"MPx/s": float(f"{found.megapixels:.3g}"), **shares, "bound by": found.bound}


def result(
    project: Project,
    reports: list[Report],
    picture: tuple[str, bytes] | None = None,
    more: Mapping[str, Any] | None = None,
) -> dg.MaterializeResult[Any]:
    """Metadata of a materialization. The data version is the bytes' identity: downstream sees whether they changed."""
    manifest = reports[-1].manifest
    metadata: dict[str, Any] = {}  # shown in this order: what a person looks at comes first
    if picture:
        title, data = picture
        metadata["picture"] = shown(project, f"{manifest.dataset}/{manifest.partition.path}", title, data)
    metadata |= {
        **links(project, manifest),
        **(more or {}),
        **{name: value for report in reports for name, value in report.told.items()},
        "blocks made": sum(len(report.made) for report in reports),
        "blocks kept": sum(report.skipped for report in reports),
        "size [MB]": round(manifest.total_bytes / 1e6, 3),
        "seconds": round(sum(report.seconds for report in reports), 2),
        **cost(project, sum(report.manifest.cpu_seconds for report in reports)),
        "dagster/uri": project.store.uri(f"manifests/{manifest.dataset}/{manifest.partition.path}.json"),
    }
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(manifest.identity()))


def cost(project: Project, seconds: float) -> dict[str, Any]:
    """Processor seconds that the partition's objects took, and their price."""
    nightly = project.settings.nightly
    money = {"cost": priced(seconds / 3600 * nightly.price_per_cpu_hour, nightly.currency)}
    return {"processor seconds": round(seconds, 2), **(money if nightly.price_per_cpu_hour else {})}


def priced(amount: float, currency: str) -> str:
    """`0.004 EUR`: to a thousandth, as less is nobody's bill."""
    shown = f"{amount:,.3f}" if amount < 10 else f"{amount:,.2f}"
    return f"{'less than 0.001' if 0 < amount < 0.0005 else shown} {currency}".rstrip()


def links(project: Project, manifest: Manifest) -> dict[str, dg.MetadataValue]:
    """The partition's map and its page of objects, where `serving.url` says who serves them."""
    root, partition = project.settings.serving.url, manifest.partition
    if not root or not isinstance(partition, Partition):
        return {}
    page = f"{root}/partition/{manifest.dataset}/{partition.year}"
    if not partition.region:
        return {"data": dg.MetadataValue.url(page)}
    name = quote(partition.region)
    return {
        "map": dg.MetadataValue.url(f"{root}/map/{name}/{partition.year}/"),
        "data": dg.MetadataValue.url(f"{page}/{name}"),
    }


def shown(project: Project, name: str, title: str, data: bytes) -> dg.MetadataValue:
    """Keep a picture (JPEG or PNG) in the store as `previews/NAME`, and show it.

    With `serving.url` as a short address, which Dagster's pages render in place: a small one, that leads to the whole.
    The address changes with the picture, so that no browser shows an old one. Without, inside the metadata: it opens on
    a click, and every byte is in the database.
    """
    key = preview_key(name, data)
    project.store.put(key, data)
    if not (root := project.settings.serving.url):
        return dg.MetadataValue.md(markdown(data, in_markdown(title)))
    small = preview_key(f"small/{name}", data)
    project.store.put(small, shrunk(data, BESIDE))
    mark = hashlib.sha256(data).hexdigest()[:8]
    whole, shown_ = (f"{root}/{quote(one)}?v={mark}" for one in (key, small))
    return dg.MetadataValue.md(f"[![{in_markdown(title)}]({shown_})]({whole})")


def preview_key(name: str, data: bytes) -> str:
    """Where a picture is kept."""
    ending = "png" if data.startswith(b"\x89PNG") else "jpg"
    return f"previews/{name}.{ending}"


def rows(header: tuple[str, ...], lines: list[tuple[Any, ...]]) -> dg.MetadataValue:
    """A table in Markdown. A cell shows its text and does nothing else, whoever wrote it."""
    first, *others = ([in_markdown(cell) for cell in line] for line in (header, *lines))
    table = [first, ["---"] * len(header), *others]
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in table))

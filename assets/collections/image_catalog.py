"""The images of a class: which can be used, which split each is in, and what is wrong with the others."""

import dagster as dg

from assets.collection_partitions import image_classes
from assets.collections.collection_parts import make_classes
from assets.describe import OWNERS, PROFILE_TAG
from assets.report import rows
from groundplan.collections import catalog as step
from groundplan.core.materialize import Report
from resources.project import ProjectResource


@dg.asset(
    partitions_def=image_classes,
    group_name="collections",
    kinds={"parquet"},
    owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version=step.VERSION,
    description="Every file delivered into a class folder: size, hash, group of near-duplicates, split. A group is in "
    "one split, so that a test image is not the rotation of a training image. What cannot be used has a row with the "
    "reason and the remedy.",
)
def image_catalog(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    return make_classes(context, project.open(), "image_catalog", said)


def said(reports: list[Report]) -> dict[str, object]:
    """Counts, and a row for each file that could not be used."""
    facts = reports[-1].manifest.objects["catalog"].facts
    counts = {f"{kind} {name}": count for kind in ("states", "splits") for name, count in facts[kind].items()}
    more: dict[str, object] = {"dagster/row_count": facts["files"], "images": facts["images"], **counts}
    if lines := [("the class", "note", note, "") for note in facts["notes"]] + [
        tuple(row[name] for name in ("file", "state", "reason", "remedy")) for row in facts["told"]
    ]:
        more["set aside, or worth a word"] = rows(("file", "state", "reason", "remedy"), lines)
    return more

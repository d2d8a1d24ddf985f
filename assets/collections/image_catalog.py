"""The images of a class: which can be used, which split each is in, and what is wrong with the others."""

import dagster as dg

from assets.collections.collection_parts import make_classes
from assets.describe import declared
from assets.report import rows
from groundplan.collections import catalog as step
from groundplan.collections.files import A_LINK, links
from groundplan.core.materialize import Report
from groundplan.foreign_text import in_line
from resources.project import ProjectResource

MOST_NAMED = 20  # links; the command names as many


@dg.asset(**declared(step.STEP))
def image_catalog(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    for key in links(opened)[:MOST_NAMED]:
        context.log.warning(f"{in_line(key)}: {A_LINK}")
    return make_classes(context, opened, "image_catalog", said)


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

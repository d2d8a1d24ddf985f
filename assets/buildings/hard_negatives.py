"""Places where the model sees buildings on ground that is known to be empty."""

import dagster as dg

from assets.describe import declared
from assets.report import make, result, rows
from groundplan.core.manifest import load_object
from groundplan.labels import registers
from groundplan.mining import hard_negatives as step
from groundplan.polygons.geoparquet import read
from groundplan.previews.pictures import plan_picture
from resources.project import ProjectResource

SHOWN = 20


@dg.asset(**declared(step.STEP))
def hard_negatives(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "hard_negatives")
    made = reports[-1].manifest.objects["places"]
    frame = load_object(opened.store, made, read)
    buildings, complete = registers.load(opened, partition)
    blue, red = (46, 110, 170), (200, 50, 60)
    layers = [(buildings.geometry.values, blue, 40), (frame.geometry.buffer(3).values, red, 160)]
    lines = [(row.place, f"{row.score:.2f}", row.area, row.why, row.reviewer) for row in frame.head(SHOWN).itertuples()]
    table = rows(("place", "score", "m2", "why there is none", "reviewer"), lines)
    more = {**made.facts, "places of the highest score": table, "dagster/row_count": len(frame)}
    return result(opened, reports, ("places, red; register, blue", plan_picture(layers, complete)), more)

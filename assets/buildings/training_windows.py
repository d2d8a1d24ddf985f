"""The year's windows to learn from, split by place into train, validation and test."""

import dagster as dg

from assets.describe import declared
from assets.report import make, result
from groundplan.core.manifest import load_object
from groundplan.previews.pictures import plan_picture
from groundplan.training import windows as step
from resources.project import ProjectResource


@dg.asset(**declared(step.STEP))
def training_windows(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    _, reports = make(context, opened, "training_windows")
    made = reports[-1].manifest.objects["windows"]
    frame = load_object(opened.store, made, step.read)
    learned, held = frame[frame["train"] > 0], frame[frame["train"] == 0]
    picture = plan_picture([(held.geometry.values, (150, 156, 164), 60), (learned.geometry.values, (46, 110, 170), 40)])
    more = {**made.facts, "dagster/row_count": made.facts["windows"]}
    return result(opened, reports, ("windows to learn from, blue", picture), more)

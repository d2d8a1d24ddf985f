"""Building polygons with confidence, image date and model."""

import dagster as dg

from assets.report import OWNERS, make, result
from groundplan import footprints as step
from groundplan import tiles
from groundplan.blocks import need_manifest
from groundplan.pictures import footprints_picture
from orchestration.partitions import region_years
from orchestration.profiles import PROFILE_TAG
from resources.project import ProjectResource

COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("id", "string", "stable for the same ground and inputs"),
        dg.TableColumn("confidence", "float", "mean building probability, 0 to 1"),
        dg.TableColumn("area", "float", "square metres in the grid's CRS"),
        dg.TableColumn("image_date", "string", "date of the imagery, ISO 8601"),
        dg.TableColumn("sheet", "string", "delivered file that shows the building"),
        dg.TableColumn("model", "string", "year and identity of the model"),
        dg.TableColumn("block", "string", "block that the building's anchor lies in"),
        dg.TableColumn("fingerprint", "string", "fingerprint of that image block"),
        dg.TableColumn("geometry", "polygon", "footprint in the grid's CRS"),
    ]
)


@dg.asset(
    deps=["predictions", "aerial_tiles"], partitions_def=region_years, group_name="footprints",
    kinds={"geoparquet"}, owners=OWNERS,
    tags={PROFILE_TAG: "cpu"}, code_version=f"{step.OUTLINES_VERSION}.{step.VERSION}",
    description="A polygon per building: touching buildings apart, merged across block and region borders, "
    "right-angled where the building is. GeoParquet 1.1.",
    metadata={"dagster/column_schema": COLUMNS},
)  # fmt: skip
def building_footprints(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    opened = project.open()
    partition, reports = make(context, opened, "building_footprints")
    made = reports[-1].manifest.objects["footprints"]
    images = need_manifest(opened.store, tiles.DATASET, partition).objects
    frame = step.read(opened.store.get(made.key))
    picture = ("footprints over image", footprints_picture(opened, images, frame))
    return result(opened, reports, picture, {**made.facts, "dagster/row_count": made.facts["buildings"]})

"""A region's footprints in the database of those who ask: a copy of what the manifest names."""

from time import monotonic

import dagster as dg

from assets.conditions import copied
from assets.describe import OWNERS, PROFILE_TAG
from assets.partitions import partition_of, region_years
from resources.database import DatabaseResource
from resources.project import ProjectResource


@dg.asset(
    group_name="serving",
    deps=["building_footprints"],
    partitions_def=region_years,
    kinds={"postgresql"},
    owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version="1",
    automation_condition=copied(),
    metadata={"documents": dg.MetadataValue.path("docs/results.md")},
    description="Copies a region's footprints of a year into the results' database, in one transaction: readers see "
    "what was there, or all of the new. Where that manifest was copied already, nothing is written. With `[database] "
    "url` it follows the footprints by itself; `groundplan database sync` does the same for all that is missing.",
)
def footprints_in_database(
    context: dg.AssetExecutionContext, project: ProjectResource, database: DatabaseResource
) -> dg.MaterializeResult:
    from groundplan.database.load import load_partition

    opened, begin = project.open(), monotonic()
    with database.open(opened) as engine:
        done = load_partition(engine, opened, partition_of(context.partition_key))
    seconds = round(monotonic() - begin, 3)
    return dg.MaterializeResult(metadata={"dagster/row_count": done.rows, "written": done.changed, "seconds": seconds})

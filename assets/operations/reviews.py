"""What people said of a year's buildings, as a register that the labels of that year read."""

from typing import Any

import dagster as dg

from assets.describe import OWNERS, PROFILE_TAG, about
from assets.partitions import years
from groundplan.reviews.register import write_reviews
from groundplan.reviews.verdicts import agreement, precision, read_reviews, settled
from groundplan.step import About
from resources.database import DatabaseResource
from resources.project import ProjectResource


@dg.asset(
    group_name="operations",
    partitions_def=years,
    kinds={"table"},
    owners=OWNERS,
    tags={PROFILE_TAG: "io"},
    code_version="1",
    metadata=about(About(page="docs/review.md")),
    description="Brings a year's verdicts from the database to the store and back, and writes them as a register with "
    "an extent of its own: labels of the blocks around them are made anew, and of no others. As `groundplan review "
    "apply`. Ground of the test split is for scoring only.",
)
def reviews(
    context: dg.AssetExecutionContext, project: ProjectResource, database: DatabaseResource
) -> dg.MaterializeResult:
    from groundplan.database.verdicts import mirror

    opened, year = project.open(), int(context.partition_key)
    with database.open(opened) as engine:
        to_store, to_database = mirror(engine, opened.store, year)
    said = read_reviews(opened.store, year)
    register, found = write_reviews(opened, year)
    metadata: dict[str, Any] = {
        "polygons judged": len(settled(said)),
        "buildings that stand": len(found.buildings),
        "for scoring only": found.left_out,
        "kappa of two people": str(agreement(said)[1]),
        "share of buildings by chance": str(precision(said)[1]),
        "brought to the store, and to the database": f"{to_store}, {to_database}",
    }
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(register.digest if register else "none"))

"""How datasets are cut: by region and by year.

Here: the partitions definitions, the mappings between them, and keys to and from the library's Partition. Not here:
which regions exist; they are added when imagery arrives. https://docs.dagster.io/guides/build/partitions-and-backfills
"""

from __future__ import annotations

import dagster as dg

from groundplan.core.partition import Partition

FIRST_YEAR = 1950  # of aerial imagery that anybody digitised

regions = dg.DynamicPartitionsDefinition(name="regions")

# end_offset: a year has imagery before it is over
years = dg.TimeWindowPartitionsDefinition(start=str(FIRST_YEAR), fmt="%Y", cron_schedule="0 0 1 1 *", end_offset=1)

region_years = dg.MultiPartitionsDefinition({"region": regions, "year": years})

# a year's windows come from all its regions, and a region's predictions from its year's model
by_year = dg.MultiToSingleDimensionPartitionMapping(partition_dimension_name="year")


def key_of(partition: Partition) -> str:
    """Dagster's key: `banepa|2022`, or `2022` for what is not cut by region."""
    if not partition.region:
        return str(partition.year)
    return dg.MultiPartitionKey({"region": partition.region, "year": str(partition.year)})


def partition_of(key: str) -> Partition:
    """The library's partition of a key. Raises ValueError for what is none."""
    region, _, year = str(key).rpartition("|")
    return Partition(int(year), region)

"""How datasets are cut: by region and by year.

Here: the partitions definitions, the mappings between them, and keys to and from the library's Partition. Not here:
which regions and years exist; they are added when imagery arrives. https://docs.dagster.io/guides/build/partitions-and-backfills
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from assets.beta import known_beta
from groundplan.core.partition import Partition

REGION, YEAR = "groundplan/region", "groundplan/year"
"""Tags by which runs are filtered."""

regions = dg.DynamicPartitionsDefinition(name="regions")

# a project's own years, not a century's: 1,350 regions x 12 years are 16,200 keys, and Dagster wants less than 100,000
years = dg.DynamicPartitionsDefinition(name="years")

region_years = dg.MultiPartitionsDefinition({"region": regions, "year": years})

# a year's windows come from all its regions, and a region's predictions from its year's model
with known_beta("Class `MultiToSingleDimensionPartitionMapping`"):
    by_year = dg.MultiToSingleDimensionPartitionMapping(partition_dimension_name="year")


# what reads the year before: the region's other years. Which one was before only the store knows, and Dagster's own
# mappings know no "less than" of years that are added one by one; a run that was not needed makes nothing
with known_beta("Class `MultiPartitionMapping`"):
    all_years = dg.MultiPartitionMapping(
        {
            "region": dg.DimensionPartitionMapping("region", dg.IdentityPartitionMapping()),
            "year": dg.DimensionPartitionMapping("year", dg.AllPartitionMapping()),
        }
    )


def key_of(partition: Partition) -> str:
    """Dagster's key: `banepa|2022`, or `2022` for what is not cut by region."""
    if not partition.region:
        return str(partition.year)
    return dg.MultiPartitionKey({"region": partition.region, "year": str(partition.year)})


def partition_of(key: str) -> Partition:
    """The library's partition of a key. Raises ValueError for what is none."""
    region, _, year = str(key).rpartition("|")
    return Partition(int(year), region)


def unknown(
    instance: dg.DagsterInstance,
    partitions: Iterable[Partition],
    more_years: Iterable[int] = (),
    more_regions: Iterable[str] = (),
) -> list[dg.AddDynamicPartitionsRequest]:
    """What must be added before runs of these partitions can be asked for; oldest years first."""
    listed = list(partitions)
    wanted = {
        regions: sorted({*more_regions, *(each.region for each in listed if each.region)}),
        years: [str(year) for year in sorted({*more_years, *(each.year for each in listed)})],
    }
    known = {each: set(instance.get_dynamic_partitions(each.name or "")) for each in wanted}
    new = {each: [key for key in keys if key not in known[each]] for each, keys in wanted.items()}
    return [each.build_add_request(keys) for each, keys in new.items() if keys]


def add_partitions(
    instance: dg.DagsterInstance, partitions: Iterable[Partition], more_years: Iterable[int] = ()
) -> None:
    """Tell Dagster of regions and years that it does not know yet."""
    for request in unknown(instance, partitions, more_years):
        instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))

"""The year before: which year a region's year is compared with.

Here: the choice, from what was delivered. Not here: comparing (comparing.py).

It is the newest earlier year of which imagery of the region was delivered: flights are not flown every year.
"""

from __future__ import annotations

from groundplan.core.partition import Partition, year_before
from groundplan.errors import MissingInput
from groundplan.imagery.landing import delivered_years
from groundplan.project import Project


def before(project: Project, partition: Partition) -> Partition | None:
    """The partition that one is compared with; None in a region's first year. One listing."""
    delivered = [Partition(year, partition.region) for year in delivered_years(project, partition.region)]
    year = year_before(partition, delivered)
    return None if year is None else Partition(year, partition.region)


def need_before(project: Project, partition: Partition) -> Partition:
    """As `before`. Raises MissingInput where there is none."""
    found = before(project, partition)
    if found is None:
        raise MissingInput(
            f"a year before {partition}",
            "no earlier imagery of the region was delivered, so there is nothing to compare with",
            f"Add imagery of an earlier year: `groundplan add-imagery FILES --region {partition.region} --year YEAR`",
        )
    return found

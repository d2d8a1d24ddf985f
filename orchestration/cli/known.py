"""What a command may name: regions, years, assets, collections. A name that is none of them is an error, never nothing.

Here: checking names against what was delivered and made. Not here: the error's words (groundplan/errors.py), names that
a command brings in for the first time (groundplan/imagery/landing.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from groundplan.errors import BadConfig, unknown

if TYPE_CHECKING:
    from groundplan.core.partition import Partition
    from groundplan.project import Project

DELIVER = "Deliver imagery: `groundplan add-imagery FILE... --region NAME --year YEAR`"


def check_place(project: Project, region: str | None, year: int | None, made: str = "") -> list[Partition]:
    """Regions and years that a choice means, sorted; all of them without one.

    made: a dataset; its partitions count too, also where the sheets that they came from are no longer there.
    Raises BadConfig for a region or year of which there is nothing.
    """
    from groundplan.core.manifest import committed
    from groundplan.imagery.landing import delivered_partitions

    found = set(delivered_partitions(project))
    if made:
        years = {year} if year is not None else {partition.year for partition in found}
        found |= {one.partition for each in years for one in committed(project.store, made, each)}
    if region is None and year is None:
        return sorted(found)
    if not found:
        thing = f"region '{region}'" if region is not None else f"year {year}"
        raise BadConfig(thing, "nothing was delivered to this project yet", DELIVER)
    if region is not None:
        _check_region(project, region, found)
    if year is not None:
        _check_year(region, year, found)
    return sorted(p for p in found if region in (None, p.region) and year in (None, p.year))


def _check_region(project: Project, region: str, found: Iterable[Partition]) -> None:
    from groundplan.imagery.regions import region_polygons

    names = {partition.region for partition in found}
    if region in names:
        return
    if region in region_polygons(project):
        add = DELIVER.replace("NAME", quoted_region(region))
        raise BadConfig(f"region '{region}'", "nothing was delivered for it", add)
    raise unknown("region", region, sorted(names))


def quoted_region(region: str) -> str:
    from groundplan.commands import quoted

    return quoted(region)


def _check_year(region: str | None, year: int, found: Iterable[Partition]) -> None:
    years = sorted({partition.year for partition in found if region in (None, partition.region)})
    if year not in years:
        of = f" for {region}" if region is not None else ""
        raise BadConfig(f"year {year}", f"nothing was delivered{of}", f"Choose from: {', '.join(map(str, years))}")


def check_assets(names: Sequence[str], known: Sequence[str]) -> None:
    """Raises BadConfig for a name that is no asset."""
    for name in names:
        if name not in known:
            raise unknown("asset", name, known)


def check_collection(project: Project, name: str) -> str:
    """The name of a collection of the project. Raises BadConfig."""
    from groundplan.collections.files import check_collection_name, collections

    there = collections(project)
    if check_collection_name(name) in there:
        return name
    if not there:
        add = f"Run `groundplan add-collection FOLDER --name {name}` with a folder of class folders"
        raise BadConfig(f"collection '{name}'", "nothing was delivered for it", add)
    raise unknown("collection", name, sorted(there))

"""Which regions' new imagery is complete, so that its change with the year before can be made.

Here: the verdict, as a pure function of what two years' tiles cover. Not here: the change itself (changes/), which
says of ground that only one year shows that nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from groundplan.core.manifest import read_manifest
from groundplan.core.partition import Partition, year_before
from groundplan.imagery import catalog, tiles
from groundplan.imagery.landing import delivered_partitions
from groundplan.project import Project

COVERED = 0.98  # share of what last year showed of a block; flights end a little elsewhere each year
LEAST = 0.02  # of a block: less is the edge of a flight


@dataclass(frozen=True, slots=True)
class Year:
    """What a region's imagery of a year covers. blocks: name to share of its ground, 0 to 1."""

    blocks: Mapping[str, float]
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a region's year can be compared with the year before, and why not."""

    partition: Partition
    before: int | None
    ready: bool
    why: str


def compare(partition: Partition, before: int | None, now: Year | None, then: Year | None) -> Standing:
    """before: the year of `then`. None stands for a year whose tiles are not made."""
    if before is None or then is None:
        return Standing(partition, before, False, "no earlier year to compare with")
    if now is None:
        return Standing(partition, before, False, f"aerial_tiles of {partition} are not made")
    if now.quarantined:
        word = "sheet is" if now.quarantined == 1 else "sheets are"
        return Standing(partition, before, False, f"{now.quarantined} {word} set aside: mend or remove")
    lost = [name for name, share in then.blocks.items() if share > LEAST and now.blocks.get(name, 0) < share * COVERED]
    if lost:
        some = ", ".join(sorted(lost)[:3]) + (" ..." if len(lost) > 3 else "")
        return Standing(partition, before, False, f"{len(lost)} of {len(then.blocks)} blocks lack imagery: {some}")
    return Standing(partition, before, True, f"all {len(then.blocks)} blocks of {before} are covered")


def look(project: Project, partition: Partition) -> Year | None:
    """What is made of a region's year. Raises StoreFailed."""
    manifest = read_manifest(project.store, tiles.DATASET, partition)
    listed = read_manifest(project.store, catalog.DATASET, partition)
    if manifest is None or listed is None:
        return None
    aside = listed.objects["catalogue"].facts.get("quarantined", [])
    shares = {name: float(made.facts.get("covered", 1.0)) for name, made in manifest.objects.items()}
    return Year(shares, len(aside))


def standings(project: Project) -> list[Standing]:
    """Each region's newest delivered year, in order. Raises StoreFailed. Reads four manifests of a region."""
    delivered = delivered_partitions(project)
    newest = {partition.region: partition for partition in delivered}  # sorted by year
    found = []
    for partition in sorted(newest.values()):
        before = year_before(partition, delivered)
        then = look(project, Partition(before, partition.region)) if before else None
        found.append(compare(partition, before, look(project, partition) if then else None, then))
    return found

"""What a partition of a dataset still waits for, so that nobody starts a run that must fail.

Here: which datasets of the same place, which model and which register a step needs, and asking the store for them. Not
here: planning or making anything (pipeline.py), or who starts runs (assets/conditions.py, backlog.py).

A manifest is what counts: readers read manifests. Dagster's own record of materializations may be another machine's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache

from groundplan.config import Settings
from groundplan.core.manifest import committed, need_manifest
from groundplan.core.partition import Partition, year_before
from groundplan.imagery.landing import delivered_partitions
from groundplan.labels import masks
from groundplan.pipeline import STEPS
from groundplan.project import Project
from groundplan.step import is_wanted

Has = Callable[[str, Partition], bool]
"""Whether a dataset's partition is made. Of a dataset cut by region, of a year without a region: any region's."""
NONE_DELIVERED: frozenset[Partition] = frozenset()


class Why(Enum):
    """Why a partition cannot be made now."""

    NOTHING = "it can"
    INPUT = "what it reads of its own partition is not made"
    REGISTER = "there is no register of the year"
    OTHER_MODEL = "another year's model is used"
    ANY_REGION = "no region of the year has what it reads"
    MODEL = "there is no model to use"
    FIRST_YEAR = "there is no earlier year of the region"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a partition cannot be made now, for programs and in words. False when it can."""

    why: Why
    text: str = ""

    def __bool__(self) -> bool:
        return self.why is not Why.NOTHING

    def __str__(self) -> str:
        return self.text


def own_inputs(name: str) -> tuple[str, ...]:
    """Datasets of which a step, or a check of its result, reads the same partition."""
    step = STEPS[name]
    found = (other for other in (*step.reads, *step.compared_with) if other in STEPS)
    return tuple(other for other in found if STEPS[other].scope is step.scope)


def inputs_before(name: str, partition: Partition, delivered: Collection[Partition]) -> list[tuple[str, Partition]]:
    """Assets and partitions of the year before that a step reads; none where that is the region's first year."""
    year = year_before(partition, delivered)
    if year is None:
        return []
    before = Partition(year, partition.region)
    there = [STEPS[other].comes_with or other for other in STEPS[name].reads_before]
    is_first = year_before(before, delivered) is None
    return [(other, before) for other in dict.fromkeys(there) if not (is_first and STEPS[other].reads_before)]


def asked_for(settings: Settings) -> frozenset[str]:
    """The datasets not of every project that these settings ask for."""
    return frozenset(name for name, step in STEPS.items() if step.wanted is not None and step.wanted(settings))


def waits_for(
    name: str,
    partition: Partition,
    has: Has,
    registers: Collection[int],
    model_year: int | None,
    delivered: Collection[Partition] = NONE_DELIVERED,
    asked: Collection[str] = (),
) -> Reason:
    """Why a partition cannot be made now. It follows from what its step declares.

    registers: years for which a register was added. model_year: the setting `predict.model_year`. delivered: regions
    and years of which imagery was delivered, which say what year was before. asked: of `asked_for`; what every project
    has waits for no other dataset that only some have.
    """
    step = STEPS[name]
    if step.reads_before and not inputs_before(name, partition, delivered):
        return Reason(Why.FIRST_YEAR, f"no earlier year of {partition.region} was delivered")
    for other, before in inputs_before(name, partition, delivered) if step.reads_before else ():
        if not has(other, before):
            return Reason(Why.INPUT, f"{other} of {before} is not made")
    for other in own_inputs(name):
        if step.wanted is None and STEPS[other].wanted is not None and other not in asked:
            continue
        if not has(other, partition):
            return Reason(Why.INPUT, f"{other} of {partition} is not made")
    if step.needs_register and partition.year not in registers:
        return Reason(Why.REGISTER, f"no register of {partition.year}")
    if step.learns and model_year not in (None, partition.year):
        return Reason(Why.OTHER_MODEL, f"the model of {model_year} is used for all years")
    for other in step.reads:
        if other not in STEPS:
            continue
        if step.scope.wide and not STEPS[other].scope.wide and not has(other, partition):
            return Reason(Why.ANY_REGION, f"no {other} of {partition.year}")
        year = Partition(model_year or partition.year)
        if STEPS[other].scope.wide and not step.scope.wide and not has(other, year):
            return Reason(Why.MODEL, f"no model of {year.year}")
    return Reason(Why.NOTHING)


def disturbed(project: Project, partition: Partition, busy: Iterable[Partition]) -> bool:
    """Whether any of the busy partitions is in the year, and beside the region where the partition has one.

    Without a polygon file every region of the year may touch.
    """
    from groundplan.imagery.regions import readable_polygons

    others = {other.region for other in busy if other.year == partition.year and other.region != partition.region}
    if not others or not partition.region:
        return bool(others)
    polygons = readable_polygons(project)
    here, reach = polygons.get(partition.region), 2 * project.grid.span
    return here is None or any(name not in polygons or polygons[name].dwithin(here, reach) for name in others)


def register_years(project: Project) -> set[int]:
    """Years for which a register was added. Raises StoreFailed."""
    found = (item.key.split("/") for item in project.store.list("registers"))
    return {int(part[1]) for part in found if len(part) == 3 and part[2].endswith(".json") and part[1].isdigit()}


def teaches(project: Project, year: int) -> bool:
    """Whether any region's labels of a year hold known ground; without that there is nothing to learn from."""
    for one in committed(project.store, masks.DATASET, year):
        manifest = need_manifest(project.store, masks.DATASET, one.partition)
        if any(made.facts.get("known") for made in manifest.objects.values()):
            return True
    return False


def makeable(project: Project, name: str, partitions: Iterable[Partition]) -> set[Partition]:
    """Those of the partitions that can be made from what the store holds now. Lists only their years.

    None of a dataset that the settings do not ask for. Raises StoreFailed.
    """

    @cache
    def made(dataset: str, year: int) -> frozenset[Partition]:
        return frozenset(one.partition for one in committed(project.store, dataset, year))

    def has(dataset: str, partition: Partition) -> bool:
        there = made(dataset, partition.year)
        return partition in there if partition.region or STEPS[dataset].scope.wide else bool(there)

    wanted = sorted(set(partitions))
    if not wanted or not is_wanted(STEPS[name], project.settings):
        return set()
    years, chosen = register_years(project), project.settings.predict.model_year
    delivered = delivered_partitions(project) if STEPS[name].reads_before else NONE_DELIVERED
    asked = asked_for(project.settings)
    ready = {part for part in wanted if not waits_for(name, part, has, years, chosen, delivered, asked)}
    from_labels = masks.DATASET in STEPS[name].reads and STEPS[name].scope.wide
    return {partition for partition in ready if not from_labels or teaches(project, partition.year)}

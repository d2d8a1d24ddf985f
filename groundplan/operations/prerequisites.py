"""What a partition of a dataset still waits for, so that nobody starts a run that must fail.

Here: which datasets of the same place, which model and which register a step needs, and asking the store for them. Not
here: planning or making anything (pipeline.py), or who starts runs (assets/conditions.py, backlog.py).

A manifest is what counts: readers read manifests. Dagster's own record of materializations may be another machine's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache

from groundplan.core.manifest import manifest_key, need_manifest
from groundplan.core.partition import Partition
from groundplan.labels import masks
from groundplan.project import Project

SAME_PLACE: Mapping[str, tuple[str, ...]] = {
    "sheets": (),
    "aerial_tiles": ("sheets",),
    "register_buildings": ("aerial_tiles",),
    "labels": ("aerial_tiles", "register_buildings"),
    "training_windows": (),
    "trained_model": ("training_windows",),
    "predictions": ("aerial_tiles",),
    # the register is not read by the step, but by the check that compares with it
    "building_footprints": ("predictions", "aerial_tiles", "register_buildings"),
}
"""What a step reads of its own region and year. A test holds it against the assets' dependencies."""

Has = Callable[[str, Partition], bool]
"""Whether a dataset's partition is made. `labels` of a year without a region: any region's."""


def waits_for(name: str, partition: Partition, has: Has, registers: Collection[int], model_year: int | None) -> str:
    """Why a partition cannot be made now, in a few words; empty when it can.

    registers: years for which a register was added. model_year: the setting `predict.model_year`.
    """
    for needed in SAME_PLACE[name]:
        if not has(needed, partition):
            return f"{needed} of {partition} is not made"
    if name in ("labels", "training_windows") and partition.year not in registers:
        return f"no register of {partition.year}"
    if name in ("training_windows", "trained_model") and model_year not in (None, partition.year):
        return f"the model of {model_year} is used for all years"
    if name == "training_windows" and not has("labels", partition):
        return f"no labels of {partition.year}"
    model = Partition(model_year or partition.year)
    if name == "predictions" and not has("trained_model", model):
        return f"no model of {model.year}"
    return ""


def register_years(project: Project) -> set[int]:
    """Years for which a register was added. Raises StoreFailed."""
    found = (item.key.split("/") for item in project.store.list("registers"))
    return {int(part[1]) for part in found if len(part) == 3 and part[2].endswith(".json") and part[1].isdigit()}


def teaches(project: Project, year: int) -> bool:
    """Whether any region's labels of a year hold known ground; without that there is nothing to learn from."""
    for item in project.store.list(f"manifests/{masks.DATASET}/{year}"):
        region = item.key.rsplit("/", 1)[-1].removesuffix(".json")
        manifest = need_manifest(project.store, masks.DATASET, Partition(year, region))
        if any(made.facts.get("known") for made in manifest.objects.values()):
            return True
    return False


def makeable(project: Project, name: str, partitions: Iterable[Partition]) -> set[Partition]:
    """Those of the partitions that can be made from what the store holds now. Lists only their years.

    Raises StoreFailed.
    """

    @cache
    def listed(dataset: str, year: int) -> frozenset[str]:
        return frozenset(item.key for item in project.store.list(f"manifests/{dataset}/{year}"))

    @cache
    def single(dataset: str, year: int) -> bool:
        return project.store.exists(manifest_key(dataset, Partition(year)))

    def has(dataset: str, partition: Partition) -> bool:
        if dataset in ("training_windows", "trained_model"):
            return single(dataset, partition.year)
        made = listed(dataset, partition.year)
        return manifest_key(dataset, partition) in made if partition.region else bool(made)

    wanted = sorted(set(partitions))
    if not wanted:
        return set()
    years, chosen = register_years(project), project.settings.predict.model_year
    ready = {partition for partition in wanted if not waits_for(name, partition, has, years, chosen)}
    return {p for p in ready if name != "training_windows" or teaches(project, p.year)}

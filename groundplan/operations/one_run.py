"""Deliveries that go from sheets to footprints in one run: a person who drops a sheet waits for one process, not four.

Here: which of the asks for new imagery get all that follows in the same run. Not here: what is asked for
(groundplan/ingest/decide.py), or what follows from work that is done (assets/conditions.py), which starts the rest.

Only small deliveries: in one run all steps have one machine, and that of a large region's prediction is dear for
cutting. And only where nothing around is in the making, as each step would wait for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from groundplan.core.manifest import manifest_key
from groundplan.core.partition import Partition
from groundplan.footprints import footprints
from groundplan.imagery.landing import landed_files
from groundplan.ingest.decide import SHEETS, TILES, Ask
from groundplan.operations.prerequisites import disturbed, register_years, waits_for
from groundplan.pipeline import ALWAYS, STEPS
from groundplan.project import Project
from groundplan.step import Scope


def all_the_way(project: Project, asks: Sequence[Ask], busy: Collection[Partition]) -> tuple[Ask, ...]:
    """The asks, some of them with all datasets up to the footprints. busy: partitions that are being made.

    Raises StoreFailed.
    """
    others = {*busy, *(ask.partition for ask in asks)}
    registers: set[int] | None = None
    after = []
    for ask in asks:
        if _is_small(project, ask) and not disturbed(project, ask.partition, others):
            registers = register_years(project) if registers is None else registers
            ask = replace(ask, assets=what_follows(project, ask.partition, registers) or ask.assets)
        after.append(ask)
    return tuple(after)


def _is_small(project: Project, ask: Ask) -> bool:
    """Whether both are asked for, as where no other delivery touches it, of few files."""
    most = project.settings.arrivals.one_run_sheets
    return bool(most) and ask.assets == (SHEETS, TILES) and len(landed_files(project, ask.partition)) <= most


def what_follows(project: Project, partition: Partition, registers: Collection[int]) -> tuple[str, ...]:
    """Datasets of a region and year that one run can make, in their order; empty where it does not reach footprints."""
    chosen: list[str] = []

    def has(dataset: str, where: Partition) -> bool:
        return dataset in chosen or project.store.exists(manifest_key(dataset, where))

    for name in _regional(ALWAYS):
        if not waits_for(name, partition, has, registers, project.settings.predict.model_year):
            chosen.append(name)
    return tuple(chosen) if footprints.DATASET in chosen else ()


def _regional(names: Iterable[str]) -> list[str]:
    return [name for name in names if STEPS[name].scope is Scope.REGION]

"""What a night makes: missing and failed partitions, newest year first, within the night's bounds.

Here: the choice, as a pure function of what is there, and what it is expected to cost. Not here: reading Dagster's runs
and asking for backfills (orchestration/schedules.py), or what can be made at all (prerequisites.py).

Within a year the work goes by stages, because blocks read their neighbours': no region is predicted while another's
tiles are asked for. The choice is made several times an hour, so a year goes through its stages in one night.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from groundplan.config import NightlySettings
from groundplan.core.partition import Partition
from groundplan.operations import status
from groundplan.operations.prerequisites import waits_for
from groundplan.pipeline import STEPS
from groundplan.step import stages

STAGES = stages(STEPS)
STAGE = {name: number for number, names in enumerate(STAGES) for name in names}

Target = tuple[str, Partition]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One backfill: these assets of these partitions."""

    title: str
    key: str
    assets: tuple[str, ...]
    partitions: tuple[Partition, ...]
    cost: float


@dataclass(frozen=True)
class Choice:
    """What is asked for now, and what is left, with the reason."""

    slices: tuple[Slice, ...]
    given_up: tuple[Target, ...] = ()
    """Failed too many nights in a row without a change; a person must look."""
    waiting: int = 0
    """Wanted, but something that they need is not there or is in the making."""
    beyond: int = 0
    """Wanted, but beyond the night's partitions or cost."""

    @property
    def partitions(self) -> int:
        return sum(len(part.partitions) for part in self.slices)

    @property
    def cost(self) -> float:
        return sum(part.cost for part in self.slices)


@dataclass(frozen=True, kw_only=True)
class Night:
    """What is known when the choice is made. Money is in the currency of `nightly.price_per_cpu_hour`."""

    date: date
    entries: Sequence[status.Entry]
    busy: Collection[Target]
    """A run or a backfill is at work on them, or waits."""
    asked: Collection[Target] = ()
    """Asked for this same night already."""
    failures: Mapping[Target, int] | None = None
    """Nights in a row that ended in a failure, since something that it is made from changed."""
    registers: Collection[int] = ()
    model_year: int | None = None
    optional: Collection[str] = ()
    """Datasets not of every project that the settings ask for."""
    costs: Mapping[str, float] | None = None
    """Money for one partition of each dataset."""
    spent: float = 0.0
    spent_partitions: int = 0


def night_of(now: datetime, settings: NightlySettings) -> date | None:
    """The date on which the night began that `now` is in; None by day. now: with a time zone."""
    here = now.astimezone(ZoneInfo(settings.timezone))
    begun = here.replace(hour=settings.start_hour, minute=0, second=0, microsecond=0)
    if begun > here:
        begun -= timedelta(days=1)
    return begun.date() if here - begun < timedelta(hours=settings.hours) else None


def choose(night: Night, settings: NightlySettings) -> Choice:
    """Slices in the order in which they should be asked for."""
    wanted, given_up, waiting = _wanted(night, settings)
    costs = night.costs or {}
    money = settings.most_cost - night.spent
    room = settings.most_partitions - night.spent_partitions
    taken: dict[tuple[int, tuple[str, ...]], list[Partition]] = {}
    beyond = 0
    for partition, names in wanted:
        cost = sum(costs.get(name, 0.0) for name in names)
        if room < 1 or cost > money + 1e-9:
            beyond += 1
            continue
        room, money = room - 1, money - cost
        taken.setdefault((partition.year, names), []).append(partition)
    return Choice(tuple(_slices(taken, night, settings, costs)), tuple(given_up), waiting, beyond)


def _wanted(
    night: Night, settings: NightlySettings
) -> tuple[list[tuple[Partition, tuple[str, ...]]], list[Target], int]:
    """Partitions with the datasets that each lacks in its year's first open stage; newest year first."""
    made = {(entry.dataset, entry.partition) for entry in night.entries if entry.state == status.MADE}
    years = {(name, partition.year) for name, partition in made}
    failures = night.failures or {}
    open_, given_up, waiting = set(), [], 0
    for entry in night.entries:
        target = (entry.dataset, entry.partition)
        if entry.state == status.MADE or target in night.busy or target in night.asked:
            continue
        if failures.get(target, 0) >= settings.most_failures:
            given_up.append(target)
        else:
            open_.add(target)
    busy_stage = _first_stage(night.busy)
    chosen: list[tuple[Partition, tuple[str, ...]]] = []
    for year in sorted({partition.year for _, partition in open_}, reverse=True):
        here = {target for target in open_ if target[1].year == year}
        for stage, names in enumerate(STAGES):
            if busy_stage.get(year, len(STAGES)) < stage:
                waiting += sum(STAGE[name] >= stage for name, _ in here)
                break
            found = _ready(names, here, made, years, night)
            waiting += sum(STAGE[name] == stage for name, _ in here) - sum(len(each) for each in found.values())
            if found:
                # later stages read across the borders of what is asked for now
                waiting += sum(STAGE[name] > stage for name, _ in here)
                chosen += sorted(found.items())
                break
    return chosen, sorted(given_up), waiting


def _ready(
    names: Sequence[str], here: set[Target], made: set[Target], years: set[tuple[str, int]], night: Night
) -> dict[Partition, tuple[str, ...]]:
    """What of a stage can be made: each partition to its datasets, in order."""
    found: dict[Partition, tuple[str, ...]] = {}
    delivered = {entry.partition for entry in night.entries if entry.partition.region}
    for name in names:
        for partition in sorted(part for dataset, part in here if dataset == name):

            def has(needed: str, place: Partition, partition: Partition = partition) -> bool:
                if not place.region and not STEPS[needed].scope.wide:
                    return (needed, place.year) in years
                return (needed, place) in made or (place == partition and needed in found.get(place, ()))

            busy_here = any((other, partition) in night.busy for other in STAGE)
            known = (night.registers, night.model_year, delivered, night.optional)
            if not busy_here and not waits_for(name, partition, has, *known):
                found[partition] = (*found.get(partition, ()), name)
    return found


def _first_stage(targets: Collection[Target]) -> dict[int, int]:
    """Each year's first stage that is at work."""
    first: dict[int, int] = {}
    for name, partition in targets:
        if name in STAGE:
            first[partition.year] = min(STAGE[name], first.get(partition.year, len(STAGES)))
    return first


def _slices(
    taken: Mapping[tuple[int, tuple[str, ...]], list[Partition]],
    night: Night,
    settings: NightlySettings,
    costs: Mapping[str, float],
) -> list[Slice]:
    """Short backfills: Dagster's daemon plans each as a whole before its first run starts."""
    cut = [
        (year, names, partitions[start : start + settings.slice])
        for (year, names), partitions in taken.items()
        for start in range(0, len(partitions), settings.slice)
    ]
    slices = []
    for number, (year, names, partitions) in enumerate(cut, 1):
        count = f"{len(partitions)} partition{'s' if len(partitions) > 1 else ''}"
        title = f"nightly {night.date}: {year}, {count} of {names[0]} ({number} of {len(cut)})"
        digest = hashlib.sha256(repr((names, partitions)).encode()).hexdigest()[:12]
        cost = sum(costs.get(name, 0.0) for name in names) * len(partitions)
        # by content, not by number: what a killed daemon asked for already is not cut the same way again
        slices.append(
            Slice(
                title=title,
                key=f"nightly/{night.date}/{digest}",
                assets=names,
                partitions=tuple(partitions),
                cost=round(cost, 4),
            )
        )
    return slices

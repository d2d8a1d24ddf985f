"""Step: one dataset, stated once.

Here: what a dataset declares - what it reads, how it is cut, what it costs, what its columns mean - and running and
judging one partition of it. Not here: the tables of steps (pipeline.py, collections/pipeline.py), which are lists of
the declarations that stand in each step's own module; Dagster (assets/), which turns a declaration into an asset.

Order, status, prerequisites, stages of a night, automation, renewals, column tables and an asset's dependencies all
follow from these declarations: to add a dataset is to write one (docs/adding-a-dataset.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Generic, Literal, cast

from groundplan.config import Settings
from groundplan.core.manifest import (
    Made,
    Manifest,
    Planned,
    damaged,
    failure_key,
    is_current,
    read_manifest,
    readable_manifest,
    sizes_of,
)
from groundplan.core.materialize import Cancellation, Destination, Output, Report, make_blocks
from groundplan.core.partition import ClassPartition, P, Partition
from groundplan.core.records import read_record
from groundplan.errors import Damaged, MissingInput, NewerFormat
from groundplan.project import Project

LANDING, REGISTERS, IMAGES = "landing", "registers", "images"
"""What is delivered: a step may read these, and no step makes them."""

Column = tuple[str, str, str]
"""Name, type, and what it is with its unit in brackets; of a band: its number, its type, and what it holds."""
BBOX: Column = ("bbox", "struct<xmin, ymin, xmax, ymax: double>", "bounds of the geometry [its CRS]; lets readers skip")


COG = "https://docs.ogc.org/is/21-026/21-026.html"
GEOPARQUET = "https://geoparquet.org/releases/v1.1.0/"
"""Specifications of formats that more than one dataset has."""


class Scope(StrEnum):
    """What one partition of a dataset is."""

    REGION = "region and year"
    YEAR = "year"  # of the whole country
    CLASS = "class of a collection"
    COLLECTION = "collection"

    @property
    def wide(self) -> bool:
        """Whether a partition holds all of what the narrower scope has many of."""
        return self in (Scope.YEAR, Scope.COLLECTION)


class Status(StrEnum):
    """How a partition stands."""

    CURRENT = "current"
    STALE = "stale"  # it is there, and would be made anew
    DAMAGED = "damaged"  # what would be made now was made, and some of it is gone, or is not as it was written
    MISSING = "missing"
    FAILED = "failed"
    WAITING = "waiting"  # for what it reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How a step cuts its work, for the estimate of what a country costs (capacity/)."""

    short: str
    """What the command `plan` calls it."""
    objects: Literal["block", "ring", "region"]
    """One object per block; per block of the region and of the ring around it; or one for the region."""
    of: str
    """The dataset that an object is made from."""
    per: Literal["megapixel", "km2"] = "megapixel"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a dataset is, for a reader of the web UI."""

    title: str = ""
    description: str = ""
    columns: tuple[Column, ...] = ()
    bands: tuple[Column, ...] = ()
    format: str = ""
    """Address of the format's specification."""
    page: str = ""
    """Our page on it."""
    group: str = ""
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Step(Generic[P]):
    """One dataset: what it plans, how an object is made, what can be said of an object's bytes, and where it stands.

    name: of the dataset. version: the code version; raise it when the same inputs give other bytes.
    """

    name: str
    version: str
    plan: Callable[..., list[Planned[Any]]]
    make: Callable[[Project, Planned[Any], Cancellation], Output]
    describe: Callable[[bytes], Any]
    scope: Scope
    reads: tuple[str, ...] = ()
    """Datasets that it is made from, or one of LANDING, REGISTERS, IMAGES. Of its own partition; of the whole year or
    collection where its scope is the wider one."""
    reads_around: tuple[str, ...] = ()
    """Those of which it also reads neighboring regions, or the other classes of the collection."""
    reads_before: tuple[str, ...] = ()
    """Those of which it also reads the region's year before, itself among them where it carries something on. There is
    no partition of a region's first year then: it has nothing to compare."""
    compared_with: tuple[str, ...] = ()
    """Datasets that its checks read, and the step does not."""
    needs_register: bool = False
    """Nothing can be made of a year for which no register was added."""
    learns: bool = False
    """Part of a year's own model: not made where another year's model is used (predict.model_year)."""
    stays: bool = False
    """Once made it is not remade by itself when its inputs change."""
    comes_with: str = ""
    """Made in the run of that dataset: no asset of its own."""
    wanted: Callable[[Settings], bool] | None = None
    """Whether the settings ask for it. None: always. What they do not ask for is neither counted nor started by itself;
    a run of its asset makes it all the same."""
    alone: bool = False
    """One object at a time, because the step uses all processors by itself."""
    at_once: Callable[[Project], int] | None = None
    """Of a step that is `alone`: objects in hand at once, where it says that more than one pays."""
    automated: bool = False
    """Remade by automation when its inputs changed."""
    starts_when: str = ""
    """What automation waits for, in words."""
    after: Callable[[Project, P], None] | None = None
    """Clears what only an uncommitted partition needs."""
    sharing: Callable[[Project, Sequence[Planned[Any]]], AbstractContextManager[Mapping[str, Any]]] | None = None
    """What objects of a partition share while they are made. It is entered with the plan; once left it holds what the
    run's page says of it."""
    unmade_seconds: Callable[[Project], float] | None = None
    """Processor seconds that a partition is expected to take before one was ever made."""
    work: Work | None = None
    profile: str = "cpu"
    """Launch profile: io, cpu, train ... (orchestration/launch/profiles.yaml says what pod that is)."""
    accelerator: bool = False
    """Runs that share the few accelerators wait for each other."""
    about: About = field(default_factory=About)

    def in_hand(self, project: Project) -> int:
        """How many objects of a partition are made at a time."""
        if self.at_once is not None:
            return self.at_once(project)
        return 1 if self.alone else project.workers

    def widened(self, partition: P) -> P:
        """The partition of this step that a partition of a dataset it belongs to falls into."""
        if not self.scope.wide:
            return partition
        if isinstance(partition, ClassPartition):
            return cast(P, ClassPartition(partition.collection))
        return cast(P, Partition(partition.year))


Table = Mapping[str, Step[P]]
"""Steps by name, each after what it reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State(Generic[P]):
    """How a partition of a dataset stands, and how much of it is done."""

    dataset: str
    partition: P
    state: Status
    done: int = 0
    planned: int = 0
    failed: int = 0
    note: str = ""
    manifest: Manifest[P, Any] | None = None


def table_of(steps: Iterable[Step[P]]) -> Table[P]:
    """Raises ValueError where a step stands before one that it reads."""
    table: dict[str, Step[P]] = {}
    for step in steps:
        unknown = {*step.reads, *step.reads_around, *step.reads_before} - {
            *table,
            step.name,
            LANDING,
            REGISTERS,
            IMAGES,
        }
        if unknown or step.name in table:
            raise ValueError(f"step {step.name} stands twice, or before {', '.join(sorted(unknown))} that it reads")
        table[step.name] = step
    return table


def assets_of(table: Table[P]) -> tuple[str, ...]:
    """What a user sees: steps that come with no other."""
    return tuple(name for name, step in table.items() if not step.comes_with)


def is_wanted(step: Step[Any], settings: Settings) -> bool:
    """Whether a project has the dataset without being asked for it by name."""
    return step.wanted is None or step.wanted(settings)


def upstream(table: Table[P], name: str) -> frozenset[str]:
    """All that a dataset is made from, sources included."""
    found: set[str] = set()
    for needed in (*table[name].reads, *table[name].reads_around):
        found |= {needed, *(upstream(table, needed) if needed in table else ())}
    return frozenset(found)


def stages(table: Table[P]) -> tuple[tuple[str, ...], ...]:
    """Assets in groups that may be at work at the same time in all regions.

    The next group begins where the one before has ended everywhere, because it reads across the borders of regions,
    or because a year comes from all its regions, or a region from its year.
    """
    level: dict[str, int] = {}
    for name, step in table.items():
        needed = [other for other in (*step.reads, *step.reads_around) if other in table]
        across = {other for other in needed if other in step.reads_around or table[other].scope != step.scope}
        level[name] = max((level[other] + (other in across) for other in needed), default=0)
    for name, step in table.items():
        if step.comes_with:
            level[step.comes_with] = max(level[step.comes_with], level[name])
    assets = assets_of(table)
    return tuple(tuple(n for n in assets if level[n] == each) for each in sorted({level[n] for n in assets}))


def with_companions(table: Table[P], settings: Settings, name: str, partition: P) -> list[tuple[Step[P], P]]:
    """The steps that make a partition of an asset, in order, each with its own partition."""
    mine = [step for step in table.values() if name in (step.name, step.comes_with)]
    return [(step, step.widened(partition)) for step in mine if step.name == name or is_wanted(step, settings)]


def run_step_of(project: Project, step: Step[P], partition: P, run: str = "", **options: Any) -> Report:
    """Make what is missing of one partition of a step and commit it."""

    def make(planned: Planned[Any], check: Cancellation) -> Output:
        output = step.make(project, planned, check)
        if output.described:
            return output
        data = bytes(output.data)
        return Output(data, {**output.facts, **step.describe(data)})

    plan = step.plan(project, partition, **options)
    with step.sharing(project, plan) if step.sharing else nullcontext({}) as told:
        report = make_blocks(
            Destination(store=project.store, dataset=step.name, partition=partition, version=step.version, run=run),
            plan,
            make,
            describe=step.describe,
            workers=step.in_hand(project),
        )
    report = replace(report, told=told)
    if step.after is not None:
        step.after(project, partition)
    return report


def state_of(project: Project, step: Step[P], partition: P) -> State[P]:
    """How a partition of one step stands; makes nothing. What is broken of it is said in its note."""
    start = State(dataset=step.name, partition=partition, state=Status.WAITING)
    try:
        manifest = read_manifest(project.store, step.name, partition)
    except Damaged as error:  # a build writes it anew from the objects that are there
        return _of_broken_manifest(project, step, replace(start, note=str(error)))
    except NewerFormat as error:
        return replace(start, note=str(error))
    failed = read_failures(project, step.name, partition)
    start = replace(start, failed=len(failed), manifest=manifest)
    try:
        plan = step.plan(project, partition)
    except (MissingInput, NewerFormat) as error:
        return replace(start, note=str(error))
    fingerprints = {planned.name: planned.fingerprint for planned in plan}
    made = manifest.objects.values() if manifest else ()
    done = sum(fingerprints.get(one.name) == one.fingerprint for one in made)
    note = "; ".join(f"{block}: {reason}" for block, reason in list(failed.items())[:1])
    judged = replace(start, done=done, planned=len(plan), note=note)
    if failed:
        return replace(judged, state=Status.FAILED)
    if manifest and is_current(manifest, step.version, plan):
        return _whole(project, replace(judged, state=Status.CURRENT))
    return replace(judged, state=Status.STALE if manifest else Status.MISSING)


def _whole(project: Project, state: State[P]) -> State[P]:
    """A current state, or the damaged one where objects are not there as they were made. One listing."""
    assert state.manifest is not None
    lost = damaged(state.manifest, sizes_of(project.store, state.dataset, state.partition))
    if not lost:
        return state
    key, reason = next(iter(lost.items()))
    note = f"damaged: {len(lost)} of {len(state.manifest.objects)}; {key}: {reason}"
    return replace(state, state=Status.DAMAGED, done=state.done - len(lost), note=note)


def _of_broken_manifest(project: Project, step: Step[P], state: State[P]) -> State[P]:
    """Damaged, where a build can write the manifest anew; else waiting for what the step reads."""
    try:
        return replace(state, state=Status.DAMAGED, planned=len(step.plan(project, state.partition)))
    except (MissingInput, NewerFormat) as error:
        return replace(state, note=f"{state.note} And {error}")


def asset_state(project: Project, table: Table[P], name: str, partition: P) -> State[P]:
    """As `state_of`, of an asset: it is current only when all that comes with it is."""
    found = None
    for step, part in with_companions(table, project.settings, name, partition):
        found = state_of(project, step, part)
        if found.state is not Status.CURRENT:
            break
    assert found is not None
    if found.dataset == name:
        return found
    own = readable_manifest(project.store, name, partition)
    state = Status.STALE if own and found.state is Status.MISSING else found.state
    return replace(found, dataset=name, partition=partition, state=state, manifest=own)


def read_failures(project: Project, name: str, partition: P) -> dict[str, str]:
    """Reason by block of what the last run of a partition could not make; empty where it could.

    A record that cannot be read still says that something failed: its own reason stands in its place.
    """
    key = failure_key(name, partition)
    try:
        failed = read_record(project.store, key, "Build again: it is written anew, or removed").get("failed")
    except (Damaged, NewerFormat) as error:
        return {"?": str(error)}
    except MissingInput:
        return {}
    if not isinstance(failed, dict):
        return {"?": f"{project.store.uri(key)}: it cannot be read. Build again: it is written anew, or removed"}
    return {str(block): str(reason) for block, reason in failed.items()}


def facts(made: Mapping[str, Made[Any]], name: str) -> list[Any]:
    """One fact of every object that states it."""
    return [item.facts[name] for item in made.values() if name in item.facts]

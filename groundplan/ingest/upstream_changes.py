"""Upstream changes: registers and models that changed, and what is to be made anew for it.

Here: which years have another register or model than when last looked, and which partitions that concerns. Not here:
new imagery (decide.py), or runs (orchestration/sensors/sources.py).

What is compared are contents, not times: a register that is added again unchanged, and a model that was only looked
for, ask for nothing. The first look only remembers: to switch a sensor on must not remake a country.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from groundplan.core.manifest import committed, fingerprint, read_manifest
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from groundplan.imagery import tiles
from groundplan.ingest.cursor import BackfillRequest, runs_or_backfills
from groundplan.ingest.decide import Ask
from groundplan.labels import registers
from groundplan.pipeline import ALWAYS, STEPS
from groundplan.project import Project
from groundplan.step import REGISTERS, Scope
from groundplan.training import models

REGISTER, MODEL = "changed register", "new model"


@dataclass(frozen=True, slots=True)
class Version:
    """Version of a year's register or model: its listing, its content, and how many contents there were before."""

    state: str
    identity: str
    count: int = 1


@dataclass(frozen=True)
class UpstreamCursor:
    """What one look leaves to the next. years: None before the first. backfills: asked for once this is durable."""

    years: dict[int, Version] | None = None
    backfills: tuple[BackfillRequest, ...] = ()

    def to_text(self) -> str:
        years = {year: [item.state, item.identity, item.count] for year, item in (self.years or {}).items()}
        return json.dumps({"years": years, "backfills": [item.to_list() for item in self.backfills]}, sort_keys=True)

    @classmethod
    def from_text(cls, text: str | None) -> UpstreamCursor:
        """Raises BadConfig for a text that this version did not write."""
        if not text:
            return cls()
        try:
            raw = json.loads(text)
            years = {int(year): Version(*item) for year, item in raw["years"].items()}
            return cls(years, tuple(BackfillRequest.from_list(item) for item in raw["backfills"]))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadConfig(
                "the sensor's cursor", f"it cannot be read ({error})", "Reset it: the next look only remembers"
            ) from error


@dataclass(frozen=True)
class UpstreamChanges:
    """Result of a look: what changed, and what is asked for."""

    after: UpstreamCursor
    asks: tuple[Ask, ...] = ()
    years: tuple[int, ...] = field(default=())


def compare_versions(
    before: Mapping[int, Version] | None, listed: Mapping[int, str], read: Callable[[int], str]
) -> tuple[dict[int, Version], list[int]]:
    """What each year has now, and the years in which that is something else. read: the identity of a year's content."""
    after, changed = {}, []
    for year in sorted({*listed, *(before or {})}):
        state, last = listed.get(year, ""), (before or {}).get(year)
        if last and last.state == state:
            after[year] = last
            continue
        identity = read(year) if state else ""
        if last and last.identity == identity:
            after[year] = Version(state, identity, last.count)
            continue
        after[year] = Version(state, identity, last.count + 1 if last else 1)
        if before is not None:
            changed.append(year)
    return after, changed


def changed_registers(project: Project, before: UpstreamCursor) -> UpstreamChanges:
    """Buildings and labels of every region with imagery in a year whose register changed. Raises StoreFailed."""
    found: dict[int, list[tuple[str, int, str]]] = {}
    for item in project.store.list("registers"):
        parts = item.key.split("/")
        if len(parts) == 3 and parts[2].endswith(".json") and parts[1].isdigit():
            found.setdefault(int(parts[1]), []).append((item.key, item.size, item.tag))
    listed = {year: fingerprint(files=sorted(items)) for year, items in found.items()}

    def read(year: int) -> str:
        return fingerprint(digests=sorted(register.digest for register in registers.registers_of(project, year)))

    years, changed = compare_versions(before.years, listed, read)
    partitions = [part for part in _with_tiles(project) if part.year in changed] if changed else []
    return _renewed(project, REGISTER, years, changed, {part: part.year for part in partitions}, of_register())


def changed_models(project: Project, before: UpstreamCursor) -> UpstreamChanges:
    """Predictions of the years that a new model is for, as far as `arrivals.on_new_model` wants. Raises StoreFailed."""
    listed = {
        one.year: f"{one.found.size}:{one.found.tag}" for one in committed(project.store, models.DATASET) if one.year
    }

    def read(year: int) -> str:
        manifest = read_manifest(project.store, models.DATASET, Partition(year))
        return manifest.identity() if manifest else ""

    years, changed = compare_versions(before.years, listed, read)
    changed = [year for year in changed if years[year].identity]  # a model that is gone asks for nothing
    wanted = partitions_of_models(project, changed, _with_tiles(project) if changed else [])
    return _renewed(project, MODEL, years, changed, wanted, of_model())


def partitions_of_models(project: Project, changed: Iterable[int], made: list[Partition]) -> dict[Partition, int]:
    """Partitions with tiles that a new model is for, each with the year of its model, by policy."""
    policy, only = project.settings.arrivals.on_new_model, project.settings.predict.model_year
    if policy == "none" or not made:
        return {}
    newest = max(part.year for part in made)
    model = {part: only if only is not None else part.year for part in made if policy == "all" or part.year == newest}
    return {part: year for part, year in model.items() if year in set(changed)}


def _with_tiles(project: Project) -> list[Partition]:
    """Regions and years that have imagery on the grid, sorted; others cannot be asked for."""
    return sorted(one.partition for one in committed(project.store, tiles.DATASET) if one.year)


def of_register() -> tuple[str, ...]:
    """Datasets of a region that are made anew when its year's register changed; not what is learned from all."""
    found: list[str] = []
    for name, step in STEPS.items():
        if step.wanted is None and step.scope is Scope.REGION and {REGISTERS, *found} & {*step.reads}:
            found.append(name)
    return tuple(found)


def of_model() -> tuple[str, ...]:
    """Datasets that are made with a model."""
    return tuple(name for name in ALWAYS if models.DATASET in STEPS[name].reads)


def _renewed(
    project: Project,
    cause: str,
    years: dict[int, Version],
    changed: list[int],
    wanted: Mapping[Partition, int],
    assets: tuple[str, ...],
) -> UpstreamChanges:
    asks = [
        Ask(
            part,
            assets,
            f"{cause} of {year}",
            fingerprint(of=str(part), cause=cause, year=year, count=years[year].count, identity=years[year].identity),
        )
        for part, year in sorted(wanted.items())
    ]
    runs, backfills = runs_or_backfills(asks, project.settings.arrivals.most_runs, cause)
    return UpstreamChanges(UpstreamCursor(years, backfills), runs, tuple(changed))

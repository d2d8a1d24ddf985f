"""The gate: what must hold before a version of a model may be used in production.

Here: the comparison on held-out ground, and setting the alias after it. Not here: the figures' definitions
(polygons/metrics.py), rolling back (registry/aliases.py): that needs no gate, it leads to what was used before.

Both versions are judged on the same test cells of the newest year that has labels, each with its own thresholds. No
model of any year has learned from those cells: which they are follows from coordinates alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from groundplan.core.manifest import load_object, need_manifest
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig, MissingInput, unknown
from groundplan.project import Project
from groundplan.registry.aliases import PRODUCTION, Aliases, read_aliases, set_alias
from groundplan.registry.entries import FOOTPRINTS, ModelEntry, entry_of, model_bytes

if TYPE_CHECKING:
    from groundplan.training.models import Model
    from groundplan.training.scenes import Scene

MAY_LOSE = 0.001  # of IoU and F1: rounding, and other arithmetic on another machine

Baseline = Callable[[Project, ModelEntry], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of the gate: its name, whether it holds, and in words why."""

    name: str
    holds: bool
    words: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gate found. figures: of both versions on the same ground, by `candidate` and `production`."""

    conditions: tuple[Condition, ...]
    figures: Mapping[str, Mapping[str, float]]

    @property
    def passed(self) -> bool:
        return all(condition.holds for condition in self.conditions)

    @property
    def words(self) -> str:
        return "; ".join(condition.words for condition in self.conditions if not condition.holds) or "all holds"


def has_baseline(project: Project, entry: ModelEntry) -> bool:
    """Whether it is known what is usual of a version, so that drift from it can be seen.

    Where that lies, groundplan/monitoring says too: it stands above this room.
    """
    return project.store.exists(f"drift/baselines/{entry.sha256}.json")


def judge(
    project: Project,
    entry: ModelEntry,
    against: ModelEntry | None,
    baseline: Baseline = has_baseline,
    check: Callable[[], None] = lambda: None,
) -> Judgement:
    """Judge a version against the one that is used now; against: None where none is.

    Raises MissingInput, Damaged where a model's file is not there; what does not hold is in the judgement.
    """
    if entry.kind == FOOTPRINTS:
        figures, held_out = _on_held_out_ground(project, entry, against, check)
        names: tuple[str, ...] = ("iou", "object_f1")
    else:
        figures, held_out = _of_cards(entry, against)
        names = ("accuracy",)
    conditions = [_card(entry), held_out, *(_not_worse(name, figures) for name in names if figures)]
    if entry.kind == FOOTPRINTS:  # images of a class are compared day by day, with the days before
        found = baseline(project, entry)
        remedy = f"there is no drift baseline of {entry.version} (`groundplan drift --baseline`)"
        conditions.append(Condition("baseline", found, "a drift baseline is there" if found else remedy))
    return Judgement(tuple(conditions), figures)


def promote(
    project: Project,
    name: str,
    word: str,
    *,
    who: str,
    alias: str = PRODUCTION,
    anyway: str = "",
    baseline: Baseline = has_baseline,
) -> tuple[ModelEntry, Judgement, Aliases]:
    """Let an alias mean a version, if the gate lets it. word: a version or alias of it, such as `candidate`.

    anyway: why it is promoted though the gate holds it back; the history keeps it. Raises BadConfig where the gate
    holds it back or somebody else moved the alias meanwhile; nothing is changed then.
    """
    entry = entry_of(project.store, name, word)
    meant = read_aliases(project.store, name).versions.get(alias, "")
    against = entry_of(project.store, name, meant) if meant else None
    judged = judge(project, entry, against, baseline)
    if not judged.passed and not anyway:
        remedy = "Mend that, or say why it must be: --anyway 'REASON'"
        raise BadConfig(f"model {name} {entry.version}", f"it may not become {alias}: {judged.words}", remedy)
    told: dict[str, Any] = {"gate": judged.figures, "passed": judged.passed} | ({"anyway": anyway} if anyway else {})
    changed = set_alias(project.store, name, alias, entry.version, who=who, why="promoted", expected=meant, **told)
    return entry, judged, changed


# --- conditions -------------------------------------------------------------------------------------------------------


def _card(entry: ModelEntry) -> Condition:
    needed = ("bands", "resolution", "thresholds") if entry.kind == FOOTPRINTS else ("labels",)
    lacking = [name for name in needed if not entry.card.get(name)]
    return Condition("card", not lacking, f"its card lacks {', '.join(lacking)}" if lacking else "its card is whole")


def _not_worse(name: str, figures: Mapping[str, Mapping[str, float]]) -> Condition:
    mine, theirs = figures["candidate"][name], figures.get("production", {}).get(name)
    if theirs is None:
        return Condition(name, True, f"{name} {mine:.3f}, and nothing is in use yet")
    holds = mine >= theirs - MAY_LOSE
    return Condition(name, holds, f"{name} {mine:.3f} against {theirs:.3f} of what is in use")


def _of_cards(entry: ModelEntry, against: ModelEntry | None) -> tuple[dict[str, dict[str, float]], Condition]:
    """A classifier's own test images: those of its collection when it was made."""
    found = {}
    for place, one in (("candidate", entry), ("production", against)):
        told = one and one.card.get("test")
        if told and told.get("accuracy") is not None:
            found[place] = {"accuracy": float(told["accuracy"])}
    if "candidate" not in found:
        return {}, Condition("held-out", False, "its card states no accuracy on test images")
    return found, Condition("held-out", True, "its card states its accuracy on test images")


def _on_held_out_ground(
    project: Project, entry: ModelEntry, against: ModelEntry | None, check: Callable[[], None]
) -> tuple[dict[str, dict[str, float]], Condition]:
    scenes, year = held_out(project)
    if not scenes:
        return {}, Condition("held-out", False, "no ground with labels is held out to judge it on")
    found = {"candidate": figures_on(project, entry, scenes, check)}
    if against is not None:
        found["production"] = figures_on(project, against, scenes, check)
    return found, Condition("held-out", True, f"judged on {len(scenes)} test cells of {year}")


def held_out(project: Project) -> tuple[list[Scene], int]:
    """Test cells of the newest year that has windows, and that year; none where no year has any."""
    from groundplan.core.manifest import committed
    from groundplan.training import windows
    from groundplan.training.scenes import load_scenes

    years = sorted({one.year for one in committed(project.store, windows.DATASET) if one.year}, reverse=True)
    for year in years:
        try:
            made = need_manifest(project.store, windows.DATASET, Partition(year)).objects["windows"]
            scenes = load_scenes(project, year, load_object(project.store, made, windows.read), "test")
        except MissingInput:
            continue
        if scenes:
            return scenes, year
    return [], 0


def figures_on(
    project: Project, entry: ModelEntry, scenes: list[Scene], check: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """IoU and F1 of a version on scenes, with its own thresholds. Raises ModelMismatch."""
    from groundplan.inference import runtime
    from groundplan.training import models, thresholds

    model: Model = models.unpack(model_bytes(project.store, entry), f"model {entry.name} {entry.version}")
    models.check_fits(project, model)
    settings = project.settings.predict
    network = partial(runtime.load, model.onnx, threads=project.workers, precision=settings.precision)
    scored = thresholds.scored_scenes(
        network(views=settings.views, contract=model.contract), scenes, project.grid.resolution, check
    )
    told = thresholds.figures(scored, model.thresholds, project.grid.resolution)
    return {name: float(told.get(name, 0.0)) for name in ("iou", "object_f1", "buildings")}


def check_alias(alias: str) -> str:
    """Raises BadConfig for what no alias may be called."""
    from groundplan.registry.aliases import CANDIDATE

    if alias not in (PRODUCTION, CANDIDATE):
        raise unknown("alias", alias, (PRODUCTION, CANDIDATE))
    return alias

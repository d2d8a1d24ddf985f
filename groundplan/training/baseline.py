"""Baseline model: one network of all regions that have labels, in a year and the years before it.

Here: its windows and its training, which are those of a year's model (windows.py, models.py) with all ground pooled
and nothing tuned to the year. Not here: learning on from it (models.py, model.start = "baseline").

Regions and years are weighed as pooled training weighs them: split.trust, split.half_life (sampling.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from groundplan.config import Settings
from groundplan.core.manifest import Dataset, Planned, fingerprint, load_object, need_manifest, object_key
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.imagery.credits import credits_of
from groundplan.labels import masks
from groundplan.project import Project
from groundplan.step import GEOPARQUET, About, Scope, Step
from groundplan.training import models, windows
from groundplan.training.course import Lesson, forget_checkpoints, packed_model
from groundplan.training.start import BASELINE, BASELINE_MODEL

DATASET: Dataset[models.Facts] = BASELINE_MODEL
VERSION = "1"
WINDOWS: Dataset[windows.Facts] = Dataset("baseline_windows")


def wanted(settings: Settings) -> bool:
    """Whether a project's models learn on from a baseline."""
    return settings.model.start == BASELINE


def pooled(project: Project) -> Project:
    """The project with the settings of a baseline: all windows of all years, streamed by strata, from no model."""
    settings = project.settings
    split = settings.split.model_copy(update={"sample": "strata", "years": "all"})
    model = settings.model.model_copy(update={"start": ""})
    return replace(project, settings=settings.model_copy(update={"split": split, "model": model}))


def plan_windows(project: Project, partition: Partition) -> list[Planned[windows.Needs]]:
    """One index of the windows of all regions and years up to this one."""
    return windows.plan_of(pooled(project), WINDOWS, partition)


def make_windows(project: Project, planned: Planned[windows.Needs], check: Cancellation) -> Output:
    return windows.make(pooled(project), planned, check)


def plan(project: Project, partition: Partition, retrain: bool = False) -> list[Planned[models.Needs]]:
    """The committed model while settings and code are the same; otherwise one from the pooled windows."""
    project = pooled(project)
    mine = models.settings_fingerprint(project)
    if not retrain and (kept := models.kept_model(project, DATASET, partition, mine)):
        return kept
    index = need_manifest(project.store, WINDOWS, partition).objects["windows"]
    images = models.label_identities(project, partition)
    digest = fingerprint(version=VERSION, settings=mine, windows=index.fingerprint, images=images)
    key = object_key(DATASET, partition, "model", digest, ".zip")
    needs = (partition, index, mine, digest)
    return [Planned(name="model", fingerprint=digest, key=key, inputs=(index.key,), args=needs)]


def make(project: Project, planned: Planned[models.Needs], check: Cancellation) -> Output:
    """Learn from all of it; the card says from which regions and years, and whom to name for them."""
    project = pooled(project)
    partition, index, mine, digest = planned.needs
    frame = load_object(project.store, index, windows.read)
    course = Lesson(
        name=f"the baseline of {partition}",
        dataset=DATASET,
        partition=partition,
        digest=digest,
        frame=frame,
        settings=models.train_settings(project),
        more={"learned_from": sources(project, frame)},
    )
    return Output(packed_model(project, course, mine, check, models.minutes(project)))


def sources(project: Project, frame: Any) -> list[dict[str, Any]]:
    """Regions and years of an index, each with its windows, and whom to name for its imagery and its register."""
    train = frame[frame["train"] > 0]
    found = []
    for (region, year), count in train.groupby(["region", "year"]).size().items():
        credits = credits_of(project, Partition(int(year), str(region)))
        named = {
            kind: {"attribution": credit.attribution, "licence": credit.licence}
            for kind, credit in (("imagery", credits.imagery), ("register", credits.register))
        }
        found.append({"region": str(region), "year": int(year), "windows": int(count), **named})
    return found


def forget(project: Project, partition: Partition) -> None:
    forget_checkpoints(project, DATASET, partition)


WINDOWS_STEP: Step[Partition] = Step(
    name=WINDOWS,
    version=windows.VERSION,
    plan=plan_windows,
    make=make_windows,
    describe=windows.describe,
    scope=Scope.YEAR,
    reads=(masks.DATASET,),
    needs_register=True,
    learns=True,
    comes_with=DATASET,
    profile="io",
    about=About(
        title="Windows of the baseline: all labelled ground of a year and the years before",
        description="Where the baseline learns: all windows of all regions with labels, of the year and those before.",
        group="model",
        kinds=frozenset({"geoparquet"}),
        format=GEOPARQUET,
        page="docs/models.md",
    ),
)
STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=models.describe,
    scope=Scope.YEAR,
    reads=(masks.DATASET,),  # and the windows that come with it
    needs_register=True,
    learns=True,
    stays=True,
    wanted=wanted,
    alone=True,
    automated=True,
    starts_when="no baseline yet, and labels to learn from",
    after=forget,
    unmade_seconds=models.STEP.unmade_seconds,
    profile="train",
    accelerator=True,
    about=About(
        title="The baseline: one model of all labelled regions",
        description="One network learned from all regions that have labels, of the year and the years before, drawn by "
        "region, year and density. With model.start = 'baseline' the year's model learns on from it. It stays as a "
        "year's model does.",
        group="model",
        kinds=frozenset({"pytorch", "onnx"}),
        format="https://onnx.ai/onnx/intro/concepts.html",
        page="docs/models.md",
    ),
)

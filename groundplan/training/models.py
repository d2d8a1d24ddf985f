"""Trained models: one a year, as a single file that holds weights, graph, card and curves.

Here: the step from windows to a model, and which model a year is predicted with. Not here: the file (packed_model.py),
the network (network.py), learning (loop.py), choosing thresholds (thresholds.py), running it (inference/runtime.py).

A committed model stays when only its data changed: a late sheet must not remake a country. `retrain` asks for a new
one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias, TypedDict

from groundplan.core.manifest import (
    Dataset,
    Made,
    Manifest,
    Planned,
    fingerprint,
    is_whole,
    load_object,
    need_manifest,
    object_key,
    read_manifest,
    read_object,
    readable_manifest,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput, ModelMismatch
from groundplan.project import Project
from groundplan.step import About, Scope, Step
from groundplan.training import windows
from groundplan.training.course import Lesson, forget_checkpoints, packed_model
from groundplan.training.mined import identity, read_mined
from groundplan.training.packed_model import Model as Model
from groundplan.training.packed_model import pack as pack
from groundplan.training.packed_model import unpack as unpack
from groundplan.training.start import BASELINE, BASELINE_MODEL, start_digest, start_path, weights_path

if TYPE_CHECKING:
    from groundplan.training.settings import TrainSettings


class Facts(TypedDict):
    """What a manifest says of an object."""

    sha256: str
    settings: str  # fingerprint of what it was trained with
    steps: int
    thresholds: dict[str, float]
    validation: dict[str, float]
    test: dict[str, float]
    source: NotRequired[str]  # of a model that was added: which file it was, and who made that


DATASET: Dataset[Facts] = Dataset("trained_model")
VERSION = "3"
FINEST = 0.20  # metres per pixel that a network sees by itself: finer detail costs it ground per second
STEPS_PER_MINUTE = 54.0  # at 8 crops of 256 pixels, mobilenet_v2, on 2 processors with bfloat16
GIVEN = "given"  # in place of the settings that a model was trained with, where it was not trained here
GRACE = 1.25  # share of the budget after which a slow machine stops, steps or not


def train_settings(project: Project) -> TrainSettings:
    """Training settings of a project: the budget as steps, so that a resumed training ends in the same weights."""
    from groundplan.training.settings import TrainSettings

    settings, grid = project.settings.model, project.grid
    steps = settings.steps
    if steps is None:
        work = settings.batch * settings.crop**2 / (8 * 256**2)
        steps = max(20, round(settings.minutes * STEPS_PER_MINUTE / work))
    return TrainSettings(
        encoder=settings.encoder,
        encoder_weights=weights_path(project) if not settings.start else "none",
        start=start_path(project),
        bands=len(project.settings.imagery.bands),
        grid_resolution=grid.resolution,
        resolution=network_resolution(project),
        minutes=settings.minutes * GRACE,
        steps=steps,
        batch=settings.batch,
        crop=settings.crop,
        learning_rate=settings.learning_rate,
        average=min(0.995, max(0.9, 1 - 5 / steps)),  # an average over more than a fifth of a training lags behind
        validations=max(3, min(10, steps // 50)),
        seed=settings.seed,
    )


def network_resolution(project: Project) -> float:
    """Metres per pixel that the network sees."""
    return project.settings.model.resolution or max(project.grid.resolution, FINEST)


def settings_fingerprint(project: Project) -> str:
    """Fingerprint of all settings that decide a model, data aside."""
    settings = project.settings.model.model_dump(exclude={"encoder_weights", "start"})
    return fingerprint(
        version=VERSION,
        grid=project.grid.identity(),
        weights=start_digest(project),
        bands=project.settings.imagery.bands,
        split=project.settings.split.cell,
        pace=STEPS_PER_MINUTE,
        **settings,
        **({"turn": project.settings.split.turn} if project.settings.split.turn else {}),
        **project.settings.split.shares,
    )


def print_of(project: Project, partition: Partition) -> str:
    """As `settings_fingerprint`, with what was mined for the year: that makes a further generation of its model."""
    plain, mined = settings_fingerprint(project), mined_of(project, partition)
    return fingerprint(settings=plain, **mined) if mined else plain


def mined_of(project: Project, partition: Partition) -> dict[str, Any]:
    """The generation of a year's model and the SHA-256 of what was mined for it; nothing of generation 0."""
    return identity(read_mined(project, partition.year))


# ---------------------------------------------------------------------------------------------------- the step


Needs: TypeAlias = "tuple[Partition, Made[Any], str, str]"
"""What an object is made from."""


def plan(project: Project, partition: Partition, retrain: bool = False) -> list[Planned[Needs]]:
    """The committed model while settings and code are the same; otherwise one from the year's windows."""
    mine = print_of(project, partition)
    if not retrain and (kept := kept_model(project, DATASET, partition, mine)):
        return kept
    index = need_manifest(project.store, windows.DATASET, partition).objects["windows"]
    baseline = _baseline_of(project, partition)
    started = {"baseline": baseline.facts["sha256"]} if baseline else {}
    images = label_identities(project, partition)
    digest = fingerprint(version=VERSION, settings=mine, windows=index.fingerprint, images=images, **started)
    key = object_key(DATASET, partition, "model", digest, ".zip")
    inputs = (index.key, *([baseline.key] if baseline else []))
    return [Planned(name="model", fingerprint=digest, key=key, inputs=inputs, args=(partition, index, mine, digest))]


def kept_model(project: Project, dataset: str, partition: Partition, mine: str) -> list[Planned[Any]]:
    """A plan that keeps the committed model, where it was trained with these settings; nothing where it was not."""
    before = readable_manifest(project.store, dataset, partition)
    if not before or before.objects["model"].facts.get("settings") not in (mine, GIVEN):
        return []
    if not is_whole(project.store, before):
        return []
    made = before.objects["model"]
    return [Planned(name="model", fingerprint=made.fingerprint, key=made.key, inputs=made.inputs, args=None)]


def label_identities(project: Project, partition: Partition) -> list[list[str]]:
    return sorted(
        [region if year == partition.year else f"{year}/{region}", manifest.identity()]
        for year in windows.years_learned(project, partition.year)
        for region, manifest in windows.labeled(project, year).items()
    )


def data_changed(project: Project, partition: Partition, manifest: Manifest) -> bool:
    """Whether a model trained now would see other data than the committed one did; never of one that was added."""
    if manifest.objects["model"].facts.get("settings") == GIVEN:
        return False
    try:
        return plan(project, partition, retrain=True)[0].fingerprint != manifest.objects["model"].fingerprint
    except MissingInput:
        return True


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """Learn, choose thresholds on validation ground, score on test ground, and pack it all."""
    partition, index, mine, digest = planned.needs
    frame = load_object(project.store, index, windows.read)
    more = mined_of(project, partition)
    if baseline := _baseline_of(project, partition):
        more |= {"started_from": baseline.facts["sha256"]}
    with starting(project, partition) as settings:
        course = Lesson(
            name=str(partition),
            dataset=DATASET,
            partition=partition,
            digest=digest,
            frame=frame,
            settings=settings,
            more=more,
        )
        return Output(packed_model(project, course, mine, check, minutes(project)))


@contextmanager
def starting(project: Project, partition: Partition) -> Iterator[TrainSettings]:
    """Training settings of a year's model; the baseline, where it starts from that, lies in a file meanwhile."""
    settings, baseline = train_settings(project), _baseline_of(project, partition)
    with TemporaryDirectory() as folder:
        if baseline:
            path = Path(folder) / "baseline.zip"
            path.write_bytes(read_object(project.store, baseline))
            settings = replace(settings, start=str(path), encoder_weights="none")
        yield settings


def _baseline_of(project: Project, partition: Partition) -> Made[Any] | None:
    """The model that a year's model learns on from, where the settings say the baseline. Raises MissingInput."""
    if project.settings.model.start != BASELINE:
        return None
    return need_manifest(project.store, BASELINE_MODEL, partition).objects["model"]


def minutes(project: Project) -> float | None:
    """The budget as a user gave it, where that was minutes."""
    return None if project.settings.model.steps else project.settings.model.minutes


def forget(project: Project, partition: Partition) -> None:
    forget_checkpoints(project, DATASET, partition)


def describe(data: bytes) -> Facts:
    model = unpack(data)
    card = model.card
    source: Any = {"source": card["source"]} if "source" in card else {}
    return {
        **source,
        "sha256": model.sha256,
        "settings": card["settings_print"],
        "steps": card["steps"],
        "thresholds": card["thresholds"],
        "validation": card["validation"],
        "test": card["test"],
    }


# ---------------------------------------------------------------------------------------------------- which one


def learned_here(project: Project, year: int) -> bool:
    """Whether the year has a model of its own that was trained in this project."""
    return read_manifest(project.store, DATASET, Partition(year)) is not None and not was_added(project, year)


def was_added(project: Project, year: int) -> bool:
    """Whether the year's own model was made elsewhere: none of this ground taught it anything."""
    found = read_manifest(project.store, DATASET, Partition(year))
    return found is not None and found.objects["model"].facts.get("settings") == GIVEN


def model_for(project: Project, year: int) -> Made:
    """Manifest line of the model that a year is predicted with: of an alias where one is set, else of the year.

    Raises MissingInput; BadConfig for an alias that means nothing.
    """
    if alias := project.settings.predict.model_alias:
        return _registered(project, alias)
    chosen = project.settings.predict.model_year or year
    return need_manifest(project.store, DATASET, Partition(chosen)).objects["model"]


def _registered(project: Project, alias: str) -> Made:
    """The same of a version in the registry."""
    from groundplan.registry.entries import FOOTPRINTS, entry_of

    entry = entry_of(project.store, FOOTPRINTS, alias)
    facts: Any = {"sha256": entry.sha256, "thresholds": entry.card["thresholds"]}
    return Made(
        name="model",
        key=entry.key,
        fingerprint=entry.sha256[:16],
        bytes=entry.bytes,
        seconds=0.0,
        cpu_seconds=0.0,
        facts=facts,
        sha256=entry.sha256,
    )


def load(project: Project, year: int) -> Model:
    """The model that a year is predicted with. Raises MissingInput, ModelMismatch when it is for other imagery."""
    model = load_object(project.store, model_for(project, year), unpack)
    check_fits(project, model)
    return model


def check_fits(project: Project, model: Model) -> None:
    """Raises ModelMismatch when a model is for other imagery than the project's."""
    bands = list(project.settings.imagery.bands)
    if model.card["bands"] != bands:
        raise ModelMismatch(
            f"model {model.name}",
            f"it was trained for bands {model.card['bands']} and the imagery has {bands}",
            "Set imagery.bands as it was, or train a model for these bands",
        )
    if abs(model.card["resolution"] / project.grid.resolution - 1) > 0.01:
        raise ModelMismatch(
            f"model {model.name}",
            f"it was trained at {model.card['resolution']} m per pixel and the grid has {project.grid.resolution}",
            "Train a model on this grid",
        )


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.YEAR,
    reads=(windows.DATASET, BASELINE_MODEL),
    learns=True,
    stays=True,  # a late sheet must not remake a country
    alone=True,
    automated=True,
    starts_when="no model yet, and windows to learn from",
    after=forget,
    unmade_seconds=lambda project: project.settings.model.minutes * 60 * project.workers,
    profile="train",
    accelerator=True,
    about=About(
        title="The year's model: weights, exported graph, thresholds and card",
        description="The year's network: a U-Net that tells buildings and their edges, learned within a budget of "
        "minutes. Thresholds are chosen on validation ground, the card reports on test ground. It stays until "
        "settings change or `retrain` is asked, so that a late sheet does not remake a country.",
        group="model",
        kinds=frozenset({"pytorch", "onnx"}),
        format="https://onnx.ai/onnx/intro/concepts.html",
        page="docs/architecture.md",
    ),
)

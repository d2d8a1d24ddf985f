"""Trained models: one a year, as a single file that holds weights, graph, card and curves.

Here: the step from windows to a model, and which model a year is predicted with. Not here: the file (packed_model.py),
the network (network.py), learning (loop.py), choosing thresholds (thresholds.py), running it (inference/runtime.py).

A committed model stays when only its data changed: a late sheet must not remake a country. `retrain` asks for a new
one.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
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
    readable_manifest,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.core.progress import going_on, watching_training
from groundplan.errors import MissingInput, ModelMismatch
from groundplan.project import Project
from groundplan.step import About, Scope, Step
from groundplan.training import windows
from groundplan.training.packed_model import Model as Model
from groundplan.training.packed_model import pack as pack
from groundplan.training.packed_model import unpack as unpack
from groundplan.training.scenes import load_scenes, stream_scenes
from groundplan.training.split import SPLITS
from groundplan.training.start import start_digest, start_path, weights_path
from groundplan.training.stream import Stream

if TYPE_CHECKING:
    from groundplan.training.loop import Trained
    from groundplan.training.scenes import Scene
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
        resolution=settings.resolution or max(grid.resolution, FINEST),
        minutes=settings.minutes * GRACE,
        steps=steps,
        batch=settings.batch,
        crop=settings.crop,
        learning_rate=settings.learning_rate,
        average=min(0.995, max(0.9, 1 - 5 / steps)),  # an average over more than a fifth of a training lags behind
        validations=max(3, min(10, steps // 50)),
        seed=settings.seed,
    )


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


# ---------------------------------------------------------------------------------------------------- the step


Needs: TypeAlias = "tuple[Partition, Made[Any], str, str]"
"""What an object is made from."""


def plan(project: Project, partition: Partition, retrain: bool = False) -> list[Planned[Needs]]:
    """The committed model while settings and code are the same; otherwise one from the year's windows."""
    mine = settings_fingerprint(project)
    before = None if retrain else readable_manifest(project.store, DATASET, partition)
    if before and before.objects["model"].facts.get("settings") in (mine, GIVEN) and is_whole(project.store, before):
        made = before.objects["model"]
        return [Planned(name="model", fingerprint=made.fingerprint, key=made.key, inputs=made.inputs, args=None)]
    index = need_manifest(project.store, windows.DATASET, partition).objects["windows"]
    images = _label_identities(project, partition)
    digest = fingerprint(version=VERSION, settings=mine, windows=index.fingerprint, images=images)
    key = object_key(DATASET, partition, "model", digest, ".zip")
    return [
        Planned(name="model", fingerprint=digest, key=key, inputs=(index.key,), args=(partition, index, mine, digest))
    ]


def _label_identities(project: Project, partition: Partition) -> list[list[str]]:
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
    from groundplan.training import thresholds
    from groundplan.training.export import export
    from groundplan.training.logs import FOLDER, TrainingLog, check_kinds
    from groundplan.training.loop import train
    from groundplan.training.watching import watched

    partition, index, mine, digest = planned.needs
    kinds = project.settings.training.log
    check_kinds(kinds)
    log = TrainingLog(store=project.store, prefix=f"{FOLDER}/{partition.path}/{digest}", kinds=kinds)
    frame = load_object(project.store, index, windows.read)
    settings = train_settings(project)
    scenes: dict[str, Any] = {split: load_scenes(project, partition.year, frame, split) for split in SPLITS[1:]}
    if project.settings.split.sample == "strata":
        scenes["train"] = stream_scenes(project, partition.year, frame, settings)
    else:
        scenes["train"] = load_scenes(project, partition.year, frame, "train")
    saved = f"checkpoints/{DATASET}/{partition.path}/{digest}.pt"

    def load() -> bytes | None:
        try:
            return project.store.get(saved)
        except MissingInput:
            return None

    def save(data: bytes) -> None:
        log.flush()  # first: what no checkpoint knows of is taken out again, what one knows of is never missing
        project.store.put(saved, data)

    with watching_training(log), watched(f"training {partition}", _minutes(project)) as progress:
        trained = train(
            scenes["train"],
            scenes["validation"],
            settings,
            load=load,
            save=save,
            progress=progress,
            check=check,
        )
    with going_on("exporting the network"):
        onnx = export(trained.state, settings)
    judged = scenes["validation"] or _some(scenes["train"])
    chosen, figures, sure = thresholds.choose_thresholds(onnx, judged, project, check)
    test = thresholds.assess(onnx, scenes["test"], chosen, project, check) if scenes["test"] else None
    card = _card(project, partition, settings, trained, scenes, mine)
    card |= {"thresholds": asdict(chosen), "validation": figures, "test": test}
    card["certainty"] = sure if scenes["validation"] else None  # on ground that it learned from it is too sure
    return Output(pack(trained, onnx, card))


def _some(scenes: list[Scene] | Stream) -> list[Scene]:
    """Training ground to choose thresholds by, where there is no other."""
    return scenes if isinstance(scenes, list) else scenes.first(64)


def _minutes(project: Project) -> float | None:
    """The budget as a user gave it, where that was minutes."""
    return None if project.settings.model.steps else project.settings.model.minutes


def forget_checkpoints(project: Project, partition: Partition) -> None:
    """After the commit: a finished training is not resumed."""
    saved = [item.key for item in project.store.list(f"checkpoints/{DATASET}/{partition.path}")]
    if saved:
        project.store.delete(saved)


def _card(
    project: Project,
    partition: Partition,
    settings: TrainSettings,
    trained: Trained,
    scenes: dict[str, Any],
    mine: str,
) -> dict[str, Any]:
    """Model card: what somebody needs to trust the model or not. No time of day: same training, same bytes."""
    from importlib.metadata import version

    recorded = asdict(settings)
    recorded["encoder_weights"] = Path(settings.encoder_weights).name
    recorded["start"] = Path(project.settings.model.start).name or None
    return {
        "year": partition.year,
        "bands": list(project.settings.imagery.bands),
        "resolution": project.grid.resolution,
        "settings": recorded,
        "settings_print": mine,
        "steps": trained.steps,
        "history": [{k: v for k, v in row.items() if k != "seconds"} for row in trained.history],
        "windows": {split: len(scenes[split]) for split in SPLITS},
        "versions": {name: version(name) for name in ("groundplan", "torch", "segmentation-models-pytorch", "numpy")},
        "use": "Buildings in aerial imagery of the ground and resolution that it was trained on; check others first.",
    }


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
    reads=(windows.DATASET,),
    learns=True,
    stays=True,  # a late sheet must not remake a country
    alone=True,
    automated=True,
    starts_when="no model yet, and windows to learn from",
    after=forget_checkpoints,
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

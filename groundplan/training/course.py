"""Course: one training, from an index of windows to a packed model.

Here: what all trainings of a project share, whatever they are for: scenes, checkpoints, the log, thresholds, the card.
Not here: which windows and which settings (models.py, baseline.py, leave_one_out.py), the loop itself (loop.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundplan.core.partition import Partition
from groundplan.core.progress import going_on, watching_training
from groundplan.errors import MissingInput
from groundplan.project import Project
from groundplan.training.packed_model import pack
from groundplan.training.scenes import load_scenes, stream_scenes
from groundplan.training.split import SPLITS
from groundplan.training.stream import Stream

if TYPE_CHECKING:
    import geopandas as gpd

    from groundplan.training.loop import Trained
    from groundplan.training.scenes import Scene
    from groundplan.training.settings import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What one training learns from, and under which name its state is kept until it ends."""

    name: str
    """In words, for progress."""
    dataset: str
    partition: Partition
    digest: str
    frame: gpd.GeoDataFrame
    """The index of windows (windows.py)."""
    settings: TrainSettings
    more: dict[str, Any] = field(default_factory=dict)
    """What its model's card says besides."""

    @property
    def checkpoint(self) -> str:
        return f"{checkpoints(self.dataset, self.partition)}/{self.digest}.pt"


def checkpoints(dataset: str, partition: Partition) -> str:
    """Where a partition's trainings keep their state until they end."""
    return f"checkpoints/{dataset}/{partition.path}"


def forget_checkpoints(project: Project, dataset: str, partition: Partition) -> None:
    """After the commit: a finished training is not resumed."""
    if saved := [item.key for item in project.store.list(checkpoints(dataset, partition))]:
        project.store.delete(saved)


def scenes_of(project: Project, course: Lesson, held: Sequence[str] = SPLITS[1:]) -> dict[str, Any]:
    """Its ground by split: lists of scenes, or a stream of them to learn from. held: splits that are not."""
    year, frame = course.partition.year, course.frame
    found: dict[str, Any] = {split: load_scenes(project, year, frame, split) for split in held}
    if project.settings.split.sample == "strata":
        return {**found, "train": stream_scenes(project, year, frame, course.settings)}
    return {**found, "train": load_scenes(project, year, frame, "train")}


def learn(
    project: Project, course: Lesson, scenes: dict[str, Any], check: Callable[[], None], minutes: float | None = None
) -> tuple[Trained, bytes]:
    """Train, going on where a killed run left off; what was learned, and its graph. minutes: shown as the budget."""
    from groundplan.training.export import export
    from groundplan.training.logs import FOLDER, TrainingLog, check_kinds
    from groundplan.training.loop import train
    from groundplan.training.watching import watched

    kinds = project.settings.training.log
    check_kinds(kinds)
    prefix = f"{FOLDER}/{_log_room(course)}{course.partition.path}/{course.digest}"
    log = TrainingLog(store=project.store, prefix=prefix, kinds=kinds)

    def load() -> bytes | None:
        try:
            return project.store.get(course.checkpoint)
        except MissingInput:
            return None

    def save(data: bytes) -> None:
        log.flush()  # first: what no checkpoint knows of is taken out again, what one knows of is never missing
        project.store.put(course.checkpoint, data)

    with watching_training(log), watched(f"training {course.name}", minutes) as progress:
        trained = train(
            scenes["train"],
            scenes["validation"],
            course.settings,
            load=load,
            save=save,
            progress=progress,
            check=check,
        )
    with going_on("exporting the network"):
        return trained, export(trained.state, course.settings)


def _log_room(course: Lesson) -> str:
    """Logs of a year's model lie where they always lay; those of others in a folder of their own."""
    return "" if course.dataset == "trained_model" else f"{course.dataset}/"


def packed_model(
    project: Project, course: Lesson, mine: str, check: Callable[[], None], minutes: float | None
) -> bytes:
    """Learn, choose thresholds on validation ground, score on test ground, and pack it all.

    mine: fingerprint of the settings, which the card holds.
    """
    from groundplan.training import thresholds

    scenes = scenes_of(project, course)
    trained, onnx = learn(project, course, scenes, check, minutes)
    judged = scenes["validation"] or some(scenes["train"])
    chosen, figures, sure = thresholds.choose_thresholds(onnx, judged, project, check)
    test = thresholds.assess(onnx, scenes["test"], chosen, project, check) if scenes["test"] else None
    card = _card(project, course, trained, scenes, mine)
    card |= {"thresholds": asdict(chosen), "validation": figures, "test": test}
    card["certainty"] = sure if scenes["validation"] else None  # on ground that it learned from it is too sure
    return pack(trained, onnx, card)


def some(scenes: list[Scene] | Stream) -> list[Scene]:
    """Training ground to choose thresholds by, where there is no other."""
    return scenes if isinstance(scenes, list) else scenes.first(64)


def _card(project: Project, course: Lesson, trained: Trained, scenes: dict[str, Any], mine: str) -> dict[str, Any]:
    """Model card: what somebody needs to trust the model or not. No time of day: same training, same bytes."""
    from importlib.metadata import version

    settings = course.settings
    recorded = asdict(settings)
    recorded["encoder_weights"] = Path(settings.encoder_weights).name
    recorded["start"] = Path(project.settings.model.start).name or None
    return {
        "year": course.partition.year,
        "bands": list(project.settings.imagery.bands),
        "resolution": project.grid.resolution,
        "settings": recorded,
        "settings_print": mine,
        "steps": trained.steps,
        "history": [{k: v for k, v in row.items() if k != "seconds"} for row in trained.history],
        "windows": {split: len(scenes[split]) for split in SPLITS},
        "versions": {name: version(name) for name in ("groundplan", "torch", "segmentation-models-pytorch", "numpy")},
        "use": "Buildings in aerial imagery of the ground and resolution that it was trained on; check others first.",
        **course.more,
    }

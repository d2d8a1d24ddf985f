"""Leave one out: how well each region is drawn by a model that learned from all the others.

Here: the trainings and the figures. Not here: what is learned for the project (models.py, baseline.py): nothing of this
becomes a model of it.

The honest figure for a region that is yet to come: a split by place within a town says how the next street of it will
be drawn, not the next town.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from groundplan.core.manifest import Dataset, fingerprint
from groundplan.core.materialize import Cancellation
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig, MissingInput, unknown
from groundplan.project import Project
from groundplan.training import models, windows
from groundplan.training.baseline import pooled
from groundplan.training.course import Lesson, forget_checkpoints, learn, scenes_of, some
from groundplan.training.scenes import judged_cells
from groundplan.training.split import SPLITS

ROOM: Dataset[Any] = Dataset("leave_one_out")
"""Where the state of a training is kept until it ends; no dataset is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """How a region was drawn that the model had not seen."""

    region: str
    learned: tuple[str, ...]
    """Regions that it learned from."""
    cells: int
    """On which it was judged: validation and test cells of the region, none of which it learned from."""
    figures: dict[str, float]
    """As a model's card has them: iou, boundary_iou, object_f1 ..."""


def regions_with_labels(project: Project, year: int) -> list[str]:
    """Regions whose labels of a year are known ground, sorted."""
    return sorted(windows.labeled(project, year))


def leave_one_out(
    project: Project, year: int, chosen: Sequence[str], minutes: float | None, check: Callable[[], None] = lambda: None
) -> Iterator[LeftOut]:
    """The figures of each chosen region, all without a choice; one training after the other.

    minutes: of each training; by default the settings'. Raises MissingInput where fewer than two regions have labels,
    BadConfig for a region without.
    """
    regions = regions_with_labels(project, year)
    if len(regions) < 2:
        there = f"only {regions[0]} has" if regions else "no region has"
        remedy = f"Add a register, then make them: `groundplan build --year {year} --select labels --with-inputs`"
        raise MissingInput(f"leave-one-out of {year}", f"{there} labels, and it takes two", remedy)
    for name in chosen:
        if name not in regions:
            raise unknown("region with labels", name, regions)
    own = pooled(project)
    partition = Partition(year)
    planned = windows.plan_of(own, ROOM, partition)[0]
    frame = windows.read(bytes(windows.make(own, planned, Cancellation()).data))
    for region in chosen or regions:
        yield _without(own, partition, frame, region, minutes, check)


def _without(
    project: Project, partition: Partition, frame: Any, region: str, minutes: float | None, check: Callable[[], None]
) -> LeftOut:
    from groundplan.training import thresholds

    others = frame[frame["region"] != region]
    if not (others["train"] > 0).any():
        raise BadConfig(f"region '{region}'", "no other region has training ground", "Add a register of another region")
    settings = _settings(project, minutes)
    known = {"settings": models.settings_fingerprint(project), "minutes": minutes, "steps": settings.steps}
    digest = fingerprint(region=region, windows=sorted(others["geometry"].to_wkb(hex=True)), **known)
    course = Lesson(
        name=f"without {region}", dataset=ROOM, partition=partition, digest=digest, frame=others, settings=settings
    )
    scenes = scenes_of(project, course, ("validation",))
    _, onnx = learn(project, course, scenes, check)
    chosen, _, _ = thresholds.choose_thresholds(onnx, scenes["validation"] or some(scenes["train"]), project, check)
    here = frame[(frame["region"] == region) & (frame["year"] == partition.year)]
    cells = [scene for split in SPLITS[1:] for _, scene in judged_cells(project, partition.year, here, split)]
    if not cells:
        raise MissingInput(f"ground of {region}", "no validation or test cell has labels", "Add labelled ground")
    figures = thresholds.assess(onnx, cells, chosen, project, check)
    forget_checkpoints(project, ROOM, partition)
    learned = tuple(sorted({str(name) for name in others["region"]}))
    return LeftOut(region=region, learned=learned, cells=len(cells), figures=figures)


def _settings(project: Project, minutes: float | None) -> Any:
    """Training settings of a model that starts as the baseline does, within a budget of minutes."""
    if minutes is None:
        return models.train_settings(project)
    model = project.settings.model.model_copy(update={"minutes": minutes, "steps": None})
    return models.train_settings(replace(project, settings=project.settings.model_copy(update={"model": model})))

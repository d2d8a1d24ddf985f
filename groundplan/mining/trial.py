"""Mining trial: three arms of two trainings each, at equal steps: are mined places worth learning from?

Here: the step: which windows each arm learns from, and what each training does on validation cells. Not here: what
follows from it (proof.py), learning from mined places (orchestration/cli/mine.py asks for it).
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from groundplan.config import Settings
from groundplan.core.manifest import (
    Dataset,
    Made,
    Planned,
    committed,
    fingerprint,
    load_object,
    need_manifest,
    object_key,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput
from groundplan.labels.classes import BUILDING, IGNORE, INNER_EDGE
from groundplan.mining import hard_negatives, known_empty
from groundplan.mining.proof import ARMS, SEEDS, ArmResult
from groundplan.mining.random_empty import random_places
from groundplan.polygons.geoparquet import read
from groundplan.project import Project
from groundplan.step import About, Scope, Step
from groundplan.training import models, windows
from groundplan.training.course import Lesson, forget_checkpoints, learn, scenes_of
from groundplan.training.mined import with_mined
from groundplan.training.scenes import judged_cells

if TYPE_CHECKING:
    import geopandas as gpd

    from groundplan.polygons.instances import Thresholds
    from groundplan.training.scenes import Scene
    from groundplan.training.thresholds import ScoredScene


class Facts(TypedDict):
    """What a manifest says of an object."""

    arm: str
    seed: int
    windows: int
    empty_cells: int
    built_cells: int


DATASET: Dataset[Facts] = Dataset("mining_trial")
VERSION = "1"
LEAST_KNOWN = 0.1  # share of a cell that must be believed to be empty, for false alarms to be counted on it


def wanted(settings: Settings) -> bool:
    """Only by its name: six trainings are nothing that a build should begin by itself."""
    return False


Needs: TypeAlias = "tuple[Partition, str, int, Made[Any], dict[str, Made[Any]], str]"
"""The year, the arm and seed, the index of windows, hard negatives by region, and the training's digest."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """A training for each arm and seed. Raises MissingInput where no region's hard negatives are made."""
    index = need_manifest(project.store, windows.DATASET, partition).objects["windows"]
    found = negatives_of(project, partition)
    images = models.label_identities(project, partition)
    believed = [[region, known_empty.identity(project, Partition(partition.year, region))] for region in sorted(found)]
    shared: dict[str, Any] = {
        "version": VERSION,
        "settings": models.print_of(project, partition),
        "steps": project.settings.mining.steps,
        "share": project.settings.mining.share,
        "windows": index.fingerprint,
        "images": images,
        "believed": believed,
    }
    planned = []
    for arm in ARMS:
        mined = [] if arm == "base" else sorted(made.fingerprint for made in found.values())
        for seed in range(SEEDS):
            digest = fingerprint(arm=arm, seed=seed, mined=mined, **shared)
            key = object_key(DATASET, partition, f"{arm}-{seed}", digest, ".json")
            inputs = (index.key, *(found[region].key for region in sorted(found)))
            needs = (partition, arm, seed, index, found, digest)
            planned.append(Planned(name=f"{arm}-{seed}", fingerprint=digest, key=key, inputs=inputs, args=needs))
    return planned


def negatives_of(project: Project, partition: Partition) -> dict[str, Made[Any]]:
    """Hard negatives of the year's regions. Raises MissingInput where none are made, or none has a place."""
    dataset = hard_negatives.DATASET
    regions = [one.partition for one in committed(project.store, dataset, partition.year)]
    found = {one.region: need_manifest(project.store, dataset, one).objects["places"] for one in regions}
    if not any(made.facts["places"] for made in found.values()):
        reason = "there is no place to learn from" if found else "hard_negatives of no region are made"
        remedy = f"Add ground that is known to be empty, `groundplan add-register --empty FILE --year {partition.year}`"
        raise MissingInput(f"{DATASET} of {partition}", reason, f"{remedy}, then `groundplan mine`")
    return found


def places(project: Project, found: dict[str, Made[Any]]) -> list[tuple[str, int, int]]:
    """Region, column and row of all hard negatives, those of the highest score first."""
    rows = []
    for region in sorted(found):
        frame = load_object(project.store, found[region], read)
        rows += [(-row.score, region, int(row.col), int(row.row)) for row in frame.itertuples()]
    return [(region, col, row) for _, region, col, row in sorted(rows)]


def mined_windows(project: Project, partition: Partition) -> gpd.GeoDataFrame:
    """Windows around the hard negatives of a year. Raises MissingInput where there are none."""
    centers = places(project, negatives_of(project, partition))
    return hard_negatives.windows_around(project, centers, partition.year)


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """One training, and its false alarms and found buildings by validation cell."""
    partition, arm, seed, index, found, digest = planned.needs
    frame = load_object(project.store, index, windows.read)
    extra = _extra(project, partition, arm, seed, found)
    course_frame = frame if extra is None else _beside(frame, extra, project.settings.mining.share)
    with models.starting(project, partition) as settings:
        steps = project.settings.mining.steps or settings.steps
        course = Lesson(
            name=f"{arm}, seed {seed}, of the trial of {partition}",
            dataset=DATASET,
            partition=partition,
            digest=digest,
            frame=course_frame,
            settings=replace(settings, seed=settings.seed + seed, steps=steps),
        )
        _, onnx = learn(project, course, scenes_of(project, course, ("validation",)), check)
    chosen, empty, built = _by_cell(project, partition, frame, onnx, check)
    told = {"arm": arm, "seed": seed, "windows": 0 if extra is None else len(extra), "thresholds": asdict(chosen)}
    return Output(json.dumps({**told, "empty": empty, "built": built}, indent=1, sort_keys=True).encode())


def _extra(
    project: Project, partition: Partition, arm: str, seed: int, found: dict[str, Made[Any]]
) -> gpd.GeoDataFrame | None:
    """The windows that an arm learns from besides: none, by chance as many as were mined, or the mined ones."""
    if arm == "base":
        return None
    centers = places(project, found)
    if arm == "random":
        centers = random_places(project, partition.year, sorted(found), len(centers), seed)
    return hard_negatives.windows_around(project, centers, partition.year)


def _beside(frame: gpd.GeoDataFrame, extra: gpd.GeoDataFrame, share: float) -> gpd.GeoDataFrame:
    """The index with further windows; those of earlier generations stay what they are, and share with these."""
    if "mined" not in frame:
        return with_mined(frame, extra, share)
    before = frame[frame["mined"] > 0]
    names = [name for name in extra.columns if name in before.columns]
    plain = frame[frame["mined"] == 0].drop(columns="mined")
    return with_mined(plain, stacked(before[names], extra[names]), share)


def stacked(before: gpd.GeoDataFrame, extra: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Windows of earlier rounds with those of this one, each place once."""
    import pandas as pd

    both = pd.concat([before, extra], ignore_index=True).drop_duplicates(["col", "row"]).reset_index(drop=True)
    return both.set_geometry("geometry").set_crs(extra.crs, allow_override=True)


def _by_cell(
    project: Project, partition: Partition, frame: gpd.GeoDataFrame, onnx: bytes, check: Cancellation
) -> tuple[Thresholds, list[tuple[int, float]], list[tuple[int, ...]]]:
    """Thresholds that fit a network; of empty cells false alarms and km2; of cells with buildings what was found.

    Of validation cells, all with thresholds that are chosen on the same cells: as a year's model is judged.
    """
    from groundplan.inference.runtime import load
    from groundplan.training.thresholds import best_thresholds, scored_scenes

    settings, resolution = project.settings.predict, project.grid.resolution
    cells = list(judged_cells(project, partition.year, frame, "validation"))
    if not cells:
        raise MissingInput(f"{DATASET} of {partition}", "there is no validation ground", "Add labelled ground")
    runtime = load(onnx, threads=project.workers, precision=settings.precision, views=settings.views)
    scored = scored_scenes(runtime, [scene for _, scene in cells], resolution, check)
    chosen = best_thresholds(scored, resolution, check)
    believed = _believed(project, partition)
    empty: list[tuple[int, float]] = []
    built: list[tuple[int, ...]] = []
    for (chip, scene), ground in zip(cells, scored, strict=True):
        check()
        if ((scene.label == BUILDING) | (scene.label == INNER_EDGE)).any():
            built.append(_counts(ground, chosen, resolution))
            continue
        word = _empty_part(project, chip, scene, believed)
        if word.sum() >= LEAST_KNOWN * ground.known.sum():
            area = round(float(word.sum()) * resolution**2 / 1e6, 9)
            empty.append((_alarms(ground, word, chosen, resolution), area))
    return chosen, empty, built


def _believed(project: Project, partition: Partition) -> list[known_empty.Belief]:
    regions = sorted({one.partition.region for one in committed(project.store, hard_negatives.DATASET, partition.year)})
    return [one for name in regions for one in known_empty.beliefs(project, Partition(partition.year, name))]


def _empty_part(
    project: Project, chip: tuple[int, int, int], scene: Scene, believed: list[known_empty.Belief]
) -> np.ndarray:
    """Where a cell is known and believed to be empty: bool, of the box of what is known, as scored scenes are."""
    (col, row, side), known = chip, scene.label != IGNORE
    word = known_empty.painted(believed, (side, side), hard_negatives.transform_of(project.grid, col, row)) > 0
    rows, columns = np.nonzero(known)
    return (word & known)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def _counts(ground: ScoredScene, chosen: Thresholds, resolution: float) -> tuple[int, ...]:
    from groundplan.polygons.metrics import match_one_to_one, overlaps
    from groundplan.training.thresholds import found_in

    found = found_in(ground, chosen, resolution)
    matches = match_one_to_one(*overlaps(found, ground.truth), 0.5)
    return matches.shape[1], len(found), matches.shape[1], len(ground.truth)


def _alarms(ground: ScoredScene, empty: np.ndarray, chosen: Thresholds, resolution: float) -> int:
    """Found buildings of which more than half lies on empty ground. empty: bool, of the scored part of the scene."""
    from groundplan.polygons.instances import instances

    labels = instances(ground.probability, chosen, resolution)
    labels[~ground.known] = 0
    sizes = np.bincount(labels.ravel())
    inside = np.bincount(labels[empty], minlength=len(sizes))
    return int((inside[1:] > 0.5 * sizes[1:]).sum())


def describe(data: bytes) -> Facts:
    raw = json.loads(data)
    return {
        "arm": raw["arm"],
        "seed": raw["seed"],
        "windows": raw["windows"],
        "empty_cells": len(raw["empty"]),
        "built_cells": len(raw["built"]),
    }


def results(project: Project, partition: Partition) -> list[ArmResult]:
    """What the trainings of a committed trial did. Raises MissingInput."""
    made = need_manifest(project.store, DATASET, partition).objects.values()
    return [load_object(project.store, one, lambda data: ArmResult.of(json.loads(data))) for one in made]


def forget(project: Project, partition: Partition) -> None:
    forget_checkpoints(project, DATASET, partition)


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.YEAR,
    reads=(windows.DATASET, hard_negatives.DATASET),
    needs_register=True,
    learns=True,
    wanted=wanted,
    alone=True,
    after=forget,
    unmade_seconds=lambda project: len(ARMS) * SEEDS * project.settings.model.minutes * 60 * project.workers,
    profile="train",
    accelerator=True,
    about=About(
        title="The trial of mining: base, empty ground by chance, mined places",
        description="Six trainings at equal steps: three arms, two seeds. It says whether learning from hard negatives "
        "leaves fewer false alarms than learning from as much empty ground by chance, and what it costs in found "
        "buildings. Made when it is asked for, by `groundplan mine`.",
        group="model",
        kinds=frozenset({"pytorch"}),
        page="docs/models.md",
    ),
)

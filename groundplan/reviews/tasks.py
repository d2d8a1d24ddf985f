"""Which polygons people are asked about: the ones whose answer is worth most, and some by chance.

Here: choosing and ordering, by pure functions over polygons; `choose` gathers them of a project. Not here: answers
(verdicts.py), rows (groundplan/database/reviews.py). Those chosen by chance are needed: precision can be estimated on
nothing else. At most so many of one block: one bad block must not eat a day.

An answer is worth what it would change of the labels. Where a register is complete and the model agrees with it, that
is little, however unsure the model is; where they disagree, the more the surer the model is; on ground that no register
knows, all that is unsure. On ground of the test split nothing is learnt, so only chance leads there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.core.grid import Grid
from groundplan.core.manifest import fingerprint, read_manifest
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput
from groundplan.footprints import footprints
from groundplan.imagery.landing import delivered_partitions
from groundplan.labels import registers
from groundplan.project import Project
from groundplan.training.split import SPLITS, split_of, touches_test

if TYPE_CHECKING:
    import geopandas as gpd

UNSURE, YEARS, REGISTER, NOT_FOUND, UNUSUAL, RANDOM = "unsure", "years", "register", "not found", "unusual", "random"
ADDED = "added"  # by a person, in a file
KNOWN = 0.3  # what being unsure counts where a register is complete
SURE = 0.9  # confidence above which a building is not unsure
LACKS = 0.5  # of a footprint's ground that a register has, below which the register lacks a building there
MATCH = 0.2  # intersection over union from which two polygons are the same building
SMALL, LARGE = 0.01, 0.99  # quantiles of area beyond which a building is unusual


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewTask:
    """One polygon that a person is asked about. geometry: GeoJSON in EPSG:4326. footprint: '' where none was found."""

    id: str
    region: str
    year: int
    block: str
    footprint: str
    fingerprint: str
    """Of the image block that shows it."""
    reason: str
    priority: float
    """1 is asked first, 0 last."""
    geometry: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    """confidence, area [m2], split of its ground, and how useful each reason makes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownOfGround:
    """What a region's footprints are compared with, polygons in the grid's CRS. None: nobody knows."""

    register: np.ndarray | None = None
    complete: Any = None
    """Ground on which the register is complete."""
    before: np.ndarray | None = None
    """Footprints of the year before."""
    unusual_blocks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBudget:
    """How many are asked about; of them by chance; and of one block."""

    tasks: int
    random_share: float
    most_of_block: int


def usefulness(frame: gpd.GeoDataFrame, known: KnownOfGround) -> dict[str, np.ndarray]:
    """Reason to a number from 0 to 1 for each footprint. frame: of footprints, in the grid's CRS."""
    polygons = frame.geometry.values.to_numpy()
    confidence = frame["confidence"].to_numpy(float)
    low, high = np.quantile(frame["area"], (SMALL, LARGE)) if len(frame) else (0.0, 0.0)
    odd = (frame["area"].to_numpy() < low) | (frame["area"].to_numpy() > high)
    found = {
        UNSURE: np.clip((SURE - confidence) / (SURE - 0.5), 0, 1),
        UNUSUAL: 0.4 * odd + 0.3 * frame["block"].isin(known.unusual_blocks).to_numpy(),
    }
    if known.before is not None:
        found[YEARS] = np.where(best_iou(polygons, known.before) < MATCH, 0.7, 0.0)
    if known.register is not None and known.complete is not None:
        import shapely

        inside = shapely.contains(known.complete, shapely.point_on_surface(polygons))
        had = covered(polygons, known.register)  # a footprint may be several buildings that touch
        found[REGISTER] = np.where(inside & (had < LACKS), (1 - had) * (0.6 + 0.4 * np.clip(confidence, 0, 1)), 0.0)
        found[UNSURE] = np.where(inside, KNOWN, 1.0) * found[UNSURE]
    return found


def best_iou(polygons: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each polygon the greatest intersection over union with one of the others, 0..1."""
    import shapely

    best = np.zeros(len(polygons))
    if len(others) == 0 or len(polygons) == 0:
        return best
    a, b = shapely.STRtree(others).query(polygons, predicate="intersects")
    shared = shapely.area(shapely.intersection(polygons[a], others[b]))
    whole = shapely.area(polygons[a]) + shapely.area(others[b]) - shared
    np.maximum.at(best, a, shared / np.maximum(whole, 1e-9))
    return best


def covered(polygons: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each polygon the share of its area that the others cover together, 0..1."""
    import shapely

    if len(others) == 0 or len(polygons) == 0:
        return np.zeros(len(polygons))
    shared = shapely.area(shapely.intersection(polygons, shapely.union_all(others)))
    return np.asarray(shared / np.maximum(shapely.area(polygons), 1e-9))


def ranked(scores: Sequence[float], blocks: Sequence[str], names: Sequence[str], budget: TaskBudget) -> list[int]:
    """Indices of those to ask about, in order: the most useful first, and one by chance after every few.

    names: of each, by which chance is drawn: the same draw for the same names, whatever else there is.
    """
    chance = sorted(range(len(names)), key=lambda i: hashlib.sha256(f"chance {names[i]}".encode()).hexdigest())
    by_chance = chance[: round(budget.tasks * budget.random_share)]
    drawn, taken, useful = set(by_chance), Counter[str](), []
    for i in sorted(range(len(names)), key=lambda i: (-scores[i], names[i])):
        if i not in drawn and taken[blocks[i]] < budget.most_of_block:
            taken[blocks[i]] += 1
            useful.append(i)
    useful = useful[: budget.tasks - len(by_chance)]
    return _interleaved(useful, by_chance)


def _interleaved(useful: list[int], by_chance: list[int]) -> list[int]:
    places = {i: place for place, i in zip(np.linspace(0, 1, len(useful), endpoint=False), useful, strict=True)}
    apart = np.linspace(0, 1, len(by_chance), endpoint=False) + 0.5 / max(1, len(by_chance))
    places |= {i: place for place, i in zip(apart, by_chance, strict=True)}
    return sorted(places, key=lambda i: (places[i], i))


def tasks_of(
    frame: gpd.GeoDataFrame,
    known: KnownOfGround,
    partition: Partition,
    grid: Grid,
    cell: float,
    budget: TaskBudget,
    turn: int = 0,
) -> list[ReviewTask]:
    """Tasks of one region and year, first ones first. frame: footprints; cell (metres), turn: of the split by place."""
    import geopandas as gpd
    import pandas as pd

    useful_for = pd.DataFrame(usefulness(frame, known), index=frame.index)
    missed = _not_found(frame, known, grid)
    rows = gpd.GeoDataFrame(pd.concat([frame.assign(**useful_for), missed], ignore_index=True), crs=frame.crs)
    reasons = [name for name in (*useful_for.columns, NOT_FOUND) if name in rows]
    table = rows[reasons].fillna(0.0).to_numpy(float)
    names = [fingerprint(id=row.id or "", at=row.geometry.wkb_hex, year=partition.year) for row in rows.itertuples()]
    scores = table.max(axis=1) + 0.1 * table.sum(axis=1)
    scores[touches_test(rows.geometry.values.to_numpy(), cell, turn)] = -1.0
    order = ranked(list(scores), list(rows["block"]), names, budget)
    by_chance = set(_chance(names, budget))
    points = rows.geometry.representative_point()
    splits = split_of(points.x.to_numpy(), points.y.to_numpy(), cell, turn)
    shapes = rows.geometry.to_crs(4326)
    found = []
    for place, i in enumerate(order):
        row = rows.iloc[i]
        useful = {name: round(float(value), 3) for name, value in zip(reasons, table[i], strict=True) if value > 0}
        found.append(
            ReviewTask(
                id=names[i],
                region=partition.region,
                year=partition.year,
                block=str(row["block"]),
                footprint=str(row["id"] or ""),
                fingerprint=str(row["fingerprint"] or ""),
                reason=RANDOM if names[i] in by_chance else reasons[int(table[i].argmax())],
                priority=round(1 - place / len(order), 6),
                geometry=shapes.iloc[i].__geo_interface__,
                facts={
                    "confidence": None if pd.isna(row["confidence"]) else round(float(row["confidence"]), 3),
                    "area": round(float(row.geometry.area), 1),
                    "split": SPLITS[int(splits[i])],
                    "useful": useful,
                },
            )
        )
    return found


def _chance(names: Sequence[str], budget: TaskBudget) -> list[str]:
    order = sorted(names, key=lambda name: hashlib.sha256(f"chance {name}".encode()).hexdigest())
    return order[: round(budget.tasks * budget.random_share)]


def _not_found(frame: gpd.GeoDataFrame, known: KnownOfGround, grid: Grid) -> gpd.GeoDataFrame:
    """Buildings of the register that the model did not find, as rows of footprints."""
    import geopandas as gpd
    import shapely

    none = np.array([], object)
    register = known.register if known.register is not None else none
    lost = register[covered(register, frame.geometry.values.to_numpy()) < MATCH] if len(register) else none
    points = shapely.get_coordinates(shapely.point_on_surface(lost)) if len(lost) else np.zeros((0, 2))
    columns = {
        "id": [""] * len(lost),
        "confidence": [None] * len(lost),
        "area": shapely.area(lost) if len(lost) else [],
        "block": [grid.at(x, y).name for x, y in points],
        "fingerprint": [""] * len(lost),
        NOT_FOUND: [0.8] * len(lost),
    }
    return gpd.GeoDataFrame(columns, geometry=list(lost), crs=frame.crs)


def choose(project: Project, partition: Partition, unusual: Iterable[str] = ()) -> list[ReviewTask]:
    """Tasks of a region and year, as committed. unusual: blocks of its drift report. Raises MissingInput."""
    settings = project.settings.review
    budget = TaskBudget(tasks=settings.tasks, random_share=settings.random_share, most_of_block=settings.most_of_block)
    frame = footprints.load(project, partition)
    known = _known(project, partition, frozenset(unusual))
    split = project.settings.split
    return tasks_of(frame, known, partition, project.grid, split.cell, budget, split.turn)


def _known(project: Project, partition: Partition, unusual: frozenset[str]) -> KnownOfGround:
    earlier = [p for p in delivered_partitions(project) if p.region == partition.region and p.year < partition.year]
    before = None
    if earlier and read_manifest(project.store, footprints.DATASET, earlier[-1]):
        before = footprints.load(project, earlier[-1]).geometry.values.to_numpy()
    try:
        frame, complete = registers.load(project, partition)
    except MissingInput:
        return KnownOfGround(before=before, unusual_blocks=unusual)
    register = frame.geometry.values.to_numpy()
    return KnownOfGround(register=register, complete=complete, before=before, unusual_blocks=unusual)


def added_task(project: Project, region: str, year: int, geometry: dict[str, Any]) -> ReviewTask:
    """The task of a building that somebody added where none was asked about. geometry: GeoJSON in EPSG:4326."""
    import geopandas as gpd
    from shapely.geometry import shape

    placed = gpd.GeoSeries([shape(geometry)], crs=4326).to_crs(project.grid.crs).iloc[0]
    point = placed.representative_point()
    cells = project.settings.split
    split = split_of(np.array([point.x]), np.array([point.y]), cells.cell, cells.turn)[0]
    return ReviewTask(
        id=fingerprint(added=placed.wkb_hex, year=year),
        region=region,
        year=year,
        block=project.grid.at(point.x, point.y).name,
        footprint="",
        fingerprint="",
        reason=ADDED,
        priority=0.0,
        geometry=geometry,
        facts={"confidence": None, "area": round(float(placed.area), 1), "split": SPLITS[int(split)], "useful": {}},
    )

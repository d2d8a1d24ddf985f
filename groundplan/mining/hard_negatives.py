"""Hard negatives: places where the year's model sees a building on ground that is known to be empty.

Here: the step, and such places as windows to learn from. Not here: whose word is believed (known_empty.py), whether it
pays to learn from them (trial.py).

As mapbox/robosat did (predict where there is nothing, put the false alarms back as background), but on training cells
alone: ground of validation and test says whether it helped.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from groundplan.config import Settings
from groundplan.core.grid import Block, Grid
from groundplan.core.manifest import Dataset, Planned, fingerprint, need_manifest, object_key
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.footprints import predictions
from groundplan.imagery import tiles
from groundplan.labels import masks
from groundplan.labels.classes import BACKGROUND, GAP
from groundplan.mining.known_empty import Belief, beliefs, identity, painted, parts_of
from groundplan.polygons.geoparquet import read, to_parquet
from groundplan.polygons.instances import pixels_of
from groundplan.project import Project
from groundplan.raster import cog
from groundplan.step import BBOX, GEOPARQUET, About, Scope, Step
from groundplan.training import models
from groundplan.training.mined import read_mined
from groundplan.training.split import SPLITS, split_mask

if TYPE_CHECKING:
    import geopandas as gpd


class Facts(TypedDict):
    """What a manifest says of an object."""

    places: int
    generation: int


DATASET: Dataset[Facts] = Dataset("hard_negatives")
VERSION = "1"
PART = 2048  # pixels of a block's parts that are looked at at a time
WHOLE = 0.9  # share of a place that must lie on empty training ground: the rest of a building's rim is none
AROUND = 1.5  # sides of a crop that a window around a place has: crops turn, and begin anywhere in it

Needs: TypeAlias = "tuple[Partition, list[tuple[str, str, str, str]], int]"
"""Of each block its name, keys of tile, label and prediction; the generation of the model that predicted them."""


def wanted(settings: Settings) -> bool:
    return settings.mining.rounds > 0


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """One file for a region and year."""
    names = (tiles.DATASET, masks.DATASET, predictions.DATASET)
    found = [need_manifest(project.store, name, partition).objects for name in names]
    blocks = [
        (name, found[0][name].key, found[1][name].key, found[2][name].key)
        for name in sorted(found[2])
        if name in found[1] and name in found[0] and found[1][name].facts["known"]
    ]
    mined = read_mined(project, partition.year)
    generation = mined.generation if mined else 0
    split, mining = project.settings.split, project.settings.mining
    digest = fingerprint(
        version=VERSION,
        blocks=[list(block) for block in blocks],
        believed=identity(project, partition),
        cell=split.cell,
        turn=split.turn,
        generation=generation,
        **mining.model_dump(include={"score", "area", "most"}),
    )
    key = object_key(DATASET, partition, "places", digest, ".parquet")
    inputs = tuple(key for block in blocks for key in block[1:])
    needs = (partition, blocks, generation)
    return [Planned(name="places", fingerprint=digest, key=key, inputs=inputs, args=needs)]


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """The places of the highest probability, by block and part; memory holds one part."""
    import geopandas as gpd

    partition, blocks, generation = planned.needs
    believed = beliefs(project, partition)
    rows: list[dict[str, Any]] = []
    for name, tile, label, prediction in blocks:
        for window in parts_of(project.grid.block_size, PART):
            check()
            part = Block.parse(name), window
            rows += _places(project, part, label, prediction, believed, chip=tile)
    rows.sort(key=lambda row: (-row["score"], row["row"], row["col"]))
    rows = rows[: project.settings.mining.most]
    columns = ("place", "col", "row", "chip", "score", "area", "why", "reviewer")
    frame = gpd.GeoDataFrame(
        {name: [row[name] for row in rows] for name in columns}, geometry=[row["geometry"] for row in rows]
    ).set_crs(project.grid.crs)
    frame.insert(len(columns), "generation", np.int64(generation))
    return Output(to_parquet(frame))


def describe(data: bytes) -> Facts:
    frame = read(data)
    return {"places": len(frame), "generation": int(frame["generation"].max()) if len(frame) else 0}


def _places(
    project: Project,
    part: tuple[Block, tuple[int, int, int, int]],
    label: str,
    prediction: str,
    believed: list[Belief],
    chip: str,
) -> list[dict[str, Any]]:
    """Places of one part of a block: patches of high probability on empty ground of training cells."""
    import cv2
    import shapely

    (block, window), grid, mining = part, project.grid, project.settings.mining
    col, row, wide, high = window
    probability = cog.read_object(project.store, prediction, window)[0][0]
    seen = (probability >= round(255 * mining.score)).astype(np.uint8)
    if not seen.any():
        return []
    col, row = col + block.col * grid.block_size, row + block.row * grid.block_size
    word = painted(believed, (high, wide), transform_of(grid, col, row))
    empty = _empty_ground(project, cog.read_object(project.store, label, window)[0][0], (col, row)) & (word > 0)
    count, patches, stats, centers = cv2.connectedComponentsWithStats(seen, connectivity=4)
    sizes = np.bincount(patches.ravel(), minlength=count)
    inside = np.bincount(patches[empty], minlength=count) / sizes
    sums = np.bincount(patches.ravel(), weights=probability.ravel(), minlength=count)
    found = []
    for patch in range(1, count):
        if sizes[patch] < pixels_of(mining.area, grid.resolution) or inside[patch] < WHOLE:
            continue
        x, y, w, h = stats[patch][:4]
        on = patches[y : y + h, x : x + w] == patch
        belief = believed[int(np.bincount(word[y : y + h, x : x + w][on]).argmax()) - 1]
        left, top = grid.corner(col + int(x), row + int(y))
        middle = col + round(float(centers[patch][0])), row + round(float(centers[patch][1]))
        found.append(
            {
                "place": f"{middle[0]},{middle[1]}",
                "col": middle[0],
                "row": middle[1],
                "chip": chip,
                "score": round(float(sums[patch] / sizes[patch] / 255), 4),
                "area": round(float(sizes[patch] * grid.resolution**2), 2),
                "why": belief.why,
                "reviewer": belief.reviewer,
                "geometry": shapely.box(left, top - int(h) * grid.resolution, left + int(w) * grid.resolution, top),
            }
        )
    return found


def _empty_ground(project: Project, classes: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """Where labels know that there is no building, on training cells. corner: upper left pixel of the whole grid."""
    high, wide = classes.shape
    chosen = project.settings.split
    split = split_mask(project.grid, *corner, wide, high, chosen.cell, turn=chosen.turn)
    return ((classes == BACKGROUND) | (classes == GAP)) & (split == SPLITS.index("train"))


def transform_of(grid: Grid, col: int, row: int) -> Any:
    """Of an array whose upper left pixel is this one of the whole grid."""
    from affine import Affine

    left, top = grid.corner(col, row)
    return Affine(grid.resolution, 0, left, 0, -grid.resolution, top)


def window_side(project: Project) -> int:
    """Pixels of the grid of a window around a place, a multiple of 8."""
    crop = project.settings.model.crop * models.network_resolution(project) / project.grid.resolution
    return int(-(-AROUND * crop // 8) * 8)


def windows_around(project: Project, centers: list[tuple[str, int, int]], year: int) -> gpd.GeoDataFrame:
    """Windows to learn from around places, sorted. centers: region, column and row of each."""
    import geopandas as gpd
    import shapely

    side, grid = window_side(project), project.grid
    rows = sorted({(row - side // 2, col - side // 2, region) for region, col, row in centers})
    corners = [grid.corner(col, row) for row, col, _ in rows]
    span = side * grid.resolution
    return gpd.GeoDataFrame(
        {
            "col": np.array([col for _, col, _ in rows], np.int64),
            "row": np.array([row for row, _, _ in rows], np.int64),
            "size": np.int64(side),
            "region": [region for _, _, region in rows],
            "year": np.int64(year),
        },
        geometry=[shapely.box(x, y - span, x + span, y) for x, y in corners],
        crs=grid.crs,
    )


def to_bytes(frame: gpd.GeoDataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.REGION,
    reads=(tiles.DATASET, masks.DATASET, predictions.DATASET),
    wanted=wanted,
    starts_when="",
    profile="io",
    about=About(
        title="Hard negatives: where the model sees buildings on empty ground",
        description="Places where the year's model sees a building and of which somebody knows that there is none: a "
        "register of empty ground, people's verdicts, or a register that is not older than the imagery. Training cells "
        "alone. `groundplan mine` has the model learn from them if that pays.",
        group="model",
        kinds=frozenset({"geoparquet"}),
        format=GEOPARQUET,
        page="docs/models.md",
        columns=(
            ("place", "string", "column and row of its middle, counted on the whole grid [pixels]"),
            ("col", "int64", "column of its middle, counted on the whole grid [pixels]"),
            ("row", "int64", "row of its middle [pixels]"),
            ("chip", "string", "key of the image block in which it lies"),
            ("score", "double", "mean probability of a building that the model gave it [0..1]"),
            ("area", "double", "where that is high [m2]"),
            ("why", "string", "whose word is believed that there is no building"),
            ("reviewer", "string", "people whose word it is; empty where it is a register's"),
            ("generation", "int64", "of the model that saw it: how often it learned from mined places [1]"),
            ("geometry", "polygon", "box around it [m, the grid's CRS]"),
            BBOX,
        ),
    ),
)

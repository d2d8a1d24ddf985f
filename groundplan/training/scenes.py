"""Chips: the pixels and labels that training reads into memory.

Here: cutting them out of blocks, at once or when their turn comes. Not here: which windows (windows.py), or changing
them (augment.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from groundplan.core.grid import Block, Grid
from groundplan.core.manifest import fingerprint, need_manifest
from groundplan.core.partition import Partition
from groundplan.core.progress import counted
from groundplan.errors import MissingInput
from groundplan.imagery import tiles
from groundplan.labels.classes import IGNORE
from groundplan.project import Project
from groundplan.raster import cog
from groundplan.training.mined import shares_of
from groundplan.training.sampling import Places, shares
from groundplan.training.scene import Scene as Scene
from groundplan.training.split import SPLITS, split_mask, split_of
from groundplan.training.stream import Stream
from groundplan.training.windows import labeled

if TYPE_CHECKING:
    import geopandas as gpd

    from groundplan.training.settings import TrainSettings


CONTEXT = 64  # pixels around a validation or test cell that the network sees but that are not judged


# ------------------------------------------------------------------------------------------ windows as arrays


def load_scenes(project: Project, year: int, frame: gpd.GeoDataFrame, split: str) -> list[Scene]:
    """Scenes of a split; labels outside the split's cells are unknown.

    For training a scene is a window, and pixels outside training cells are blanked too, so that the network never sees
    test ground. For validation and test it is one cell with CONTEXT pixels around it: no ground is judged twice.
    """
    keys = _block_keys(project, year)
    if "year" in frame:
        frame = frame[frame["year"] == year]  # a year's model is judged by its own year
    chips = _chips(project, frame, split)
    with counted(f"{split} ground", chips, len(chips)) as cut:
        scenes = [_scene(project, keys, chip, split) for chip in cut]
    return [scene for scene in scenes if (scene.label != IGNORE).any()]


def judged_cells(
    project: Project, year: int, frame: gpd.GeoDataFrame, split: str
) -> Iterator[tuple[tuple[int, int, int], Scene]]:
    """Cells of validation or test ground one by one: column, row and side of each, and its scene."""
    keys = _block_keys(project, year)
    if "year" in frame:
        frame = frame[frame["year"] == year]
    for chip in _chips(project, frame, split):
        scene = _scene(project, keys, chip, split)
        if (scene.label != IGNORE).any():
            yield chip[:3], scene


def stream_scenes(project: Project, year: int, frame: gpd.GeoDataFrame, settings: TrainSettings) -> Stream:
    """All training windows of an index that was made to be streamed, by strata; read when their turn comes.

    Raises MissingInput where none has labelled training ground.
    """
    chosen = project.settings.split
    frame = frame[frame["train"] > 0]
    years = frame["year"].to_numpy()
    chips = _chips(project, frame, "train")
    keys = {each: _block_keys(project, int(each)) for each in np.unique(years)}
    mined = frame["mined"].to_numpy() > 0 if "mined" in frame else np.zeros(len(frame), bool)
    places = Places(
        region=frame["region"].to_numpy(str),
        year=years,
        building=frame["building"].to_numpy(),
        weight=np.where(mined, 0.0, frame["weight"].to_numpy()),
    )
    age = {int(each): 0.5 ** ((year - each) / chosen.half_life) if chosen.half_life else 1.0 for each in keys}
    try:
        share = shares(places, chosen.trust, age)
    except ValueError as error:
        raise MissingInput(
            "training windows", f"{error}", "Check that labels and imagery overlap, and split.trust"
        ) from error

    if mined.any():  # beside the strata, so that none of those is drowned
        share, each = shares_of(share, int(mined.sum()), project.settings.mining.share)
        share = np.where(mined, each, share)

    def cut(number: int) -> Scene:
        return _scene(project, keys[years[number]], chips[number], "train")

    return Stream.of(share, cut, settings, chosen.max_windows)


Chip: TypeAlias = tuple[int, int, int, float]
"""Column, row and side of a scene, in pixels of the whole grid, and its weight."""


def _scene(project: Project, keys: dict[Block, tuple[str, str]], chip: Chip, split: str) -> Scene:
    """A chip cut out of blocks, with what is of other splits unknown."""
    (col, row, side, weight), chosen = chip, project.settings.split
    image = np.zeros((len(project.settings.imagery.bands), side, side), np.uint8)
    classes = np.full((side, side), IGNORE, np.uint8)
    for image_key, label_key, source, target in _pieces(project.grid, col, row, side, keys):
        image[:, target[1], target[0]] = cog.read_object(project.store, image_key, source)[0]
        classes[target[1], target[0]] = cog.read_object(project.store, label_key, source)[0][0]
    outside = split_mask(project.grid, col, row, side, side, chosen.cell, turn=chosen.turn) != SPLITS.index(split)
    if split != "train":  # the context of a cell may reach into another cell of the same split
        outside |= ~np.pad(np.ones((side - 2 * CONTEXT,) * 2, bool), CONTEXT)
    classes[outside] = IGNORE
    if split == "train":
        image[:, outside] = 0
    return Scene(image, classes, weight)


def _chips(project: Project, frame: gpd.GeoDataFrame, split: str) -> list[Chip]:
    """(col, row, side, weight) of the scenes of a split, in pixels of the whole grid."""
    chosen = frame[frame[split] > 0]
    if split == "train":
        return [(int(r.col), int(r.row), int(r.size), max(float(r.weight), 1e-4)) for r in chosen.itertuples()]
    grid, cell, turn = project.grid, project.settings.split.cell, project.settings.split.turn
    found: set[tuple[int, int]] = set()
    for left, bottom, right, top in chosen.bounds.to_numpy():
        xs = np.arange(np.floor(left / cell), np.ceil(right / cell))
        ys = np.arange(np.floor(bottom / cell), np.ceil(top / cell))
        for x in xs:
            here = split_of(np.full(len(ys), (x + 0.5) * cell), (ys + 0.5) * cell, cell, turn) == SPLITS.index(split)
            found |= {(int(x), int(y)) for y in ys[here]}
    # a fixed shuffle: where there are too many, those that are taken lie all over the country
    order = sorted(found, key=lambda place: fingerprint(place=list(place)))[: project.settings.split.max_windows]
    side = round(cell / grid.resolution) + 2 * CONTEXT
    places = []
    for x, y in sorted(order):
        col, row = grid.pixel(x * cell, (y + 1) * cell)
        places.append((round(col) - CONTEXT, round(row) - CONTEXT, side, 1.0))
    return places


def _block_keys(project: Project, year: int) -> dict[Block, tuple[str, str]]:
    keys: dict[Block, tuple[str, str]] = {}
    for region, manifest in sorted(labeled(project, year).items()):
        images = need_manifest(project.store, tiles.DATASET, Partition(year, region)).objects
        for name, made in manifest.objects.items():
            if name in images:
                keys.setdefault(Block.parse(name), (images[name].key, made.key))
    return keys


def _pieces(grid: Grid, col: int, row: int, side: int, keys: dict[Block, tuple[str, str]]) -> list[Any]:
    """Parts of a window that lie in blocks: keys, window in the block, slices in the window."""
    n = grid.block_size
    pieces = []
    for block_row in range(row // n, (row + side - 1) // n + 1):
        for block_col in range(col // n, (col + side - 1) // n + 1):
            block = Block(block_col, block_row)
            if block not in keys:
                continue
            left, top = max(col, block_col * n), max(row, block_row * n)
            right, bottom = min(col + side, (block_col + 1) * n), min(row + side, (block_row + 1) * n)
            source = (left - block_col * n, top - block_row * n, right - left, bottom - top)
            target = (slice(left - col, right - col), slice(top - row, bottom - row))
            pieces.append((*keys[block], source, target))
    return pieces

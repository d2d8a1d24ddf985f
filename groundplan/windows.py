"""Training windows: which ground is learned from, which chooses settings, which is kept for the test.

Here: the split by place, the index of windows, and windows as arrays in memory. Not here: learning (train.py).

The ground is cut into square cells, and a fixed pattern gives every cell one split: whatever the year, the region or
the sheet, no ground is in two splits. In each run of seven cells along a row or a column one is for validation and one
for the test, so even a small project has both.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan import cog, labels, tiles
from groundplan.blocks import Check, Manifest, Output, Partition, Planned, fingerprint, need_manifest, object_key
from groundplan.errors import MissingInput
from groundplan.grid import Block, Grid
from groundplan.project import Project

if TYPE_CHECKING:
    import geopandas as gpd

    from groundplan.crops import Scene

DATASET = "training_windows"
VERSION = "1"
SPLITS = ("train", "validation", "test")
CONTEXT = 64  # pixels around a validation or test cell that the network sees but that are not judged
SHRINK = 4  # label blocks are counted at a quarter of their resolution


def split_of(x: np.ndarray, y: np.ndarray, cell: float) -> np.ndarray:
    """Split of each place, as an index into SPLITS (uint8). x, y: coordinates in the grid's CRS, metres."""
    number = (np.floor(x / cell).astype(np.int64) + 3 * np.floor(y / cell).astype(np.int64)) % 7
    return np.choose(number, [2, 0, 0, 1, 0, 0, 0]).astype(np.uint8)


def split_mask(grid: Grid, col: int, row: int, width: int, height: int, cell: float, step: int = 1) -> np.ndarray:
    """Split of pixel centres, uint8 (height / step, width / step); col, row: the upper left pixel of the whole grid."""
    xs = grid.origin[0] + (col + np.arange(width // step) * step + step / 2) * grid.resolution
    ys = grid.origin[1] - (row + np.arange(height // step) * step + step / 2) * grid.resolution
    return split_of(xs[None, :], ys[:, None], cell)


def split_area(grid: Grid, block: Block, split: str, cell: float) -> Any:
    """Ground of a block that belongs to a split, a shapely geometry in the grid's CRS."""
    import shapely

    left, bottom, right, top = grid.bounds(block)
    xs = np.arange(np.floor(left / cell), np.ceil(right / cell))
    ys = np.arange(np.floor(bottom / cell), np.ceil(top / cell))
    x, y = (part.ravel() for part in np.meshgrid(xs, ys))
    chosen = split_of((x + 0.5) * cell, (y + 0.5) * cell, cell) == SPLITS.index(split)
    x, y = x[chosen] * cell, y[chosen] * cell
    cells = shapely.box(x, y, x + cell, y + cell)
    return shapely.intersection(shapely.union_all(cells), grid.polygon(block))


# ---------------------------------------------------------------------------------------------------- the step


def labelled(project: Project, year: int) -> dict[str, Manifest]:
    """Label manifests of the year's regions that have any known ground."""
    found = {}
    for item in project.store.list(f"manifests/{labels.DATASET}/{year}"):
        region = item.key.rsplit("/", 1)[-1].removesuffix(".json")
        manifest = need_manifest(project.store, labels.DATASET, Partition(year, region))
        if any(made.facts["known"] for made in manifest.objects.values()):
            found[region] = manifest
    return found


def plan(project: Project, partition: Partition) -> list[Planned]:
    """One index of the year's windows."""
    manifests = labelled(project, partition.year)
    if not manifests:
        raise MissingInput(
            f"training_windows of {partition}",
            "no imagery of this year lies inside the extent of a register",
            f"Run `groundplan add-register FILE --year {partition.year} --extent FILE`, or set predict.model_year",
        )
    settings = project.settings.split
    blocks = {
        f"{region}/{name}": (made.key, made.fingerprint)
        for region, manifest in manifests.items()
        for name, made in manifest.objects.items()
        if made.facts["known"]
    }
    mark = fingerprint(
        version=VERSION,
        grid=project.grid.identity(),
        labels=sorted([name, print_] for name, (_, print_) in blocks.items()),
        **settings.model_dump(),
    )
    key = object_key(DATASET, partition, "windows", mark, ".parquet")
    return [Planned("windows", mark, key, tuple(sorted(key for key, _ in blocks.values())), blocks)]


def make(project: Project, planned: Planned, check: Check) -> Output:
    """Count what each window of a fixed lattice would teach, block by block, and keep the heaviest."""
    import geopandas as gpd
    import shapely

    counts: dict[tuple[int, int], np.ndarray] = {}
    seen: set[str] = set()
    for name, (key, _) in sorted(planned.args.items()):
        check()
        block = Block.parse(name.rsplit("/", 1)[-1])
        if block.name not in seen:  # two regions may hold the same block; its ground counts once
            seen.add(block.name)
            _count(project, block, key, counts)
    side = project.settings.split.window
    rows = sorted(counts)
    known = np.array([counts[place][:3] for place in rows], float).reshape(-1, 3) / (side // SHRINK) ** 2
    building = np.array([counts[place][3] for place in rows], float) / (side // SHRINK) ** 2
    corners = [project.grid.corner(*place) for place in rows]
    span = side * project.grid.resolution
    frame = gpd.GeoDataFrame(
        {
            "col": [col for col, _ in rows],
            "row": [row for _, row in rows],
            "size": side,
            **{split: known[:, index].round(4) for index, split in enumerate(SPLITS)},
            "building": building.round(4),
            # ground with buildings teaches more than ground without, but not in proportion
            "weight": (known[:, 0] * (0.25 + np.sqrt(building))).round(5),
        },
        geometry=[shapely.box(x, y - span, x + span, y) for x, y in corners],
        crs=project.grid.crs,
    )
    frame = _most_useful(frame, project.settings.split.max_windows)
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd", write_covering_bbox=True, schema_version="1.1.0")
    return Output(buffer.getvalue())


def describe(data: bytes) -> dict[str, Any]:
    frame = read(data)
    return {"windows": len(frame), **{f"{split}_windows": int((frame[split] > 0).sum()) for split in SPLITS}}


def read(data: bytes) -> gpd.GeoDataFrame:
    import geopandas as gpd

    return gpd.read_parquet(io.BytesIO(data))


def _count(project: Project, block: Block, key: str, counts: dict[tuple[int, int], np.ndarray]) -> None:
    settings, grid = project.settings.split, project.grid
    classes, _ = cog.read_object(project.store, key)
    classes = classes[0, ::SHRINK, ::SHRINK]
    n = grid.block_size
    col0, row0 = block.col * n, block.row * n
    split = split_mask(grid, col0, row0, n, n, settings.cell, SHRINK)
    known = classes != labels.IGNORE
    building = (classes == labels.BUILDING) | (classes == labels.INNER_EDGE)
    layers = np.stack([*(known & (split == index) for index in range(3)), building & (split == 0)])
    stride, side = settings.window - settings.overlap, settings.window
    for row in range((row0 - side) // stride + 1, (row0 + n - 1) // stride + 1):
        for col in range((col0 - side) // stride + 1, (col0 + n - 1) // stride + 1):
            top, left = max(row * stride - row0, 0), max(col * stride - col0, 0)
            bottom, right = min(row * stride + side - row0, n), min(col * stride + side - col0, n)
            part = layers[:, top // SHRINK : bottom // SHRINK, left // SHRINK : right // SHRINK].sum(axis=(1, 2))
            if part[:3].any():
                place = (col * stride, row * stride)
                counts[place] = counts.get(place, np.zeros(4, np.int64)) + part


def _most_useful(frame: gpd.GeoDataFrame, most: int) -> gpd.GeoDataFrame:
    """The heaviest windows for training and, within the same bound, those for validation and test."""
    if len(frame) > most:
        order = frame.assign(_held=frame[["validation", "test"]].sum(axis=1)).sort_values(
            ["weight", "_held", "col", "row"], ascending=[False, False, True, True]
        )
        frame = order.head(most).drop(columns="_held")
    return frame.sort_values(["row", "col"]).reset_index(drop=True)


# ------------------------------------------------------------------------------------------ windows as arrays


def load_scenes(project: Project, year: int, frame: gpd.GeoDataFrame, split: str) -> list[Scene]:
    """A split's ground as arrays; labels outside the split's cells are unknown.

    For training a scene is a window, and pixels outside training cells are blanked too, so that the network never sees
    test ground. For validation and test it is one cell with CONTEXT pixels around it: no ground is judged twice.
    """
    from groundplan.crops import Scene

    keys = _block_keys(project, year)
    scenes = []
    for col, row, side, weight in _places(project, frame, split):
        image = np.zeros((len(project.settings.imagery.bands), side, side), np.uint8)
        classes = np.full((side, side), labels.IGNORE, np.uint8)
        for image_key, label_key, source, target in _pieces(project.grid, col, row, side, keys):
            image[:, target[1], target[0]] = cog.read_object(project.store, image_key, source)[0]
            classes[target[1], target[0]] = cog.read_object(project.store, label_key, source)[0][0]
        outside = split_mask(project.grid, col, row, side, side, project.settings.split.cell) != SPLITS.index(split)
        if split != "train":  # the context of a cell may reach into another cell of the same split
            outside |= ~np.pad(np.ones((side - 2 * CONTEXT,) * 2, bool), CONTEXT)
        classes[outside] = labels.IGNORE
        if split == "train":
            image[:, outside] = 0
        if (classes != labels.IGNORE).any():
            scenes.append(Scene(image, classes, weight))
    return scenes


def _places(project: Project, frame: gpd.GeoDataFrame, split: str) -> list[tuple[int, int, int, float]]:
    """(col, row, side, weight) of the scenes of a split, in pixels of the whole grid."""
    chosen = frame[frame[split] > 0]
    if split == "train":
        return [(int(r.col), int(r.row), int(r.size), max(float(r.weight), 1e-4)) for r in chosen.itertuples()]
    grid, cell = project.grid, project.settings.split.cell
    found: set[tuple[int, int]] = set()
    for left, bottom, right, top in chosen.bounds.to_numpy():
        xs = np.arange(np.floor(left / cell), np.ceil(right / cell))
        ys = np.arange(np.floor(bottom / cell), np.ceil(top / cell))
        for x in xs:
            here = split_of(np.full(len(ys), (x + 0.5) * cell), (ys + 0.5) * cell, cell) == SPLITS.index(split)
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
    for region, manifest in sorted(labelled(project, year).items()):
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

"""Training windows: which ground is learned from, which chooses settings, which is kept for the test.

Here: the split by place, the index of windows, and windows as arrays in memory. Not here: learning (loop.py).

The ground is cut into square cells, and a fixed pattern gives every cell one split: whatever the year, the region or
the sheet, no ground is in two splits. In each run of seven cells along a row or a column one is for validation and one
for the test, so even a small project has both.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NotRequired, TypeAlias, TypedDict, cast

import numpy as np

from groundplan.core.grid import Block
from groundplan.core.manifest import Dataset, Manifest, Planned, committed, fingerprint, need_manifest, object_key
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput
from groundplan.labels import masks
from groundplan.labels.classes import BUILDING, IGNORE, INNER_EDGE
from groundplan.project import Project
from groundplan.raster import cog
from groundplan.step import BBOX, GEOPARQUET, About, Scope, Step

if TYPE_CHECKING:
    import geopandas as gpd

from groundplan.training.mined import identity, load_mined, read_mined, with_mined
from groundplan.training.split import SPLITS, split_mask


class Facts(TypedDict):
    """What a manifest says of an object."""

    windows: int
    train_windows: int
    validation_windows: int
    test_windows: int
    mined_windows: NotRequired[int]


DATASET: Dataset[Facts] = Dataset("training_windows")
VERSION = "1"
SHRINK = 4  # label blocks are counted at a quarter of their resolution


# ---------------------------------------------------------------------------------------------------- the step


def years_learned(project: Project, year: int) -> list[int]:
    """Years whose labels a year's model learns from: its own, or all up to it (split.years)."""
    if project.settings.split.years == "own":
        return [year]
    return sorted({one.partition.year for one in committed(project.store, masks.DATASET)} & {*range(year + 1)})


def labeled(project: Project, year: int) -> dict[str, Manifest]:
    """Label manifests of the year's regions that have any known ground."""
    found = {}
    for one in committed(project.store, masks.DATASET, year):
        manifest = need_manifest(project.store, masks.DATASET, one.partition)
        if any(made.facts["known"] for made in manifest.objects.values()):
            found[one.partition.region] = manifest
    return found


Needs: TypeAlias = "dict[str, tuple[str, str]]"
"""What an object is made from."""
MINED = "mined"
"""Among them: the year whose mined windows are added, and their SHA-256."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """One index of the year's windows."""
    return plan_of(project, DATASET, partition)


def plan_of(project: Project, dataset: Dataset[Facts], partition: Partition) -> list[Planned[Needs]]:
    """As `plan`, of a dataset that is such an index."""
    manifests = {year: labeled(project, year) for year in years_learned(project, partition.year)}
    if not any(manifests.values()):
        raise MissingInput(
            f"{dataset} of {partition}",
            "no imagery of this year lies inside the extent of a register",
            f"Run `groundplan add-register FILE --year {partition.year} --extent FILE`, or set predict.model_year",
        )
    settings = project.settings.split
    blocks = {
        f"{region}/{name}" if settings.sample == "heaviest" else f"{year}/{region}/{name}": (made.key, made.fingerprint)
        for year, found in manifests.items()
        for region, manifest in found.items()
        for name, made in manifest.objects.items()
        if made.facts["known"]
    }
    mined = read_mined(project, partition.year) if dataset == DATASET else None
    digest = fingerprint(
        version=VERSION,
        grid=project.grid.identity(),
        labels=sorted([name, identity] for name, (_, identity) in blocks.items()),
        **settings.identity,
        **identity(mined),
        **({"share": project.settings.mining.share} if mined else {}),
    )
    if mined:
        blocks[MINED] = (str(partition.year), mined.sha256)
    mined_keys = (mined.key,) if mined else ()
    key = object_key(dataset, partition, "windows", digest, ".parquet")
    return [
        Planned(
            name="windows",
            fingerprint=digest,
            key=key,
            inputs=tuple(sorted(key for name, (key, _) in blocks.items() if name != MINED)) + mined_keys,
            args=blocks,
        )
    ]


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """Count what each window of a fixed lattice would teach, block by block, and keep the heaviest; all to stream."""
    import geopandas as gpd
    import shapely

    counts: dict[Place, np.ndarray] = {}
    regions: dict[Place, str] = {}
    counted: set[tuple[str, str]] = set()
    for name, (key, _) in sorted(planned.needs.items()):
        check()
        if name == MINED:
            continue
        year, region, place = ["", *name.split("/")][-3:]
        block = Block.parse(place)
        if (year, block.name) not in counted:  # two regions may hold the same block; its ground counts once
            counted.add((year, block.name))
            _count(project, block, key, counts, year)
            for window in counts.keys() - regions.keys():
                regions[window] = region
    side = project.settings.split.window
    rows = sorted(counts)
    known = np.array([counts[place][:3] for place in rows], float).reshape(-1, 3) / (side // SHRINK) ** 2
    building = np.array([counts[place][3] for place in rows], float) / (side // SHRINK) ** 2
    corners = [project.grid.corner(*place[1:]) for place in rows]
    span = side * project.grid.resolution
    frame = gpd.GeoDataFrame(
        {
            "col": [col for _, col, _ in rows],
            "row": [row for _, _, row in rows],
            "size": side,
            **{split: known[:, index].round(4) for index, split in enumerate(SPLITS)},
            "building": building.round(4),
            # sampling weight: windows with buildings teach more than those without, but not in proportion
            "weight": (known[:, 0] * (0.25 + np.sqrt(building))).round(5),
        },
        geometry=[shapely.box(x, y - span, x + span, y) for x, y in corners],
        crs=project.grid.crs,
    )
    if project.settings.split.sample == "strata":
        frame = frame.assign(region=[regions[row] for row in rows], year=[int(year) for year, _, _ in rows])
        frame = frame.sort_values(["year", "row", "col"]).reset_index(drop=True)
    else:
        frame = _heaviest(frame, project.settings.split.max_windows)
    frame = _with_mined(project, frame, planned.needs)
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd", write_covering_bbox=True, schema_version="1.1.0")
    return Output(buffer.getvalue())


def _with_mined(project: Project, frame: gpd.GeoDataFrame, needs: Needs) -> gpd.GeoDataFrame:
    """The index with the windows that were mined for the year, where any were."""
    if MINED not in needs:
        return frame
    mined = read_mined(project, int(needs[MINED][0]))
    if mined is None or mined.sha256 != needs[MINED][1]:
        raise MissingInput("mined windows", "they were replaced while this was planned", "Run it again")
    return with_mined(frame, load_mined(project, mined), project.settings.mining.share)


def describe(data: bytes) -> Facts:
    frame = read(data)
    counts = {f"{split}_windows": int((frame[split] > 0).sum()) for split in SPLITS}
    mined = {"mined_windows": int((frame["mined"] > 0).sum())} if "mined" in frame else {}
    return cast(Facts, {"windows": len(frame), **counts, **mined})


def read(data: bytes) -> gpd.GeoDataFrame:
    import geopandas as gpd

    return gpd.read_parquet(io.BytesIO(data))


Place: TypeAlias = "tuple[str, int, int]"
"""Year, where windows are streamed, else nothing; column and row of a window's upper left pixel."""


def _count(project: Project, block: Block, key: str, counts: dict[Place, np.ndarray], year: str) -> None:
    """Count labeled and building pixels of the windows that a block touches."""
    settings, grid = project.settings.split, project.grid
    classes, _ = cog.read_object(project.store, key)
    classes = classes[0, ::SHRINK, ::SHRINK]
    n = grid.block_size
    col0, row0 = block.col * n, block.row * n
    split = split_mask(grid, col0, row0, n, n, settings.cell, SHRINK, settings.turn)
    known = classes != IGNORE
    building = (classes == BUILDING) | (classes == INNER_EDGE)
    layers = np.stack([*(known & (split == index) for index in range(3)), building & (split == 0)])
    stride, side = settings.window - settings.overlap, settings.window
    for row in range((row0 - side) // stride + 1, (row0 + n - 1) // stride + 1):
        for col in range((col0 - side) // stride + 1, (col0 + n - 1) // stride + 1):
            top, left = max(row * stride - row0, 0), max(col * stride - col0, 0)
            bottom, right = min(row * stride + side - row0, n), min(col * stride + side - col0, n)
            part = layers[:, top // SHRINK : bottom // SHRINK, left // SHRINK : right // SHRINK].sum(axis=(1, 2))
            if part[:3].any():
                place = (year, col * stride, row * stride)
                counts[place] = counts.get(place, np.zeros(4, np.int64)) + part


def _heaviest(frame: gpd.GeoDataFrame, most: int) -> gpd.GeoDataFrame:
    """Windows of largest sampling weight for training and, within the same bound, those for validation and test."""
    if len(frame) > most:
        order = frame.assign(_held=frame[["validation", "test"]].sum(axis=1)).sort_values(
            ["weight", "_held", "col", "row"], ascending=[False, False, True, True]
        )
        frame = order.head(most).drop(columns="_held")
    return frame.sort_values(["row", "col"]).reset_index(drop=True)


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.YEAR,
    reads=(masks.DATASET,),
    needs_register=True,
    learns=True,
    automated=True,
    starts_when="new labels, and nothing of the year in the making",
    profile="io",
    about=About(
        title="Training windows: where to learn, by split and weight",
        description="Where to learn: windows over all labelled regions of the year with their weight. Ground is split "
        "by place in cells of 64 m into training, validation and test, so that no ground is in two splits, in any "
        "year. What was mined for the year stands in a further column, mined.",
        group="model",
        kinds=frozenset({"geoparquet"}),
        format=GEOPARQUET,
        page="docs/architecture.md",
        columns=(
            ("col", "int64", "left edge, counted on the whole grid [pixels]"),
            ("row", "int64", "upper edge, counted on the whole grid [pixels]"),
            ("size", "int64", "side [pixels]"),
            ("train", "double", "share of the window that is labelled training ground [0..1]"),
            ("validation", "double", "the same of validation ground [0..1]"),
            ("test", "double", "the same of test ground [0..1]"),
            ("building", "double", "share that is building on training ground [0..1]"),
            ("weight", "double", "how often it is learned from, relative to others [1]"),
            ("geometry", "polygon", "the window on the ground [m, the grid's CRS]"),
            BBOX,
        ),
    ),
)

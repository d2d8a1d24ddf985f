"""Footprints of any area by any model: a box or a region, part by part, beside what the project commits.

Here: which parts of which blocks an area needs, what they cost, and their buildings. Not here: the project's own
predictions (predictions.py), jobs and their states (serving/api/jobs.py).

Nothing of it is stored as a dataset: it is what somebody looks at before a model is promoted, or wants of a place now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groundplan.core.grid import Block, Bounds
from groundplan.core.manifest import committed, need_manifest, read_manifest
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig, MissingInput
from groundplan.footprints import predictions
from groundplan.footprints.footprints import shape
from groundplan.footprints.outlines import part_side
from groundplan.imagery import tiles
from groundplan.inference.sliding_window import MARGIN, predict_canvas
from groundplan.polygons.outlines import block_outlines, merge_outlines
from groundplan.project import Project
from groundplan.raster.halo import EDGE, BlockWithHalo, open_with_halo

if TYPE_CHECKING:
    import geopandas as gpd

    from groundplan.inference.runtime import Runtime
    from groundplan.polygons.instances import Thresholds

HALO = EDGE - MARGIN  # pixels around a part that tell its buildings apart; the network sees MARGIN more
CORE = 1024
SECONDS_PER_PIXEL = 7e-7  # of a network of ours on one processor, where the project has predicted nothing yet
SHOWN = ("confidence", "area")  # columns of a result beside the geometry


@dataclass(frozen=True, kw_only=True)
class Area:
    """What is to be predicted. bounds: in the grid's CRS; parts: block, column and row of the part within it."""

    year: int
    bounds: Bounds
    keys: Mapping[Block, str]
    parts: tuple[tuple[Block, int, int], ...]
    km2: float
    seconds: float
    """Of a processor, by what the project's predictions took, else by a stated pace."""
    measured: bool

    @property
    def identity(self) -> list[str]:
        """What of the imagery decides the result."""
        return sorted(self.keys.values())


def plan_area(project: Project, year: int, bounds: Bounds | None = None, region: str = "") -> Area:
    """The parts of a box, in the grid's CRS, or of a region's blocks, for which there is imagery of a year.

    Raises BadConfig for a box that is none, MissingInput where there is no imagery.
    """
    if bounds is not None and not (bounds[0] < bounds[2] and bounds[1] < bounds[3]):
        raise BadConfig("box", "it is not west, south, east, north with west < east and south < north", "Mend it")
    keys = _imagery(project, year)
    if bounds is None:
        own = need_manifest(project.store, tiles.DATASET, Partition(year, region)).objects
        wanted = [Block.parse(name) for name in own]
        bounds = _around([project.grid.bounds(block) for block in wanted])
    else:
        wanted = [block for block in keys if _touch(project.grid.bounds(block), bounds)]
    parts = tuple(_parts(project, sorted(wanted, key=lambda block: (block.row, block.col)), bounds))
    if not parts:
        raise MissingInput(f"imagery of {year}", "there is none in that area", "Choose another year or area")
    pixels = len(parts) * part_side(project.grid.block_size) ** 2
    pace = _pace(project, year)
    near = {block for one in wanted for block in (one, *one.neighbors())}
    return Area(
        year=year,
        bounds=bounds,
        keys={block: key for block, key in keys.items() if block in near},
        parts=parts,
        km2=pixels * project.grid.resolution**2 / 1e6,
        seconds=pixels * (pace or SECONDS_PER_PIXEL),
        measured=pace is not None,
    )


def _imagery(project: Project, year: int) -> dict[Block, str]:
    """Keys of all image blocks of a year; of one that two regions made, the first region's."""
    found: dict[Block, str] = {}
    for one in committed(project.store, tiles.DATASET, year):
        manifest = read_manifest(project.store, tiles.DATASET, one.partition)
        for name, made in (manifest.objects if manifest else {}).items():
            found.setdefault(Block.parse(name), made.key)
    return found


def _parts(project: Project, blocks: list[Block], bounds: Bounds) -> list[tuple[Block, int, int]]:
    grid = project.grid
    count = grid.block_size // part_side(grid.block_size)
    span = grid.span / count
    found = []
    for block in blocks:
        left, _, _, top = grid.bounds(block)
        for row in range(count):
            for col in range(count):
                west, north = left + col * span, top - row * span
                if _touch((west, north - span, west + span, north), bounds):
                    found.append((block, col, row))
    return found


def _touch(one: Bounds, other: Bounds) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _around(all_bounds: list[Bounds]) -> Bounds:
    west, south, east, north = zip(*all_bounds, strict=True)
    return min(west), min(south), max(east), max(north)


def _pace(project: Project, year: int) -> float | None:
    """Processor-seconds a pixel of the project's own predictions of a year; None where it made none."""
    seconds = pixels = 0.0
    for one in committed(project.store, predictions.DATASET, year):
        manifest = read_manifest(project.store, predictions.DATASET, one.partition)
        for made in (manifest.objects if manifest else {}).values():
            seconds += made.cpu_seconds
            pixels += project.grid.block_size**2 if made.cpu_seconds else 0
    return seconds / pixels if pixels and seconds else None


def area_footprints(
    project: Project,
    area: Area,
    runtime: Runtime,
    thresholds: Thresholds,
    check: Callable[[], None] = lambda: None,
    done: Callable[[int], None] = lambda _: None,
) -> gpd.GeoDataFrame:
    """Buildings that touch an area, in the grid's CRS: `confidence`, `area` (m2), `geometry`.

    check: called before every window, stops by raising. done: told how many parts are. Memory is that of a row of
    parts. Raises ModelMismatch where the model is for other bands, MissingInput where imagery is gone by now.
    """
    import shapely

    resolution, frames, made = project.grid.resolution, [], 0
    count = project.grid.block_size // part_side(project.grid.block_size)
    for block in dict.fromkeys(block for block, _, _ in area.parts):
        near = {one: area.keys[one] for one in (block, *block.neighbors()) if one in area.keys}
        own = [(col, row) for one, col, row in area.parts if one == block]
        with open_with_halo(project.store, project.grid, block, EDGE, near) as ground:
            for col, row in own:
                said = _part(project, ground, runtime, col, row, check)
                place = block.col * count + col, block.row * count + row
                frames.append(block_outlines(said, HALO, *place, thresholds, resolution))
                made += 1
                done(made)
    frame = shape(merge_outlines(frames, thresholds, resolution), project, card={})
    frame["area"] = frame.geometry.area.round(2)
    inside = shapely.intersects(frame.geometry.values, shapely.box(*area.bounds))
    return frame.loc[inside, [*SHOWN, "geometry"]].reset_index(drop=True)


def _part(
    project: Project, ground: BlockWithHalo, runtime: Runtime, col: int, row: int, check: Callable[[], None]
) -> Any:
    """Probabilities uint8 (2, side + 2 HALO, side + 2 HALO) of one part."""
    side = part_side(project.grid.block_size)
    pixels, mask = ground.rows(row * side, (row + 1) * side + 2 * EDGE)
    columns = slice(col * side, (col + 1) * side + 2 * EDGE)
    inner = side + 2 * HALO
    core = -(-inner // -(-inner // CORE))
    core += -(core + 2 * MARGIN) % runtime.step
    return predict_canvas(runtime, pixels[:, :, columns], mask[:, columns], core, MARGIN, check)

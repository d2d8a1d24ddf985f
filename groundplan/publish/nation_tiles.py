"""Vector tiles of a country: how dense it is built from afar, its footprints from near by, in one archive.

Here: which tile shows what. Not here: a tile's bytes (polygons/vector_tile.py), the archive (pmtiles.py).

Zooms 6 to 11 show square cells with the number of buildings and the built share: 64 m at zoom 11, twice as wide with
each zoom outward, so that a tile never holds more than some ten thousand. Zooms 12 and 13 show outlines and how sure
they are, 14 all columns; a map draws 14 for all nearer zooms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundplan.core.datum import transformer
from groundplan.core.geographic import WGS84
from groundplan.core.grid import Bounds
from groundplan.core.manifest import Made, read_object
from groundplan.footprints.density import CELL, Cells, cells, summed
from groundplan.footprints.national_tables import from_bytes
from groundplan.polygons.vector_tile import EXTENT, Outlines, layer
from groundplan.project import Project
from groundplan.publish.pmtiles import Tile, write_pmtiles

MERCATOR = "EPSG:3857"
HALF = 20037508.342789244  # metres: half the side of the one tile of zoom 0
FAR, NEAR = range(6, 12), range(12, 15)
DENSITY, FOOTPRINTS = "density", "footprints"
"""Names of the layers."""
MOST = 20_000
"""Features of a tile, the largest first: about half a megabyte."""
KEPT = 4  # files whose outlines are in memory
TEXTS, FLOATS = ("id", "building_id", "region", "image_date", "model"), ("confidence", "area")


@dataclass(slots=True)
class Written:
    """What an archive holds. left_out: by zoom, buildings that are too small there, or too many in a tile."""

    tiles: int = 0
    buildings: dict[int, int] = field(default_factory=dict)
    left_out: dict[int, int] = field(default_factory=dict)


def write_tiles(project: Project, made: Sequence[Made[Any]], path: Path, title: str, attribution: str) -> Written:
    """Write a country's archive. Memory holds four files' outlines, and the cells that hold a building.

    Raises OSError, MissingInput, Damaged.
    """
    written = Written()
    words = {
        "name": title,
        "description": "Buildings found in aerial imagery by Groundplan",
        "attribution": attribution,
        "type": "overlay",
        "version": "1",
        "vector_layers": [
            _told(DENSITY, FAR, {"count": "Number", "built": "Number", "cell": "Number"}),
            _told(FOOTPRINTS, NEAR, dict.fromkeys(TEXTS, "String") | dict.fromkeys(FLOATS, "Number")),
        ],
    }

    def tiles() -> Iterator[Tile]:
        yield from density_tiles(project, made)
        yield from footprint_tiles(project, made, written)

    written.tiles = write_pmtiles(path, tiles(), degrees(project, made), words)
    return written


def _told(name: str, zooms: range, fields: dict[str, str]) -> dict[str, Any]:
    return {"id": name, "minzoom": zooms[0], "maxzoom": zooms[-1], "fields": fields}


def degrees(project: Project, made: Sequence[Made[Any]]) -> Bounds:
    """West, south, east, north of files."""
    boxes = np.array([one.facts["bounds"] for one in made])
    (left, bottom), (right, top) = boxes[:, :2].min(0).tolist(), boxes[:, 2:].max(0).tolist()
    found: Bounds = transformer(project.grid.crs, WGS84).transform_bounds(left, bottom, right, top, densify_pts=21)
    return found


def _mercator(project: Project, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n, 2) of the grid as shares of the world's square, y down."""
    x, y = transformer(project.grid.crs, MERCATOR).transform(points[:, 0], points[:, 1])
    return np.column_stack([(np.asarray(x) + HALF) / (2 * HALF), (HALF - np.asarray(y)) / (2 * HALF)])


# -------------------------------------------------------------------------------------------------- from afar


def density_tiles(project: Project, made: Sequence[Made[Any]]) -> Iterator[Tile]:
    """Cells that hold a building, zoom by zoom, nearest first."""
    parts = [*cells(project, made)]
    found = summed(*(np.concatenate([getattr(part, name) for part in parts]) for name in Cells.__slots__))
    for zoom in reversed(FAR):
        side = CELL * 2 ** (FAR[-1] - zoom)
        yield from _cell_tiles(project, found, side, zoom)
        found = summed(found.cols // 2, found.rows // 2, found.counts, found.areas)


def _cell_tiles(project: Project, found: Cells, side: float, zoom: int) -> Iterator[Tile]:
    left, top = project.grid.origin
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    at = np.stack([found.cols, found.rows], 1)[:, None] + corners
    ground = np.column_stack([left + at[..., 0].ravel() * side, top - at[..., 1].ravel() * side])
    ends = np.arange(len(at) + 1)
    outlines = Outlines(_mercator(project, ground) * 2**zoom, ends * len(corners), ends)
    built = np.minimum(found.areas / side**2, 1.0).round(3).astype(np.float32)
    for x, y, rows in by_tile(outlines.bounds()):
        columns: dict[str, NDArray[Any]] = {"count": found.counts[rows], "built": built[rows]}
        columns["cell"] = np.full(len(rows), round(side))
        data, _ = layer(DENSITY, _on(outlines.take(rows), x, y), columns)
        if data:
            yield Tile(zoom, x, y, data)


def by_tile(bounds: NDArray[np.float64]) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Column, row and members of each tile that boxes (n, 4) meet. bounds: in tiles of one zoom, y down."""
    first, last = np.floor(bounds[:, :2]).astype(np.int64), np.floor(bounds[:, 2:]).astype(np.int64)
    members, tiles = [], []
    for dx in range(int((last - first)[:, 0].max(initial=-1)) + 1):
        for dy in range(int((last - first)[:, 1].max(initial=-1)) + 1):
            aside = np.array([dx, dy])
            rows = np.flatnonzero((first + aside <= last).all(1))
            members.append(rows)
            tiles.append(first[rows] + aside)
    if not members:
        return
    rows, tile = np.concatenate(members), np.concatenate(tiles)
    order = np.lexsort([rows, tile[:, 1], tile[:, 0]])
    rows, tile = rows[order], tile[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(tile, axis=0) != 0).any(1)])
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield int(tile[start, 0]), int(tile[start, 1]), rows[start:end]


def _on(outlines: Outlines, x: int, y: int) -> Outlines:
    """Outlines in units of a tile; given in tiles."""
    return Outlines((outlines.points - (x, y)) * EXTENT, outlines.rings, outlines.polygons)


# ------------------------------------------------------------------------------------------------ from near by


@dataclass(frozen=True, slots=True)
class _Part:
    """A file's buildings: outlines as shares of the world, their boxes, and columns."""

    outlines: Outlines
    bounds: NDArray[np.float64]
    columns: dict[str, NDArray[Any]]


def _part(project: Project, made: Made[Any]) -> _Part:
    import shapely

    table = from_bytes(read_object(project.store, made), [*TEXTS, *FLOATS, "geometry"])
    raw = Outlines.of(shapely.from_wkb(table["geometry"].to_numpy()))
    outlines = Outlines(_mercator(project, raw.points), raw.rings, raw.polygons)
    columns: dict[str, NDArray[Any]] = {name: table[name].to_numpy().astype(object) for name in TEXTS}
    columns |= {name: table[name].to_numpy().astype(np.float32).round(2) for name in FLOATS}
    return _Part(outlines, outlines.bounds(), columns)


def footprint_tiles(project: Project, made: Sequence[Made[Any]], written: Written) -> Iterator[Tile]:
    """Outlines, by tiles of zoom 12 with all that lies in them, along the files' order. written: gets the counts."""
    lowest = NEAR[0]
    boxes = np.array([_box(project, one) for one in made]) * 2**lowest
    touching: dict[tuple[int, int], list[int]] = {}
    for x, y, meeting in by_tile(boxes):
        touching[x, y] = sorted(meeting.tolist())

    @lru_cache(maxsize=KEPT)
    def part(index: int) -> _Part:
        return _part(project, made[index])

    for (x, y), files in sorted(touching.items(), key=lambda item: (item[1], item[0])):
        here = _joined([_meeting(part(index), x, y, lowest) for index in files])
        if len(here.bounds):
            yield from _near_tiles(here, x, y, written)


def _box(project: Project, made: Made[Any]) -> NDArray[np.float64]:
    """Of a file, as shares of the world: its corners and what lies between them, a little more than its buildings."""
    left, bottom, right, top = made.facts["bounds"]
    share = np.linspace(0, 1, 11)
    x, y = np.meshgrid(left + (right - left) * share, bottom + (top - bottom) * share)
    points = _mercator(project, np.column_stack([x.ravel(), y.ravel()]))
    aside = (points.max(0) - points.min(0)).max() * 0.01
    return np.concatenate([points.min(0) - aside, points.max(0) + aside])


def _meeting(part: _Part, x: int, y: int, zoom: int) -> _Part:
    """Buildings of a file whose box meets a tile."""
    low, high = np.array([x, y]) / 2**zoom, np.array([x + 1, y + 1]) / 2**zoom
    rows = np.flatnonzero((part.bounds[:, :2] < high).all(1) & (part.bounds[:, 2:] >= low).all(1))
    columns = {name: column[rows] for name, column in part.columns.items()}
    return _Part(part.outlines.take(rows), part.bounds[rows], columns)


def _joined(parts: list[_Part]) -> _Part:
    points = np.concatenate([part.outlines.points for part in parts])
    rings = _end_to_end([part.outlines.rings for part in parts])
    polygons = _end_to_end([part.outlines.polygons for part in parts])
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    return _Part(Outlines(points, rings, polygons), np.concatenate([part.bounds for part in parts]), columns)


def _end_to_end(offsets: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.r_[0, np.cumsum(np.concatenate([np.diff(one) for one in offsets]))].astype(np.int64)


def _near_tiles(here: _Part, x: int, y: int, written: Written) -> Iterator[Tile]:
    """The tile of zoom 12 and those in it."""
    for zoom in NEAR:
        more = zoom - NEAR[0]
        names = (*TEXTS, *FLOATS) if zoom == NEAR[-1] else FLOATS[:1]
        for col, row, rows in by_tile(here.bounds * 2**zoom):
            if (col >> more, row >> more) != (x, y):
                continue  # another tile of zoom 12 shows it
            shown = _largest(rows, here.columns["area"])
            outlines = here.outlines.take(shown)
            scaled = Outlines(outlines.points * 2**zoom, outlines.rings, outlines.polygons)
            columns = {name: here.columns[name][shown] for name in names}
            data, count = layer(FOOTPRINTS, _on(scaled, col, row), columns)
            written.buildings[zoom] = written.buildings.get(zoom, 0) + count
            written.left_out[zoom] = written.left_out.get(zoom, 0) + len(rows) - count
            if data:
                yield Tile(zoom, col, row, data)


def _largest(rows: NDArray[np.int64], area: NDArray[Any]) -> NDArray[np.int64]:
    """The largest MOST of some buildings, in their order."""
    if len(rows) <= MOST:
        return rows
    return np.sort(rows[np.argsort(-area[rows], kind="stable")[:MOST]])

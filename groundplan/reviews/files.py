"""Tasks as a GeoPackage for QGIS and JOSM, and what people said in it.

Here: writing and reading that file. Not here: what verdicts mean (verdicts.py). A row is a task; who reviews fills in
`verdict` (a word of VERDICTS but `undo`), and moves the polygon's corners for `redraw`. A row without an id and with
`missing` is a building that was added. JOSM keeps the columns as tags; EPSG:4326, as JOSM wants it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundplan.config import RegisterSettings
from groundplan.errors import BadConfig
from groundplan.reviews.verdicts import MISSING, REDRAW, UNDO, VERDICTS, checked_geometry

LAYER = "reviews"
COLUMNS = ("task", "region", "year", "block", "reason", "confidence", "split", "verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVerdict:
    """One row that somebody filled in. task: '' of a building that was added where no task was."""

    task: str
    region: str
    year: int
    verdict: str
    geometry: dict[str, Any]


def write_tasks(tasks: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Rows of tasks as a GeoPackage; a file that is there is replaced whole. Raises BadConfig for another ending."""
    import geopandas as gpd
    from shapely.geometry import shape

    if path.suffix.lower() != ".gpkg":
        raise BadConfig(str(path), "it is no GeoPackage by its name", "Give a name that ends in .gpkg")
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for task in tasks:
        facts = task["facts"] or {}
        row = {**task, **facts, "task": task["id"], "verdict": ""}
        for name in COLUMNS:
            columns[name].append(row.get(name))
    frame = gpd.GeoDataFrame(columns, geometry=[shape(task["geometry"]) for task in tasks], crs=4326)
    part = path.with_name(f".{path.name}.part.gpkg")
    frame.to_file(part, layer=LAYER, driver="GPKG", engine="pyogrio")
    part.replace(path)


def read_verdicts(path: Path, limits: RegisterSettings) -> tuple[list[FileVerdict], list[str]]:
    """What people filled in, and notes on rows that are left out. Read as registers are: in a process of its own,
    bounded. Raises BadRegister for a file that cannot be read, BadConfig for one without the columns.
    """
    from groundplan.polygons.vector_files import read_vector

    frame = read_vector(path, columns=("task", "region", "year", "verdict"), limits=limits).to_crs(4326)
    if "verdict" not in frame or "year" not in frame or "region" not in frame:
        raise BadConfig(str(path), "it lacks the columns region, year and verdict", "Export tasks, and fill those in")
    found, notes = [], []
    for number, row in enumerate(frame.itertuples(), 1):
        word = str(row.verdict or "").strip().lower()
        if not word or word == "none":
            continue
        try:
            found.append(_row(row, word))
        except (BadConfig, ValueError, TypeError) as error:
            notes.append(f"row {number}: {getattr(error, 'reason', error)}")
    return found, notes


def _row(row: Any, word: str) -> FileVerdict:
    if word not in VERDICTS or word == UNDO:
        raise BadConfig("verdict", f"{word[:40]!r} is none", f"Give one of {', '.join(VERDICTS[:-1])}")
    geometry = row.geometry
    if geometry is not None and geometry.geom_type == "MultiPolygon" and len(geometry.geoms) == 1:
        geometry = geometry.geoms[0]
    task = str(row.task or "") if str(getattr(row, "task", "")) not in ("nan", "None") else ""
    if not task and word != MISSING:
        raise BadConfig("task", "a row without a task can only be missing", "Leave the column task as it was exported")
    shape = geometry.__geo_interface__
    drawn = checked_geometry(word, shape) if word in (REDRAW, MISSING) else shape
    return FileVerdict(task=task, region=str(row.region), year=int(row.year), verdict=word, geometry=drawn or shape)

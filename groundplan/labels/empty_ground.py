"""Empty ground: ground of which somebody says that no building stands on it.

Here: taking such polygons into a project, as a register of its own kind, and what follows where they contradict a
register's buildings. Not here: other registers (registers.py), how ground becomes labels (masks.py).

A polygon on which a register knows a building is not believed, nor is that building: whoever of the two is wrong, what
is learned there may be wrong. Its whole ground is unknown.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.errors import BadRegister
from groundplan.labels.register_files import notes_of, register_parquet
from groundplan.labels.register_records import Register, take_in
from groundplan.polygons.vector_files import check_area_of_use, polygonal, read_vector
from groundplan.project import Project

if TYPE_CHECKING:
    from shapely import Geometry

TOUCHED = 0.1
"""Share of a building that may lie on ground said to be empty: whoever draws a field does not follow its walls."""
LEAST = 1.0
"""m2 of it that may."""


def add_empty_ground(
    project: Project, file: Path, year: int, layer: str | None = None, day: date | None = None
) -> tuple[Register, list[str]]:
    """Take polygons in which no building stands into the project; those of the same name and year are replaced.

    day: at which it was so. Returns the register and notes. Raises BadRegister, and changes nothing then.
    """
    frame = read_vector(file, layer=layer, limits=project.settings.registers)
    notes = list(frame.attrs["notes"])
    if not frame.geometry.geom_type.isin(("Polygon", "MultiPolygon")).all():
        raise BadRegister(str(file), "empty ground must be polygons", "Give the areas in which no building stands")
    check_area_of_use(project.grid.crs, frame, file)
    notes += notes_of(project, frame)
    frame = frame.set_geometry(frame.geometry.make_valid()).explode(ignore_index=True)
    frame = frame[(frame.geometry.geom_type == "Polygon") & ~frame.geometry.is_empty]
    parts = {"buildings": register_parquet(frame.iloc[:0]), "extent": register_parquet(frame)}
    register, replaced = take_in(project, file, year, parts, empty=True, date=day.isoformat() if day else "")
    return register, notes + replaced


def settled(complete: Geometry, empty: list[Any], buildings: np.ndarray, counts: dict[str, int]) -> Geometry:
    """The ground that is known, without what is said to be empty and holds buildings; both are counted.

    complete: known ground, empty ground included. buildings: polygons of all registers, in the same CRS.
    """
    import shapely

    wrong, doubted = contradictions(np.array(empty, object), buildings)
    unknown = shapely.union_all([*wrong, *doubted])
    good = shapely.difference(shapely.union_all(np.array(empty, object)), unknown)
    known = polygonal(shapely.difference(complete, unknown))
    counts["contradicting"] = len(doubted)
    counts["empty_m2"] = round(shapely.intersection(good, known).area)
    return known


def contradictions(empty: np.ndarray, buildings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of polygons said to be empty those that hold buildings, and the buildings that lie in them."""
    import shapely

    if not len(empty) or not len(buildings):
        return empty[:0], buildings[:0]
    of, on = shapely.STRtree(empty).query(buildings, predicate="intersects")
    shared = shapely.area(shapely.intersection(buildings[of], empty[on]))
    bad = (shared > LEAST) & (shared > TOUCHED * shapely.area(buildings[of]))
    return empty[np.unique(on[bad])], buildings[np.unique(of[bad])]

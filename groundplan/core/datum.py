"""Datum shifts: the way from one CRS to another, and what is at stake where PROJ lacks the grid for it.

Here: transformers kept once per pair of CRSs, PROJ's folder of grids for all libraries of the process, the words for a
grid that lacks. Not here: where those words are shown (imagery/catalog.py, labels/registers.py, the commands).
https://proj.org/en/stable/usage/transformation.html
"""

from __future__ import annotations

import ctypes
import math
import re
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyproj


FOLDER = "proj"  # in a project's home: grids that PROJ shall find
GRID_ENDINGS = (".tif", ".gsb", ".gtx", ".las", ".los", ".gvb", ".lla")
MOST_PAIRS = 256  # of CRSs that are remembered
DEGREES = "OGC:CRS84"  # longitude, latitude

_folders: dict[str, None] = {}  # of grids that this process uses
_kept: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends

Place = tuple[float, float]
"""longitude, latitude [degrees]"""


@lru_cache(maxsize=MOST_PAIRS)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """The transformer of a pair of CRSs, x before y; making one costs 10 ms and more. Safe in threads.

    Raises ProjError where nothing leads from one to the other.
    """
    import pyproj

    return pyproj.Transformer.from_crs(source, target, always_xy=True)


# --------------------------------------------------------------------------------------------------- PROJ's folder


def grids_in(folder: Path) -> list[Path]:
    """Files of a folder that PROJ could take for grids, sorted; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(GRID_ENDINGS) and path.is_file())


def grids_in_fingerprint(folder: Path) -> dict[str, list[list[object]]]:
    """Names and sizes of a project's grids: with another grid, the same coordinates lie elsewhere."""
    found = [[path.name, path.stat().st_size] for path in grids_in(folder)]
    return {"grids": found} if found else {}


def use_grids(folder: Path) -> None:
    """Let PROJ find the grids of a folder, in pyproj, rasterio and pyogrio: each of them brings a PROJ of its own.

    For the whole process, and to be called before it transforms anything: all three remember what they found. A
    process that has grids keeps them.
    """
    grids = grids_in(folder)
    if not grids or str(folder) in _folders:
        return
    import pyogrio._io
    import pyproj.datadir

    pyproj.datadir.append_data_dir(str(folder))
    _add_search_path(ctypes.CDLL(pyogrio._io.__file__), str(folder))
    _lead_rasterio(grids)
    _folders[str(folder)] = None
    transformer.cache_clear()
    _operations.cache_clear()


def _lead_rasterio(grids: Sequence[Path]) -> None:
    """Give rasterio one folder with its own data of PROJ and the grids: each of its threads begins with one alone."""
    from rasterio._env import PROJDataFinder

    own = PROJDataFinder().search_wheel()
    if own is None:
        return  # a PROJ of the system's, which looks where its administrator says
    both = tempfile.TemporaryDirectory(prefix="groundplan-proj-")
    _kept.append(both)
    for path in (*Path(own).resolve().iterdir(), *grids):
        Path(both.name, path.name).unlink(missing_ok=True)
        Path(both.name, path.name).symlink_to(path.resolve())
    PROJDataFinder.search_wheel = lambda *_: both.name


def _add_search_path(gdal: ctypes.CDLL, folder: str) -> None:
    """GDAL's own functions, in the library that pyogrio is linked with, which does not offer them."""
    gdal.OSRGetPROJSearchPaths.restype = ctypes.POINTER(ctypes.c_char_p)
    gdal.OSRSetPROJSearchPaths.argtypes = [ctypes.POINTER(ctypes.c_char_p)]
    gdal.CSLDestroy.argtypes = [ctypes.POINTER(ctypes.c_char_p)]
    found = gdal.OSRGetPROJSearchPaths()
    paths: list[bytes] = []
    while found and found[len(paths)]:
        paths.append(bytes(found[len(paths)]))
    gdal.CSLDestroy(found)
    if folder.encode() not in paths:
        gdal.OSRSetPROJSearchPaths((ctypes.c_char_p * (len(paths) + 2))(*paths, folder.encode(), None))


# ------------------------------------------------------------------------------------------------ what is at stake


@dataclass(frozen=True, slots=True)
class _Operation:
    """A way from one CRS to another. accuracy: metres, infinite for a mere guess. grids: those it lacks, with URL."""

    accuracy: float
    area: tuple[float, float, float, float]  # west, south, east, north; west > east across the 180th meridian
    grids: tuple[tuple[str, str], ...] = ()
    pipeline: str = ""

    def holds(self, place: Place | None) -> bool:
        if place is None:
            return True
        west, south, east, north = self.area
        x, y = place
        return south <= y <= north and (west <= x <= east if west <= east else x >= west or x <= east)


@dataclass(frozen=True, slots=True, kw_only=True)
class LackingGrid:
    """A datum shift that is made without its grid.

    metres: by which positions may be off for that; None where nobody can say. best: metres with the grid.
    """

    source: str
    target: str
    grid: str
    url: str
    metres: float | None
    best: float

    @property
    def reason(self) -> str:
        off = "an unknown number of metres" if self.metres is None else f"about {self.metres:.2g} m"
        return (
            f"the datum shift from {self.source} to {self.target} lacks its grid {self.grid}: positions may be off by "
            f"{off}, or {self.best:.2g} m with it"
        )

    @property
    def remedy(self) -> str:
        whence = f"fetch {self.url}" if self.url else f"get {self.grid} from the agency that publishes it"
        return (
            f"To mend it {whence} and put it into the folder {FOLDER} of the project (docs/operations.md, PROJ grids)"
        )

    def __str__(self) -> str:
        return f"{self.reason}. {self.remedy}"


def lacking_grid(source: Any, target: Any, place: Place | None = None, tolerance: float = 0.0) -> LackingGrid | None:
    """The grid that lacks between two CRSs, given as pyproj takes them; None where PROJ has what it knows of there.

    place: where on earth; None asks of the whole area of both. tolerance: metres that do not matter. A CRS that states
    its own shift (TOWGS84) goes by that.
    """
    import pyproj

    ends = [_flat(pyproj.CRS.from_user_input(crs)) for crs in (source, target)]
    if ends[0] == ends[1] or any(end.is_bound for end in ends):
        return None
    names = ends[0].to_wkt(), ends[1].to_wkt()
    there, lacking = ([one for one in group if one.holds(place)] for group in _operations(*names))
    now = min((one.accuracy for one in there), default=math.inf)
    best = min(lacking, key=lambda one: (one.accuracy, not one.grids[0][1]), default=None)
    if best is None or best.accuracy >= now:
        return None
    metres = now if math.isfinite(now) else _detour(*names, place)
    if metres is not None and metres <= tolerance:
        return None
    grid, url = best.grids[0]
    return LackingGrid(
        source=crs_text(ends[0]), target=crs_text(ends[1]), grid=grid, url=url, metres=metres, best=best.accuracy
    )


def shift_notes(crs: Any, target: str, bounds: Sequence[float], tolerance: float) -> list[str]:
    """What is to be said of bringing a file from its CRS to another: at most one sentence, with the remedy.

    bounds: left, bottom, right, top of the file, in its CRS.
    """
    import pyproj

    known = pyproj.CRS.from_user_input(crs)
    lack = lacking_grid(known, target, place_of(known, bounds), tolerance)
    return [str(lack)] if lack else []


def grids_of_shift(source: str, target: str, point: Place) -> str:
    """Names of the grids by which PROJ takes a point from one CRS to another, sorted; '' without any."""
    way = transformer(source, target)
    way.transform(*point)
    return ",".join(sorted(set(re.findall(r"grids=([^\s]+)", way.get_last_used_operation().definition or ""))))


def place_of(crs: Any, bounds: Sequence[float]) -> Place | None:
    """Longitude and latitude of the middle of bounds; None where they lie nowhere."""
    from pyproj.exceptions import ProjError

    try:
        to = transformer(crs if isinstance(crs, str) else crs.to_wkt(), DEGREES)
        x, y = to.transform((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2)
    except ProjError:
        return None
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None


def crs_text(crs: pyproj.CRS) -> str:
    """A CRS in a sentence: its code where it has one, else its name."""
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.name


def _flat(crs: pyproj.CRS) -> pyproj.CRS:
    """Without heights: sheets and polygons lie on the ground, so grids of heights are not missed."""
    flat = crs.sub_crs_list[0] if crs.is_compound and crs.sub_crs_list else crs
    return flat.to_2d() if len(flat.axis_info) == 3 and not flat.is_geocentric else flat


@lru_cache(maxsize=MOST_PAIRS)
def _operations(source: str, target: str) -> tuple[tuple[_Operation, ...], tuple[_Operation, ...]]:
    """Operations that PROJ can do here, and those whose grids lack."""
    from pyproj.transformer import TransformerGroup

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what is asked
        group = TransformerGroup(source, target, always_xy=True)
    there = tuple(
        _Operation(_accuracy(one.accuracy, one.description), _area(one), pipeline=one.definition)
        for one in group.transformers
    )
    lacking = []
    for one in group.unavailable_operations:
        parts = (one, *(one.operations or ()))
        grids = {grid.short_name: grid.url for part in parts for grid in part.grids if not grid.available}
        if grids and one.accuracy >= 0:
            lacking.append(_Operation(one.accuracy, _area(one), tuple(grids.items())))
    return there, tuple(lacking)


def _accuracy(accuracy: float, description: str) -> float:
    return math.inf if accuracy < 0 or "ballpark" in description.lower() else accuracy


def _area(operation: Any) -> tuple[float, float, float, float]:
    area = operation.area_of_use
    return tuple(area.bounds) if area else (-180.0, -90.0, 180.0, 90.0)


def _detour(source: str, target: str, place: Place | None) -> float | None:
    """Metres by which a guess may be off at a place: its distance from the way by WGS 84, or what that way leaves open.

    None where that way would be a guess too.
    """
    import pyproj

    if place is None:
        return None
    ways = [_best(DEGREES, end, place) for end in (source, target)]
    if not all(way.pipeline for way in ways):
        return None
    here, known = (pyproj.Transformer.from_pipeline(way.pipeline).transform(*place) for way in ways)
    guessed = transformer(source, target).transform(*here)
    crs = pyproj.CRS.from_user_input(target)
    if crs.is_geographic:
        apart = float(pyproj.Geod(ellps="WGS84").inv(*guessed, *known)[2])
    else:
        apart = math.dist(guessed, known) * crs.axis_info[0].unit_conversion_factor
    return max(apart, *(way.accuracy for way in ways))


def _best(source: str, target: str, place: Place) -> _Operation:
    there = [one for one in _operations(source, target)[0] if one.holds(place) and math.isfinite(one.accuracy)]
    return min(there, key=lambda one: one.accuracy, default=_Operation(math.inf, (0, 0, 0, 0)))

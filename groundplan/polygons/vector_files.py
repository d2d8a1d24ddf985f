"""Vector files of any supplier: registers, extents, regions, truths.

Here: reading any of them safely, in a process of its own, and what a person is told. Not here: what that process does
(vector_child.py), what the polygons mean (labels/registers.py, imagery/regions.py, quality/scores.py).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.config import RegisterSettings
from groundplan.errors import BadRegister
from groundplan.foreign_text import crs_in_words
from groundplan.polygons.vector_child import ReadRequest

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely import Geometry


ENDINGS = (".gpkg", ".geojson", ".json", ".fgb", ".parquet", ".geoparquet", ".shp", ".zip")
MOST_BYTES = 8 * 2**30
PATIENCE = 4  # times its processor seconds that the reading process may take by the clock, on a busy machine
CHILD = Path(__file__).with_name("vector_child.py")
# what the process that opens foreign files has of this one's environment: no credentials, and no `no_proxy`, by which
# GDAL would get around the proxy below
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "PROJ_DATA", "PROJ_LIB", "GDAL_DATA")
NO_NETWORK = {
    "GDAL_HTTP_PROXY": "none://none",
    "GDAL_HTTP_TIMEOUT": "1",
    "GDAL_HTTP_MAX_RETRY": "0",
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
}
"""GDAL's HTTP leads nowhere: a file may name an address, and nothing here is ever read from one."""
ALONE = {
    "PROJ_NETWORK": "OFF",
    "OPENBLAS_NUM_THREADS": "1",
    "GDAL_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
}
REMEDY = f"Give a file of one of {', '.join(ENDINGS)}"


def read_vector(
    file: Path,
    *,
    columns: Sequence[str] = (),
    layer: str | None = None,
    where: str | None = None,
    option: str = "--layer",
    limits: RegisterSettings = RegisterSettings(),  # noqa: B008  # it is frozen
) -> gpd.GeoDataFrame:
    """Features of a vector file with a CRS, without empty geometries and Z; polygons of collections are taken out.

    columns: names in small letters without signs; columns of these names are read, and no others. layer: needed where
    a file holds several of polygons; option: how a person gives it. where: an SQL condition on columns. limits: what
    reading may take. `attrs` holds `notes` for a person, and the names of all `columns`.

    Raises BadRegister.
    """
    _check_file(file)
    with tempfile.TemporaryDirectory(prefix="groundplan-") as folder:
        request = ReadRequest(
            file=str(file.absolute()),
            folder=folder,
            parent=os.getpid(),
            columns=list(columns),
            layer=layer,
            where=where or None,
            memory=int(limits.max_memory * 2**30),
            seconds=limits.max_seconds,
            features=limits.max_features,
            decoded=int(limits.max_decoded * 2**30),
        )
        answer = _read_in_child(file, request)
        if "refused" in answer:
            reason, remedy = answer["refused"]
            raise BadRegister(str(file), reason, remedy.replace("{option}", option) or REMEDY)
        frame = _frame(file, answer, Path(folder, "table.arrow"))
    frame.attrs = {"notes": answer["notes"], "columns": answer["names"]}
    return frame


def _check_file(file: Path) -> None:
    if not file.is_file():
        raise BadRegister(str(file), "there is no such file", REMEDY)
    if file.suffix.lower() not in ENDINGS:
        raise BadRegister(str(file), "its ending is not one of a vector file", REMEDY)
    if not 0 < file.stat().st_size <= MOST_BYTES:
        raise BadRegister(str(file), f"it has {file.stat().st_size:,} bytes", "Give a file of 1 byte to 8 GiB")


def _read_in_child(file: Path, request: ReadRequest) -> dict[str, Any]:
    """Answer of the process that opens the file; it ends when this one is told to stop, or ends. Raises BadRegister."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ} | NO_NETWORK | ALONE
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(CHILD.parents[2]), os.environ.get("PYTHONPATH"))))
    complaints = Path(request.folder, "complaints")
    with (
        complaints.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-P", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=request.folder,
            env=environment,
        ) as child,
    ):
        try:
            said, _ = child.communicate(json.dumps(asdict(request)).encode(), PATIENCE * request.seconds)
        except subprocess.TimeoutExpired:
            said = b""
        finally:
            child.kill()
    try:
        answer: dict[str, Any] = json.loads(said)
        return answer
    except ValueError:
        raise BadRegister(str(file), *_ended(child.returncode, complaints)) from None


def _ended(code: int, complaints: Path) -> tuple[str, str]:
    """Why a process ended without an answer, and what to do. complaints: what it wrote to its error output."""
    remedy = "Give it in parts, or in another format; registers.max_seconds and max_memory bound what it may take"
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "to read it takes longer than it may", remedy
    if code in (-signal.SIGABRT, -signal.SIGSEGV):  # a library that got none
        return "to read it takes more memory than it may", remedy
    with complaints.open("rb") as file:
        file.seek(max(0, complaints.stat().st_size - 200))
        last = (file.read().decode("utf-8", "replace").strip().splitlines() or [""])[-1]
    return f"it cannot be read (the process that read it ended with {code}: {last})", REMEDY


def _frame(file: Path, answer: dict[str, Any], path: Path) -> gpd.GeoDataFrame:
    """What the process read, as polygons and whatever else there is in a CRS. Raises BadRegister."""
    import geopandas as gpd
    import pyarrow as pa

    table = pa.ipc.open_file(path.read_bytes()).read_all()
    crs = _crs(file, answer["crs"], answer["named"])
    shapes = _shapes(file, table["geometry"], answer["encoding"])
    values = {name: table[name].to_pylist() for name in table.column_names if name != "geometry"}
    frame = gpd.GeoDataFrame(values, geometry=shapes, crs=crs)
    frame = frame[~(frame.geometry.is_empty | frame.geometry.isna())]
    if frame.empty:
        raise BadRegister(str(file), "it is empty: no feature has a geometry", "Give a file with polygons")
    return frame


def _crs(file: Path, stated: Any, named: Sequence[str] = ()) -> Any:
    """CRS that a file states. named: how it names it, where GDAL takes a name that it does not know for EPSG:4326.

    Raises BadRegister.
    """
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    if stated is None:
        raise BadRegister(str(file), "it states no CRS", "Write it again with one (a .prj file beside a Shapefile)")
    remedy = "Write it again with one that PROJ knows, such as EPSG:28992"
    try:
        crs, others = CRS.from_user_input(stated), [CRS.from_user_input(name) for name in named]
    except CRSError as error:
        raise BadRegister(str(file), f"its CRS {', '.join(named)} is not known", remedy) from error
    if odd := [other.name for other in others if other.is_geographic != crs.is_geographic]:
        raise BadRegister(str(file), f"its CRS is read as {crs.name}, and it names {odd[0]}", remedy)
    return crs


def _shapes(file: Path, column: Any, encoding: str) -> np.ndarray:
    """Flat geometries of a column; of a collection that holds polygons, these. Raises BadRegister."""
    import geopandas as gpd
    import pyarrow as pa
    import shapely

    try:
        if encoding.upper() == "WKB":
            shapes = shapely.from_wkb(np.array(column.to_pylist(), object))
        else:
            field = pa.field("geometry", column.type, metadata={"ARROW:extension:name": f"geoarrow.{encoding}"})
            shapes = gpd.GeoDataFrame.from_arrow(pa.table([column], pa.schema([field]))).geometry.values.to_numpy()
    except (shapely.errors.ShapelyError, TypeError, ValueError) as error:
        line = str(error).splitlines()[0][:160]
        raise BadRegister(str(file), f"its geometries cannot be read ({line})", REMEDY) from error
    shapes = shapely.force_2d(shapes)
    mixed = np.flatnonzero(shapely.get_type_id(shapes) == 7)
    shapes[mixed] = [_polygons_of(shape) for shape in shapes[mixed]]
    return shapes


def _polygons_of(collection: Geometry) -> Geometry:
    """A collection's polygons as they are, not mended or joined; a collection without any stays."""
    import shapely

    parts = np.array([collection], object)
    while (nested := shapely.get_type_id(parts) > 3).any():
        parts = np.concatenate([parts[~nested], shapely.get_parts(parts[nested])])
    polygons = parts[(shapely.get_type_id(parts) == 3) & ~shapely.is_empty(parts)]
    if len(polygons) == 0:
        return collection
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(list(polygons))


def polygonal(shape: Geometry) -> Geometry:
    """Polygonal part of a geometry; mending and cutting leave lines and points behind."""
    import shapely

    parts = shapely.get_parts(shapely.get_parts(shape))
    return shapely.union_all(parts[shapely.get_type_id(parts) == 3])


def check_area_of_use(crs: str, frame: gpd.GeoDataFrame, file: Path) -> None:
    """Check against the CRS's area of use: a register in the wrong CRS lands on other ground, silently."""
    from pyproj.exceptions import ProjError

    from groundplan.core.grid import area_of_use

    use = area_of_use(crs)
    try:
        bounds = frame.to_crs(crs).total_bounds
    except ProjError as error:
        raise BadRegister(
            str(file), f"nothing leads from its CRS to {crs}", "Give it in a CRS that PROJ knows"
        ) from error
    if not np.isfinite(bounds).all() or (
        use and (bounds[0] > use[2] or bounds[2] < use[0] or bounds[1] > use[3] or bounds[3] < use[1])
    ):
        raise BadRegister(
            str(file),
            f"it lies outside the area where {crs} is used (its CRS is {crs_in_words(frame.crs.to_string())})",
            "Check the CRS that it states",
        )

"""Vector files of any supplier: registers, extents, regions, truths.

Here: reading any of them safely. Not here: what the polygons mean (labels/registers.py, imagery/regions.py,
ingest/add_imagery.py).
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely import Geometry
from typing import TYPE_CHECKING

import numpy as np

from groundplan.errors import BadRegister

ENDINGS = (".gpkg", ".geojson", ".json", ".fgb", ".parquet", ".geoparquet", ".shp", ".zip")
PACKED = (".gpkg", ".geojson", ".json", ".fgb", ".shp")  # what may lie in a .zip
BEGINNINGS = {".gpkg": b"SQLite format 3", ".fgb": b"fgb", ".shp": b"\0\0\x27\x0a"}
MOST_BYTES = 8 * 2**30


def read_vector(file: Path) -> gpd.GeoDataFrame:
    """Read a vector file with a CRS, without empty geometries and Z. Raises BadRegister."""
    import geopandas as gpd
    import pyogrio
    import shapely

    remedy = f"Give a file of one of {', '.join(ENDINGS)}"
    if not file.is_file():
        raise BadRegister(str(file), "there is no such file", remedy)
    if file.suffix.lower() not in ENDINGS:
        raise BadRegister(str(file), "its ending is not one of a vector file", remedy)
    if not 0 < file.stat().st_size <= MOST_BYTES:
        raise BadRegister(str(file), f"it has {file.stat().st_size:,} bytes", "Give a file of 1 byte to 8 GiB")
    try:
        if file.suffix.lower() in (".parquet", ".geoparquet"):
            frame = gpd.read_parquet(file)
        elif file.suffix.lower() == ".zip":
            frame = pyogrio.read_dataframe(f"/vsizip/{file}/{_only_member(file)}", force_2d=True)
        else:
            with file.open("rb") as start:
                _check_beginning(str(file), file.suffix.lower(), start.read(64), file.stat().st_size)
            frame = pyogrio.read_dataframe(file, force_2d=True)
    except BadRegister:
        raise
    except Exception as error:  # a foreign file can trip any of the readers, each in its own way
        message = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise BadRegister(str(file), f"it cannot be read ({message})", remedy) from error
    if not isinstance(frame, gpd.GeoDataFrame):
        raise BadRegister(str(file), "it has no geometries", remedy)
    if frame.crs is None:
        raise BadRegister(str(file), "it states no CRS", "Write it again with one (a .prj file beside a Shapefile)")
    frame = frame.set_geometry(shapely.force_2d(frame.geometry.values))
    frame = frame[~(frame.geometry.is_empty | frame.geometry.isna())]
    if frame.empty:
        raise BadRegister(str(file), "it is empty: no feature has a geometry", "Give a file with polygons")
    return frame


def _check_beginning(name: str, ending: str, start: bytes, size: int) -> None:
    """Check of the file signature: GDAL goes by content, and a `.geojson` that holds a VRT could name any file."""
    # a Shapefile states its length in words of two bytes; GDAL reads one that was cut without a word
    if ending == ".shp" and int.from_bytes(start[24:28], "big") * 2 > size:
        raise BadRegister(name, f"it is cut short: it has {size:,} bytes and says it had more", "Give it again")
    begins = BEGINNINGS.get(ending, b"{")
    if not start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(begins):
        raise BadRegister(
            name, f"it is no {ending[1:]} file (it begins with {start[:8]!r})", "Give it the ending of what it is"
        )


def _only_member(file: Path) -> str:
    """The vector file in an archive; what lies beside it in there (.dbf, .prj ...) is found by GDAL."""
    with zipfile.ZipFile(file) as archive:
        if sum(item.file_size for item in archive.infolist()) > MOST_BYTES:
            raise BadRegister(str(file), "it unpacks to more than 8 GiB", "Give it unpacked or in parts")
        names = [name for name in archive.namelist() if name.lower().endswith(PACKED)]
        if len(names) != 1:
            raise BadRegister(
                str(file), f"it holds {len(names)} files of {', '.join(PACKED)}", "Pack one register, with its files"
            )
        with archive.open(names[0]) as start:
            size = archive.getinfo(names[0]).file_size
            _check_beginning(f"{file}/{names[0]}", Path(names[0]).suffix.lower(), start.read(64), size)
    return names[0]


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
            f"it lies outside the area where {crs} is used (its CRS is {frame.crs.to_string()})",
            "Check the CRS that it states",
        )

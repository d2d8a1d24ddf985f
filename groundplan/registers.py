"""Registers: building polygons as an agency delivers them, cleaned for one region and year.

Here: reading any vector file safely, taking a register into the project, repairing and counting. Not here: turning
polygons into pixels (labels.py).
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan import tiles
from groundplan.blocks import Check, Output, Partition, Planned, fingerprint, need_manifest, object_key
from groundplan.errors import BadRegister
from groundplan.grid import Block
from groundplan.project import Project

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely import Geometry

DATASET = "register_buildings"
VERSION = "2"
ENDINGS = (".gpkg", ".geojson", ".json", ".fgb", ".parquet", ".geoparquet", ".shp", ".zip")
PACKED = (".gpkg", ".geojson", ".json", ".fgb", ".shp")  # what may lie in a .zip
BEGINNINGS = {".gpkg": b"SQLite format 3", ".fgb": b"fgb", ".shp": b"\0\0\x27\x0a"}
MOST_BYTES = 8 * 2**30
LEAST_AREA = 1.0  # m2; smaller polygons are slivers of digitising
REACH = 2.0  # metres beyond a block at which a building can still mark its pixels


@dataclass(frozen=True, slots=True)
class Register:
    """A register taken into the project: two objects, in the CRS in which they came."""

    name: str
    buildings: str
    extent: str
    digest: str


def read_vector(file: Path) -> gpd.GeoDataFrame:
    """Any vector file with a CRS, without empty geometries and Z. Raises BadRegister."""
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
                _check_beginning(str(file), file.suffix.lower(), start.read(64))
            frame = pyogrio.read_dataframe(file, force_2d=True)
    except BadRegister:
        raise
    except Exception as error:  # a foreign file can trip any of the readers, each in its own way
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise BadRegister(str(file), f"it cannot be read ({told})", remedy) from error
    if not isinstance(frame, gpd.GeoDataFrame):
        raise BadRegister(str(file), "it has no geometries", remedy)
    if frame.crs is None:
        raise BadRegister(str(file), "it states no CRS", "Write it again with one (a .prj file beside a Shapefile)")
    frame = frame.set_geometry(shapely.force_2d(frame.geometry.values))
    frame = frame[~(frame.geometry.is_empty | frame.geometry.isna())]
    if frame.empty:
        raise BadRegister(str(file), "it is empty: no feature has a geometry", "Give a file with polygons")
    return frame


def _check_beginning(name: str, ending: str, start: bytes) -> None:
    """GDAL goes by content: a `.geojson` that holds a VRT would be read as one, and name any file or server."""
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
            _check_beginning(f"{file}/{names[0]}", Path(names[0]).suffix.lower(), start.read(64))
    return names[0]


def add_register(project: Project, file: Path, year: int, extent: Path | None) -> tuple[Register, list[str]]:
    """Take a register into the project; one of the same name and year is replaced. Returns it and warnings.

    Raises BadRegister, and changes nothing then.
    """
    import shapely

    frame = read_vector(file)
    kinds = set(frame.geometry.geom_type)
    polygonal = frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"])
    if not polygonal.any():
        raise BadRegister(
            str(file), f"it holds no polygons but {', '.join(sorted(kinds)) or 'nothing'}", "Give building polygons"
        )
    warnings = []
    if not polygonal.all():
        warnings.append(f"{int((~polygonal).sum())} geometries that are no polygons are left out")
    frame = frame[polygonal]
    _check_place(project, frame, file)
    if extent is None:
        area = shapely.convex_hull(shapely.union_all(shapely.convex_hull(frame.geometry.values)))
        warnings.append("no --extent given: the register is taken to be complete inside the hull of its buildings")
        extents = frame.iloc[:1].set_geometry([area], crs=frame.crs)
    else:
        extents = read_vector(extent)
        if not extents.geometry.geom_type.isin(["Polygon", "MultiPolygon"]).all():
            raise BadRegister(str(extent), "an extent must be polygons", "Give the area where the register is complete")
        _check_place(project, extents, extent)
        complete = polygonal(shapely.union_all(extents.to_crs(frame.crs).geometry.make_valid().values))
        if not shapely.intersects(complete, shapely.envelope(frame.geometry.values)).any():
            raise BadRegister(
                str(extent), "no building of the register lies in it", "Check the CRS of both files, and the year"
            )
    parts = {"buildings": _parquet(frame), "extent": _parquet(extents)}
    digest = hashlib.sha256(parts["buildings"] + parts["extent"]).hexdigest()[:16]
    prefix = f"registers/{year}/{file.stem}-{digest}"
    register = Register(file.name, f"{prefix}/buildings.parquet", f"{prefix}/extent.parquet", digest)
    project.store.put(register.buildings, parts["buildings"])
    project.store.put(register.extent, parts["extent"])
    # last, so that nobody sees a register whose parts are missing
    record = {"name": register.name, "buildings": register.buildings, "extent": register.extent, "digest": digest}
    project.store.put(f"registers/{year}/{file.stem}.json", json.dumps(record).encode())
    return register, warnings


def _check_place(project: Project, frame: gpd.GeoDataFrame, file: Path) -> None:
    """A register in the wrong CRS lands on other ground, silently; its area of use tells."""
    from pyproj.exceptions import ProjError

    from groundplan.grid import area_of_use

    use = area_of_use(project.grid.crs)
    try:
        bounds = frame.to_crs(project.grid.crs).total_bounds
    except ProjError as error:
        raise BadRegister(
            str(file), f"nothing leads from its CRS to {project.grid.crs}", "Give it in a CRS that PROJ knows"
        ) from error
    if not np.isfinite(bounds).all() or (
        use and (bounds[0] > use[2] or bounds[2] < use[0] or bounds[1] > use[3] or bounds[3] < use[1])
    ):
        raise BadRegister(
            str(file),
            f"it lies outside the area where {project.grid.crs} is used (its CRS is {frame.crs.to_string()})",
            "Check the CRS that it states",
        )


def _parquet(frame: gpd.GeoDataFrame) -> bytes:
    import geopandas as gpd

    buffer = io.BytesIO()
    bare = gpd.GeoDataFrame(geometry=frame.geometry.values, crs=frame.crs)
    bare.to_parquet(
        buffer, index=False, compression="zstd", write_covering_bbox=True, schema_version="1.1.0"
    )
    return buffer.getvalue()


def registers_of(project: Project, year: int) -> list[Register]:
    """What was added for a year, sorted by name."""
    return [
        Register(**json.loads(project.store.get(item.key)))
        for item in project.store.list(f"registers/{year}")
        if item.key.endswith(".json")
    ]


# ---------------------------------------------------------------------------------------------------- the step


def plan(project: Project, partition: Partition) -> list[Planned]:
    """One file; empty, but there, when no register covers the region."""
    manifest = need_manifest(project.store, tiles.DATASET, partition)
    blocks = sorted(manifest.objects)
    registers = registers_of(project, partition.year)
    mark = fingerprint(
        version=VERSION,
        grid=project.grid.identity(),
        blocks=blocks,
        registers=sorted(register.digest for register in registers),
    )
    key = object_key(DATASET, partition, "buildings", mark, ".parquet")
    inputs = tuple(part for register in registers for part in (register.buildings, register.extent))
    return [Planned("buildings", mark, key, inputs, (blocks, registers))]


def make(project: Project, planned: Planned, check: Check) -> Output:
    """Buildings that touch the region's blocks, repaired, and where the register is complete."""
    import geopandas as gpd
    import pandas as pd
    import shapely

    blocks, registers = planned.args
    ground = shapely.union_all([project.grid.polygon(Block.parse(name)) for name in blocks])
    area = ground.buffer(REACH)
    frames, extents, counts = [], [], _no_counts()
    for register in registers:
        check()
        frame, extent = (_near(project, key, area) for key in (register.buildings, register.extent))
        buildings = _repair(frame.geometry.values, counts)
        buildings = buildings[shapely.intersects(buildings, area)]
        frames.append(gpd.GeoDataFrame({"register": register.name}, geometry=buildings, index=range(len(buildings))))
        extents += [polygonal(shape) for shape in extent.geometry.make_valid()]
    found = gpd.GeoDataFrame(pd.concat(frames) if frames else {"register": []}, geometry="geometry" if frames else [])
    found = _without_twins(found.set_crs(project.grid.crs, allow_override=True), counts)
    complete = polygonal(shapely.intersection(shapely.union_all(extents), ground)) if extents else shapely.Polygon()
    return Output(_to_parquet(found, complete, counts))


def describe(data: bytes) -> dict[str, Any]:
    frame, complete, counts = from_parquet(data)
    return {"buildings": len(frame), "complete_m2": round(float(complete.area), 1), **counts}


def _no_counts() -> dict[str, int]:
    return {"repaired": 0, "multi": 0, "slivers": 0, "twins": 0}


def _near(project: Project, key: str, area: Any) -> gpd.GeoDataFrame:
    import geopandas as gpd
    import pyproj
    import shapely

    data = io.BytesIO(project.store.get(key))
    crs = gpd.read_parquet(data, columns=["geometry"], bbox=(0, 0, 0, 0)).crs
    # straight lines bend between CRSs: bounds of corners alone would lose buildings at a wide region's edge
    bounds = pyproj.Transformer.from_crs(project.grid.crs, crs, always_xy=True).transform_bounds(*area.bounds, densify_pts=41)
    frame = gpd.read_parquet(data, bbox=bounds).to_crs(project.grid.crs)
    # by their boxes: predicates are not defined on the invalid rings that are yet to be mended
    return frame[shapely.intersects(shapely.envelope(frame.geometry.values), area)] if not frame.empty else frame


def _repair(geometries: np.ndarray, counts: dict[str, int]) -> np.ndarray:
    """Valid single polygons: rings mended, collections reduced to their polygons, slivers dropped; all counted."""
    import shapely

    broken = ~shapely.is_valid(geometries)
    counts["repaired"] += int(broken.sum())
    counts["multi"] += int((shapely.get_type_id(geometries) == 6).sum())
    mended = geometries.copy()
    # "structure" keeps ground that overlapping rings share; "linework" would make it a hole
    mended[broken] = shapely.make_valid(geometries[broken], method="structure", keep_collapsed=False)
    counts["slivers"] += int(shapely.is_empty(mended).sum())  # rings without any area
    parts = shapely.get_parts(shapely.get_parts(mended))  # twice: a collection may hold a MultiPolygon
    parts = parts[shapely.get_type_id(parts) == 3]
    big = shapely.area(parts) >= LEAST_AREA
    counts["slivers"] += int((~big).sum())
    return parts[big]


def polygonal(shape: Geometry) -> Geometry:
    """Only the polygons of a geometry; mending and cutting leave lines and points behind."""
    import shapely

    parts = shapely.get_parts(shapely.get_parts(shape))
    return shapely.union_all(parts[shapely.get_type_id(parts) == 3])


def _without_twins(frame: gpd.GeoDataFrame, counts: dict[str, int]) -> gpd.GeoDataFrame:
    """In a fixed order, each geometry once: registers overlap, and one building may be in both."""
    import shapely

    wkb = shapely.to_wkb(shapely.normalize(shapely.set_precision(frame.geometry.values, 0.001)), hex=True)
    frame = frame.assign(_wkb=wkb).sort_values(["_wkb", "register"]).drop_duplicates("_wkb")
    counts["twins"] = len(wkb) - len(frame)
    return frame.drop(columns="_wkb").reset_index(drop=True)


def _to_parquet(frame: gpd.GeoDataFrame, complete: Geometry, counts: dict[str, int]) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd", write_covering_bbox=True, schema_version="1.1.0")
    table = pq.read_table(io.BytesIO(buffer.getvalue()))
    more = {b"groundplan:complete": complete.wkb_hex.encode(), b"groundplan:counts": json.dumps(counts).encode()}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, **more}), buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes) -> tuple[gpd.GeoDataFrame, Geometry, dict[str, int]]:
    """Buildings in the grid's CRS, the polygon inside which they are complete, and what was repaired."""
    import geopandas as gpd
    import pyarrow.parquet as pq
    import shapely

    metadata = pq.read_schema(io.BytesIO(data)).metadata
    complete = shapely.from_wkb(metadata[b"groundplan:complete"].decode())
    return gpd.read_parquet(io.BytesIO(data)), complete, json.loads(metadata[b"groundplan:counts"])


def load(project: Project, partition: Partition) -> tuple[gpd.GeoDataFrame, Geometry]:
    """The committed register buildings of a region and where they are complete. Raises MissingInput."""
    manifest = need_manifest(project.store, DATASET, partition)
    frame, complete, _ = from_parquet(project.store.get(manifest.objects["buildings"].key))
    return frame, complete

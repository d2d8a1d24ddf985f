"""Building registers: polygons as an agency delivers them, cleaned for one region and year.

Here: taking a register into the project, repairing and counting. Not here: reading vector files
(polygons/vector_files.py), turning polygons into pixels (masks.py).
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, cast

import numpy as np

from groundplan.core.grid import Block
from groundplan.core.manifest import (
    Dataset,
    Planned,
    fingerprint,
    load_object,
    need_manifest,
    object_key,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.core.records import read_record
from groundplan.errors import BadRegister, Damaged
from groundplan.imagery import tiles
from groundplan.polygons.vector_files import polygonal, read_vector
from groundplan.project import Project
from groundplan.step import BBOX, GEOPARQUET, REGISTERS, About, Scope, Step

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely import Geometry
from groundplan.polygons.vector_files import check_area_of_use


class Facts(TypedDict):
    """What a manifest says of an object."""

    buildings: int
    complete_m2: float
    repaired: int
    multi: int
    slivers: int
    twins: int


DATASET: Dataset[Facts] = Dataset("register_buildings")
VERSION = "2"
LEAST_AREA = 1.0  # m2; smaller polygons are slivers of digitising
REACH = 2.0  # metres beyond a block at which a building can still mark its pixels


@dataclass(frozen=True, slots=True)
class Register:
    """A register taken into the project: two objects, in the CRS in which they came."""

    name: str
    buildings: str
    extent: str
    digest: str


def add_register(project: Project, file: Path, year: int, extent: Path | None) -> tuple[Register, list[str]]:
    """Take a register into the project; one of the same name and year is replaced. Returns it and warnings.

    Raises BadRegister, and changes nothing then.
    """
    import shapely

    frame = read_vector(file)
    kinds = set(frame.geometry.geom_type)
    areal = frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"])
    if not areal.any():
        raise BadRegister(str(file), f"it holds no polygons but {', '.join(sorted(kinds))}", "Give building polygons")
    warnings = []
    if not areal.all():
        warnings.append(f"{int((~areal).sum())} geometries that are no polygons are left out")
    frame = frame[areal]
    check_area_of_use(project.grid.crs, frame, file)
    if extent is None:
        area = shapely.convex_hull(shapely.union_all(shapely.convex_hull(frame.geometry.values)))
        warnings.append("no --extent given: the register is taken to be complete inside the hull of its buildings")
        extents = frame.iloc[:1].set_geometry([area], crs=frame.crs)
    else:
        extents = read_vector(extent)
        if not extents.geometry.geom_type.isin(["Polygon", "MultiPolygon"]).all():
            raise BadRegister(str(extent), "an extent must be polygons", "Give the area where the register is complete")
        check_area_of_use(project.grid.crs, extents, extent)
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


def _parquet(frame: gpd.GeoDataFrame) -> bytes:
    import geopandas as gpd

    buffer = io.BytesIO()
    bare = gpd.GeoDataFrame(geometry=frame.geometry.values, crs=frame.crs)
    bare.to_parquet(buffer, index=False, compression="zstd", write_covering_bbox=True, schema_version="1.1.0")
    return buffer.getvalue()


def registers_of(project: Project, year: int) -> list[Register]:
    """Registers that were added for a year, sorted by name. Raises Damaged: labels without one of them were wrong."""
    found = project.store.list(f"registers/{year}")
    return [_register(project, item.key, year) for item in found if item.key.endswith(".json")]


def _register(project: Project, key: str, year: int) -> Register:
    remedy = f"Add that register again: `groundplan add-register FILE --year {year}`"
    raw = read_record(project.store, key, remedy)
    known = {one.name: raw[one.name] for one in fields(Register) if one.name in raw}
    texts = [known.get(name) for name in ("name", "buildings", "extent", "digest")]
    if not all(isinstance(text, str) for text in texts):
        raise Damaged(project.store.uri(key), "it cannot be read (it names no register)", remedy)
    return Register(**known)


# ---------------------------------------------------------------------------------------------------- the step


Needs: TypeAlias = "tuple[list[str], list[Register]]"
"""What an object is made from."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """One file; empty, but there, when no register covers the region."""
    manifest = need_manifest(project.store, tiles.DATASET, partition)
    blocks = sorted(manifest.objects)
    registers = registers_of(project, partition.year)
    digest = fingerprint(
        version=VERSION,
        grid=project.grid.identity(),
        blocks=blocks,
        registers=sorted(register.digest for register in registers),
    )
    key = object_key(DATASET, partition, "buildings", digest, ".parquet")
    inputs = tuple(part for register in registers for part in (register.buildings, register.extent))
    return [Planned(name="buildings", fingerprint=digest, key=key, inputs=inputs, args=(blocks, registers))]


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """Buildings that touch the region's blocks, repaired, and where the register is complete."""
    import geopandas as gpd
    import pandas as pd
    import shapely

    blocks, registers = planned.needs
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
    found = _without_duplicates(found.set_crs(project.grid.crs, allow_override=True), counts)
    complete = polygonal(shapely.intersection(shapely.union_all(extents), ground)) if extents else shapely.Polygon()
    return Output(_to_parquet(found, complete, counts))


def describe(data: bytes) -> Facts:
    frame, complete, counts = from_parquet(data)
    return cast(Facts, {"buildings": len(frame), "complete_m2": round(float(complete.area), 1), **counts})


def _no_counts() -> dict[str, int]:
    return {"repaired": 0, "multi": 0, "slivers": 0, "twins": 0}


def _near(project: Project, key: str, area: Any) -> gpd.GeoDataFrame:
    import geopandas as gpd
    import pyproj
    import shapely

    data = io.BytesIO(project.store.get(key))
    crs = gpd.read_parquet(data, columns=["geometry"], bbox=(0, 0, 0, 0)).crs
    # straight lines bend between CRSs: bounds of corners alone would lose buildings at a wide region's edge
    left, bottom, right, top = area.bounds
    there = pyproj.Transformer.from_crs(project.grid.crs, crs, always_xy=True)
    bounds = there.transform_bounds(left, bottom, right, top, densify_pts=41)
    frame = gpd.read_parquet(data, bbox=bounds).to_crs(project.grid.crs)
    # by their boxes: predicates are not defined on the invalid rings that are yet to be mended
    return frame[shapely.intersects(shapely.envelope(frame.geometry.values), area)] if not frame.empty else frame


def _repair(geometries: np.ndarray, counts: dict[str, int]) -> np.ndarray:
    """Geometry repair: rings mended, collections reduced to polygons, slivers dropped; all counted."""
    import shapely

    broken = ~shapely.is_valid(geometries)
    counts["repaired"] += int(broken.sum())
    counts["multi"] += int((shapely.get_type_id(geometries) == 6).sum())
    mended = geometries.copy()
    # "structure" keeps ground that overlapping rings share; "linework" would make it a hole
    mended[broken] = shapely.make_valid(geometries[broken], method="structure", keep_collapsed=False)
    counts["slivers"] += int(shapely.is_empty(mended).sum())  # rings without any area
    parts = shapely.get_parts(shapely.get_parts(mended))  # twice: a collection may hold a MultiPolygon
    parts = parts[(shapely.get_type_id(parts) == 3) & ~shapely.is_empty(parts)]
    big = shapely.area(parts) >= LEAST_AREA
    counts["slivers"] += int((~big).sum())
    return parts[big]


def _without_duplicates(frame: gpd.GeoDataFrame, counts: dict[str, int]) -> gpd.GeoDataFrame:
    """Deduplication by geometry, in a fixed order: registers overlap, and one building may be in both."""
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
    frame, complete, _ = load_object(project.store, manifest.objects["buildings"], from_parquet)
    return frame, complete


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.REGION,
    reads=(REGISTERS, tiles.DATASET),
    automated=True,
    starts_when="new tiles",
    profile="io",
    about=About(
        title="The register's buildings near a region, cleaned, in the grid's CRS",
        description="The buildings that the year's registers know near the region, in the grid's CRS: rings repaired, "
        "multipolygons taken apart, twins and slivers dropped and counted. Empty where no register covers the region; "
        "such a region is predicted with the year's model.",
        group="labels",
        kinds=frozenset({"geoparquet"}),
        format=GEOPARQUET,
        page="docs/bad-input.md",
        columns=(
            ("register", "string", "name of the register that the polygon comes from"),
            ("geometry", "polygon", "building, repaired [m, the grid's CRS]"),
            BBOX,
        ),
    ),
)

"""Building registers: polygons as an agency delivers them, cleaned for one region and year.

Here: taking a register into the project, repairing, cutting it to the imagery's date, and counting. Not here: reading
vector files (polygons/vector_files.py), which columns say when a building stood (standing.py), turning polygons into
pixels (masks.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias, TypedDict, cast

import numpy as np

from groundplan.config import RegisterSettings
from groundplan.core.datum import grids_in_fingerprint
from groundplan.core.grid import Block
from groundplan.core.manifest import (
    Dataset,
    Planned,
    checked,
    fingerprint,
    load_object,
    need_manifest,
    object_key,
    parsed,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.errors import BadRegister, MissingInput
from groundplan.imagery import tiles
from groundplan.labels import empty_ground, standing
from groundplan.labels.register_files import beyond_180, from_parquet, near_of, notes_of, register_parquet, to_parquet
from groundplan.labels.register_records import Register as Register
from groundplan.labels.register_records import read_register as read_register
from groundplan.labels.register_records import registers_of as registers_of
from groundplan.labels.register_records import take_in as take_in
from groundplan.labels.register_records import write_register as write_register
from groundplan.labels.repair import mostly_within, no_counts, repair, without_duplicates
from groundplan.polygons.vector_files import check_area_of_use, polygonal, read_vector
from groundplan.project import Project
from groundplan.step import BBOX, GEOPARQUET, REGISTERS, About, Scope, Step

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely import Geometry, MultiPolygon, Polygon


class Facts(TypedDict):
    """What a manifest says of an object."""

    buildings: int
    complete_m2: float
    repaired: int
    multi: int
    slivers: int
    twins: int
    dated: NotRequired[int]  # these three where a register says when buildings stood
    not_standing: NotRequired[int]
    undecided: NotRequired[int]
    empty_m2: NotRequired[int]  # these two where ground is said to be empty
    contradicting: NotRequired[int]


DATASET: Dataset[Facts] = Dataset("register_buildings")
VERSION = "2"
AREAL = ("Polygon", "MultiPolygon")
REACH = 2.0  # metres beyond a block at which a building can still mark its pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureChoice:
    """Which of a file's features are meant: a layer of it, a condition on its columns; and the extent's layer."""

    layer: str | None = None
    where: str | None = None  # None: that of the settings
    extent_layer: str | None = None


def add_register(
    project: Project,
    file: Path,
    year: int,
    extent: Path | None,
    choice: FeatureChoice | None = None,
    day: date | None = None,
) -> tuple[Register, list[str]]:
    """Take a register into the project; one of the same name and year is replaced. Returns it and notes.

    day: at which it held, where that is known. Raises BadRegister, and changes nothing then.
    """
    choice, settings = choice or FeatureChoice(), project.settings.registers
    frame = read_vector(
        file,
        columns=standing.columns_of_time(settings),
        layer=choice.layer,
        where=settings.where if choice.where is None else choice.where,
        limits=settings,
    )
    notes = list(frame.attrs["notes"])
    frame = _polygons(frame, file, notes)
    check_area_of_use(project.grid.crs, frame, file)
    notes += notes_of(project, frame)
    extents = _extent(project, frame, extent, choice, notes)
    times = _times(frame, settings, notes)
    parts = {"buildings": register_parquet(frame, times), "extent": register_parquet(extents)}
    register, replaced = take_in(project, file, year, parts, dated=bool(times), date=day.isoformat() if day else "")
    return register, notes + replaced


def read_buildings(
    project: Project, partition: Partition, file: Path, choice: FeatureChoice, notes: list[str] | None = None
) -> tuple[gpd.GeoDataFrame, Geometry]:
    """Polygons of a vector file that stood when a region's imagery was flown, in the grid's CRS, and ground of which
    the file does not say it. notes: gets what a person should know. Raises BadRegister.
    """
    import geopandas as gpd
    import shapely

    settings = project.settings.registers
    columns = standing.columns_of_time(settings)
    frame = read_vector(file, columns=columns, layer=choice.layer, where=choice.where, limits=settings)
    times = _times(frame, settings, [])
    if notes is not None:
        notes += [f"{file.name}: {note}" for note in notes_of(project, frame)]
    frame, unknown = frame.assign(**times).to_crs(project.grid.crs), np.array([], object)
    if times:
        frame, unknown = standing.split_by_time(frame, flown(project, partition), {})
    parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(frame.geometry.values.to_numpy())))
    parts = parts[shapely.get_type_id(parts) == 3]
    return gpd.GeoDataFrame(geometry=parts, crs=frame.crs), polygonal(shapely.union_all(unknown))


def read_ground(
    project: Project, extent: Path, choice: FeatureChoice, notes: list[str] | None = None
) -> Polygon | MultiPolygon:
    """The ground that an extent covers, in the grid's CRS. notes: as of `read_buildings`. Raises BadRegister."""
    import shapely

    limits = project.settings.registers
    frame = read_vector(extent, layer=choice.extent_layer, option="--extent-layer", limits=limits)
    if notes is not None:
        notes += [f"{extent.name}: {note}" for note in notes_of(project, frame)]
    return polygonal(shapely.union_all(frame.to_crs(project.grid.crs).geometry.make_valid().values))


def _polygons(frame: gpd.GeoDataFrame, file: Path, notes: list[str]) -> gpd.GeoDataFrame:
    """The features that are polygons. Raises BadRegister where none is."""
    areal = frame.geometry.geom_type.isin(AREAL)
    if not areal.any():
        kinds = ", ".join(sorted(set(frame.geometry.geom_type)))
        raise BadRegister(str(file), f"it holds no polygons but {kinds}", "Give building polygons")
    if not areal.all():
        notes.append(f"{int((~areal).sum())} geometries that are no polygons are left out")
    return frame[areal]


def _extent(
    project: Project, frame: gpd.GeoDataFrame, extent: Path | None, choice: FeatureChoice, notes: list[str]
) -> gpd.GeoDataFrame:
    """Where the register is complete: as given, or the hull of its buildings. Raises BadRegister."""
    import shapely

    if extent is None:
        frame = beyond_180(project, frame)
        area = shapely.convex_hull(shapely.union_all(shapely.convex_hull(frame.geometry.values)))
        notes.append("no --extent given: the register is taken to be complete inside the hull of its buildings")
        return frame.iloc[:1].set_geometry([area], crs=frame.crs)
    settings = project.settings.registers
    extents = read_vector(extent, layer=choice.extent_layer, option="--extent-layer", limits=settings)
    notes += extents.attrs["notes"]
    if not extents.geometry.geom_type.isin(AREAL).all():
        raise BadRegister(str(extent), "an extent must be polygons", "Give the area where the register is complete")
    check_area_of_use(project.grid.crs, extents, extent)
    notes += [note for note in notes_of(project, extents) if note not in notes]
    complete = polygonal(shapely.union_all(extents.to_crs(frame.crs).geometry.make_valid().values))
    if not shapely.intersects(complete, shapely.envelope(frame.geometry.values)).any():
        raise BadRegister(
            str(extent), "no building of the register lies in it", "Check the CRS of both files, and the year"
        )
    return extents


def _times(frame: gpd.GeoDataFrame, settings: RegisterSettings, notes: list[str]) -> dict[str, list[Any]]:
    """When each building stood, as far as columns say it; a note on which do, or could."""
    times, said = standing.times_of(frame, settings)
    if said:
        notes.append(f"its buildings are cut to the imagery's date ({said})")
    elif like := [name for name in frame.attrs["columns"] if standing.LOOKS_LIKE_TIME.search(name)]:
        notes.append(
            f"nothing says when its buildings stood, and {', '.join(like[:5])} may: name such columns in "
            "registers.built, demolished or status and add it again"
        )
    return times


# ---------------------------------------------------------------------------------------------------- the step


Needs: TypeAlias = "tuple[list[str], list[Register], tuple[date, date]]"
"""What an object is made from."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """One file; empty, but there, when no register covers the region."""
    manifest = need_manifest(project.store, tiles.DATASET, partition)
    blocks = sorted(manifest.objects)
    registers = registers_of(project, partition.year)
    dated = any(register.dated for register in registers)
    days = flown(project, partition) if dated else whole_year(partition)
    digest = fingerprint(
        version=VERSION,
        grid=project.grid.identity(),
        blocks=blocks,
        registers=sorted(register.digest for register in registers),
        **({"flown": [day.isoformat() for day in days]} if dated else {}),
        **grids_in_fingerprint(project.grids),
    )
    key = object_key(DATASET, partition, "buildings", digest, ".parquet")
    inputs = tuple(part for register in registers for part in register.parts)
    return [Planned(name="buildings", fingerprint=digest, key=key, inputs=inputs, args=(blocks, registers, days))]


def flown(project: Project, partition: Partition) -> tuple[date, date]:
    """First and last day on which a region's imagery can have been flown: by its sheets if all say it, else the year.

    A TIFF's DateTime does not count: it is when a file was written.
    """
    sheets = tiles.catalog_of(project, partition).sheets
    said = [sheet.acquired for sheet in sheets if sheet.date_source not in ("delivery", "TIFFTAG_DATETIME")]
    days = [date.fromisoformat(day) for day in said if day]
    return (min(days), max(days)) if days and len(days) == len(sheets) else whole_year(partition)


def whole_year(partition: Partition) -> tuple[date, date]:
    return date(partition.year, 1, 1), date(partition.year, 12, 31)


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """Buildings that touch the region's blocks, repaired, and where the register is complete."""
    import geopandas as gpd
    import pandas as pd
    import shapely

    blocks, registers, days = planned.needs
    ground = shapely.union_all([project.grid.polygon(Block.parse(name)) for name in blocks])
    area = ground.buffer(REACH)
    frames, extents, counts, undecided = list[Any](), list[Any](), no_counts(), list[Any]()
    empty: list[Any] | None = None
    for register in sorted(registers, key=lambda register: register.corrects):  # these last
        check()
        frame, extent = (_near(project, register, key, area) for key in register.parts)
        if register.dated:
            frame, unknown = standing.split_by_time(frame, days, counts)
            undecided += [polygonal(shape) for shape in unknown]
        buildings = repair(frame.geometry.values, counts)
        buildings = buildings[shapely.intersects(buildings, area)]
        ground_of = [polygonal(shape) for shape in extent.geometry.make_valid()]
        if register.empty:
            empty = [*(empty or []), *ground_of]
        if register.corrects:
            frames = [frame[~mostly_within(frame.geometry.values, ground_of)] for frame in frames]
        frames.append(gpd.GeoDataFrame({"register": register.name}, geometry=buildings, index=range(len(buildings))))
        extents += ground_of
    found = gpd.GeoDataFrame(pd.concat(frames) if frames else {"register": []}, geometry="geometry" if frames else [])
    found = without_duplicates(found.set_crs(project.grid.crs, allow_override=True), counts)
    complete = polygonal(shapely.intersection(shapely.union_all(extents), ground)) if extents else shapely.Polygon()
    if undecided:
        complete = polygonal(shapely.difference(complete, shapely.union_all(undecided)))
    if empty is not None:
        complete = empty_ground.settled(complete, empty, found.geometry.values.to_numpy(), counts)
    return Output(to_parquet(found, complete, counts))


def describe(data: bytes) -> Facts:
    frame, complete, counts = from_parquet(data)
    return cast(Facts, {"buildings": len(frame), "complete_m2": round(float(complete.area), 1), **counts})


def _part(project: Project, register: Register, key: str) -> bytes:
    """A part of a register, checked to be what was taken in. Raises MissingInput, Damaged."""
    try:
        data = project.store.get(key)
    except MissingInput as error:
        raise MissingInput(error.thing, error.reason, register.remedy) from error
    known = register.content.get(key)
    return data if known is None else checked(data, known, project.store.uri(key), register.remedy)


def _near(project: Project, register: Register, key: str, area: Any) -> gpd.GeoDataFrame:
    """What of a register's part lies near an area, in the grid's CRS. Raises MissingInput, Damaged."""
    data = _part(project, register, key)
    return parsed(data, lambda data: near_of(project, data, area), project.store.uri(key), register.remedy)


def extent_near(project: Project, register: Register, area: Any) -> Polygon | MultiPolygon:
    """Where a register is complete, near an area, in the grid's CRS. Raises MissingInput, Damaged."""
    import shapely

    extent = _near(project, register, register.extent, area)
    return polygonal(shapely.intersection(shapely.union_all(extent.geometry.make_valid().values), area))


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

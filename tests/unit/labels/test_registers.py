"""Registers: any vector file in any CRS, mended and counted; what cannot be used is refused and changes nothing."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyproj
import pytest
import shapely
from conftest import ORIGIN, MakeProject
from laid_sheets import HERE, LOSSLESS, cataloged, ground, here, lay, place
from shapely import MultiPolygon, Polygon, box

from groundplan.core.manifest import need_manifest
from groundplan.errors import BadConfig, BadRegister
from groundplan.imagery.regions import add_regions, region_polygons
from groundplan.labels import registers
from groundplan.labels.registers import add_register, registers_of
from groundplan.pipeline import run_step
from groundplan.polygons.vector_files import ENDINGS, polygonal, read_vector
from groundplan.project import Project

pytestmark = pytest.mark.slow  # a minute in all: each register is read in a process of its own

SQUARE = here(box(10, 10, 20, 20))
LINE = shapely.LineString(SQUARE.exterior.coords)


def write(path: Path, shapes: list[Any], crs: str | None = "EPSG:28992", **columns: Any) -> Path:
    frame = geopandas.GeoDataFrame(columns, geometry=shapes, crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".zip":
        write(path.with_suffix(".shp"), shapes, crs, **columns)
        with zipfile.ZipFile(path, "w") as archive:
            for part in path.parent.glob(path.stem + ".*"):
                if part != path:
                    archive.write(part, f"some folder/{part.name}")
                    part.unlink()
    elif path.suffix in (".geojson", ".json"):
        frame.to_file(path, driver="GeoJSON")
    else:
        frame.to_file(path)
    return path


@pytest.fixture
def project(tmp_path: Path, make_project: MakeProject) -> Project:
    """Imagery of 150 x 150 m from the grid's corner, ready for a register."""
    made = make_project(tmp_path / "home", imagery=LOSSLESS)
    cataloged(made, [lay(tmp_path / "a.tif", ground(500, 500), place(0, 0))])
    run_step(made, "aerial_tiles", HERE)
    return made


def taken(project: Project) -> tuple[geopandas.GeoDataFrame, Any, dict[str, Any]]:
    manifest = run_step(project, "register_buildings", HERE).manifest
    data = project.store.get(manifest.objects["buildings"].key)
    return registers.from_parquet(data)


# -------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("crs", ["EPSG:28992", "EPSG:4326", "EPSG:32631"])
@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".json", ".fgb", ".parquet", ".shp", ".zip"])
def test_every_format_and_crs_gives_the_same_buildings(ending: str, crs: str, tmp_path: Path, project: Project) -> None:
    houses = [here(box(x, 12, x + 9, 25)) for x in range(5, 140, 15)]
    there = geopandas.GeoSeries(houses, crs="EPSG:28992").to_crs(crs)
    file = write(tmp_path / f"houses{ending}", list(there), crs, name=[f"é{i}" for i in range(len(there))])
    assert ending in ENDINGS
    register, warnings = add_register(project, file, 2024, None)
    assert register.name == file.name
    assert [*warnings] == ["no --extent given: the register is taken to be complete inside the hull of its buildings"]
    frame, complete, counts = taken(project)
    assert len(frame) == len(houses)
    assert counts == {"repaired": 0, "multi": 0, "slivers": 0, "twins": 0}
    assert set(frame["register"]) == {file.name}
    assert shapely.union_all(frame.geometry.values).symmetric_difference(shapely.union_all(houses)).area < 0.3
    assert complete.area == pytest.approx(shapely.union_all(houses).convex_hull.area, rel=1e-3)


def test_buildings_at_the_bent_edge_of_a_wide_region_are_not_lost(tmp_path: Path, make_project: MakeProject) -> None:
    """A straight line of the grid is a bow in degrees: over 40 km its ends' bounds miss its middle by metres."""
    project = make_project(tmp_path / "home")
    x, y = 155_000.0, 463_000.0  # on the meridian from which the grid bends away to both sides
    area = box(x - 20_000, y - 1000, x + 20_000, y)
    rows = [
        box(x + east, y - south - 8, x + east + 9, y - south)
        for east in range(-19_000, 19_001, 1000)
        for south in (1, 991)
    ]
    to = pyproj.Transformer.from_crs("EPSG:28992", "EPSG:4326", always_xy=True).transform
    degrees = [shapely.transform(house, lambda xy: np.column_stack(to(xy[:, 0], xy[:, 1]))) for house in rows]
    register, _ = add_register(project, write(tmp_path / "houses.gpkg", degrees, "EPSG:4326"), 2024, None)
    assert len(registers._near(project, register, register.buildings, area)) == len(rows)


# ------------------------------------------------------------------------------------------- mended and counted

BOW = Polygon([(10, 10), (20, 20), (20, 10), (10, 20)])
HOLES = MultiPolygon([Polygon(box(10, 10, 30, 30).exterior, [box(15, 15, 20, 20).exterior]), box(40, 10, 50, 20)])
MESSY: dict[str, tuple[list[Any], int, float, dict[str, int]]] = {
    # shapes in metres from the corner; buildings, area and counts that come of them
    "self-crossing": ([BOW], 2, 50.0, {"repaired": 1}),
    "overlapping parts": (
        [MultiPolygon([box(10, 10, 20, 20), box(15, 10, 25, 20)])],
        1,
        150.0,
        {"repaired": 1, "multi": 1},
    ),
    "hole outside": (
        [Polygon(box(10, 10, 20, 20).exterior, [box(30, 10, 33, 13).exterior])],
        2,
        109.0,
        {"repaired": 1},
    ),
    "multi with holes and Z": ([shapely.force_3d(HOLES, 7.5)], 2, 475.0, {"multi": 1}),
    "twins": ([box(10, 10, 20, 20), box(10, 10, 20, 20).reverse(), box(40, 10, 50, 20)], 2, 200.0, {"twins": 1}),
    "slivers": ([box(10, 10, 20, 10.05), box(30, 30, 30.9, 30.9), box(10, 20, 20, 30)], 1, 100.0, {"slivers": 2}),
    "no area": ([Polygon([(1, 1), (9, 9), (5, 5)]), box(10, 20, 20, 30)], 1, 100.0, {"repaired": 1, "slivers": 1}),
    "empty and none": ([Polygon(), None, box(10, 20, 20, 30)], 1, 100.0, {}),
    "points and lines too": (
        [shapely.Point(5, 5), shapely.LineString([(1, 1), (9, 9)]), box(9, 9, 19, 19)],
        1,
        100.0,
        {},
    ),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", MESSY)
def test_what_can_be_mended_is_mended_and_counted(kind: str, tmp_path: Path, project: Project) -> None:
    shapes, buildings, area, counted = MESSY[kind]
    placed = [here(shape) if shape is not None else None for shape in shapes]
    extent = write(tmp_path / "extent.gpkg", [here(box(0, 0, 100, 100))])
    _, warnings = add_register(project, write(tmp_path / "messy.gpkg", placed), 2024, extent)
    frame, complete, counts = taken(project)
    assert len(frame) == buildings
    assert frame.geometry.area.sum() == pytest.approx(area, abs=0.01)
    assert frame.geometry.is_valid.all()
    assert set(frame.geometry.geom_type) == {"Polygon"}
    assert not frame.geometry.has_z.any()
    assert counts == {"repaired": 0, "multi": 0, "slivers": 0, "twins": 0, **counted}
    assert complete.area == pytest.approx(10_000)
    assert warnings == (["2 geometries that are no polygons are left out"] if kind == "points and lines too" else [])
    facts = need_manifest(project.store, registers.DATASET, HERE).objects["buildings"].facts
    assert facts["buildings"] == buildings
    assert facts["repaired"] == counts["repaired"], "a person sees the counts"


@pytest.mark.bad_input
def test_an_extent_that_crosses_itself_is_mended_too(tmp_path: Path, project: Project) -> None:
    extent = write(tmp_path / "extent.gpkg", [here(shapely.transform(BOW, lambda xy: (xy - 10) * 10))])
    houses = [here(box(80, 45, 90, 55)), here(box(5, 45, 15, 55))]
    add_register(project, write(tmp_path / "houses.gpkg", houses), 2024, extent)
    frame, complete, _ = taken(project)
    assert (len(frame), complete.geom_type) == (2, "MultiPolygon")
    assert complete.area == pytest.approx(5000)


def test_two_registers_are_one_and_a_new_version_replaces_the_old(tmp_path: Path, project: Project) -> None:
    other = here(box(40, 10, 50, 20))
    extent = write(tmp_path / "extent.gpkg", [here(box(0, 0, 100, 100))])
    add_register(project, write(tmp_path / "a.gpkg", [SQUARE]), 2024, extent)
    add_register(project, write(tmp_path / "b.gpkg", [SQUARE, other]), 2024, extent)
    assert [register.name for register in registers_of(project, 2024)] == ["a.gpkg", "b.gpkg"]
    frame, _, counts = taken(project)
    assert (len(frame), counts["twins"]) == (2, 1)
    (tmp_path / "b.gpkg").unlink()
    add_register(project, write(tmp_path / "b.gpkg", [SQUARE]), 2024, extent)
    assert len(registers_of(project, 2024)) == 2
    assert len(taken(project)[0]) == 1
    assert registers_of(project, 2023) == []


def test_the_order_of_features_does_not_matter(tmp_path: Path, project: Project) -> None:
    houses = [here(box(x, 12, x + 9, 25)) for x in range(5, 140, 15)]
    found = []
    for order in (houses, houses[::-1]):
        file = write(tmp_path / "a.gpkg", order)
        add_register(project, file, 2024, write(tmp_path / "e.gpkg", [here(box(0, 0, 100, 100))]))
        frame, _, _ = taken(project)
        found.append(frame.geometry.to_wkt().tolist())
        file.unlink()
        (tmp_path / "e.gpkg").unlink()
    assert found[0] == found[1]


# ------------------------------------------------------------------------------------------------------ refused


def _corrupt(path: Path, shapes: list[Any], keep: float, **rest: Any) -> Path:
    data = write(path, shapes, **rest).read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def _text(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _zip(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return path


def _pack(file: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for part in file.parent.glob(file.stem + ".*"):
            archive.write(part, part.name)
    return target


VRT = (
    '<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>/etc/passwd</SrcDataSource>'
    "</OGRVRTLayer></OGRVRTDataSource>"
)
MANY = [here(box(x, y, x + 9, y + 9)) for x in range(0, 150, 10) for y in range(0, 150, 10)]
Maker = Callable[[Path], Path]
REFUSED: dict[str, tuple[Maker, str, str]] = {
    "not there": (lambda d: d / "no.gpkg", "there is no such file", "Give a file"),
    "a folder": (lambda d: d, "there is no such file", "Give a file"),
    "another kind": (lambda d: _text(d / "a.docx", "x"), "its ending is not one of a vector file", ".gpkg, .geojson"),
    "nothing in it": (lambda d: _text(d / "a.gpkg", ""), "it has 0 bytes", "Give a file of 1 byte"),
    "text": (lambda d: _text(d / "a.gpkg", "buildings!"), "it is no gpkg file", "the ending of what it is"),
    "shapefile as geojson": (
        lambda d: write(d / "b.shp", [SQUARE]).rename(d / "a.geojson"),
        "it is no geojson",
        "ending",
    ),
    "a vrt": (lambda d: _text(d / "a.geojson", VRT), "it is no geojson file (it begins with b'<OGRVRTD')", "ending"),
    "a vrt in a zip": (lambda d: _zip(d / "a.zip", a_json=VRT), "it is no json file", "ending"),
    "a zip of two": (lambda d: _zip(d / "a.zip", a_json="{}", b_json="{}"), "it holds 2 files of", "Pack one register"),
    "a zip of none": (lambda d: _zip(d / "a.zip", a_txt="hello"), "it holds 0 files of", "Pack one register"),
    "no zip": (lambda d: _text(d / "a.zip", "PK but not really"), "it cannot be read", "Give a file"),
    "half a geopackage": (lambda d: _corrupt(d / "a.gpkg", MANY, 0.3), "it cannot be read", "Give a file"),
    "half a flatgeobuf": (lambda d: _corrupt(d / "a.fgb", MANY, 0.5), "it cannot be read", "Give a file"),
    "half a parquet": (lambda d: _corrupt(d / "a.parquet", MANY, 0.5), "it cannot be read", "Give a file"),
    "half a geojson": (lambda d: _corrupt(d / "a.geojson", MANY, 0.5), "it cannot be read", "Give a file"),
    "half a shapefile": (lambda d: _corrupt(d / "a.shp", MANY, 0.5), "it is cut short", "Give it again"),
    "half a shapefile in a zip": (
        lambda d: _pack(_corrupt(d / "a.shp", MANY, 0.5), d / "b.zip"),
        "it is cut short",
        "Give it again",
    ),
    "no CRS": (lambda d: write(d / "a.gpkg", [SQUARE], None), "it states no CRS", "Write it again with one"),
    "no CRS file": (lambda d: write(d / "a.shp", [SQUARE], None), "it states no CRS", "a .prj file beside a Shapefile"),
    "empty": (
        lambda d: write(d / "a.geojson", []),
        "it is empty: no feature has a geometry",
        "Give a file with polygons",
    ),
    "only empty shapes": (lambda d: write(d / "a.gpkg", [Polygon(), None]), "it is empty", "Give a file with polygons"),
    "points": (
        lambda d: write(d / "a.gpkg", [shapely.Point(ORIGIN)]),
        "it holds no polygons but Point",
        "building polygons",
    ),
    "lines": (lambda d: write(d / "a.fgb", [LINE]), "no polygons but Line", "Give building polygons"),
    "no geometry": (
        lambda d: _text(d / "a.json", '{"type": "FeatureCollection", "features": []}'),
        "it ",
        "Give a file",
    ),
    "elsewhere": (
        lambda d: write(d / "a.gpkg", [box(85.5, 27.6, 85.51, 27.61)], "EPSG:4326"),
        "it lies outside the area where EPSG:28992 is used (its CRS is EPSG:4326)",
        "Check the CRS that it states",
    ),
    "degrees said to be metres": (
        lambda d: write(d / "a.gpkg", [box(5.8, 52.0, 5.81, 52.01)], "EPSG:28992"),
        "it lies outside the area where EPSG:28992 is used",
        "Check the CRS that it states",
    ),
    "beyond all numbers": (
        lambda d: write(d / "a.gpkg", [box(1e300, 1e300, 2e300, 2e300)], "EPSG:4326"),
        "it lies outside the area",
        "Check the CRS that it states",
    ),
}


@pytest.mark.bad_input
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_a_register_that_cannot_be_used_changes_nothing(kind: str, tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    folder = tmp_path / "given"
    folder.mkdir()
    make, reason, remedy = REFUSED[kind]
    file = make(folder)
    extent = write(tmp_path / "extent.gpkg", [here(box(0, 0, 100, 100))])
    before = project.store.list()
    with pytest.raises(BadRegister) as caught:
        add_register(project, file, 2024, extent)
    line = str(caught.value)
    assert line.startswith(str(file)), "it names the file"
    assert reason in line
    assert remedy in line
    assert project.store.list() == before


EXTENTS: dict[str, tuple[Maker, str]] = {
    "without a building": (
        lambda d: write(d / "e.gpkg", [here(box(500, 500, 600, 600))]),
        "no building of the register lies in it",
    ),
    "of lines": (lambda d: write(d / "e.gpkg", [LINE]), "an extent must be polygons"),
    "elsewhere": (lambda d: write(d / "e.gpkg", [box(85, 27, 86, 28)], "EPSG:4326"), "it lies outside the area"),
    "not there": (lambda d: d / "e.gpkg", "there is no such file"),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", EXTENTS)
def test_an_extent_that_cannot_be_used_changes_nothing(kind: str, tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    make, reason = EXTENTS[kind]
    file = make(tmp_path)
    with pytest.raises(BadRegister) as caught:
        add_register(project, write(tmp_path / "a.gpkg", [SQUARE]), 2024, file)
    assert str(caught.value).startswith(str(file))
    assert reason in str(caught.value)
    assert project.store.list() == []


REGIONS: dict[str, tuple[Maker, type[Exception], str]] = {
    "no name": (
        lambda d: write(d / "r.gpkg", [SQUARE], gemeente=["a"]),
        BadRegister,
        "it has no column 'name'. It has: gemeente",
    ),
    "twins": (
        lambda d: write(d / "r.gpkg", [SQUARE] * 2, name=["Delft", "delft"]),
        BadRegister,
        "'Delft' occurs twice",
    ),
    "points": (
        lambda d: write(d / "r.gpkg", [shapely.Point(ORIGIN)], name=["a"]),
        BadRegister,
        "it must hold polygons",
    ),
    "a bar": (lambda d: write(d / "r.gpkg", [SQUARE], name=["a|b"]), BadConfig, "region name 'a|b'"),
    "a slash": (lambda d: write(d / "r.gpkg", [SQUARE], name=["../a"]), BadConfig, "region name '../a'"),
    "nothing": (lambda d: write(d / "r.gpkg", [SQUARE], name=[None]), BadRegister, "has no name"),
    "empty": (lambda d: write(d / "r.geojson", [], name=[]), BadRegister, "it is empty"),
    "elsewhere": (
        lambda d: write(d / "r.gpkg", [box(85, 27, 86, 28)], "EPSG:4326", name=["a"]),
        BadRegister,
        "outside the area",
    ),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", REGIONS)
def test_a_regions_file_that_cannot_be_used_changes_nothing(
    kind: str, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home")
    add_regions(project, write(tmp_path / "good.gpkg", [SQUARE], name=["delft"]))
    before = project.store.list()
    make, error, reason = REGIONS[kind]
    with pytest.raises(error) as caught:
        add_regions(project, make(tmp_path))
    assert reason in str(caught.value)
    assert project.store.list() == before
    assert list(region_polygons(project)) == ["delft"]


def test_only_polygons_are_left_of_what_cutting_leaves() -> None:
    mixed = shapely.GeometryCollection(
        [box(0, 0, 1, 1), shapely.Point(5, 5), MultiPolygon([box(2, 0, 3, 1), box(4, 0, 5, 1)])]
    )
    assert polygonal(mixed).area == pytest.approx(3)
    assert polygonal(shapely.LineString([(0, 0), (1, 1)])).is_empty
    assert polygonal(Polygon()).is_empty


def test_a_vector_file_is_read_flat_and_without_what_has_no_place(tmp_path: Path) -> None:
    file = write(tmp_path / "a.gpkg", [shapely.force_3d(SQUARE, 3.0), None, Polygon()], height=[1, 2, 3])
    frame = read_vector(file, columns=["height"])
    assert frame["height"].tolist() == [1]
    assert not frame.geometry.has_z.any()

"""Where sheets lie and when they were flown: what a file does not say is null, what is not certain has a word."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from affine import Affine
from conftest import MakeProject
from laid_sheets import HERE, LOSSLESS, cataloged, ground, lay, place, tiled
from PIL import Image

from groundplan.core.manifest import need_manifest
from groundplan.errors import MissingInput
from groundplan.footprints import footprints
from groundplan.footprints.export import export
from groundplan.imagery import catalog
from groundplan.imagery.dates import acquired_on
from groundplan.imagery.regions import add_regions
from groundplan.ingest.add_imagery import deliver
from groundplan.labels import registers
from groundplan.labels.registers import add_register
from groundplan.operations import country_map
from groundplan.polygons.geoparquet import to_parquet
from groundplan.previews import web_tiles
from groundplan.project import Project
from groundplan.quality.checks import sheets_usable
from groundplan.quality.scores import compare_with_truth
from serving.maps.app import box_of as box_of_query
from serving.maps.cache import Reading

OSTN = "uk_os_OSTN15_NTv2_OSGBtoETRS.tif"


def british(make_project: MakeProject, home: Path) -> Project:
    return make_project(home, grid={"crs": "EPSG:27700", "origin": [624_000.0, 308_600.0]}, imagery=LOSSLESS)


def table_of(project: Project) -> Any:
    made = need_manifest(project.store, "sheets", HERE).objects["catalogue"]
    return pq.read_table(io.BytesIO(project.store.get(made.key)))


# ------------------------------------------------------------------------------------------------ datum shifts


def test_sheets_whose_datum_shift_lacks_its_grid_are_named_and_go_on(tmp_path: Path, make_project: MakeProject) -> None:
    project = british(make_project, tmp_path / "home")
    to = pyproj.Transformer.from_crs("EPSG:27700", "EPSG:25831", always_xy=True)
    x, y = to.transform(624_100, 308_500)
    files = [
        lay(tmp_path / f"{n}.tif", ground(60, 60), Affine(0.3, 0, x + 9 * n, 0, -0.3, y), "EPSG:25831")
        for n in range(3)
    ]
    hints = [item.hint for item in deliver(project, files, HERE.region, HERE.year)]
    assert all(OSTN in hint and "2 m" in hint for hint in hints)
    found = cataloged(project, files)
    assert len(found.sheets) == 3
    assert len(found.notes) == 1
    verdict = sheets_usable(project, HERE)
    assert not verdict.passed
    assert not verdict.serious
    for said in (found.notes[0], verdict.message):
        assert said.startswith("3 sheets, such as 0.tif")
        assert OSTN in said
        assert "about 2 m" in said
        assert "folder proj of the project" in said
    assert need_manifest(project.store, "sheets", HERE).objects["catalogue"].facts["notes"] == list(found.notes)


def test_what_is_accepted_is_not_said(tmp_path: Path, make_project: MakeProject) -> None:
    grid = {"crs": "EPSG:27700", "origin": [624_000.0, 308_600.0]}
    project = make_project(tmp_path / "home", grid=grid, quality={"datum_tolerance": 2.0})
    x, y = pyproj.Transformer.from_crs("EPSG:27700", "EPSG:25831", always_xy=True).transform(624_100, 308_500)
    found = cataloged(project, [lay(tmp_path / "a.tif", ground(60, 60), Affine(0.3, 0, x, 0, -0.3, y), "EPSG:25831")])
    assert found.notes == ()
    assert sheets_usable(project, HERE).passed


def test_a_register_and_an_export_whose_datum_shift_lacks_its_grid_say_so(
    tmp_path: Path, make_project: MakeProject
) -> None:
    project = british(make_project, tmp_path / "home")
    house = shapely.box(1.3107, 52.6276, 1.3109, 52.6277)
    gpd.GeoDataFrame(geometry=[house], crs=4326).to_file(tmp_path / "r.gpkg")
    _, notes = add_register(project, tmp_path / "r.gpkg", 2024, None)
    assert sum(OSTN in note and "about 2 m" in note for note in notes) == 1
    told: list[str] = []
    _exported(project, tmp_path / "a.geojson", [shapely.box(624_100, 308_400, 624_110, 308_410)], told)
    assert [OSTN in note for note in told] == [True]
    told.clear()
    _exported(project, tmp_path / "a.gpkg", [shapely.box(624_100, 308_400, 624_110, 308_410)], told)
    assert told == [], "it is in the grid's CRS"


def test_a_truth_and_its_extent_whose_datum_shifts_lack_their_grid_are_both_named(
    tmp_path: Path, make_project: MakeProject
) -> None:
    project = british(make_project, tmp_path / "home")
    gpd.GeoDataFrame(geometry=[shapely.box(1.3107, 52.6276, 1.3109, 52.6277)], crs=4326).to_file(tmp_path / "t.gpkg")
    gpd.GeoDataFrame(geometry=[shapely.box(1.31, 52.62, 1.32, 52.63)], crs=4258).to_file(tmp_path / "e.gpkg")
    told: list[str] = []
    with pytest.raises(MissingInput):  # nothing is made yet: the files are read first
        compare_with_truth(project, "there", 2024, tmp_path / "t.gpkg", tmp_path / "e.gpkg", None, None, told)
    assert [(note.partition(":")[0], OSTN in note, "about 2 m" in note) for note in told] == [
        ("t.gpkg", True, True),
        ("e.gpkg", True, True),
    ]


# ------------------------------------------------------------------------------------------------ bound CRSs

AIRY = "+proj=tmerc +lat_0=49 +lon_0=-2 +k=0.9996012717 +x_0=400000 +y_0=-100000 +ellps=airy +units=m +no_defs"


@pytest.mark.parametrize("towgs84", ["446.448,-125.157,542.06,0.15,0.247,0.842,-20.489", "400,-100,500,0,0,0,0"])
def test_the_shift_that_a_file_states_for_itself_is_kept(
    tmp_path: Path, make_project: MakeProject, towgs84: str
) -> None:
    crs = f"{AIRY} +towgs84={towgs84}"
    project = british(make_project, tmp_path / "home")
    file = lay(tmp_path / "a.tif", ground(60, 60), Affine(0.3, 0, 624_100, 0, -0.3, 308_500), crs)
    sheet = cataloged(project, [file]).sheets[0]
    to = pyproj.Transformer.from_crs(crs, "EPSG:27700", always_xy=True)
    assert pyproj.CRS(sheet.crs).is_bound
    assert np.hypot(*np.subtract(sheet.outline[0], to.transform(624_100, 308_500))) < 0.01
    row = table_of(project).to_pylist()[0]
    assert pyproj.CRS(row["proj:wkt2"]).is_bound
    pixels = tiled(project, [file])
    assert pixels.objects


# ------------------------------------------------------------------------------------------------ dates


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("a.tif", {}, (None, "delivery")),
        ("a.tif", {"TIFFTAG_DATETIME": "2024:05:17 11:00:00"}, ("2024-05-17", "TIFFTAG_DATETIME")),
        ("a.tif", {"TIFFTAG_DATETIME": "2023:05:17 11:00:00"}, (None, "delivery")),
        ("a.tif", {"TIFFTAG_DATETIME": "2024:00:00 00:00:00"}, (None, "delivery")),
        ("a.tif", {"ACQUISITIONDATETIME": "2024-06-02T10:00:00Z"}, ("2024-06-02", "ACQUISITIONDATETIME")),
        ("ortho_20240814_2000.tif", {"TIFFTAG_DATETIME": "2024:11:01 01:02:03"}, ("2024-08-14", "name")),
        ("ortho_2024-08-14.tif", {}, ("2024-08-14", "name")),
        ("ortho_2024.tif", {}, (None, "delivery")),
        ("ortho_20241399.tif", {}, (None, "delivery")),
        ("ortho_20240101.tif", {}, ("2024-01-01", "name")),
        ("ortho_20190814.tif", {"TIFFTAG_DATETIME": "2024:05:17 11:00:00"}, ("2024-05-17", "TIFFTAG_DATETIME")),
    ],
)
def test_no_date_is_invented(name: str, tags: dict[str, str], expected: tuple[str | None, str]) -> None:
    assert acquired_on(name, tags, 2024) == expected


@pytest.mark.parametrize("dated", [False, True])
def test_an_unknown_day_is_null_between_the_years_ends(tmp_path: Path, make_project: MakeProject, dated: bool) -> None:
    project = make_project(tmp_path / "home")
    files = [lay(tmp_path / "a.tif", ground(60, 60), place(0, 0))]
    if dated:
        files.append(lay(tmp_path / "b_2024-08-14.tif", ground(60, 60), place(60, 0)))
    cataloged(project, files)
    rows = {row["id"]: row for row in table_of(project).to_pylist()}
    row = rows["a.tif"]
    assert row["datetime"] is None
    assert row["start_datetime"] == datetime(2024, 1, 1, tzinfo=UTC)
    assert row["end_datetime"] == datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert row["groundplan:date_source"] == "delivery"
    if dated:
        known = rows["b_2024-08-14.tif"]
        assert known["datetime"] == datetime(2024, 8, 14, tzinfo=UTC)
        assert known["groundplan:date_source"] == "name"


def test_an_old_catalogues_first_of_january_is_read_as_unknown() -> None:
    sheet = {"key": "landing/r/2024/a.tif", "sha256": "", "bytes": 1, "width": 1, "height": 1, "crs": "EPSG:28992"}
    sheet |= {"transform": [1, 0, 0, 0, -1, 0], "bands": 3, "dtype": "uint8", "gsd": 1.0, "outline": [], "beside": []}
    old = catalog._sheet({**sheet, "acquired": "2024-01-01"})
    assert old.acquired is None
    assert old.day == "2024-01-01", "it is laid, and its blocks are named, as before"
    assert catalog._sheet({**sheet, "acquired": "2024-05-17"}).acquired == "2024-05-17"


def test_a_building_on_imagery_of_an_unknown_day_has_no_date(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    sheets = list(cataloged(project, [lay(tmp_path / "a.tif", ground(60, 60), place(0, 0))]).sheets)
    x, y = sheets[0].polygon.centroid.coords[0]
    columns = {"confidence": [0.5], "pixel_x": [30], "pixel_y": [30], "x": [x], "y": [y]}
    frame = gpd.GeoDataFrame(columns, geometry=[shapely.Point(x, y).buffer(3)], crs="EPSG:28992")
    data = to_parquet(footprints.provenance(frame, project, sheets, "m", {}))
    schema = pq.read_schema(io.BytesIO(data))
    assert schema.field("image_date").type == schema.field("sheet").type, "a column of nulls has the type of the others"
    assert gpd.read_parquet(io.BytesIO(data))["image_date"].isna().all()
    nothing = to_parquet(footprints.provenance(frame.head(0), project, sheets, "m", {}))
    assert pq.read_schema(io.BytesIO(nothing)).types == schema.types, "a region without buildings has the same columns"


# ------------------------------------------------------------------------------------------------ exports, 180 degrees


def _exported(project: Project, target: Path, shapes: list[Any], notes: list[str] | None = None) -> dict[str, Any]:
    """A GeoJSON of footprints of these shapes, as if they had been made."""
    n = len(shapes)
    columns = {"id": [f"b{i}" for i in range(n)], "confidence": [0.5] * n, "area": [1.0] * n, "image_date": [None] * n}
    frame = gpd.GeoDataFrame(columns, geometry=shapes, crs=project.grid.crs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(footprints, "load", lambda *_: frame)
        export(project, target, HERE.region, HERE.year, notes)
    return json.loads(target.read_text()) if target.suffix == ".geojson" else {}


def test_an_exported_geojson_is_as_rfc_7946_wants_it(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    yard = shapely.Polygon(
        shapely.box(180_000, 440_000, 180_020, 440_020).exterior,
        [shapely.box(180_005, 440_005, 180_010, 440_010).exterior.coords],
    )
    shapes = [yard, shapely.reverse(yard), shapely.box(180_100, 440_000, 180_110, 440_010)]
    written = _exported(project, tmp_path / "a.geojson", shapes)
    assert "crs" not in written
    assert written["name"] == "footprints"
    back = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:28992", always_xy=True)
    for feature, shape in zip(written["features"], shapes, strict=True):
        polygon = shapely.geometry.shape(feature["geometry"])
        assert shapely.is_ccw(polygon.exterior)
        assert not any(shapely.is_ccw(ring) for ring in polygon.interiors)
        there = shapely.transform(polygon, lambda xy: np.column_stack(back.transform(xy[:, 0], xy[:, 1])))
        assert shapely.hausdorff_distance(there, shape) < 0.011, "seven digits of a degree are a centimetre"


FIJI = {"crs": "EPSG:3460", "resolution": 0.30, "block_size": 256, "origin": [2_132_700.0, 4_000_000.0]}
"""A grid whose first blocks lie on both sides of 180 degrees."""


@pytest.mark.parametrize("crs", ["EPSG:3460", "EPSG:4326"])
def test_a_sheet_across_the_180th_meridian(tmp_path: Path, make_project: MakeProject, crs: str) -> None:
    project = make_project(tmp_path / "home", grid=FIJI, imagery=LOSSLESS)
    to = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3460", always_xy=True)
    x, y = to.transform(180, -16.63)
    transform = (
        Affine(0.3, 0, x - 15, 0, -0.3, y + 15)
        if crs != "EPSG:4326"
        else Affine(3e-6, 0, 180 - 1.5e-4, 0, -3e-6, -16.63)
    )
    sheet = cataloged(project, [lay(tmp_path / "a.tif", ground(100, 100), transform, crs)]).sheets[0]
    assert sheet.polygon.area == pytest.approx(900 if crs != "EPSG:4326" else 32 * 33.3, rel=0.1)
    row = table_of(project).to_pylist()[0]
    box, shape = row["bbox"], shapely.from_wkb(row["geometry"])
    assert shape.geom_type == "MultiPolygon"
    assert box["xmin"] > 179.99
    assert box["xmax"] < -179.99
    east, west = sorted(shape.geoms, key=lambda part: part.bounds)
    assert (east.bounds[0], west.bounds[2]) == (-180, 180)
    square = shapely.box(x - 5, y - 5, x + 5, y + 5)
    written = _exported(project, tmp_path / "a.geojson", [square])
    cut = shapely.geometry.shape(written["features"][0]["geometry"])
    assert len(cut.geoms) == 2
    assert all(shapely.is_ccw(part.exterior) for part in cut.geoms)


def test_a_register_across_the_180th_meridian_is_complete_around_its_houses(
    tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", grid=FIJI)
    houses = [shapely.box(x, -16.63, x + 1e-4, -16.6299) for x in (179.9990, -179.9991)]
    gpd.GeoDataFrame(geometry=houses, crs=4326).to_file(tmp_path / "r.gpkg")
    register, _ = add_register(project, tmp_path / "r.gpkg", 2024, None)
    extent = gpd.read_parquet(io.BytesIO(project.store.get(register.extent))).to_crs("EPSG:3460")
    left, bottom, right, top = extent.total_bounds
    assert right - left < 250, "200 m, not the way around the earth"
    assert top - bottom < 50
    area = shapely.box(*extent.total_bounds).buffer(20)
    assert len(registers._near(project, register, register.buildings, area)) == 2, "a box that crosses has west > east"


def test_map_tiles_and_pages_on_both_sides_of_the_180th_meridian(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", grid=FIJI, imagery=LOSSLESS)
    to = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3460", always_xy=True)
    x, y = to.transform(180, -16.63)
    manifest = tiled(
        project, [lay(tmp_path / "a.tif", ground(200, 100), Affine(0.3, 0, x - 30, 0, -0.3, y + 15), FIJI["crs"])]
    )
    zoom, line = 19, int((np.pi - np.arcsinh(np.tan(np.radians(-16.63)))) / np.pi / 2 * 2**19)
    shown = [web_tiles.render(project, manifest, zoom, column, line) for column in (2**zoom - 1, 0)]
    assert all(shown), "the easternmost and the westernmost tile of the web map"
    area = [(np.asarray(Image.open(io.BytesIO(tile)))[..., 3] > 0).mean() for tile in shown if tile]
    assert area[0] == pytest.approx(area[1], rel=0.1), "30 m lie on each side"
    west, _, east, _ = json.loads(Reading(project).region(HERE).data)["bounds"]
    assert west < 180 < east < 180.01, "maps count on beyond 180 degrees"
    assert box_of_query(f"{west},-17,{east - 360},-16") == (west, -17, east - 360, -16)


def test_the_country_map_of_islands_on_both_sides(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", grid=FIJI)
    to = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3460", always_xy=True)
    (x, y), (far, _) = to.transform(179.9, -16.6), to.transform(-179.9, -16.6)
    shapes = [shapely.box(x, y, x + 5000, y + 5000), shapely.box(x + 5000, y, far, y + 5000)]
    gpd.GeoDataFrame({"name": ["a", "b"]}, geometry=shapes, crs="EPSG:3460").to_file(tmp_path / "r.gpkg")
    add_regions(project, tmp_path / "r.gpkg")
    outlines = country_map.shapes(project, ["a", "b"])
    assert outlines["a"].geom_type == "Polygon"
    assert len(shapely.get_parts(outlines["b"])) == 2
    lefts, _, rights, _ = shapely.bounds(shapely.get_parts(np.array(list(outlines.values())))).T
    assert (rights - lefts < 1).all(), "no band around the earth"

"""Exports: what GIS programs and people find in a file of footprints, in every format."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import geopandas as gpd
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from conftest import MakeProject

from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from groundplan.footprints import export, footprints, layer_files
from groundplan.project import Project

PLACE = Partition(2022, "Kämpala's north")
SAID = {"imagery": "Zürich & Söhne", "imagery_licence": "CC-BY-4.0", "footprints_licence": "ODbL-1.0"}
ENDINGS = list(layer_files.FORMATS)


@pytest.fixture
def project(tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> Project:
    """One whose footprints are two houses, one with a yard; of one, the day of its image is known."""
    yard = shapely.box(180_000, 440_000, 180_020, 440_020).difference(shapely.box(180_005, 440_005, 180_010, 440_010))
    columns = {
        "id": ["b1", "b2"],
        "confidence": pd.array([0.835, 0.5], dtype="float32"),
        "area": [375.0, 100.0],
        "image_date": pd.array(["2022-05-01", None], dtype="str"),
        "sheet": ["é.tif", "e.tif"],
        "fingerprint": ["f" * 64] * 2,
    }
    shapes = [shapely.reverse(yard), shapely.box(180_100, 440_000, 180_110, 440_010)]
    frame = gpd.GeoDataFrame(columns, geometry=shapes, crs=28992)
    monkeypatch.setattr(footprints, "load", lambda *_: frame)
    return make_project(tmp_path / "home", credits=SAID)


def _exported(project: Project, folder: Path, ending: str, crs: str | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    target = folder / f"houses{ending}"
    assert export.export_all(project, target, [PLACE], crs=crs) == (2, [PLACE])
    return target


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_says_when_and_where(project: Project, tmp_path: Path, ending: str) -> None:
    target = _exported(project, tmp_path / "out", ending)
    found = gpd.read_parquet(target) if ending == ".parquet" else gpd.read_file(target)
    rows = found.set_index("id").sort_index()
    assert set(rows["region"]) == {PLACE.region}
    assert {int(year) for year in rows["year"]} == {2022}
    assert [float(area) for area in rows["area_m2"]] == [375.0, 100.0]
    assert float(rows["confidence"].iloc[0]) == 0.835
    assert rows["sheet"].iloc[0] == "é.tif"
    assert str(rows["image_date"].iloc[0]).replace("/", "-").startswith("2022-05-01")
    assert pd.isna(rows["image_date"].iloc[1]) or rows["image_date"].iloc[1] == ""
    assert not [*target.parent.glob(".*")], "something half-written stays"


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".shp"])
def test_a_day_is_of_the_type_date(project: Project, tmp_path: Path, ending: str) -> None:
    told = pyogrio.read_info(_exported(project, tmp_path / "out", ending))
    assert dict(zip(told["fields"], told["ogr_types"], strict=True))["image_date"] == "OFTDate"


def test_a_day_in_parquet_is_a_day(project: Project, tmp_path: Path) -> None:
    table = pq.read_table(_exported(project, tmp_path / "out", ".parquet"))
    assert table["image_date"].to_pylist() == [date(2022, 5, 1), None]
    assert table.schema.metadata[b"licence"].decode() == "ODbL-1.0"
    assert (
        table.schema.metadata[b"attribution"].decode() == "Imagery: Zürich & Söhne (CC-BY-4.0) · Footprints: ODbL-1.0"
    )
    assert json.loads(table.schema.metadata[b"geo"])["version"] == "1.1.0"


def test_a_geopackage_says_what_it_is_and_how_to_draw_it(project: Project, tmp_path: Path) -> None:
    target = _exported(project, tmp_path / "out", ".gpkg")
    told = pyogrio.read_info(target, layer="footprints")["layer_metadata"]
    assert told["title"] == "Building footprints of Kämpala's north, 2022"
    assert told["licence"] == "ODbL-1.0"
    with closing(sqlite3.connect(target)) as database:
        (name, style, default) = database.execute(
            "SELECT f_table_name, styleQML, useAsDefault FROM layer_styles"
        ).fetchone()
        (identifier,) = database.execute("SELECT identifier FROM gpkg_contents WHERE data_type = 'features'").fetchone()
    assert (name, default, identifier) == ("footprints", 1, told["title"])
    assert ElementTree.fromstring(style).find("renderer-v2").get("attr") == "confidence"  # type: ignore[union-attr]
    assert target.with_suffix(".qml").read_text("utf-8") == style


def test_a_geojson_is_named_and_short(project: Project, tmp_path: Path) -> None:
    written = json.loads(_exported(project, tmp_path / "out", ".geojson").read_text("utf-8"))
    assert written["name"] == "footprints"
    assert written["licence"] == "ODbL-1.0"
    assert "Zürich" in written["attribution"]
    assert "crs" not in written
    ring = written["features"][0]["geometry"]["coordinates"][0]
    assert shapely.LinearRing(ring).is_ccw
    assert all(len(f"{value}".partition(".")[2]) <= 7 for point in ring for value in point)


def test_a_shapefile_has_short_names_its_code_page_and_words(project: Project, tmp_path: Path) -> None:
    target = _exported(project, tmp_path / "out", ".shp")
    assert target.with_suffix(".cpg").read_text() == "UTF-8"
    assert {path.suffix for path in target.parent.iterdir()} == {".shp", ".shx", ".dbf", ".prj", ".cpg", ".qml", ".qmd"}
    words = ElementTree.fromstring(target.with_suffix(".qmd").read_text("utf-8"))
    assert words.findtext("license") == "ODbL-1.0"
    assert "Zürich & Söhne" in str(words.findtext("rights"))


def test_names_that_are_cut_stay_apart() -> None:
    names = layer_files.short_names(["fingerprint", "fingerprints", "FINGERPRINT_3", "id"])
    assert all(len(name) <= 10 for name in names.values())
    assert len({name.lower() for name in names.values()}) == 4
    assert names["id"] == "id"


def test_a_table_has_shapes_and_points(project: Project, tmp_path: Path) -> None:
    table = pd.read_csv(_exported(project, tmp_path / "out", ".csv"))
    assert set(table["crs_name"]) == {"EPSG:28992"}
    for row in table.itertuples():
        assert shapely.from_wkt(row.WKT).contains(shapely.Point(row.x, row.y))


def test_another_crs_moves_the_shapes_and_keeps_the_areas(project: Project, tmp_path: Path) -> None:
    found = gpd.read_file(_exported(project, tmp_path / "out", ".gpkg", crs="EPSG:3857"))
    assert found.crs.to_epsg() == 3857
    assert found.area.iloc[0] > 600
    assert found["area_m2"].iloc[0] == 375.0


@pytest.mark.parametrize(
    ("name", "crs", "reason"),
    [
        ("a.gpkg", "EPSG:0", "PROJ knows none"),
        ("a.geojson", "EPSG:3857", "longitude and latitude"),
        ("a.dxf", None, "no format"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(
    project: Project, tmp_path: Path, name: str, crs: str | None, reason: str
) -> None:
    with pytest.raises(BadConfig, match=reason):
        export.export_all(project, tmp_path / name, [PLACE], crs=crs)
    assert not (tmp_path / name).exists()


def test_an_own_style_is_left_alone(project: Project, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/houses.qml").write_text("mine")
    _exported(project, tmp_path / "out", ".fgb")
    assert (tmp_path / "out/houses.qml").read_text() == "mine"


def test_nothing_stated_is_said(tmp_path: Path, project: Project, make_project: MakeProject) -> None:
    silent = make_project(tmp_path / "silent")
    written = json.loads(_exported(silent, tmp_path / "out", ".geojson").read_text("utf-8"))
    assert (written["licence"], written["attribution"]) == (None, None)
    assert pyogrio.read_info(_exported(silent, tmp_path / "out", ".gpkg"))["layer_metadata"]["licence"] == "not stated"

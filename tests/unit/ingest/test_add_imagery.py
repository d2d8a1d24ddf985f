"""Adding imagery: no file takes another's place unseen, and what belongs to a sheet comes with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rasterio
from conftest import MakeProject
from laid_sheets import HERE, LOSSLESS, cataloged, ground, here, lay, mosaic, place, world
from shapely import box

from groundplan.errors import BadConfig, BadSheet
from groundplan.imagery.landing import check_region_name, landed_files, parts_beside, why_unusable
from groundplan.imagery.regions import add_regions
from groundplan.imagery.sheet import opened
from groundplan.ingest.add_imagery import Delivered, deliver
from groundplan.labels.registers import add_register
from groundplan.pipeline import run_step
from groundplan.polygons.vector_files import NO_NETWORK
from groundplan.project import Project

IMAGE = ground(64, 64)


@pytest.fixture
def project(tmp_path: Path, make_project: MakeProject) -> Project:
    return make_project(tmp_path / "home", imagery={**LOSSLESS, "reference_roots": [tmp_path.as_uri()]})


def given(project: Project, *files: Path, reference: bool = False) -> list[Delivered]:
    return deliver(project, list(files), HERE.region, HERE.year, reference)


def names(project: Project) -> list[str]:
    return [item.key.rsplit("/", 1)[-1] for item in landed_files(project, HERE)]


@pytest.mark.bad_input
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(("one", "other"), [("1.tif", "1.tif"), ("1.tif", "1.TIF"), ("Zu\u0308.tif", "Z\u00fc.tif")])
def test_two_files_of_one_name_are_refused_before_anything_is_copied(
    one: str, other: str, reference: bool, tmp_path: Path, project: Project
) -> None:
    north, south = (
        lay(tmp_path / side / name, IMAGE, place(0, 0)) for side, name in (("north", one), ("south", other))
    )
    with pytest.raises(BadSheet, match=r"two of the files have that name: .*north.*south.*Rename one of them"):
        given(project, north, south, reference=reference)
    assert names(project) == []


@pytest.mark.bad_input
def test_parts_of_one_name_are_refused_and_so_is_one_that_would_lie_beside_a_stranger(
    tmp_path: Path, project: Project
) -> None:
    north, south = (
        lay(tmp_path / "n/1.tif", IMAGE, place(0, 0)),
        lay(tmp_path / "s/1.jp2", IMAGE, None, driver="JP2OpenJPEG"),
    )
    (tmp_path / "n/1.prj").write_text("x")
    with pytest.raises(BadSheet, match=r"1\.prj: it belongs to .*1\.tif, and would lie beside .*1\.jp2 too"):
        given(project, north, south)
    (tmp_path / "s/1.prj").write_text("y")
    with pytest.raises(BadSheet, match=r"1\.prj: two of the files have that name"):
        given(project, north, south)
    assert names(project) == []


def test_one_file_named_twice_is_one_file(tmp_path: Path, project: Project) -> None:
    file = lay(tmp_path / "1.tif", IMAGE, place(0, 0))
    assert [item.name for item in given(project, file, file)] == ["1.tif"]


def test_replacing_says_what_it_replaces_and_when_that_was_added(tmp_path: Path, project: Project) -> None:
    old = lay(tmp_path / "north/1.tif", IMAGE, place(0, 0))
    (tmp_path / "north/1.tif.msk").write_bytes(b"II*\0")
    given(project, old)
    (item,) = given(project, lay(tmp_path / "south/1.tif", IMAGE[:, :32], place(0, 0)))
    assert item.state == "replaced"
    assert item.replaced.startswith(f"{old.stat().st_size:,} bytes, added 2")
    assert "Beside the new 1.tif still lies 1.tif.msk (4 bytes, added 2" in item.hint


def test_a_register_of_the_same_stem_says_what_it_replaces(tmp_path: Path, project: Project) -> None:
    for side, ending in (("north", "gpkg"), ("south", "gpkg"), ("east", "geojson")):
        (tmp_path / side).mkdir()
        x = {"north": 0, "south": 50, "east": 90}[side]
        file = tmp_path / side / f"houses.{ending}"
        gpd.GeoDataFrame(geometry=[here(box(x, 0, x + 9, 9))], crs="EPSG:28992").to_file(file)
        _, notes = add_register(project, file, 2024, None)
        told = [note for note in notes if "replaces" in note]
        assert [note.split(", added 2")[0] for note in told] == (
            [] if side == "north" else ["it replaces the register houses.gpkg"]
        )
        _, again = add_register(project, file, 2024, None)
        assert not any("replaces" in note for note in again), "it is the same"


# ---------------------------------------------------------------------------------------------- what lies beside


def test_what_belongs_to_a_sheet_comes_with_it(tmp_path: Path, project: Project) -> None:
    folder = tmp_path / "in"
    mask = np.zeros((64, 64), bool)
    mask[:, :32] = True
    sheet = lay(folder / "a.tif", IMAGE, None, crs=None, mask=mask, external=True)
    world(sheet, place(0, 0)).rename(folder / "A.TFW")
    (folder / "a.prj").write_text(pyproj.CRS("EPSG:28992").to_wkt("WKT1_ESRI"))
    (folder / "a.tif.aux.xml").write_text("<PAMDataset/>")
    lay(folder / "b.tif", IMAGE, place(100, 0))
    (folder / "notes.txt").write_text("not asked for")
    done = given(project, sheet)
    assert sorted(names(project)) == ["A.TFW", "a.prj", "a.tif", "a.tif.aux.xml", "a.tif.msk"]
    assert {item.state for item in done} == {"copied"}
    run_step(project, "sheets", HERE)
    manifest = run_step(project, "aerial_tiles", HERE).manifest
    _, shown = mosaic(project, manifest, 64, 64)
    assert shown.sum() == 64 * 32, "the mask counts"


def test_a_part_without_its_sheet_is_named(tmp_path: Path, project: Project) -> None:
    part = tmp_path / "a.tfw"
    part.write_text("1\n0\n0\n1\n0\n0")
    (item,) = given(project, part)
    assert item.hint == "a.tfw belongs to no sheet that was delivered."
    done = given(project, lay(tmp_path / "in/a.tif", IMAGE, place(0, 0)))
    assert done[0].hint == ""


@pytest.mark.parametrize("store", ["", "memory://prj"])
@pytest.mark.parametrize("esri", [True, False])
def test_a_prj_is_read_where_the_file_states_no_crs(
    store: str, esri: bool, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", store, imagery=LOSSLESS)
    sheet = lay(tmp_path / "a.tif", IMAGE, place(0, 0), crs=None)
    crs = pyproj.CRS("EPSG:28992")
    (tmp_path / "a.prj").write_text(crs.to_wkt("WKT1_ESRI" if esri else "WKT1_GDAL"))
    (found,) = cataloged(project, [sheet]).sheets
    assert found.crs == "EPSG:28992"
    assert found.beside == (), "its CRS is part of what it is; the file is not"


@pytest.mark.bad_input
def test_a_prj_that_names_no_crs_sets_the_sheet_aside(tmp_path: Path, project: Project) -> None:
    sheet = lay(tmp_path / "a.tif", IMAGE, place(0, 0), crs=None)
    (tmp_path / "a.prj").write_text("Projection GEOGRAPHIC\nUnits DD")
    (found,) = cataloged(project, [sheet, lay(tmp_path / "b.tif", IMAGE, place(0, 0))]).quarantined
    assert found.reason == "its file a.prj names no CRS that is known"


def test_a_prj_of_a_sheet_that_states_its_crs_decides_nothing(tmp_path: Path, project: Project) -> None:
    sheet = lay(tmp_path / "a.tif", IMAGE, place(0, 0))
    (without,) = cataloged(project, [sheet]).sheets
    (tmp_path / "a.prj").write_text("anything")
    (found,) = cataloged(project, [sheet]).sheets
    assert found.identity == without.identity


def test_parts_of_a_sheet_are_known_by_name() -> None:
    assert {"a.tfw", "a.prj", "a.tif.msk", "a.tif.ovr", "a.tif.aux.xml"} <= parts_beside("A.TIF")
    assert not {"a.tif", "ab.tfw", "a.txt"} & parts_beside("a.tif")


# ------------------------------------------------------------------------------------------------- names of regions


def test_a_name_that_a_mac_wrote_is_the_name_that_others_write(tmp_path: Path, project: Project) -> None:
    assert check_region_name("Zu\u0308rich") == "Z\u00fcrich"
    file = tmp_path / "r.gpkg"
    gpd.GeoDataFrame({"name": ["Zu\u0308rich"]}, geometry=[here(box(0, 0, 90, 90))], crs="EPSG:28992").to_file(file)
    assert add_regions(project, file) == ["Z\u00fcrich"]
    deliver(project, [lay(tmp_path / "a.tif", IMAGE, place(0, 0))], "Zu\u0308rich", 2024)
    assert project.store.list("landing")[0].key == "landing/Z\u00fcrich/2024/a.tif"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("\u0141\u00f3d\u017a #1", "it holds '#' (NUMBER SIGN)"),
        ("50%", "it holds '%' (PERCENT SIGN)"),
        ("a|b", "it holds '|' (VERTICAL LINE)"),
        ("a\u200bb", "ZERO WIDTH SPACE"),
        ("Baden (S\u00fcd) & Co.", "it begins or ends with a space or a dot"),
        ("a..b", "it holds '..'"),
        ("x" * 81, "it is too long"),
        ("-a", "it begins with '-'"),
        ("", "it is empty"),
    ],
)
def test_the_sign_that_a_name_may_not_hold_is_named(name: str, sign: str) -> None:
    with pytest.raises(BadConfig) as caught:
        check_region_name(name)
    assert sign in str(caught.value)
    assert "accents" in why_unusable("Zu\u0308rich")


def test_layers_of_regions_and_extents_are_chosen(tmp_path: Path, project: Project) -> None:
    from groundplan.errors import BadRegister
    from groundplan.labels.registers import FeatureChoice

    file = tmp_path / "all.gpkg"
    for layer, shape in (("towns", box(0, 0, 90, 90)), ("houses", box(10, 10, 20, 20))):
        gpd.GeoDataFrame({"name": ["a"]}, geometry=[here(shape)], crs="EPSG:28992").to_file(file, layer=layer)
    with pytest.raises(BadRegister, match=r"towns .*, houses .*--layer NAME"):
        add_regions(project, file)
    assert add_regions(project, file, "towns") == ["a"]
    shutil.copy(file, tmp_path / "e.gpkg")
    with pytest.raises(BadRegister, match="--extent-layer NAME"):
        add_register(project, file, 2024, tmp_path / "e.gpkg", FeatureChoice(layer="houses"))
    _, notes = add_register(
        project, file, 2024, tmp_path / "e.gpkg", FeatureChoice(layer="houses", extent_layer="towns")
    )
    assert not any("no --extent" in note for note in notes)


def test_gdals_http_leads_nowhere_while_a_sheet_is_open(tmp_path: Path, project: Project) -> None:
    given(project, lay(tmp_path / "a.tif", IMAGE, place(0, 0)))
    with opened(project, "landing/delft/2024/a.tif"):
        assert {name: rasterio.env.getenv().get(name) for name in NO_NETWORK} == NO_NETWORK

"""What is given on: a QGIS project that opens, a STAC catalogue that validates."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pyogrio
import pystac
import pytest
import rasterio
from conftest import MakeProject
from pystac.validation import validate_dict

from groundplan.errors import BadConfig, MissingInput
from groundplan.project import open_project
from groundplan.publish.qgis import write_qgis
from groundplan.publish.stac import COG_TYPE, spdx, write_stac


def test_a_qgis_project_shows_footprints_register_and_imagery(built_home: Path, tmp_path: Path) -> None:
    written = write_qgis(open_project(built_home), tmp_path / "qgis")
    with zipfile.ZipFile(written) as packed:
        top = ElementTree.fromstring(packed.read("groundplan.qgs"))
    layers = {layer.findtext("layername"): layer for layer in top.iter("maplayer")}
    shown = {layer.get("name"): layer.get("checked") for layer in top.iter("layer-tree-layer")}
    assert set(layers) == set(shown)
    assert shown["footprints 2024"] == "Qt::Checked"
    assert top.findtext("projectCrs/spatialrefsys/authid") == "EPSG:28992"
    assert top.findtext("properties/SpatialRefSys/ProjectionsEnabled") == "1", "without it QGIS takes no CRS"
    for name in ("footprints", "register"):
        file, table, _ = str(layers[f"{name} 2024"].findtext("datasource")).split("|")
        assert pyogrio.read_info(written.parent / file, layer=table.removeprefix("layername="))["features"] > 0
    pictures = [str(layer.findtext("datasource")) for layer in layers.values() if layer.get("type") == "raster"]
    assert len(pictures) == 6
    assert all("/2024/{z}/{x}/{y}.png" in source and "http://127.0.0.1:3001/tiles/" in source for source in pictures)
    assert layers["footprints 2024"].find("renderer-v2").get("attr") == "confidence"  # type: ignore[union-attr]
    assert not [*written.parent.glob(".*")]


def test_without_imagery_there_is_no_qgis_project(tmp_path: Path, make_project: MakeProject) -> None:
    with pytest.raises(MissingInput, match="groundplan build"):
        write_qgis(make_project(tmp_path / "home"), tmp_path / "qgis")
    assert not (tmp_path / "qgis").exists()


def test_a_stac_catalogue_validates_and_leads_to_the_data(built_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(built_home, home)
    said = '[credits]\nimagery = "A town"\nimagery_licence = "CC0 1.0"\n'
    (home / "groundplan.toml").write_text((home / "groundplan.toml").read_text() + said)
    write_stac(open_project(home), home / "stac")
    (tmp_path / "moved").mkdir()
    home.rename(tmp_path / "moved/elsewhere")  # links are relative: all of it goes along
    root = pystac.Catalog.from_file(str(tmp_path / "moved/elsewhere/stac/catalog.json"))
    assert {child.id for child in root.get_children()} == {"sheets", "aerial_tiles", "building_footprints"}
    for catalogue, _, items in root.walk():
        for one in (catalogue, *items):
            # the core's schemas come with pystac; those of extensions would be asked of their site
            validate_dict({**one.to_dict(), "stac_extensions": []})
    items = {item.id: item for item in root.get_items(recursive=True)}
    assets = [asset for item in items.values() for asset in item.assets.values()]
    assert all(Path(str(asset.get_absolute_href())).is_file() for asset in assets)
    assert all(asset.media_type and asset.roles == ["data"] for asset in assets)
    tile = next(item for item in items.values() if item.collection_id == "aerial_tiles")
    with rasterio.open(tile.assets["image"].get_absolute_href()) as source:
        assert list(source.transform)[:6] == tile.properties["proj:transform"]
        assert list(source.shape) == tile.properties["proj:shape"]
        assert tile.properties["proj:code"] == source.crs.to_string()
    assert tile.assets["image"].media_type == COG_TYPE
    # the drawn sheets name whose they are in a tag, and no licence: that is said by the settings
    assert (tile.properties["license"], tile.properties["providers"]) == ("CC0-1.0", [{"name": "invented; CC0"}])
    found = next(item for item in items.values() if item.collection_id == "building_footprints")
    assert "license" not in found.properties, "nobody says under which licence the footprints are"


def test_a_stac_catalogue_replaces_itself_and_nothing_else(built_home: Path, tmp_path: Path) -> None:
    project = open_project(built_home)
    write_stac(project, tmp_path / "stac")
    (tmp_path / "stac/left.json").write_text("{}")
    write_stac(project, tmp_path / "stac")
    assert not (tmp_path / "stac/left.json").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo.jpg").write_text("mine")
    with pytest.raises(BadConfig, match="something else"):
        write_stac(project, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["photo.jpg"]


def test_a_licence_is_spelled_as_spdx_has_it_or_other() -> None:
    given = ["CC BY 4.0", "cc-by-sa-3.0", "CC0 1.0", "ODBL-1.0", "CC BY", "all rights reserved"]
    assert [spdx(text) for text in given] == ["CC-BY-4.0", "CC-BY-SA-3.0", "CC0-1.0", "ODbL-1.0", "other", "other"]

"""What others are told of the imagery's tiles: WMTS, TileJSON and OGC documents lead clients to the tiles there are."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen
from xml.etree import ElementTree

import morecantile
import numpy as np
import pytest
from api_server import served
from fastapi import FastAPI
from PIL import Image

from groundplan.database import connect
from groundplan.project import open_project
from serving.api.app import Parts
from serving.api.problems import Problem, answered
from serving.maps.app import build_app
from serving.ogc.routes import ogc_router

WEB = morecantile.tms.get("WebMercatorQuad")
SPACES = {"w": "http://www.opengis.net/wmts/1.0", "ows": "http://www.opengis.net/ows/1.1"}
LINK = "{http://www.w3.org/1999/xlink}href"
METRES = 0.00028  # of a pixel, by which WMTS counts scales
READ = """
import sys, numpy, rasterio
with rasterio.open(sys.argv[1]) as all_of_them:
    layers = all_of_them.subdatasets
with rasterio.open(next(one for one in layers if "noorderveld_2024" in one)) as layer:
    place = layer.window(*map(float, sys.argv[2:6]))
    pixels = layer.read(window=place.round_offsets().round_lengths(), boundless=True, fill_value=0)
    numpy.savez("read.npz", pixels=pixels, bounds=layer.bounds, size=layer.res, layers=layers, crs=str(layer.crs))
"""


@pytest.fixture(scope="module")
def api(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Maps and results over two regions with imagery of 2024; `.get` gives JSON or bytes."""
    project = open_project(built_home)
    engine = connect.engine(f"sqlite:///{tmp_path_factory.mktemp('documents') / 'd.sqlite'}")
    connect.migrate(engine)
    app = FastAPI(exception_handlers={Problem: answered})
    app.include_router(ogc_router(engine, project))

    def get(address: str) -> Any:
        with urlopen(address if "://" in address else f"{root}/{address}", timeout=60) as answer:
            body = answer.read()
        return json.loads(body) if "json" in answer.headers.get_content_type() else body

    with served(Parts(app, build_app(project))) as address:
        root = f"http://{address}"
        yield SimpleNamespace(root=root, get=get)
    engine.dispose()


@pytest.fixture(scope="module")
def told(api: Any) -> Any:
    return api.get("ogc/imagery/noorderveld/2024/tilejson.json")


def pixels_at(api: Any, template: str, place: morecantile.Tile) -> np.ndarray:
    """(256, 256, 4) of the tile that a template leads to, whatever it calls its parts."""
    named = {"z": place.z, "x": place.x, "y": place.y}
    for part, value in {**named, "TileMatrix": place.z, "TileCol": place.x, "TileRow": place.y}.items():
        template = template.replace(f"{{{part}}}", str(value)).replace(f"{{{part[0].lower()}{part[1:]}}}", str(value))
    assert "{" not in template
    return np.asarray(Image.open(io.BytesIO(api.get(template))).convert("RGBA"))


def middle(told: Any, zoom: int) -> morecantile.Tile:
    west, south, east, north = told["bounds"]
    return WEB.tile((west + east) / 2, (south + north) / 2, zoom)


def box_said(layer: ElementTree.Element) -> list[float]:
    box = layer.find("ows:WGS84BoundingBox", SPACES)
    assert box is not None
    corners = " ".join(box.findtext(f"ows:{name}", "", SPACES) for name in ("LowerCorner", "UpperCorner"))
    return [float(part) for part in corners.split()]


def test_a_tilejson_of_imagery_holds_what_the_standard_asks_and_leads_to_pixels(api: Any, told: Any) -> None:
    assert told["tilejson"] == "3.0.0"
    assert told["attribution"] == "Imagery: invented; CC0"
    west, south, east, north = told["bounds"]
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90
    assert 0 <= told["minzoom"] < told["maxzoom"] <= 30
    for zoom in (told["minzoom"], told["maxzoom"]):
        assert pixels_at(api, told["tiles"][0], middle(told, zoom))[..., 3].any(), f"nothing is seen at level {zoom}"


def test_tile_sets_of_imagery_name_the_same_tiles(api: Any, told: Any) -> None:
    one, other = api.get("ogc/imagery")["tilesets"]
    assert "noorderveld, 2024" in one["title"]
    assert "zuiderhout, 2024" in other["title"]
    links = {link["rel"]: link for link in one["links"]}
    assert (one["dataType"], one["crs"]) == ("map", "http://www.opengis.net/def/crs/EPSG/0/3857")
    assert one["tileMatrixSetURI"] == str(WEB.uri)
    assert links["item"]["templated"] is True
    assert api.get(links["alternate"]["href"]) == told
    place = middle(told, told["maxzoom"])
    np.testing.assert_array_equal(pixels_at(api, links["item"]["href"], place), pixels_at(api, told["tiles"][0], place))
    assert api.get("ogc/imagery?year=1999")["tilesets"] == []


def test_wmts_capabilities_lead_by_their_own_scales_to_the_tiles(api: Any, told: Any) -> None:
    """As a client reads them: levels by scale, tiles by the corner, layers by their box."""
    root = ElementTree.fromstring(api.get("ogc/wmts"))
    layers = root.findall("w:Contents/w:Layer", SPACES)
    names = [layer.findtext("ows:Identifier", "", SPACES) for layer in layers]
    assert names == ["noorderveld_2024", "zuiderhout_2024"]
    about = layers[0].find("ows:Metadata", SPACES)
    assert about is not None
    assert api.get(about.attrib[LINK]) == told, "who is to be named is said there"
    np.testing.assert_allclose(box_said(layers[0]), told["bounds"], atol=1e-3)
    used = layers[0].findtext("w:TileMatrixSetLink/w:TileMatrixSet", "", SPACES)
    [matrices] = root.findall("w:Contents/w:TileMatrixSet", SPACES)
    assert matrices.findtext("ows:Identifier", "", SPACES) == used
    levels = matrices.findall("w:TileMatrix", SPACES)
    assert len(levels) == told["maxzoom"] + 1, "finer than the imagery there is nothing to ask for"
    resource = layers[0].find("w:ResourceURL", SPACES)
    assert resource is not None
    at = WEB.xy((told["bounds"][0] + told["bounds"][2]) / 2, (told["bounds"][1] + told["bounds"][3]) / 2)
    for level in levels[told["minzoom"] :]:
        span = float(level.findtext("w:ScaleDenominator", "", SPACES)) * METRES * 256
        left, top = map(float, level.findtext("w:TopLeftCorner", "", SPACES).split())
        column, row = int((at.x - left) // span), int((top - at.y) // span)
        wide, high = (int(level.findtext(f"w:Matrix{side}", "", SPACES)) for side in ("Width", "Height"))
        assert (column < wide, row < high) == (True, True)
        zoom = int(level.findtext("ows:Identifier", "", SPACES))
        assert morecantile.Tile(column, row, zoom) == middle(told, zoom)
        assert pixels_at(api, resource.attrib["template"], morecantile.Tile(column, row, zoom))[..., 3].any()
    itself = root.find("w:ServiceMetadataURL", SPACES)
    assert itself is not None
    assert api.get(itself.attrib[LINK]) == api.get("ogc/wmts")
    assert not ElementTree.fromstring(api.get("ogc/wmts?year=1999")).findall("w:Contents/w:Layer", SPACES)


def test_gdals_wmts_driver_finds_the_layers_where_they_lie(api: Any, told: Any, tmp_path: Path) -> None:
    """In a process of its own: GDAL asks while it holds the interpreter's lock, which the server here needs."""
    place = middle(told, told["maxzoom"])
    wanted = WEB.xy_bounds(place)
    words = [sys.executable, "-c", READ, f"WMTS:{api.root}/ogc/wmts", *map(str, wanted)]
    subprocess.run(words, check=True, cwd=tmp_path, timeout=120)
    read = np.load(tmp_path / "read.npz")
    assert (len(read["layers"]), str(read["crs"])) == (2, "EPSG:3857")
    [layer, _] = ElementTree.fromstring(api.get("ogc/wmts")).findall("w:Contents/w:Layer", SPACES)
    west, south, east, north = box_said(layer)
    corners = [*WEB.xy(west, south), *WEB.xy(east, north)]
    np.testing.assert_allclose(read["bounds"], corners, atol=read["size"].max())
    ours = pixels_at(api, told["tiles"][0], place)
    seen = read["pixels"].transpose(1, 2, 0)
    inside = seen[..., 3] > 0  # GDAL reads no further than the layer's box
    assert inside.mean() > 0.2
    np.testing.assert_array_equal(seen[inside], ours[inside])

"""What is given on of a country: tiles that GDAL reads, a catalogue that validates, a bridge, what changed."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import duckdb
import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pystac
import pytest
import shapely
from conftest import MakeProject
from hypothesis import given, settings
from hypothesis import strategies as st
from made_footprints import commit_houses, houses
from pystac.extensions.mlm import MLMExtension
from pystac.validation import validate_dict
from typer.testing import CliRunner

from groundplan.core.datum import transformer
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig, BadRegister, MissingInput
from groundplan.footprints import footprints, national
from groundplan.labels import registers
from groundplan.pipeline import run_asset
from groundplan.polygons.vector_tile import Outlines, layer, varints
from groundplan.project import Project, open_project
from groundplan.publish import nation_tiles, pmtiles
from groundplan.publish.bridge import read_ids
from groundplan.publish.nation import publish
from groundplan.publish.pmtiles import Tile, tile_number, write_pmtiles
from groundplan.training import models
from serving.ogc.mvt import geometry

ROOT = Path(__file__).parents[3]
YEAR = Partition(2024)
BOXES = {"east": (182500.0, 447600.0, 182700.0, 447800.0), "west": (182300.0, 447600.0, 182500.0, 447800.0)}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, make_project: MakeProject) -> Project:
    """Two regions, merged, with what changed in one of them. Read it."""
    made = make_project(tmp_path_factory.mktemp("publication") / "home", nation={"part": 80.0})
    for seed, (region, box) in enumerate(sorted(BOXES.items())):
        commit_houses(made, Partition(2024, region), houses(120, box, seed=seed))
    counts = {"new": 3, "gone": 1, "changed": 2, "same": 110, "unsure": 4}
    commit_one(made, "building_changes", Partition(2024, "east"), **counts)
    run_asset(made, national.DATASET, YEAR)
    return made


def commit_one(project: Project, dataset: str, partition: Partition, **facts: Any) -> None:
    """A manifest that says this of one object."""
    one = {"name": "all", "key": "nowhere", "fingerprint": "", "bytes": 0, "seconds": 0, "cpu_seconds": 0, "inputs": []}
    raw = {"dataset": dataset, "partition": {"year": partition.year, "region": partition.region}, "version": "1"}
    raw |= {"fingerprint": "", "objects": {"all": {**one, "facts": facts}}}
    project.store.put(f"manifests/{dataset}/{partition.path}.json", json.dumps(raw).encode())


@pytest.fixture(scope="module")
def folder(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its publication. Read it."""
    target = tmp_path_factory.mktemp("given") / "out"
    publish(project, 2024, target)
    return target


def whole(project: Project) -> gpd.GeoDataFrame:
    objects = sorted(need_manifest(project.store, national.DATASET, YEAR).objects.items())
    return pd.concat([gpd.read_parquet(io.BytesIO(project.store.get(made.key))) for _, made in objects])


# --- tiles ------------------------------------------------------------------------------------------------------


def test_footprints_on_tiles_lie_where_they_lie(project: Project, folder: Path) -> None:
    tiles = folder / "year=2024/tiles.pmtiles"
    found = pyogrio.read_dataframe(tiles, layer="footprints", ZOOM_LEVEL=14)
    real = whole(project).set_index("id").to_crs(3857)
    assert set(found["id"]) == set(real.index)
    pixel = 2 * nation_tiles.HALF / 2**14 / 4096
    by_id = found.dissolve("id").geometry  # what two tiles show is there twice
    distance = shapely.hausdorff_distance(by_id.values, real.geometry[by_id.index].values)
    assert distance.max() < pixel
    first = found.set_index("id").iloc[0]
    own = real.loc[first.name]
    assert (first["region"], first["model"], first["confidence"]) == (
        own["region"],
        own["model"],
        pytest.approx(own["confidence"], abs=0.006),
    )
    assert "building_id" not in found.columns or found["building_id"].isna().all()
    assert len(pyogrio.read_dataframe(tiles, layer="footprints", ZOOM_LEVEL=12)) >= len(real)


@pytest.mark.parametrize("zoom", [6, 9, 11])
def test_cells_on_tiles_count_every_building_once(project: Project, folder: Path, zoom: int) -> None:
    found = pyogrio.read_dataframe(folder / "year=2024/tiles.pmtiles", layer="density", ZOOM_LEVEL=zoom)
    found = found.drop_duplicates("geometry" if zoom == 11 else ["count", "built", "cell"])
    assert (found["cell"] == 64 * 2 ** (11 - zoom)).all()
    assert found["count"].sum() == len(whole(project))
    built = (found["built"] * found["cell"] ** 2).sum()
    assert built == pytest.approx(whole(project)["area"].sum(), rel=0.02, abs=found["cell"].iloc[0] ** 2 * 0.001)


def test_the_same_country_gives_the_same_archive(project: Project, folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.pmtiles"
    objects = [made for _, made in sorted(need_manifest(project.store, national.DATASET, YEAR).objects.items())]
    title = json.loads((folder / "year=2024/collection.json").read_text())["title"]
    nation_tiles.write_tiles(project, objects, again, title, "not stated")
    assert again.read_bytes() == (folder / "year=2024/tiles.pmtiles").read_bytes()


def test_a_country_on_the_edge_of_tiles_has_each_tile_once_and_all_of_it(
    tmp_path: Path, make_project: MakeProject
) -> None:
    edge = 2114 / 2**12 * 360 - 180  # of a tile of zoom 12
    x, y = transformer("EPSG:4326", "EPSG:28992").transform(edge, 52.01)
    project = make_project(tmp_path / "home", nation={"part": 80.0})
    commit_houses(project, Partition(2024, "edge"), houses(150, (x - 100, y - 100, x + 100, y + 100)))
    run_asset(project, national.DATASET, YEAR)
    made = [one for _, one in sorted(need_manifest(project.store, national.DATASET, YEAR).objects.items())]
    written = nation_tiles.Written()
    tiles = list(nation_tiles.footprint_tiles(project, made, written))
    assert len({(tile.zoom, tile.x, tile.y) for tile in tiles}) == len(tiles)
    bounds = whole(project).to_crs(3857).bounds
    for zoom in (12, 14):
        side = 2 * nation_tiles.HALF / 2**zoom
        first, last = ((bounds[name] + nation_tiles.HALF) // side for name in ("minx", "maxx"))
        top, bottom = ((nation_tiles.HALF - bounds[name]) // side for name in ("maxy", "miny"))
        expected = ((last - first + 1) * (bottom - top + 1)).sum()
        assert written.buildings[zoom] == expected > 150, "some lie on both sides"


@pytest.mark.parametrize(("tile", "number"), [((0, 0, 0), 0), ((1, 0, 0), 1), ((1, 0, 1), 2), ((1, 1, 1), 3)])
def test_tiles_are_numbered_as_the_specification_numbers_them(tile: tuple[int, int, int], number: int) -> None:
    assert tile_number(*tile) == number


def test_an_archive_of_many_tiles_has_leaves_that_readers_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pmtiles, "MOST_ROOT", 100)  # bytes: as if there were some ten thousand tiles
    monkeypatch.setattr(pmtiles, "LEAF_ENTRIES", 16)
    square = Outlines.of(np.array([shapely.box(0, 0, 4096, 4096)]))
    names = [f"{x}-{'y' * y}" for x in range(10) for y in range(10)]
    tiles = (
        Tile(12, 2000 + i // 10, 1300 + i % 10, layer("squares", square, {"name": np.array([name], object)})[0])
        for i, name in enumerate(names)
    )
    words = {"vector_layers": [{"id": "squares", "fields": {"name": "String"}}]}
    assert write_pmtiles(tmp_path / "many.pmtiles", tiles, (-5.0, 50.0, 5.0, 55.0), words) == len(names)
    found = pyogrio.read_dataframe(tmp_path / "many.pmtiles")
    assert sorted(found["name"]) == sorted(names)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_a_tile_holds_what_was_put_into_it(tmp_path_factory: pytest.TempPathFactory, seed: int, count: int) -> None:
    """Stars with a hole each, by GDAL's reader: rings in the right order and direction, to half a unit."""
    random = np.random.default_rng(seed)
    stars = []
    for _ in range(count):
        angles = np.sort(random.uniform(0, 2 * np.pi, 9)) + np.arange(9) * 1e-3
        ring = np.column_stack([np.cos(angles), np.sin(angles)]) * random.uniform(100, 300, (9, 1))
        hull = shapely.Polygon(ring + random.uniform(400, 3600, 2))
        hole = shapely.Point(shapely.point_on_surface(hull)).buffer(12)
        stars.append(hull.difference(hole) if hull.is_valid and hull.contains(hole) else shapely.box(0, 0, 50, 60))
    shapes = np.array([star if star.geom_type == "Polygon" else shapely.box(9, 9, 90, 90) for star in stars])
    shapes = np.where(random.random(count) < 0.5, shapely.reverse(shapes), shapes)
    data, number = layer("stars", Outlines.of(shapes), {"at": np.arange(count)})
    assert number == count
    for shape in shapes:  # as the service's writer of single features has it
        assert varints(np.array(geometry(shape)))[0] in data
    path = tmp_path_factory.mktemp("tile") / "one.pmtiles"
    words = {"vector_layers": [{"id": "stars", "fields": {"at": "Number"}}]}
    write_pmtiles(path, [Tile(14, 8400, 5400, data)], (4.0, 52.0, 5.0, 53.0), words)
    found = pyogrio.read_dataframe(path).sort_values("at")
    side = 2 * nation_tiles.HALF / 2**14 / 4096
    corner = np.array([8400 * 4096 * side - nation_tiles.HALF, nation_tiles.HALF - 5400 * 4096 * side])
    back = shapely.transform(found.geometry.values, lambda xy: (xy - corner) / (side, -side))
    assert shapely.hausdorff_distance(back, shapes).max() < 0.75
    np.testing.assert_allclose(shapely.area(back), shapely.area(shapes), rtol=0.1, atol=60)


# --- files and catalogue ----------------------------------------------------------------------------------------


def test_the_catalogue_validates_and_leads_to_every_file(project: Project, folder: Path) -> None:
    root = pystac.Catalog.from_file(str(folder / "catalog.json"))
    (collection,) = root.get_children()
    assert isinstance(collection, pystac.Collection)
    assert collection.id == "building-footprints-2024"
    items = list(collection.get_items())
    made = need_manifest(project.store, national.DATASET, YEAR).objects
    assert {item.id for item in items} == set(made)
    for one in (root, collection, *items):
        # the core's schemas come with pystac; those of extensions would be asked of their site
        validate_dict({**one.to_dict(), "stac_extensions": []})
    for item in items:
        asset = item.assets["data"]
        data = Path(str(asset.get_absolute_href())).read_bytes()
        assert asset.extra_fields["file:checksum"] == "1220" + made[item.id].sha256
        assert data == project.store.get(made[item.id].key)
        frame = gpd.read_parquet(io.BytesIO(data))
        assert item.properties["table:row_count"] == len(frame)
        west, south, east, north = item.bbox or [0.0] * 4
        inside = frame.to_crs(4326).total_bounds
        assert west <= inside[0] + 1e-6
        assert south <= inside[1] + 1e-6
        assert east >= inside[2] - 1e-6
        assert north >= inside[3] - 1e-6
    assets = collection.get_assets()
    assert set(assets) == {"tiles", "bridge", "changes"}
    assert all(Path(str(asset.get_absolute_href())).is_file() for asset in assets.values())


def test_every_layer_has_a_style_beside_it(folder: Path) -> None:
    layers = [*folder.rglob("parts/*.parquet"), *folder.rglob("*.fgb")]
    assert len(layers) > 3
    assert all("graduatedSymbol" in layer.with_suffix(".qml").read_text() for layer in layers)


def test_each_region_has_a_file(project: Project, folder: Path) -> None:
    for region in BOXES:
        found = pyogrio.read_dataframe(folder / f"year=2024/regions/{region}.fgb")
        assert set(found["id"]) == set(footprints.load(project, Partition(2024, region))["id"])


def test_duckdb_reads_a_window_as_the_page_says(project: Project, folder: Path) -> None:
    page = (ROOT / "docs/nation.md").read_text("utf-8")
    (query,) = re.findall(r"```sql\n(select count.*?)```", page, re.DOTALL)
    window = {"west": 182440.0, "south": 447700.0, "east": 182530.0, "north": 447760.0}
    query = query.replace("FOLDER", str(folder))
    for name, value in window.items():
        query = query.replace(f"${name}", str(value))
    found = duckdb.sql(query)
    assert found is not None
    count, area, year = found.fetchall()[0]
    everything = whole(project)
    bounds = everything.bounds
    inside = (bounds.minx <= window["east"]) & (bounds.maxx >= window["west"]) & (bounds.miny <= window["north"])
    expected = everything[inside & (bounds.maxy >= window["south"])]
    assert (count, year) == (len(expected), 2024)
    assert area == pytest.approx(expected["area"].sum())


def test_what_changed_is_counted_and_what_nobody_knows_is_null(folder: Path) -> None:
    told = json.loads((folder / "year=2024/changes.json").read_text())
    known = {"new": 3, "gone": 1, "changed": 2, "same": 110, "unsure": 4}
    assert told == {"year": 2024, "against": 2023, "all": known, "regions": {"east": known, "west": None}}


def test_a_bridge_leads_from_footprints_to_a_registers_ids(project: Project, tmp_path: Path) -> None:
    own = footprints.load(project, Partition(2024, "west"))
    register = own.iloc[:30].set_geometry(own.geometry.iloc[:30].translate(0.2, 0.1))
    register = register.assign(pand_id=[f"0344{n:03d}" for n in range(30)])[["pand_id", "geometry"]]
    register.to_file(tmp_path / "register.gpkg")
    publish(project, 2024, tmp_path / "out", read_ids(project, tmp_path / "register.gpkg", "pand_id"))
    found = pd.read_parquet(tmp_path / "out/year=2024/bridge.parquet").set_index("id")
    expected = dict(zip(own["id"].iloc[:30], register["pand_id"], strict=True))
    assert len(found) >= 28, "houses that lie on each other may lose their partner"
    assert sum(expected.get(one) == known for one, known in found["register_id"].items()) >= 28
    assert (found["iou"] >= 0.5).all()
    assert set(found["register"]) == {"register"}
    with pytest.raises(BadRegister, match="no column 'gml_id'"):
        read_ids(project, tmp_path / "register.gpkg", "gml_id")


def test_another_year_stays_and_the_same_is_replaced(project: Project, tmp_path: Path) -> None:
    shutil.copytree(project.home, tmp_path / "home")
    other = open_project(tmp_path / "home")
    commit_houses(other, Partition(2025, "west"), houses(20, BOXES["west"]))
    run_asset(other, national.DATASET, Partition(2025))
    for year in (2024, 2025, 2024):
        publish(other, year, tmp_path / "out")
    root = pystac.Catalog.from_file(str(tmp_path / "out/catalog.json"))
    assert [child.id for child in root.get_children()] == ["building-footprints-2024", "building-footprints-2025"]
    assert not [*(tmp_path / "out").glob(".groundplan-*")]


@pytest.mark.slow
def test_a_project_that_learned_describes_its_model_and_finds_its_register(built_home: Path, tmp_path: Path) -> None:
    shutil.copytree(built_home, tmp_path / "home", ignore=shutil.ignore_patterns("checkpoints"))
    project = open_project(tmp_path / "home")
    for region in ("noorderveld", "zuiderhout"):  # what the register knows was found, as by a better network
        known, _ = registers.load(project, Partition(2024, region))
        frame = houses(len(known), (0.0, 0.0, 9.0, 9.0)).set_geometry(known.geometry.values)
        frame = frame.assign(
            model=models.load(project, 2024).name, id=[f"{region[0]}{n:015x}" for n in range(len(known))]
        )
        commit_houses(project, Partition(2024, region), frame)
    run_asset(project, national.DATASET, YEAR)
    found = publish(project, 2024, tmp_path / "out")
    assert found.bridged == found.regions, "each footprint is the building that it was made of"
    assert not [note for note in found.notes if "model" in note]
    bridge = pd.read_parquet(tmp_path / "out/year=2024/bridge.parquet")
    assert bridge["register_id"].isna().all(), "the project keeps no ids"
    assert (bridge["iou"] > 0.999).all()
    root = pystac.Catalog.from_file(str(tmp_path / "out/catalog.json"))
    (model,) = [item for item in root.get_items(recursive=True) if item.id.startswith("model-")]
    validate_dict({**model.to_dict(), "stac_extensions": []})
    told = MLMExtension.ext(model)
    assert told.mlm_name == models.load(project, 2024).name
    assert told.architecture.startswith("U-Net, encoder ")
    assert [shape.input.shape for shape in told.input] == [[-1, 3, -1, -1]]
    graph = Path(str(model.assets["model"].get_absolute_href())).read_bytes()
    assert graph == models.load(project, 2024).onnx
    part = next(item for item in root.get_items(recursive=True) if "data" in item.assets)
    assert [str(link.get_target_str()).endswith(f"{model.id}.json") for link in part.get_links("derived_from")] == [
        True
    ]


# --- what is wrong is said --------------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_a_folder_of_something_else_stays_as_it_is(project: Project, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo.jpg").write_text("mine")
    with pytest.raises(BadConfig, match="something else"):
        publish(project, 2024, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["photo.jpg"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/catalog.json").write_text('{"type": "Catalog", "id": "somebody\'s"}')
    with pytest.raises(BadConfig, match="something else"):
        publish(project, 2024, tmp_path / "other")
    with pytest.raises(BadConfig, match="it is a file"):
        publish(project, 2024, tmp_path / "mine/photo.jpg")
    with pytest.raises(BadConfig, match="cannot be written"):
        publish(project, 2024, tmp_path / "mine/photo.jpg/below")


@pytest.mark.bad_input
def test_a_country_that_is_not_merged_is_not_given_on(tmp_path: Path, make_project: MakeProject) -> None:
    other = make_project(tmp_path / "home")
    with pytest.raises(MissingInput, match="has not been made yet"):
        publish(other, 2024, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_writes_and_says_what_is_not_known(project: Project, tmp_path: Path) -> None:
    from orchestration.cli.main import app

    words = ["nation", "--home", str(project.home), "--year", "2024", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "240 buildings in" in text
    assert "what changed is unknown of west" in text
    assert "does not describe the model" in text
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert told["regions"] == {"east": 120, "west": 120}
    refused = CliRunner().invoke(app, [*words, "--register", "x.gpkg"])
    assert refused.exit_code == 1
    assert "belong together" in str(refused.exception)

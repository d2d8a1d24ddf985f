"""What `import groundplan` gives: that it is quick, and that each name does what the pipeline does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import geopandas.testing
import numpy as np
import pytest
import rasterio
import shapely
from conftest import MakeProject
from walkthrough import TOWN, YEAR, Walk

import groundplan
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig, BadSheet, MissingInput, ModelMismatch
from groundplan.footprints import footprints
from groundplan.ingest.add_imagery import deliver
from groundplan.pipeline import run_step
from groundplan.project import Project
from groundplan.training import model_files

HEAVY = ("torch", "rasterio", "numpy", "pandas", "geopandas", "shapely", "pyproj", "openvino", "cv2", "dagster")


def test_importing_it_loads_nothing_heavy_and_names_what_is_there() -> None:
    code = f"import sys, groundplan; print(*[m for m in {HEAVY} if m in sys.modules]); print(*groundplan.__all__)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == ""
    promised = {"open_project", "read_block", "predict", "evaluate", "regularise", "export"}
    assert promised <= {*said[1].split()}
    assert all(getattr(groundplan, name).__doc__ for name in promised)


def sheets_of(walked: Walk) -> list[Path]:
    """Those of the region that the walk calls TOWN."""
    return walked.country.sheets[walked.country.names[0], YEAR]


@pytest.fixture(scope="module")
def project(walked: Walk) -> Project:
    return groundplan.open_project(walked.home)


def test_predict_finds_on_a_sheet_what_the_pipeline_found_there(walked: Walk, project: Project) -> None:
    """Away from the ground of other sheets, which the pipeline sees too, the same buildings under the same names."""
    made = footprints.load(project, Partition(YEAR, TOWN)).set_index("id")
    grounds = {}
    for path in sheets_of(walked):
        with rasterio.open(path) as source:
            grounds[path.name] = shapely.box(*source.bounds)
    path = sheets_of(walked)[0]
    found = groundplan.predict(path, project=walked.home).set_index("id")
    elsewhere = shapely.union_all([ground for name, ground in grounds.items() if name != path.name])
    own = made[made.within(grounds[path.name].buffer(-2)) & (made.distance(elsewhere) > 3)]
    same = found.loc[own.index]
    shared = same.intersection(own, align=True).area / same.union(own, align=True).area
    assert len(own) >= 3
    assert shared.min() > 0.99
    assert (same["model"] == own["model"]).all()
    assert found.crs == made.crs


def test_predict_gives_to_the_last_digit_what_a_project_of_that_sheet_holds(
    walked: Walk, project: Project, make_project: MakeProject, tmp_path: Path
) -> None:
    path = sheets_of(walked)[0]
    alone = make_project(tmp_path / "alone")
    deliver(alone, [path], TOWN, YEAR)
    model_files.commit_model(alone, model_files.model_of(project), YEAR)
    for step in ("sheets", "aerial_tiles", "predictions", "building_outlines", "building_footprints"):
        run_step(alone, step, Partition(YEAR, TOWN))
    made = footprints.load(alone, Partition(YEAR, TOWN))
    found = groundplan.predict(path, project=alone)
    assert len(made) > 3
    geopandas.testing.assert_geodataframe_equal(found, made[found.columns], check_less_precise=False)
    assert found.attrs["notes"] == []


@pytest.fixture(scope="module")
def colors(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The walk's model as files for another program: an .onnx and its card."""
    target, card = model_files.export_model(project, YEAR, tmp_path_factory.mktemp("model") / "colours.onnx")
    assert card.name == "colours.card.json"
    return target


def test_predict_needs_no_project_with_a_models_file(walked: Walk, project: Project, colors: Path) -> None:
    """The grid begins at the sheet's corner then; the same ground is found, where a bridge of a pixel may break."""
    path = sheets_of(walked)[0]
    with_project = groundplan.predict(path, project=project)
    alone = groundplan.predict(path, model=colors)
    big = with_project[with_project["area"] > 50]
    covered = [alone.intersection(one).area.sum() / one.area for one in big.geometry]
    assert alone.crs == with_project.crs
    assert min(covered) > 0.9
    assert abs(len(alone) - len(with_project)) <= 1
    assert alone["model"].str.match(r"2024-[0-9a-f]{8}").all()
    assert alone["image_date"].notna().all()


def test_predict_takes_a_sheet_in_degrees_and_says_where_it_lies(walked: Walk, colors: Path, tmp_path: Path) -> None:
    from rasterio.vrt import WarpedVRT

    path, target = sheets_of(walked)[0], tmp_path / "somewhere.tif"
    with rasterio.open(path) as source, WarpedVRT(source, crs="EPSG:4326") as turned:
        profile = {**turned.profile, "driver": "GTiff", "nodata": 0}
        with rasterio.open(target, "w", **profile) as copy:
            copy.write(turned.read())
    found = groundplan.predict(target, model=colors)
    assert found.crs == "EPSG:32631"
    assert found["image_date"].isna().all(), "neither name nor tags state a day"
    expected = groundplan.predict(path, model=colors).to_crs(found.crs)
    assert found.union_all().intersection(expected.union_all()).area / expected.union_all().area > 0.7


def test_ground_without_buildings_gives_an_empty_frame_that_the_others_take(
    walked: Walk, colors: Path, tmp_path: Path
) -> None:
    sheet = tmp_path / "water.tif"
    with rasterio.open(sheets_of(walked)[0]) as source:
        profile = source.profile
        with rasterio.open(sheet, "w", **profile) as target:
            target.write(np.full((source.count, source.height, source.width), 40, np.uint8))
    found = groundplan.predict(sheet, model=colors)
    assert len(found) == 0
    truth = gpd.GeoDataFrame(geometry=[shapely.box(*rasterio.open(sheet).bounds).buffer(-5)], crs=found.crs)
    assert groundplan.evaluate(found, truth).iou == 0
    back = gpd.read_file(groundplan.export(found, tmp_path / "found.gpkg"), layer=0)
    assert len(back) == 0
    assert set(found.columns) <= set(back.columns)


def test_predict_needs_neither_project_nor_model(walked: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from orchestration.cli.main import app

    sheet = sheets_of(walked)[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GROUNDPLAN_HOME", raising=False)
    done = CliRunner().invoke(app, ["predict", str(sheet), "--out", "found.parquet"])
    assert done.exit_code == 0, done.output
    found = gpd.read_parquet(tmp_path / "found.parquet")
    assert found["model"].str.startswith("starter-").all()
    with rasterio.open(sheet) as source:
        ground = shapely.box(*source.bounds)
    truth = gpd.read_parquet(walked.country.truth[YEAR]).clip(ground)
    assert groundplan.evaluate(found, truth, ground).iou > 0.5, "invented houses, of another country than it learned"


@pytest.mark.bad_input
def test_predict_says_what_it_lacks(walked: Walk, colors: Path, make_project: MakeProject, tmp_path: Path) -> None:
    sheet = sheets_of(walked)[0]
    with pytest.raises(BadSheet, match=r"nowhere\.tif: there is no such file"):
        groundplan.predict(tmp_path / "nowhere.tif", model=colors)
    with pytest.raises(MissingInput, match="it has none yet"):
        groundplan.predict(sheet, project=make_project(tmp_path / "empty"))
    with pytest.raises(BadConfig, match="it is no model file"):
        groundplan.predict(sheet, model=sheet)
    with pytest.raises(ModelMismatch, match=r"trained at 0\.3 m per pixel and the grid has 0\.5"):
        groundplan.predict(sheet, model=colors, project=make_project(tmp_path / "coarse", grid={"resolution": 0.5}))
    plain = tmp_path / "plain.tif"
    with rasterio.open(plain, "w", driver="GTiff", width=64, height=64, count=3, dtype="uint8") as target:
        target.write(np.zeros((3, 64, 64), np.uint8))
    with pytest.raises(BadSheet, match=r"plain\.tif: it states no CRS"):
        groundplan.predict(plain, model=colors)
    with pytest.raises(BadSheet, match=r"plain\.tif: it states no position"):
        groundplan.predict(plain, model=colors, crs="EPSG:28992")
    cut = tmp_path / "cut.tif"
    cut.write_bytes(sheet.read_bytes()[:-2000])
    with pytest.raises(BadSheet, match=r"cut\.tif: it is cut short"):
        groundplan.predict(cut, model=colors)


def test_read_block_reads_pixels_mask_and_halo(project: Project) -> None:
    names = need_manifest(project.store, "aerial_tiles", Partition(YEAR, TOWN)).objects
    pixels, mask = groundplan.read_block(project, "x01y01", region=TOWN, year=YEAR)
    wide, _ = groundplan.read_block(project, "x01y01", region=TOWN, year=YEAR, halo=16)
    assert "x01y01" in names
    assert pixels.shape == (3, 256, 256)
    assert pixels.dtype == np.uint8
    assert mask.shape == (256, 256)
    assert mask.any()
    assert (wide[:, 16:-16, 16:-16] == pixels).all()
    assert wide.shape == (3, 288, 288)
    probability, _ = groundplan.read_block(project, "x01y01", region=TOWN, year=YEAR, dataset="predictions")
    assert probability.shape == (2, 256, 256)
    with pytest.raises(BadConfig, match="block 'x99y99'"):
        groundplan.read_block(project, "x99y99", region=TOWN, year=YEAR)
    with pytest.raises(BadConfig, match="Did you mean 'predictions'"):
        groundplan.read_block(project, "x01y01", region=TOWN, year=YEAR, dataset="prediction")
    with pytest.raises(BadConfig, match="halo: 500 pixels"):
        groundplan.read_block(project, "x01y01", region=TOWN, year=YEAR, halo=500)
    with pytest.raises(MissingInput):
        groundplan.read_block(project, "x01y01", region=TOWN, year=1999)


def house(left: float, bottom: float, wide: float = 10, high: float = 8) -> shapely.Polygon:
    return shapely.box(left, bottom, left + wide, bottom + high)


def test_evaluate_scores_in_metres_whatever_the_truths_crs() -> None:
    truth = gpd.GeoDataFrame(geometry=[house(182400 + 40 * i, 447700) for i in range(4)], crs="EPSG:28992")
    found = truth.iloc[:3]
    scores = groundplan.evaluate(found, truth.to_crs(4326))
    assert (scores.buildings, scores.predicted, scores.matched) == (4, 3, 3)
    assert scores.object_recall == 0.75
    west = gpd.GeoDataFrame(geometry=[house(182390, 447690, 100, 40)], crs="EPSG:28992")
    assert groundplan.evaluate(found, truth, west.to_crs(4326)).buildings == 3
    assert groundplan.evaluate(found, truth, west.geometry.iloc[0]).object_f1 == 1.0
    with pytest.raises(BadConfig, match="found: WGS 84 is not in metres"):
        groundplan.evaluate(found.to_crs(4326), truth)
    with pytest.raises(BadConfig, match="found: it states no CRS"):
        groundplan.evaluate(gpd.GeoDataFrame(geometry=list(found.geometry)), truth)
    with pytest.raises(BadConfig, match="extent: it holds no ground"):
        groundplan.evaluate(found, truth, shapely.Polygon())


def test_regularise_squares_and_separates_and_keeps_columns() -> None:
    steps = [(0, 0), (10, 0), (10, 4), (9.7, 4), (9.7, 8), (0, 8), (0, 4.3), (0.3, 4.3), (0.3, 3.9), (0, 3.9)]
    two = [shapely.Polygon(np.add(steps, (182400, 447700))), house(182409, 447700)]
    rough = gpd.GeoDataFrame({"name": ["a", "b"]}, geometry=two, crs="EPSG:28992")
    squared = groundplan.regularise(rough)
    assert list(squared["name"]) == ["a", "b"]
    assert shapely.get_num_coordinates(squared.geometry.iloc[0]) == 5
    assert squared.geometry.iloc[0].intersection(squared.geometry.iloc[1]).area < 1e-6
    assert rough.geometry.iloc[0].equals(two[0]), "it is a copy"
    assert groundplan.regularize is groundplan.regularise
    parts = gpd.GeoDataFrame(geometry=[shapely.MultiPolygon([two[0], house(182500, 447700)])], crs="EPSG:28992")
    assert len(groundplan.regularise(parts)) == 2
    with pytest.raises(BadConfig, match="they hold Point"):
        groundplan.regularise(gpd.GeoDataFrame(geometry=[shapely.Point(0, 0)], crs="EPSG:28992"))


@pytest.mark.parametrize("ending", [".parquet", ".fgb", ".gpkg", ".geojson"])
def test_export_writes_what_predict_found(ending: str, tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame(
        {"id": ["a"], "confidence": np.float32([0.9]), "image_date": [None]},
        geometry=[house(182400, 447700)],
        crs="EPSG:28992",
    )
    path = groundplan.export(frame, tmp_path / f"found{ending}")
    back = gpd.read_parquet(path) if ending == ".parquet" else gpd.read_file(path, layer=0)
    assert list(back["id"]) == ["a"]
    assert back.to_crs(28992).union_all().intersection(frame.union_all()).area == pytest.approx(80, rel=0.01)
    with pytest.raises(BadConfig, match="is no format"):
        groundplan.export(frame, tmp_path / "found.xyz")
    assert not [each.name for each in tmp_path.iterdir() if each.stem != "found"]


@pytest.mark.bad_input
def test_evaluate_takes_a_register_with_crossing_outlines_and_empty_rows() -> None:
    truth = gpd.GeoDataFrame(
        geometry=[
            house(182400, 447700),
            shapely.Polygon([(182440, 447700), (182450, 447710), (182450, 447700), (182440, 447710)]),
            shapely.Polygon([(182438, 447702), (182452, 447702), (182452, 447708), (182438, 447708)]),
            None,
        ],
        crs="EPSG:28992",
    )
    scores = groundplan.evaluate(truth.iloc[:1], truth)
    assert 0 < scores.iou < 1
    assert scores.matched == 1

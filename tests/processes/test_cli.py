"""The command line: what it says, what it writes, and with which exit code it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import geopandas as gpd
import pytest
from walkthrough import EAST, TOWN, YEAR, Walk

from groundplan.core.manifest import read_manifest
from groundplan.core.partition import Partition
from groundplan.core.pictures import EDGE, LINE
from groundplan.errors import BadConfig
from groundplan.footprints import footprints
from groundplan.pipeline import ALWAYS
from groundplan.project import find_home, open_project
from orchestration.cli import main

# One walk through the real command, two builds by Dagster with a training in it, and what it left: 60 s of CPU, once.
pytestmark = pytest.mark.slow

COLUMNS = [
    "id",
    "region",
    "year",
    "confidence",
    "area_m2",
    "image_date",
    "sheet",
    "model",
    "block",
    "fingerprint",
    "geometry",
]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """The command in this process: (exit code, standard output, standard error)."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.delenv("GROUNDPLAN_HOME", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["groundplan", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        said = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 1), said.out, said.err

    yield command
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def home(walked: Walk, tmp_path: Path) -> Path:
    """A copy of the walked project that a test may change."""
    shutil.copytree(walked.home, tmp_path / "home", ignore=shutil.ignore_patterns("checkpoints"))
    return tmp_path / "home"


# --- the walk ---------------------------------------------------------------------------------------------------------


def test_every_command_of_the_walk_ends_well(walked: Walk) -> None:
    for name, done in walked.said.items():
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, name


def test_init_says_what_was_made(walked: Walk) -> None:
    said = walked.said["init"].stdout
    assert "groundplan.toml" in said
    assert "blocks of 76.8 m" in said
    assert open_project(walked.home).grid.block_size == 256


def test_add_imagery_lists_each_file(walked: Walk) -> None:
    for name, region in (("add-imagery", walked.country.names[0]), ("add-imagery east", walked.country.names[1])):
        for sheet in walked.country.sheets[region, YEAR]:
            assert sheet.name in walked.said[name].stdout
        assert walked.said[name].stdout.count("copied") == 4


def test_build_makes_every_asset_in_order_and_says_so(walked: Walk) -> None:
    lines = [line.split() for line in walked.said["build"].stdout.splitlines() if line.startswith("made ")]
    assert list(dict.fromkeys(line[1] for line in lines)) == list(ALWAYS)
    assert len(lines) == 6 * 2 + 2
    assert "14 made; " in walked.said["build"].stdout


def test_a_new_model_remakes_what_comes_after_it_and_nothing_before(walked: Walk) -> None:
    done = json.loads(walked.said["build with a better model"].stdout)
    assert {(item["asset"], item["partition"]["region"]) for item in done if item["outcome"] == "made"} == {
        (asset, region) for asset in ("predictions", "building_footprints") for region in (TOWN, EAST)
    }
    assert {item["outcome"] for item in done} == {"made", "current"}
    assert all((item["made"] > 0) == (item["outcome"] == "made") for item in done)
    assert len(done) == 14


def test_a_build_of_what_is_current_does_nothing_and_says_so(walked: Walk) -> None:
    assert walked.said["build again"].stdout.strip() == "Nothing to do: all 14 partitions are current."


def test_a_region_without_a_register_gets_footprints_from_the_same_model(walked: Walk) -> None:
    project = open_project(walked.home)
    registers = {
        region: read_manifest(project.store, "register_buildings", Partition(YEAR, region)) for region in (TOWN, EAST)
    }
    complete = {region: found.objects["buildings"].facts["complete_m2"] for region, found in registers.items() if found}
    assert complete[TOWN] > 1000
    assert complete[EAST] == 0
    frames = {region: footprints.load(project, Partition(YEAR, region)) for region in (TOWN, EAST)}
    assert min(len(frame) for frame in frames.values()) >= 3
    assert len({name for frame in frames.values() for name in frame["model"]}) == 1
    assert {Path(name).name for name in frames[EAST]["sheet"]} <= {
        path.name for paths in walked.country.sheets.values() for path in paths
    }


# --- status, export, evaluate, gc -------------------------------------------------------------------------------------


def test_status_is_a_row_per_asset_region_and_year(walked: Walk, run: Run) -> None:
    code, out, _ = run("status", "--home", walked.home, "--json")
    rows = json.loads(out)
    assert code == 0
    assert {(row["dataset"], row["partition"]["region"], row["partition"]["year"]) for row in rows} == {
        (name, region, YEAR)
        for name in ALWAYS
        for region in ([""] if name in ("training_windows", "trained_model") else [TOWN, EAST])
    }
    assert all(row["state"] == "current" and row["done"] == row["planned"] > 0 for row in rows)
    code, out, _ = run("status", "--home", walked.home, "--region", EAST)
    assert code == 0
    assert "predictions" in out
    assert TOWN not in out


def test_status_tells_stale_from_missing(home: Path, run: Run) -> None:
    project = open_project(home)
    project.store.delete([f"manifests/labels/{YEAR}/{TOWN}.json"])
    (home / "groundplan.toml").write_text((home / "groundplan.toml").read_text().replace("margin = 32", "margin = 64"))
    states = {
        (row["dataset"], row["partition"]["region"]): row["state"]
        for row in json.loads(run("status", "--home", home, "--json")[1])
    }
    assert states["labels", TOWN] == "missing"
    assert states["labels", EAST] == "current"
    assert states["predictions", EAST] == states["predictions", TOWN] == "stale"
    assert states["aerial_tiles", TOWN] == "current"


@pytest.mark.parametrize("ending", ["parquet", "fgb", "gpkg", "geojson"])
def test_exports_read_back_equal(walked: Walk, run: Run, tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"out.{ending}"
    code, out, _ = run("export", target, "--home", walked.home, "--region", TOWN, "--year", YEAR)
    expected = footprints.load(open_project(walked.home), Partition(YEAR, TOWN)).set_index("id").sort_index()
    assert code == 0
    assert f"Wrote {len(expected)} buildings" in out
    found = gpd.read_parquet(target) if ending == "parquet" else gpd.read_file(target)
    assert set(found.columns) >= set(COLUMNS)
    found = found.set_index("id").sort_index()
    assert found.crs.to_epsg() == (4326 if ending == "geojson" else 28992)
    assert list(found.index) == list(expected.index)
    assert found.geometry.to_crs(28992).geom_equals_exact(expected.geometry, 0.02).all()
    assert (found["area_m2"] - expected["area"]).abs().max() < 0.01
    assert list(found["model"]) == list(expected["model"])
    kept = {target.name, "out.qml"}
    assert {path.name for path in tmp_path.iterdir()} == kept, "something half-written stays"


@pytest.mark.bad_input
def test_an_export_that_cannot_be_written_leaves_the_old_file(walked: Walk, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "out.docx"
    target.write_text("mine")
    code, _, error = run("export", target, "--home", walked.home, "--region", TOWN, "--year", YEAR)
    assert code == 1
    assert ".parquet, .fgb, .gpkg, .geojson" in error
    assert target.read_text() == "mine"
    code, _, error = run("export", tmp_path / "no" / "out.fgb", "--home", walked.home, "--region", TOWN, "--year", YEAR)
    assert code == 1
    assert "folder does not exist" in error


def test_evaluate_scores_each_split_against_a_truth(walked: Walk, run: Run, tmp_path: Path) -> None:
    picture, report = tmp_path / "compared.png", tmp_path / "report.html"
    where = ["--home", walked.home, "--region", TOWN, "--year", YEAR, "--truth", walked.country.truth[YEAR]]
    code, out, _ = run("evaluate", *where, "--picture", picture, "--report", report, "--json")
    scores = json.loads(out)
    assert code == 0
    assert set(scores) >= {"all", "train"}
    for score in scores.values():
        assert 0 <= score["iou"] <= 1
    assert scores["all"]["iou"] > 0.1, "the colours of roofs are found"
    assert scores["all"]["area_m2"] > scores["train"]["area_m2"] > 0
    assert picture.read_bytes().startswith((b"\x89PNG", b"\xff\xd8"))
    page = report.read_text("utf-8")
    omitted = 100 * (1 - scores["all"]["object_recall"])
    assert f"<td>omission of buildings</td><td class=n>{omitted:.1f} %</td>" in page
    assert page.count("data:image/png;base64,") >= 2, "the map, and the worst places"
    assert not re.search(r"""(src|href)=["']?(http|/)""", page), "the page is whole in itself"
    assert f"<h1>Accuracy of building footprints: {TOWN} {YEAR}</h1>" in page or f"{YEAR}/{TOWN}" in page
    code, out, _ = run("evaluate", *where)
    assert code == 0
    assert "all ground" in out


def test_evaluate_has_no_splits_where_nothing_was_learned(walked: Walk, run: Run) -> None:
    truth = walked.country.truth[YEAR]
    code, out, _ = run("evaluate", "--home", walked.home, "--region", EAST, "--year", YEAR, "--truth", truth, "--json")
    assert code == 0
    assert set(json.loads(out)) == {"all"}


def test_gc_lists_first_and_removes_only_what_no_manifest_names(home: Path, run: Run) -> None:
    project = open_project(home)
    orphan = f"predictions/{YEAR}/{TOWN}/x0y0-0000000000000000.tif"
    project.store.put(orphan, b"a block of an older model")
    before = {item.key for item in project.store.list()}
    assert orphan not in run("gc", "--home", home)[1], "young objects may belong to a run that goes on"
    code, out, _ = run("gc", "--home", home, "--hours", 0)
    assert code == 0
    assert orphan in out
    assert {item.key for item in project.store.list()} == before, "gc without --yes changes nothing"
    assert run("gc", "--home", home, "--hours", 0, "--yes")[0] == 0
    gone = before - {item.key for item in project.store.list()}
    assert orphan in gone
    assert all(key.split("/")[0] in (*ALWAYS, "building_outlines", "journal", "checkpoints") for key in gone)
    code, out, _ = run("build", "--home", home)
    assert code == 0
    assert "Nothing to do" in out


# --- what a newcomer asks ---------------------------------------------------------------------------------------------


def test_help_and_version_have_their_short_words(run: Run) -> None:
    from groundplan import __version__

    assert run("--version")[:2] == (0, f"groundplan {__version__}\n")
    assert run("-h")[1] == run("--help")[1]
    assert "--dry-run" in run("build", "-h")[1]
    assert "_GROUNDPLAN_COMPLETE" in run("--show-completion", "bash")[1] or run("--show-completion")[0] in (0, 1)


@pytest.mark.bad_input
@pytest.mark.parametrize("words", [["build"], ["build", "--dry-run"], ["export", "out.fgb"], ["status"]])
@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (
            ["--region", "old twon"],
            "region 'old twon': there is none of that name. Did you mean 'old town'? Choose from:",
        ),
        (["--year", "2023"], "year 2023: nothing was delivered. Choose from: 2024"),
        (["--region", EAST, "--year", "2023"], "year 2023: nothing was delivered for east. Choose from: 2024"),
    ],
)
def test_a_name_of_nothing_is_an_error_and_never_nothing_to_do(
    walked: Walk, run: Run, words: list[str], choice: list[str], expected: str
) -> None:
    code, out, error = run(*words, *choice, "--home", walked.home)
    assert code == 1
    assert expected in error
    assert "Nothing to do" not in out


@pytest.mark.bad_input
def test_evaluate_and_collections_refuse_unknown_names_too(walked: Walk, run: Run) -> None:
    truth = walked.country.truth[YEAR]
    code, _, error = run("evaluate", "--region", "eas", "--year", YEAR, "--truth", truth, "--home", walked.home)
    assert (code, "Did you mean 'east'?" in error) == (1, True)
    code, _, error = run("build", "--collection", "fruits", "--home", walked.home)
    assert (code, "collection 'fruits': nothing was delivered for it" in error) == (1, True)
    code, _, error = run("forget", "a/b.jpg", "--collection", "fruits", "--home", walked.home)
    assert (code, "collection 'fruits': nothing was delivered for it" in error) == (1, True)


def test_hints_name_the_project_where_it_would_not_be_found(
    walked: Walk, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = run("build", "--collection", "fruits", "--home", walked.home)[2]
    assert f"`groundplan add-collection FOLDER --name fruits --home {walked.home}`" in error
    monkeypatch.chdir(walked.folder)
    assert "--home" not in run("build", "--collection", "fruits", "--home", walked.home)[2]


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(home: Path, run: Run) -> None:
    project = open_project(home)
    assert run("build", "--dry-run", "--home", home)[1].strip() == "Nothing to do: all 14 partitions are current."
    project.store.delete([f"manifests/aerial_tiles/{YEAR}/{EAST}.json"])
    before = {item.key: item.tag for item in project.store.list()}
    code, out, _ = run("build", "--dry-run", "--json", "--home", home)
    rows = {(row["dataset"], row["partition"]["region"]): row for row in json.loads(out)}
    assert code == 0
    assert rows["aerial_tiles", EAST]["would"] == "make"
    assert rows["predictions", EAST]["would"] == "make"
    assert rows["predictions", EAST]["why"] == "after what it is made from"
    assert rows["sheets", EAST]["would"] == "keep"
    assert rows["trained_model", ""]["would"] in ("keep", "look again")
    assert "Nothing was changed" in run("build", "--dry-run", "--home", home)[1]
    assert {item.key: item.tag for item in project.store.list()} == before


def test_several_assets_can_be_chosen_and_their_inputs_offered(home: Path, run: Run) -> None:
    project = open_project(home)
    project.store.delete([f"manifests/{name}/{YEAR}/{EAST}.json" for name in ("aerial_tiles", "labels")])
    code, out, _ = run("build", "--select", "labels", "--region", EAST, "--home", home)
    assert code == 1
    assert "`groundplan build --select labels --region 'east' --with-inputs --home" in out
    words = ["build", "--region", EAST, "--home", home, "--json"]
    rows = json.loads(run(*words, "--select", "labels", "--select", "sheets")[1])
    assert [row["asset"] for row in rows] == ["sheets", "labels"]
    rows = json.loads(run(*words, "--select", "labels", "--with-inputs")[1])
    assert {row["asset"]: row["outcome"] for row in rows} == {
        "sheets": "current",
        "aerial_tiles": "made",
        "register_buildings": "current",
        "labels": "made",
    }


def test_status_says_the_first_cause_and_a_score(home: Path, run: Run) -> None:
    out = run("status", "--home", home)[1]
    assert "groundplan build" not in out, "nothing is to be done"
    project = open_project(home)
    kept = {item.key for item in project.store.list("manifests/sheets")}
    project.store.delete([item.key for item in project.store.list("manifests") if item.key not in kept])
    lines = run("status", "--home", home)[1].splitlines()
    said = [line for line in lines if line and line[0] not in "┏┃┡│└"]
    assert said == [f"`groundplan build --home {home}` makes 12 of these 14"]
    assert sum("has not been made yet" in line for line in run("status", "--all", "--home", home)[1].splitlines()) > 5


def test_an_export_of_all_regions_of_a_year_says_which_is_whose(walked: Walk, run: Run, tmp_path: Path) -> None:
    code, out, _ = run("export", tmp_path / "all.parquet", "--year", YEAR, "--home", walked.home)
    assert code == 0
    found = gpd.read_parquet(tmp_path / "all.parquet")
    project = open_project(walked.home)
    expected = {region: len(footprints.load(project, Partition(YEAR, region))) for region in (TOWN, EAST)}
    assert found.groupby("region").size().to_dict() == expected
    assert set(found["year"]) == {YEAR}
    assert f"Wrote {sum(expected.values())} buildings of 2 regions and years" in out


def test_a_truths_picture_shows_the_scored_ground_alone(walked: Walk, run: Run, tmp_path: Path) -> None:
    from PIL import Image

    ground = areas_of_truth(walked)
    small = tmp_path / "ground.geojson"
    ground.to_file(small, driver="GeoJSON")
    where = ["--home", walked.home, "--region", TOWN, "--year", YEAR, "--truth", walked.country.truth[YEAR]]
    assert run("evaluate", *where, "--extent", small, "--picture", tmp_path / "a.png")[0] == 0
    left, bottom, right, top = ground.total_bounds
    wide, high = Image.open(tmp_path / "a.png").size
    shape = (right - left + 20) / (top - bottom + 20)
    line = [high - rows * LINE - 2 * EDGE for rows in (0, 1, 2, 3, 4)]  # below it: whose imagery it shows
    assert any(wide / alone == pytest.approx(shape, rel=0.05) for alone in line)


def areas_of_truth(walked: Walk) -> gpd.GeoDataFrame:
    """A strip of the town, five times as wide as it is high."""
    from shapely import box

    project = open_project(walked.home)
    x, y = footprints.load(project, Partition(YEAR, TOWN)).geometry.union_all().centroid.coords[0]
    return gpd.GeoDataFrame(geometry=[box(x - 25, y - 5, x + 25, y + 5)], crs=project.grid.crs)


# --- a project like its sheets ----------------------------------------------------------------------------------------


def test_init_takes_the_grid_from_sheets_and_add_imagery_says_what_they_are(
    walked: Walk, run: Run, tmp_path: Path
) -> None:
    sheets = walked.country.sheets[walked.country.names[0], YEAR]
    code, out, _ = run("init", tmp_path / "gp", "--like", *sheets, "--block-size", 256)
    assert code == 0
    grid = open_project(tmp_path / "gp").grid
    assert (grid.crs, grid.resolution) == (walked.country.crs, pytest.approx(walked.country.resolution))
    assert "Next: groundplan add-imagery FILE..." in out
    code, out, _ = run("add-imagery", *sheets, "--region", TOWN, "--year", YEAR, "--home", tmp_path / "gp")
    assert code == 0
    assert "pixels off the grid" not in out
    row = next(line for line in out.splitlines() if sheets[0].name[:25] in line and "EPSG:28992" in line)
    assert "3 uint8" in row
    assert f"Next: groundplan build --region '{TOWN}' --year {YEAR}" in out


@pytest.mark.bad_input
def test_init_refuses_sheets_that_disagree_and_names_them(walked: Walk, run: Run, tmp_path: Path) -> None:
    import rasterio

    first = walked.country.sheets[walked.country.names[0], YEAR][0]
    other = tmp_path / "other.tif"
    with rasterio.open(first) as source:
        profile = {**source.profile, "transform": source.transform @ source.transform.scale(2)}
    with rasterio.open(other, "w", **profile) as target:
        target.write(source_pixels(first))
    code, _, error = run("init", tmp_path / "gp", "--like", first, other)
    assert code == 1
    assert f"{first.name} has 0.3 m; other.tif has 0.6 m" in error
    assert not (tmp_path / "gp").exists()
    code, _, error = run("init", "--like", first)
    assert code == 1


def source_pixels(path: Path) -> object:
    import rasterio

    with rasterio.open(path) as source:
        return source.read()


def test_a_sheet_that_cannot_be_used_is_named_when_it_is_brought(home: Path, run: Run, tmp_path: Path) -> None:
    import numpy as np
    import rasterio

    with rasterio.open(tmp_path / "bare.tif", "w", width=64, height=64, count=3, dtype="uint8") as target:
        target.write(np.zeros((3, 64, 64), "uint8"))
    code, out, _ = run("add-imagery", tmp_path / "bare.tif", "--region", EAST, "--year", YEAR, "--home", home)
    assert code == 0
    assert "cannot be used bare.tif: it states no CRS" in out


# --- doctor and open --------------------------------------------------------------------------------------------------


def test_doctor_has_a_verdict_and_a_remedy_for_what_lacks(home: Path, run: Run) -> None:
    code, out, _ = run("doctor", "--home", home, "--json")
    found = {row["what"]: row for row in json.loads(out)}
    assert code == 0
    assert {"packages", "GDAL", "PROJ grids", "store", "disk", "Dagster", "weights", "GPU"} <= set(found)
    assert all(row["verdict"] in ("ok", "note") for row in found.values())
    assert not open_project(home).store.list("doctor"), "the probe is gone"
    (home / "groundplan.toml").write_text(
        (home / "groundplan.toml").read_text().replace('"none"', '"gone.safetensors"')
    )
    open_project(home).store.delete([f"manifests/trained_model/{YEAR}.json"])
    code, out, _ = run("doctor", "--home", home)
    assert code == 1
    assert "weights: Set model.encoder_weights" in out
    code, _, error = run("build", "--home", home)
    assert code == 1
    assert "there is no such weights file" in error, "before the first step"


def test_open_says_how_to_start_what_does_not_answer(walked: Walk, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDPLAN_SERVING__URL", "http://127.0.0.1:9")
    code, out, _ = run("open", "--no-show", "--home", walked.home)
    assert code == 1
    assert "http://127.0.0.1:9/map/" in out
    assert f"Start the map with `groundplan serve --home {walked.home}`" in out.replace("\n", " ")


# --- build: selection and failure -------------------------------------------------------------------------------------


def test_build_can_be_limited(home: Path, run: Run) -> None:
    open_project(home).store.delete([f"manifests/labels/{YEAR}/{region}.json" for region in (TOWN, EAST)])
    code, out, _ = run("build", "--home", home, "--select", "labels", "--region", EAST, "--year", YEAR, "--json")
    done = json.loads(out)
    assert code == 0
    assert len(done) == 1
    assert (done[0]["asset"], done[0]["partition"]["region"], done[0]["outcome"]) == ("labels", EAST, "made")
    assert done[0]["made"] == 0, "the blocks were there; only the manifest was gone"
    assert read_manifest(open_project(home).store, "labels", Partition(YEAR, TOWN)) is None


@pytest.mark.bad_input
def test_a_sheet_set_aside_makes_build_end_with_1_and_the_rest_goes_on(home: Path, run: Run) -> None:
    open_project(home).store.put(f"landing/{EAST}/{YEAR}/broken.tif", b"no image")
    code, out, _ = run("build", "--home", home)
    assert code == 1
    assert "sheets_usable" in out
    assert "broken.tif" in out
    code, out, _ = run("status", "--home", home, "--json")
    assert {row["state"] for row in json.loads(out)} == {"current"}


@pytest.mark.bad_input
def test_a_region_without_any_usable_sheet_fails_and_others_go_on(home: Path, run: Run) -> None:
    project = open_project(home)
    project.store.put(f"landing/west/{YEAR}/broken.tif", b"no image")
    project.store.delete([f"manifests/labels/{YEAR}/{TOWN}.json"])
    code, out, _ = run("build", "--home", home, "--json")
    outcomes = {(item["asset"], item["partition"]["region"]): item["outcome"] for item in json.loads(out)}
    assert code == 1
    assert outcomes["aerial_tiles", "west"] in ("failed", "waiting")
    assert outcomes["building_footprints", "west"] == "waiting"
    assert outcomes["labels", TOWN] == "made"
    assert read_manifest(project.store, "aerial_tiles", Partition(YEAR, "west")) is None


@pytest.mark.bad_input
def test_nothing_delivered_is_an_error(walked: Walk, run: Run) -> None:
    code, _, error = run("build", "--home", walked.home, "--year", 1999)
    assert code == 1
    assert "nothing was delivered" in error


# --- exit codes and errors --------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["build", "--select", "aerial_tile"], "Did you mean 'aerial_tiles'? Choose from: sheets, aerial_tiles"),
        (["build", "--year", "12"], "1900"),
        (["nonsense"], "No such command"),
        (
            ["export", "out.fgb", "--region", "eats", "--year", "2024"],
            "region 'eats': there is none of that name. Did you mean 'east'?",
        ),
        (["add-imagery", "/nowhere/a.tif", "--region", "east", "--year", "2024"], "no such file"),
        (["add-imagery", __file__, "--region", "east", "--year", "2024"], "no image by its name"),
        (["add-imagery", __file__, "--region", "a|b", "--year", "2024"], "cannot be part of a path"),
        (["add-imagery", __file__, "--region", "../up", "--year", "2024"], "cannot be part of a path"),
        (["add-register", "/nowhere/r.gpkg", "--year", "2024"], "/nowhere/r.gpkg"),
        (["evaluate", "--region", "east", "--year", "2024", "--truth", "/nowhere/t.gpkg"], "/nowhere/t.gpkg"),
        (["gc", "--hours", "-1"], "--hours"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_exit_code_1(
    walked: Walk, run: Run, arguments: list[str], expected: str
) -> None:
    code, out, error = run(*arguments, *([] if arguments == ["nonsense"] else ["--home", walked.home]))
    assert code == 1
    assert expected in " ".join((out + error).split())
    assert "Traceback" not in out + error


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--crs", "EPSG:4326", "--resolution", "0.3"], "geographic"),
        (["--crs", "EPSG:999999", "--resolution", "0.3"], "EPSG:28992"),
        (["--crs", "EPSG:28992", "--resolution", "-1"], "resolution"),
        (["--crs", "EPSG:28992", "--resolution", "0.3", "--block-size", "1000"], "multiple of 256"),
        (["--crs", "EPSG:28992", "--resolution", "0.3", "--regions", "/nowhere/r.gpkg"], "/nowhere/r.gpkg"),
    ],
)
def test_init_refuses_a_grid_that_cannot_work(run: Run, tmp_path: Path, options: list[str], expected: str) -> None:
    code, _, error = run("init", tmp_path / "gp", *options)
    assert code == 1
    assert expected in error
    assert not (tmp_path / "gp" / "groundplan.toml").exists(), "half a project is left"


def test_init_does_not_touch_a_project_that_is_there(walked: Walk, run: Run) -> None:
    before = (walked.home / "groundplan.toml").read_bytes()
    code, _, error = run("init", walked.home, "--crs", "EPSG:28992", "--resolution", 0.3)
    assert code == 1
    assert "there is a project in this folder already" in error
    assert (walked.home / "groundplan.toml").read_bytes() == before


def test_init_takes_regions_and_add_imagery_then_knows_them(walked: Walk, run: Run, tmp_path: Path) -> None:
    country = walked.country
    code, out, _ = run(
        "init",
        tmp_path / "gp",
        "--crs",
        country.crs,
        "--resolution",
        country.resolution,
        "--block-size",
        256,
        "--regions",
        country.regions,
    )
    assert code == 0
    assert all(name in out for name in country.names)
    sheet = country.sheets[country.names[0], YEAR][0]
    code, _, error = run("add-imagery", sheet, "--home", tmp_path / "gp", "--region", "elsewhere", "--year", YEAR)
    assert code == 1
    assert "the regions file does not name it" in error


@pytest.mark.bad_input
def test_an_unknown_key_says_what_is_allowed(home: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDPLAN_MODEL__MINUTE", "5")
    code, _, error = run("status", "--home", home)
    assert code == 1
    assert "unknown key 'model.minute'" in error
    assert "minutes" in error


def test_the_environment_overrides_a_key(walked: Walk, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDPLAN_PREDICT__MARGIN", "16")
    rows = json.loads(run("status", "--home", walked.home, "--json")[1])
    assert {row["dataset"] for row in rows if row["state"] == "stale"} >= {"predictions"}
    assert all(row["state"] == "current" for row in rows if row["dataset"] == "aerial_tiles")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_is_neither_success_nor_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, walked: Walk, number: signal.Signals
) -> None:
    monkeypatch.setattr("groundplan.pipeline.asset_state", lambda *_: os.kill(os.getpid(), number))
    code, _, error = run("status", "--home", walked.home)
    assert code == 143
    assert "run the same command again" in error
    assert "Traceback" not in error


# --- which project is meant -------------------------------------------------------------------------------------------


def test_the_home_is_here_above_or_the_only_one_below(tmp_path: Path) -> None:
    def project(*names: str) -> Path:
        folder = tmp_path.joinpath(*names)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "groundplan.toml").touch()
        return folder

    inside = tmp_path / "work" / "notes" / "deep"
    inside.mkdir(parents=True)
    with pytest.raises(BadConfig, match="no project is here"):
        find_home(tmp_path / "work")
    one = project("work", "one")
    assert find_home(tmp_path / "work") == one
    assert find_home(one) == one
    two = project("work", "two")
    with pytest.raises(BadConfig, match="several projects: one, two"):
        find_home(tmp_path / "work")
    assert find_home(two) == two
    above = project("work")
    assert find_home(inside) == above
    assert find_home(two) == two, "the nearest counts"


def test_home_is_taken_from_the_option_then_the_environment_then_the_folder(
    walked: Walk, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = run("status")
    assert code == 1
    assert "groundplan init" in error
    monkeypatch.setenv("GROUNDPLAN_HOME", str(tmp_path / "nowhere"))
    assert run("status")[0] == 1
    assert run("status", "--home", walked.home)[0] == 0
    monkeypatch.setenv("GROUNDPLAN_HOME", str(walked.home))
    assert run("status")[0] == 0
    monkeypatch.delenv("GROUNDPLAN_HOME")
    monkeypatch.chdir(walked.folder)
    assert run("status")[0] == 0

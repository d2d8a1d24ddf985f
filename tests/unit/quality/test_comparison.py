"""Two results on the same ground: figures counted by hand, and intervals that know what chance can do."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from typer.testing import CliRunner

import groundplan
from groundplan.errors import BadConfig
from groundplan.quality.comparison import Difference
from orchestration.cli.main import app

CRS = "EPSG:32645"
CORNER = (300_032.0, 3_060_032.0)  # of a cell of 64 m


def frame(boxes: list[shapely.Polygon]) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=boxes, crs=CRS)


def town(shift: float = 0.0, gone: int = 0, side: int = 12) -> list[shapely.Polygon]:
    """A house of 10 m in the middle of each of side x side cells of 64 m, without the first `gone`."""
    x, y = CORNER
    places = [(x + 64 * i + 27 + shift, y + 64 * j + 27) for i in range(side) for j in range(side)]
    return [shapely.box(px, py, px + 10, py + 10) for px, py in places[gone:]]


def rows(a: list[shapely.Polygon], b: list[shapely.Polygon], truth: list[shapely.Polygon]) -> dict[str, Difference]:
    area = shapely.convex_hull(shapely.union_all(town())).buffer(20)
    return {row.figure: row for row in groundplan.compare(frame(a), frame(b), frame(truth), area)}


def test_figures_are_those_of_all_ground() -> None:
    invented = shapely.box(CORNER[0] + 64, CORNER[1] + 64, CORNER[0] + 69, CORNER[1] + 69)
    told = rows(town(gone=36), [*town(shift=2.0), invented], town())
    assert {row.cells for row in told.values()} == {144}
    assert (told["completeness"].a, told["completeness"].b) == (108 / 144, 1)
    assert (told["correctness"].a, told["correctness"].b) == (1, 144 / 145)
    assert told["quality"].a == 0.75
    assert told["F1"].a == pytest.approx(2 * 0.75 / 1.75)
    assert told["IoU of area"].a == pytest.approx(0.75)
    assert told["IoU of area"].b == pytest.approx(144 * 80 / (144 * 120 + 25))


def test_the_interval_is_that_of_a_share_of_cells_and_the_same_each_time() -> None:
    told = rows(town(gone=36), town(), town())["completeness"]
    error = (0.25 * 0.75 / 144) ** 0.5  # B finds all, so the difference is a share of independent cells
    assert told.low == pytest.approx(0.25 - 1.96 * error, abs=0.02)
    assert told.high == pytest.approx(0.25 + 1.96 * error, abs=0.02)
    assert told.verdict == "B is better"
    assert told == rows(town(gone=36), town(), town())["completeness"]
    assert rows(town(), town(gone=36), town())["completeness"].verdict == "A is better"


def test_what_chance_can_do_is_no_verdict() -> None:
    one, other = town(gone=2), town()[:-3]
    told = rows(one, other, town())
    assert told["F1"].low < 0 < told["F1"].high
    assert told["F1"].verdict == "this ground shows no difference"
    same = rows(one, one, town())["F1"]
    assert (same.low, same.high, same.verdict) == (0, 0, "this ground shows no difference")


def test_a_pair_is_judged_by_the_same_cells() -> None:
    """Both miss the same half of the town but for four houses: unpaired, the interval would be three times as wide."""
    told = rows(town(gone=72), town(gone=68), town())["completeness"]
    assert told.high - told.low < 0.07
    assert np.sqrt(2 * 0.25 / 144) * 2 * 1.96 > 0.2


@pytest.mark.bad_input
def test_a_single_cell_compares_nothing() -> None:
    alone = town(side=1)
    with pytest.raises(BadConfig, match=r"1 cells of 64 m with buildings"):
        groundplan.compare(frame(alone), frame(alone), frame(alone))


def test_the_command_prints_the_verdict(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.gpkg" for name in ("a", "b", "truth")]
    for path, houses in zip(files, (town(gone=8, side=5), town(side=5), town(side=5)), strict=True):
        frame(houses).to_file(path)
    command = ["compare", *map(str, files[:2]), "--truth", str(files[2])]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    told = {row["figure"]: row for row in json.loads(done.stdout)}
    assert told["completeness"]["a"] == 17 / 25
    assert told["completeness"]["verdict"] == "B is better"
    assert "B is better" in CliRunner().invoke(app, command, env={"COLUMNS": "160"}).stdout

"""All regions of a year in one set of files: the same bytes whatever the order, each square made once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from conftest import MakeProject, digests
from made_footprints import commit_houses, houses

from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.footprints import footprints, national
from groundplan.pipeline import asset_state, run_asset
from groundplan.project import Project
from groundplan.step import Status

YEAR = Partition(2024)
PART = 80.0
"""Metres: nearest to one block of the tests' grid."""
BOXES = {
    "east": (182500.0, 447600.0, 182700.0, 447800.0),
    "north": (182300.0, 447800.0, 182500.0, 448000.0),
    "west": (182300.0, 447600.0, 182500.0, 447800.0),
}


def grown(tmp_path: Path, make_project: MakeProject, regions: list[str]) -> Project:
    """A project with the footprints of these regions, committed in this order."""
    project = make_project(tmp_path, nation={"part": PART})
    for region in regions:
        frame = apart(houses(150, BOXES[region], seed=sorted(BOXES).index(region)), BOXES[region])
        commit_houses(project, Partition(2024, region), frame)
    return project


def apart(frame: Any, box: tuple[float, float, float, float]) -> Any:
    """Houses that lie within the box, so that no two regions share ground."""
    return frame[frame.within(shapely.box(*box))].reset_index(drop=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, make_project: MakeProject) -> Project:
    """Three regions, merged. Read it."""
    project = grown(tmp_path_factory.mktemp("nation") / "home", make_project, ["west", "east", "north"])
    run_asset(project, national.DATASET, YEAR)
    return project


def whole(project: Project) -> gpd.GeoDataFrame:
    """The country, by geopandas, in the files' order."""
    objects = sorted(need_manifest(project.store, national.DATASET, YEAR).objects.items())
    return pd.concat([gpd.read_parquet(io.BytesIO(project.store.get(made.key))) for _, made in objects])


def test_the_country_holds_each_regions_buildings_as_they_are(built: Project) -> None:
    frame = whole(built)
    assert not frame["id"].duplicated().any()
    assert frame["building_id"].isna().all(), "no dataset names buildings through the years here"
    for region in BOXES:
        own = footprints.load(built, Partition(2024, region)).set_index("id").sort_index()
        mine = frame[frame["region"] == region].set_index("id").sort_index()
        assert list(mine.index) == list(own.index)
        assert shapely.equals_identical(mine.geometry.values, own.geometry.values).all()
        for column in ("confidence", "area", "image_date", "sheet", "model", "block", "fingerprint"):
            pd.testing.assert_series_equal(mine[column], own[column], check_dtype=False)
    assert frame.crs == built.grid.crs


def test_the_bytes_do_not_depend_on_the_order_of_the_regions(
    built: Project, tmp_path: Path, make_project: MakeProject
) -> None:
    other = grown(tmp_path / "home", make_project, ["north", "west", "east"])
    run_asset(other, national.DATASET, YEAR)
    assert digests(other, national.DATASET) == digests(built, national.DATASET)


def test_a_new_region_makes_anew_only_the_squares_that_it_touches(tmp_path: Path, make_project: MakeProject) -> None:
    project = grown(tmp_path / "home", make_project, ["west", "north"])
    run_asset(project, national.DATASET, YEAR)
    before = need_manifest(project.store, national.DATASET, YEAR).objects
    grown(tmp_path / "home", make_project, ["east"])
    pieces, squares = run_asset(project, national.DATASET, YEAR)
    assert pieces.made == ("east",)
    touched = set(pieces.manifest.objects["east"].facts["squares"])
    assert set(squares.made) == touched
    assert touched & set(before), "a square on the border holds buildings of both"
    assert set(before) - touched, "and others lie far from it"
    for name in set(before) - touched:
        assert squares.manifest.objects[name].key == before[name].key
    again = run_asset(project, national.DATASET, YEAR)
    assert [report.made for report in again] == [(), ()]
    assert asset_state(project, national.DATASET, YEAR).state is Status.CURRENT

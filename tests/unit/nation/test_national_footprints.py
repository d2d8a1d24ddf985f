"""All regions of a year in one set of files: the same bytes whatever the order, each square made once."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from conftest import MakeProject, digests
from hypothesis import given
from hypothesis import strategies as st
from made_footprints import commit_houses, houses

from groundplan.core.grid import Grid
from groundplan.core.manifest import Made, Manifest, content_of, manifest_key, need_manifest
from groundplan.core.partition import Partition
from groundplan.errors import BlocksFailed, MissingInput
from groundplan.footprints import footprints, national, national_pieces, national_tables
from groundplan.footprints.national_cut import block_of, name_of, places
from groundplan.pipeline import ALWAYS, ASSETS, asset_state, partitions_of, run_asset
from groundplan.polygons.geoparquet import to_parquet
from groundplan.polygons.hilbert import distances
from groundplan.project import Project
from groundplan.publish.nation import publish
from groundplan.quality.national import national_apart, national_whole
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


def test_a_change_in_one_corner_of_a_region_leaves_its_other_squares(tmp_path: Path, make_project: MakeProject) -> None:
    project = grown(tmp_path / "home", make_project, ["west"])
    first = run_asset(project, national.DATASET, YEAR)[1]
    own = footprints.load(project, Partition(2024, "west"))
    one = own.geometry.centroid.x.idxmin()
    own.loc[one, ["sheet", "fingerprint"]] = ["another.tif", "fedcba9876543210"]
    commit_houses(project, Partition(2024, "west"), own)
    second = run_asset(project, national.DATASET, YEAR)[1]
    assert len(second.made) == 1 < len(first.made)
    assert (whole(project)["sheet"] == "another.tif").sum() == 1


def test_what_is_read_by_a_window_is_what_lies_in_it(built: Project) -> None:
    everything = whole(built)
    window = (182440.0, 447700.0, 182530.0, 447820.0)
    objects = sorted(need_manifest(built.store, national.DATASET, YEAR).objects.items())
    by_covering = pd.concat(
        [gpd.read_parquet(io.BytesIO(built.store.get(made.key)), bbox=window) for _, made in objects]
    )
    bounds = everything.bounds
    there = (bounds.minx <= window[2]) & (bounds.maxx >= window[0]) & (bounds.miny <= window[3])
    expected = everything[there & (bounds.maxy >= window[1])]
    assert 0 < len(expected) < len(everything)
    assert sorted(by_covering["id"]) == sorted(expected["id"])


def test_files_are_geoparquet_whose_metadata_is_true(built: Project) -> None:
    for made in need_manifest(built.store, national.DATASET, YEAR).objects.values():
        file = pq.ParquetFile(io.BytesIO(built.store.get(made.key)))
        geo = json.loads(file.metadata.metadata[b"geo"])
        column = geo["columns"][geo["primary_column"]]
        assert geo["version"] == "1.1.0"
        assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
        assert column["bbox"] == made.facts["bounds"]
        frame = gpd.read_parquet(io.BytesIO(built.store.get(made.key)))
        np.testing.assert_allclose(frame.total_bounds, column["bbox"], rtol=0, atol=0)
        assert set(frame.geom_type) == {"Polygon"} == set(column["geometry_types"])
        assert made.facts["buildings"] == len(frame)
        assert made.facts["regions"] == frame["region"].value_counts().sort_index().to_dict()


def test_row_groups_are_small_and_lie_along_the_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(national_tables, "ROWS", 100)
    frame = houses(1000, (0.0, 0.0, 64.0, 64.0))
    table = national_tables.of_region(to_parquet(frame), "a", "EPSG:28992", "a file")
    metadata = pq.ParquetFile(io.BytesIO(national_tables.to_bytes(table, "EPSG:28992"))).metadata
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [100] * 10


def test_a_building_gets_the_name_that_it_has_through_the_years(tmp_path: Path, make_project: MakeProject) -> None:
    project = grown(tmp_path / "home", make_project, ["west", "east"])
    plain = run_asset(project, national.DATASET, YEAR)[1].manifest
    own = footprints.load(project, Partition(2024, "west"))
    known = own["id"].iloc[5:]  # of some nobody knows
    buffer = io.BytesIO()
    pd.DataFrame({"id": known, "building_id": "b-" + known}).to_parquet(buffer)
    commit(project, national_pieces.IDS, Partition(2024, "west"), buffer.getvalue())
    pieces, squares = run_asset(project, national.DATASET, YEAR)
    assert pieces.made == ("west",)
    assert 0 < len(squares.made) < len(plain.objects), "the east's squares stay"
    frame = whole(project).set_index("id")["building_id"]
    assert frame[known].eq("b-" + known.set_axis(known)).all()
    assert frame.drop(known).isna().all()


@pytest.mark.fault
@pytest.mark.parametrize("dataset", [national.DATASET, national_pieces.DATASET])
def test_what_is_lost_is_made_again_and_no_other(tmp_path: Path, make_project: MakeProject, dataset: str) -> None:
    project = grown(tmp_path / "home", make_project, ["west", "east"])
    run_asset(project, national.DATASET, YEAR)
    before = digests(project, dataset)
    lost = next(iter(need_manifest(project.store, dataset, YEAR).objects.values()))
    project.store.delete([lost.key])
    assert asset_state(project, national.DATASET, YEAR).state is Status.DAMAGED
    made = [name for report in run_asset(project, national.DATASET, YEAR) for name in report.made]
    assert made == [lost.name]
    assert digests(project, dataset) == before
    assert asset_state(project, national.DATASET, YEAR).state is Status.CURRENT


def commit(project: Project, dataset: str, partition: Partition, data: bytes, **facts: Any) -> None:
    """Let this be the one object of a partition."""
    content = content_of(data)
    key = f"{dataset}/{partition.path}/all-{content.sha256[:16]}.parquet"
    made = Made(
        name="all",
        key=key,
        fingerprint=content.sha256[:16],
        bytes=content.bytes,
        sha256=content.sha256,
        seconds=0.0,
        cpu_seconds=0.0,
        facts=facts,
    )
    whole_ = Manifest(dataset=dataset, partition=partition, version="1", fingerprint="", objects={"all": made})
    project.store.put(key, data)
    project.store.put(manifest_key(dataset, partition), whole_.to_json())


# --- what is wrong is said ----------------------------------------------------------------------------------------


def test_a_whole_country_passes_both_checks(built: Project) -> None:
    for judge in (national_whole, national_apart):
        verdict = judge(built, YEAR)
        assert (verdict.passed, verdict.compared) == (True, True), verdict.message
    assert national_whole(built, YEAR).facts["buildings"] == len(whole(built))


@pytest.mark.bad_input
def test_a_region_that_vanished_or_was_made_anew_is_named(tmp_path: Path, make_project: MakeProject) -> None:
    project = grown(tmp_path / "home", make_project, ["west", "east"])
    run_asset(project, national.DATASET, YEAR)
    commit_houses(project, Partition(2024, "east"), houses(10, BOXES["east"], seed=99))
    verdict = national_whole(project, YEAR)
    assert (verdict.passed, verdict.serious) == (False, True)
    assert "made since: east" in verdict.message
    project.store.delete([manifest_key(footprints.DATASET, Partition(2024, "west"))])
    verdict = national_whole(project, YEAR)
    assert "in it, and no longer there: west" in verdict.message
    with pytest.raises(MissingInput, match="older than the footprints of east, west"):
        publish(project, 2024, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    run_asset(project, national.DATASET, YEAR)
    assert set(whole(project)["region"]) == {"east"}


@pytest.mark.bad_input
def test_a_region_that_is_not_made_or_has_no_building_is_said(tmp_path: Path, make_project: MakeProject) -> None:
    project = grown(tmp_path / "home", make_project, ["west"])
    project.store.put("landing/south/2024/sheet.tif", b"delivered")
    commit_houses(project, Partition(2024, "moor"), houses(0, BOXES["north"]))
    commit_houses(project, Partition(2023, "old"), houses(5, BOXES["north"]))
    run_asset(project, national.DATASET, YEAR)
    verdict = national_whole(project, YEAR)
    assert (verdict.passed, verdict.serious) == (False, False)
    assert verdict.message == (
        "delivered and not made: south; without a building: moor; made the year before, and not delivered: old"
    )


@pytest.mark.bad_input
def test_a_country_without_a_building_or_a_region_is_no_country(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    with pytest.raises(MissingInput, match="no region's footprints of this year are made"):
        run_asset(project, national.DATASET, YEAR)
    commit_houses(project, Partition(2024, "moor"), houses(0, BOXES["north"]))
    with pytest.raises(MissingInput, match="none of the year's 1 regions has a building"):
        run_asset(project, national.DATASET, YEAR)
    assert asset_state(project, national.DATASET, YEAR).state is Status.WAITING


@pytest.mark.bad_input
def test_a_building_in_two_regions_is_found(tmp_path: Path, make_project: MakeProject) -> None:
    project = grown(tmp_path / "home", make_project, ["west", "north"])
    twin = footprints.load(project, Partition(2024, "west")).iloc[:40]
    moved = twin.set_geometry(twin.geometry.translate(0.5, 0.5)).assign(id=[f"{n:016x}" for n in range(40)])
    commit_houses(project, Partition(2024, "twin"), pd.concat([moved, twin.iloc[:2]], ignore_index=True))
    run_asset(project, national.DATASET, YEAR)
    verdict = national_whole(project, YEAR)
    assert verdict.facts["ids twice"] == 2
    assert "2 ids stand in it twice" in verdict.message
    apart_ = national_apart(project, YEAR)
    assert (apart_.passed, apart_.serious) == (False, True)
    frame = whole(project)
    one, other = frame[frame["region"] == "west"], frame[frame["region"] == "twin"]
    pairs = shapely.STRtree(other.geometry.values).query(one.geometry.values, predicate="intersects")
    shared = shapely.area(shapely.intersection(one.geometry.values[pairs[0]], other.geometry.values[pairs[1]]))
    assert apart_.facts["overlaps"] == int((shared > 1).sum()) > 40
    assert apart_.facts["worst [m2]"] == pytest.approx(shared.max(), abs=0.01)


@pytest.mark.bad_input
def test_footprints_of_another_grid_are_refused(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    commit_houses(project, Partition(2024, "west"), houses(5, (600000, 5600000, 600100, 5600100), crs="EPSG:32631"))
    with pytest.raises(BlocksFailed, match="another CRS than the grid"):
        run_asset(project, national.DATASET, YEAR)


def test_one_region_has_nothing_to_compare_with(tmp_path: Path, make_project: MakeProject) -> None:
    project = grown(tmp_path / "home", make_project, ["west"])
    run_asset(project, national.DATASET, YEAR)
    assert not national_apart(project, YEAR).compared


def test_a_project_merges_only_where_it_asks_for_it(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    project.store.put("landing/west/2024/sheet.tif", b"delivered")
    assert national.DATASET in ASSETS
    assert national.DATASET not in ALWAYS
    assert partitions_of(project, national.DATASET) == []
    assert partitions_of(project, national.DATASET, asked=True) == [YEAR]
    asking = make_project(tmp_path / "home", nation={"merge": True})
    assert partitions_of(asking, national.DATASET) == [YEAR]


# --- the curve --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_the_curve_goes_through_every_cell_and_only_to_a_neighbor(bits: int) -> None:
    x, y = (side.ravel() for side in np.meshgrid(*[np.arange(2**bits)] * 2))
    order = np.argsort(numbers := distances(x, y, bits))
    assert sorted(numbers) == list(range(4**bits))
    assert (np.abs(np.diff(x[order])) + np.abs(np.diff(y[order])) == 1).all()


@given(st.integers(0, 2**20 - 1), st.integers(0, 2**20 - 1), st.integers(1, 19))
def test_a_coarse_cell_is_one_stretch_of_the_curve(x: int, y: int, coarser: int) -> None:
    fine = int(distances(np.array([x]), np.array([y]), 20)[0])
    coarse = int(distances(np.array([x >> coarser]), np.array([y >> coarser]), 20 - coarser)[0])
    assert fine >> (2 * coarser) == coarse


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_building_lies_in_the_square_of_its_middle(x: float, y: float) -> None:
    cut = Grid("EPSG:28992", 0.25, 32768, (0.0, 0.0))
    col, row, place = places(cut, np.array([[x - 5, y - 5, x + 5, y + 5]]))
    name = name_of(col[0], row[0], place[0])
    left, bottom, right, top = cut.bounds(block_of(name))
    assert left - 1e-6 <= x <= right + 1e-6
    assert bottom - 1e-6 <= y <= top + 1e-6


def test_a_cell_outside_the_square_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        distances(np.array([4]), np.array([0]), 2)

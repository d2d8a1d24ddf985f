"""Standing: which buildings of a register stood when the imagery was flown, as the Dutch BAG, OSM and others say it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from conftest import ORIGIN, MakeProject
from laid_sheets import HERE, LOSSLESS, ground, here, lay, place
from shapely import box

from groundplan.config import RegisterSettings
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.ingest.add_imagery import deliver
from groundplan.labels import masks, registers, standing
from groundplan.labels.classes import BUILDING, IGNORE, INNER_EDGE
from groundplan.labels.registers import add_register
from groundplan.pipeline import run_step
from groundplan.project import Project
from groundplan.quality import checks
from groundplan.raster import cog

pytestmark = pytest.mark.slow  # each register is read in a process of its own

SPANS: dict[Any, tuple[str, str] | None] = {
    1980: ("1980-01-01", "1980-12-31"),
    1981.0: ("1981-01-01", "1981-12-31"),
    "1980": ("1980-01-01", "1980-12-31"),
    "2015-03": ("2015-03-01", "2015-03-31"),
    "2015-12": ("2015-12-01", "2015-12-31"),
    "2015-03-01": ("2015-03-01", "2015-03-01"),
    "20150301": ("2015-03-01", "2015-03-01"),
    "2015-03-01T00:00:00Z": ("2015-03-01", "2015-03-01"),
    "2015-03-01 12:30:00": ("2015-03-01", "2015-03-01"),
    "~1890": ("1890-01-01", "1890-12-31"),
    "1890s": ("1890-01-01", "1899-12-31"),
    "1914..1918": ("1914-01-01", "1918-12-31"),
    "before 1950": ("1200-01-01", "1950-12-31"),
    "9999": None,
    "9999-12-31": None,
    0: None,
    "C19": None,
    "unknown": None,
    None: None,
    True: None,
}


@pytest.mark.parametrize("value", SPANS, ids=str)
def test_what_registers_write_for_a_date(value: Any) -> None:
    wanted, span = SPANS[value], standing.span_of(value)
    assert (None if span is None else tuple(day.isoformat() for day in span)) == wanted


STATES = {
    "Pand in gebruik": "stands",
    "Pand in gebruik (niet ingemeten)": "stands",
    "Verbouwing pand": "stands",
    "Sloopvergunning verleend": "stands",
    "Bouw gestart": "planned",
    "Bouwvergunning verleend": "planned",
    "Niet gerealiseerd pand": "never",
    "Pand ten onrechte opgevoerd": "never",
    "Pand gesloopt": "gone",
    "functional": None,
    "underConstruction": "planned",
    "demolished": "gone",
    "projected": "planned",
    "declined": "never",
    "Pand buiten gebruik": "stands",
}


@pytest.mark.parametrize("word", STATES)
def test_what_registers_say_of_a_buildings_state(word: str) -> None:
    assert standing.state_of(word) == STATES[word]
    assert standing.state_of("Rood", RegisterSettings(gone_words=("rood",))) == "gone"


# columns; what is taken of the houses: 1 label, 0 ground, -1 unknown; imagery of 2022
CASES: dict[str, tuple[dict[str, list[Any]], list[int]]] = {
    "BAG": (
        {
            "bouwjaar": [1980, 2024, 1930],
            "status": ["Pand in gebruik", "Bouw gestart", "Pand gesloopt"],
            "eindGeldigheid": [None, None, "2015-03-01"],
        },
        [1, 0, 0],
    ),
    "BAG: gone later, gone at an unknown time, begun": (
        {
            "bouwjaar": [1930, 1930, 2021],
            "status": ["Pand gesloopt", "Pand gesloopt", "Bouw gestart"],
            "eindGeldigheid": ["2024-03-01", None, None],
        },
        [1, -1, -1],
    ),
    "BAG: the line that says it is gone began then": (
        {
            "oorspronkelijk_bouwjaar": [1930, 1930, 1930],
            "status": ["Pand gesloopt", "Pand gesloopt", "Pand in gebruik"],
            "begin_geldigheid": ["2015-01-01", "2023-05-06", "2024-01-01"],
        },
        [0, 1, 1],
    ),
    "OSM": ({"start_date": ["1890s", "2023-05", None], "end_date": [None, None, "2021"]}, [1, 0, 0]),
    "generic": ({"YEAR_BUILT": ["1970", "2022", "2023"], "demolished": [None, None, None]}, [1, 1, 0]),
    "gone within the year": (
        {"built": [1970, 1970, 1970], "end_date": ["2022-06-01", "2021-12-31", "2023-01-01"]},
        [-1, 0, 1],
    ),
    "only a state": ({"conditionOfConstruction": ["functional", "projected", "demolished"]}, [1, -1, -1]),
    "says nothing": ({"colour": ["red", "green", "blue"]}, [1, 1, 1]),
    "says nothing with a name": ({"bouwjaar": [None, None, None]}, [1, 1, 1]),
}
HOUSES = [here(box(10 + 18 * i, 20, 20 + 18 * i, 30)) for i in range(3)]


def labeled(folder: Path, make_project: MakeProject, columns: dict[str, list[Any]], **settings: Any) -> Project:
    """A project with a sheet of 64 x 64 m, a register of three houses, and their labels."""
    name, registered = settings.pop("name", "a.tif"), settings.pop("registers", {})
    project = make_project(folder / "home", imagery=LOSSLESS, registers=registered)
    year = settings.pop("year", 2022)
    region = HERE.region
    deliver(project, [lay(folder / name, ground(214, 214), place(0, 0))], region, year)
    frame = gpd.GeoDataFrame(columns, geometry=HOUSES, crs="EPSG:28992")
    frame.to_file(folder / "bag.gpkg")
    gpd.GeoDataFrame(geometry=[here(box(0, 0, 64, 64))], crs="EPSG:28992").to_file(folder / "e.gpkg")
    add_register(project, folder / "bag.gpkg", year, folder / "e.gpkg")
    for step in ("sheets", "aerial_tiles", "register_buildings", "labels"):
        run_step(project, step, Partition(year, region))
    return project


def taken(project: Project, year: int = 2022) -> list[int]:
    """Of each house: 1 label, 0 ground, -1 unknown, as most of its pixels say."""
    (made,) = need_manifest(project.store, masks.DATASET, Partition(year, HERE.region)).objects.values()
    classes = cog.read(project.store.get(made.key))[0][0]
    found = []
    for house in HOUSES:
        x, y = (house.centroid.x - ORIGIN[0]) / 0.30, (ORIGIN[1] - house.centroid.y) / 0.30
        part = classes[int(y) - 12 : int(y) + 12, int(x) - 12 : int(x) + 12]
        found.append(1 if np.isin(part, (BUILDING, INNER_EDGE)).all() else -1 if (part == IGNORE).all() else 0)
    return found


@pytest.mark.parametrize("kind", CASES)
def test_only_what_stood_at_the_imagerys_date_is_a_label(kind: str, tmp_path: Path, make_project: MakeProject) -> None:
    columns, wanted = CASES[kind]
    project = labeled(tmp_path, make_project, columns)
    assert taken(project) == wanted
    partition = Partition(2022, HERE.region)
    facts = need_manifest(project.store, registers.DATASET, partition).objects["buildings"].facts
    verdict = checks.labels_healthy(project, partition)
    if "nothing" in kind:
        assert "dated" not in facts, "its objects are what they were before registers had dates"
        assert verdict.facts["register dates"] == "unknown"
        assert "when its buildings stood the register does not say" in verdict.message
    else:
        assert (facts["not_standing"], facts["undecided"]) == (wanted.count(0), wanted.count(-1))
        assert (verdict.facts["left out by date"], verdict.facts["undecided by date"]) == (
            wanted.count(0),
            wanted.count(-1),
        )


def test_a_sheets_own_date_counts_where_it_is_known(tmp_path: Path, make_project: MakeProject) -> None:
    columns = {"start_date": ["2022-03-01", "2022-09-01", "2021"], "end_date": [None, None, "2022-04-01"]}
    assert taken(labeled(tmp_path, make_project, columns, name="delft_20220601.tif")) == [1, 0, 0]


def test_other_columns_and_words_are_named_in_the_settings(tmp_path: Path, make_project: MakeProject) -> None:
    columns = {"anno": [1980, 2024, 1930], "stato": ["ok", "ok", "crollato"]}
    mapped = {"built": ["anno"], "status": ["stato"], "gone_words": ["Crollato"]}
    assert taken(labeled(tmp_path, make_project, columns, registers=mapped)) == [1, 0, -1]


def test_columns_that_look_like_dates_are_named(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    file = tmp_path / "a.gpkg"
    gpd.GeoDataFrame({"yr_of_works": [1980] * 3, "n": [1] * 3}, geometry=HOUSES, crs="EPSG:28992").to_file(file)
    _, notes = add_register(project, file, 2022, None)
    assert not any("yr_of_works" in note for note in notes)
    gpd.GeoDataFrame({"works_year": [1980] * 3, "n": [1] * 3}, geometry=HOUSES, crs="EPSG:28992").to_file(file)
    _, notes = add_register(project, file, 2022, None)
    assert any("works_year may: name such columns in registers.built" in note for note in notes)


def test_a_shapefile_cuts_names_after_ten_characters(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    file = tmp_path / "a.shp"
    frame = gpd.GeoDataFrame({"oorspronkelijk_bouwjaar": [1980, 1990, 2024]}, geometry=HOUSES, crs="EPSG:28992")
    with pytest.warns(UserWarning, match="10"):
        frame.to_file(file)
    register, notes = add_register(project, file, 2022, None)
    assert register.dated
    assert any("built by oorspronke" in note for note in notes)


def test_a_register_of_before_is_one_whose_dates_are_unknown(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    file = tmp_path / "a.gpkg"
    gpd.GeoDataFrame(geometry=HOUSES, crs="EPSG:28992").to_file(file)
    added, _ = add_register(project, file, 2022, None)
    record = json.loads(project.store.get("registers/2022/a.json"))
    assert set(record) == {"name", "buildings", "extent", "digest", "content"}
    assert registers.registers_of(project, 2022) == [added]
    assert not added.dated


def test_a_years_truth_is_cut_to_its_date_too(tmp_path: Path, make_project: MakeProject) -> None:
    columns, _ = CASES["BAG: gone later, gone at an unknown time, begun"]
    project = labeled(tmp_path, make_project, columns)
    real, unknown = registers.read_buildings(
        project, Partition(2022, HERE.region), tmp_path / "bag.gpkg", registers.FeatureChoice()
    )
    assert real.geometry.area.sum() == pytest.approx(100)
    assert unknown.area == pytest.approx(200)


def test_days_of_an_undated_year_are_all_of_it() -> None:
    assert registers.whole_year(Partition(2022, "a")) == (date(2022, 1, 1), date(2022, 12, 31))

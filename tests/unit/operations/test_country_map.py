"""The country's map: what it knows of each region and year, and its picture. Its pages: tests/processes/test_map.py."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from PIL import Image

from groundplan.core.manifest import failure_key, manifest_key
from groundplan.core.partition import Partition
from groundplan.core.store import Store
from groundplan.errors import MissingInput, StoreFailed
from groundplan.imagery.regions import add_regions
from groundplan.operations import country_map
from groundplan.project import Project, open_project
from groundplan.quality.verdict import verdict_key
from groundplan.synthetic.country import Country

NORTH, SOUTH = Partition(2024, "noorderveld"), Partition(2024, "zuiderhout")
SCORES = {"iou": 0.61, "object_f1": 0.72, "ground": "test"}


@pytest.fixture
def project(built_home: Path, tmp_path: Path) -> Project:
    shutil.copytree(built_home, tmp_path / "home")
    return open_project(tmp_path / "home")


def say(project: Project, partition: Partition, **facts: object) -> None:
    """A verdict as the check leaves it."""
    record = {"passed": True, "serious": True, "message": "", "facts": {**SCORES, **facts}, "picture": None}
    project.store.put(verdict_key(country_map.QUALITY, partition), json.dumps(record).encode())


# ---------------------------------------------------------------------------------------------------- what it knows


def test_places_say_what_is_done_missing_and_failed_and_how_good(project: Project) -> None:
    say(project, NORTH)
    north, south = country_map.gather(project)
    assert (north.region, north.state, north.f1, north.iou, north.ground) == ("noorderveld", "done", 0.72, 0.61, "test")
    assert (south.region, south.state, south.f1) == ("zuiderhout", "done", None)
    facts = json.loads(project.store.get(manifest_key("building_footprints", NORTH)))["objects"]["footprints"]["facts"]
    assert north.buildings == facts["buildings"]
    project.store.delete([manifest_key("building_footprints", NORTH)])
    assert country_map.gather(project)[0].state == "partly"
    assert country_map.gather(project)[0].missing == ("building_footprints",)
    project.store.put(failure_key("predictions", SOUTH), b"{}")
    assert [(place.state, place.failed) for place in country_map.gather(project)][1] == ("failed", ("predictions",))
    project.store.delete([item.key for item in project.store.list("manifests") if "noorderveld" in item.key])
    assert country_map.gather(project)[0].state == "missing"


def test_what_did_not_change_is_not_read_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 16,200 partitions a read of each would take minutes; listings say what changed."""
    say(project, NORTH)
    say(project, SOUTH)
    asked: list[str] = []
    read = Store.get
    monkeypatch.setattr(Store, "get", lambda self, key: (asked.append(key), read(self, key))[1])
    known = country_map.Known()
    first = country_map.gather(project, known)
    assert len(asked) == 4, "two manifests and two verdicts"
    assert country_map.gather(project, known) == first
    assert len(asked) == 4
    say(project, SOUTH, object_f1=0.3, more="so that its size differs too")
    assert country_map.gather(project, known)[1].f1 == 0.3
    assert asked[4:] == [verdict_key(country_map.QUALITY, SOUTH)]


def test_a_server_that_starts_knows_what_was_read_before(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    say(project, NORTH)
    known = country_map.Known()
    first = country_map.gather(project, known, most=None)
    country_map.remember(project.store, known)
    again = country_map.remembered(project.store)
    asked: list[str] = []
    monkeypatch.setattr(Store, "get", lambda self, key: asked.append(key))
    assert country_map.gather(project, again) == first
    assert asked == []


def test_reads_are_bounded_and_scores_come_first(project: Project) -> None:
    say(project, NORTH)
    known = country_map.Known()
    north = country_map.gather(project, known, most=1)[0]
    assert (north.f1, north.buildings) == (0.72, None)
    country_map.gather(project, known, most=1)
    assert all(place.buildings is not None for place in country_map.gather(project, known, most=1))


@pytest.mark.fault
def test_a_failed_listing_is_not_an_empty_country(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Store, prefix: str = "") -> list[object]:
        raise StoreFailed("store", "it could not be listed", "Wait")

    monkeypatch.setattr(Store, "list", fails)
    with pytest.raises(StoreFailed):
        country_map.gather(project)


@pytest.mark.fault
def test_an_object_that_goes_while_it_is_read_leaves_the_others(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(project, NORTH)
    read, gone = Store.get, manifest_key("building_footprints", NORTH)

    def get(self: Store, key: str) -> bytes:
        if key == gone:
            raise MissingInput(key, "there is no such object", "Make it")
        return read(self, key)

    monkeypatch.setattr(Store, "get", get)
    north, south = country_map.gather(project)
    assert (north.buildings, north.f1) == (None, 0.72)
    assert south.buildings is not None


def test_a_place_tells_when_it_last_changed(project: Project) -> None:
    """By what was made of it, or failed: the map opens there."""
    before = {place.region: place.changed for place in country_map.gather(project)}
    written = project.store.local_path(manifest_key("labels", SOUTH))
    assert written
    os.utime(written, (4_000_000_000, 4_000_000_000))
    project.store.put(failure_key("labels", NORTH), b"{}")
    failed = project.store.local_path(failure_key("labels", NORTH))
    assert failed
    os.utime(failed, (4_100_000_000, 4_100_000_000))
    after = {place.region: place.changed for place in country_map.gather(project)}
    assert before["noorderveld"] < after["zuiderhout"] == "2096-10-02T07:06:40+00:00" < after["noorderveld"]


def test_without_a_polygon_file_a_region_is_the_box_of_its_sheets(project: Project) -> None:
    found = country_map.shapes(project, ["noorderveld", "zuiderhout"])
    facts = json.loads(project.store.get(manifest_key("sheets", NORTH)))["objects"]["catalogue"]["facts"]
    box = gpd.GeoSeries([shapely.box(*facts["bounds"]).segmentize(5)], crs=project.grid.crs).to_crs(4326)
    assert shapely.hausdorff_distance(found["noorderveld"], box.iloc[0]) < 2e-5  # about a metre
    assert set(found) == {"noorderveld", "zuiderhout"}


def test_polygons_keep_their_place_and_their_common_border(project: Project, country: Country) -> None:
    add_regions(project, country.regions)
    found = country_map.shapes(project, list(country.names))
    truth = gpd.read_file(country.regions).to_crs(4326).set_index("name").geometry
    for name in country.names:
        assert found[name].is_valid
        assert found[name].symmetric_difference(truth[name]).area < 0.02 * truth[name].area
    together = shapely.union_all(list(found.values()))
    assert together.geom_type == "Polygon", "a gap between neighbours"
    assert not together.interiors


def test_the_picture_colours_each_region_in_each_year() -> None:
    north, south = shapely.box(5.0, 52.0, 5.1, 52.1), shapely.box(5.0, 51.9, 5.1, 52.0)
    places = [
        country_map.RegionYear(region="north", year=2023, state="failed"),
        country_map.RegionYear(region="south", year=2023, state="missing"),
        country_map.RegionYear(region="north", year=2024, state="done", f1=0.95),
    ]
    data = country_map.picture(places, {"north": north, "south": south}, "EPSG:28992")
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    year = country_map.PANEL + country_map.GAP

    def middle(column: int, row: float) -> tuple[int, ...]:
        x = country_map.GAP + column * year + country_map.PANEL // 2
        return tuple(image[country_map.GAP + country_map.HEAD + round(row * country_map.PANEL), x])

    near = {"atol": 4}
    assert np.allclose(middle(0, 0.25), country_map.COLORS["failed"], **near)
    assert np.allclose(middle(0, 0.75), country_map.COLORS["missing"], **near)
    assert np.allclose(middle(1, 0.25), country_map.COLORS["done"], **near)
    assert np.allclose(middle(1, 0.75), country_map.NOWHERE, **near)
    legend = set(map(tuple, image[-40:].reshape(-1, 3).tolist()))
    assert {country_map.COLORS["partly"], country_map.UNSCORED} <= legend, "a rare colour is lost"
    assert len(data) < 60_000


def test_a_better_score_is_a_darker_green() -> None:
    colors = [
        country_map.color_of(country_map.RegionYear(region="a", year=2024, state="done", f1=f1))
        for f1 in (0.2, 0.5, 0.7, 0.9, 1.0)
    ]
    assert [sum(color) for color in colors] == sorted((sum(color) for color in colors), reverse=True)
    assert country_map.color_of(country_map.RegionYear(region="a", year=2024, state="done")) not in colors


def test_an_empty_country_has_a_picture_and_data(project: Project) -> None:
    project.store.delete([item.key for item in project.store.list("landing")])
    assert country_map.page_data(project)["bounds"] is None
    assert country_map.picture([], {}, project.grid.crs).startswith(b"\x89PNG")

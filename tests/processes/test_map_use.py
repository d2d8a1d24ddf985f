"""What a person does with the maps, in a real browser on a desk and on a phone: see what is new, link, compare, search,
filter, take home; by keys too, and without WebGL.

One server and one browser for all: each test opens the page that it looks at.
"""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from api_server import served as served_here
from browser import browser_page, drawn, preview_server
from fastapi import FastAPI
from page_state import NO_WEBGL, faults, overlapping, shown, state
from PIL import Image
from playwright.sync_api import Page, Route, expect
from stand_in import another_year, stand_in_footprints

from groundplan.core.partition import Partition
from groundplan.database import connect, load
from groundplan.footprints import footprints
from groundplan.imagery.regions import add_regions
from groundplan.project import Project, open_project
from groundplan.quality.agreement import agreement
from groundplan.synthetic.country import Country
from serving.api.app import Parts
from serving.api.problems import Problem, answered
from serving.maps import cache
from serving.maps.app import build_app
from serving.ogc.routes import ogc_router

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NORTH, SOUTH = Partition(2024, "noorderveld"), Partition(2024, "zuiderhout")
BEFORE = 2022  # of the north alone, and changed last
TILES = "https://tiles.example.org"
MAKER = "Invented Tiles <b>&copy;</b>"
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
REGION = "/map/noorderveld/2024/"
ALL_SURE = """() => {
  const drawn = window.map.queryRenderedFeatures({layers: ['footprints:fill']});
  return drawn.length > 0 && drawn.every(feature => feature.properties.confidence >= 0.7);
}"""
MANY = "window.map.queryRenderedFeatures({layers: ['footprints:many']})"


@pytest.fixture(scope="module")
def project(built_home: Path, country: Country, tmp_path_factory: pytest.TempPathFactory) -> Project:
    home = tmp_path_factory.mktemp("used") / "home"
    shutil.copytree(built_home, home)
    with (home / "groundplan.toml").open("a") as settings:
        settings.write(f"[serving]\nbasemap = '{TILES}/{{z}}/{{x}}/{{y}}.png'\nbasemap_attribution = '{MAKER}'\n")
    opened = open_project(home)
    add_regions(opened, country.regions)
    stand_in_footprints(opened, NORTH)
    for written in (home / "store/manifests").rglob("*.json"):  # long before what comes now
        os.utime(written, (1_700_000_000, 1_700_000_000))
    stand_in_footprints(opened, another_year(opened, NORTH, BEFORE), leave_out=4)
    return opened


@pytest.fixture(scope="module")
def served(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with preview_server(project.home, tmp_path_factory.mktemp("log") / "log.txt") as url:
        yield url


@pytest.fixture(scope="module")
def asked() -> list[str]:
    return []


@pytest.fixture(scope="module")
def opened(asked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The one page; it complains into `asked`, and the basemap's host is played."""
    picture = io.BytesIO()
    Image.new("RGB", (256, 256), (200, 220, 240)).save(picture, "PNG")

    def tile(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(body=picture.getvalue(), content_type="image/png", headers={"access-control-allow-origin": "*"})

    with browser_page(tmp_path_factory.mktemp("profile"), 1280, 800, maps=True) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.route(f"{TILES}/**", tile)
        page.on("pageerror", lambda error: asked.append(f"error: {error}"))
        page.on("console", lambda said: asked.append(f"error: {said.text}") if said.type == "error" else None)
        yield page


@pytest.fixture
def page(opened: Page) -> Page:
    """As a person comes to it who was never here: a desk, light, and no page open."""
    opened.set_viewport_size(DESK)  # type: ignore[arg-type]
    opened.emulate_media(color_scheme="light")
    opened.goto("about:blank")
    return opened


def go(page: Page, url: str) -> None:
    """To a map, until it is drawn, and its buildings with it."""
    page.goto(url)
    drawn(page, "[data-buildings]" if "/20" in url else "")


def first_building(project: Project, year: int = 2024) -> str:
    return str(footprints.load(project, Partition(year, NORTH.region))["id"].iloc[0])


# ------------------------------------------------------------------------------------------------ the country


def test_the_map_opens_where_something_changed_last(page: Page, served: str) -> None:
    go(page, f"{served}/map/")
    expect(page.locator("#shown")).to_have_text(str(BEFORE))
    expect(page.get_by_label("region noorderveld")).to_have_class(re.compile("new"))
    expect(page.get_by_label("region zuiderhout")).not_to_have_class(re.compile("new"))
    legend = page.locator("#legend")
    expect(legend).to_contain_text("no imagery that year")
    expect(legend).to_contain_text("new since you last looked")
    expect(legend).not_to_contain_text("failed")
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).reshape(-1, 3).astype(int)
    for stripe in ((128, 136, 146), (205, 211, 218)):
        assert (np.abs(pixels - stripe).max(axis=1) < 8).mean() > 0.005, f"no imagery is not seen: {stripe}"
    page.get_by_label("year", exact=True).press("End")
    expect(page.locator("#sum")).to_contain_text("newest: 2 done")
    assert "year=newest" in page.url
    page.reload()
    expect(page.locator("#shown")).to_have_text("newest")


def test_a_country_page_shows_what_comes_while_it_is_open(page: Page, served: str, project: Project) -> None:
    go(page, f"{served}/map/#year={BEFORE}")
    stand_in_footprints(project, SOUTH)
    expect(page.locator("#news")).to_contain_text("zuiderhout 2024 has changed")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#shown")).to_have_text("2024")
    details = page.locator("#details")
    expect(details).to_contain_text("zuiderhout 2024")
    expect(details.locator(".chip.new")).to_be_visible()
    assert "region=zuiderhout" in page.url
    expect(details.locator("figcaption")).to_contain_text("invented; CC0")


# ------------------------------------------------------------------------------------------------ a region


def test_a_link_brings_another_browser_to_the_same(page: Page, served: str, project: Project) -> None:
    go(page, served + REGION)
    page.get_by_label("building probability").check()
    page.locator("#query").fill(first_building(project))
    page.keyboard.press("Enter")
    expect(page.locator("#details")).to_contain_text(first_building(project))
    state(page, "window.map.jumpTo({zoom: 18.5})")
    drawn(page)
    seen = "[window.map.getZoom(), ...window.map.getCenter().toArray()].map(part => part.toFixed(5)).join()"
    before, link = state(page, seen), page.url
    state(page, "localStorage.clear()")
    page.goto("about:blank")
    go(page, link)
    assert state(page, seen) == before
    expect(page.get_by_label("building probability")).to_be_checked()
    expect(page.locator("#details")).to_contain_text(first_building(project))
    expect(page.locator("#legend")).to_contain_text("probability of a building, 0 to 1")


def test_another_year_comes_without_another_page(page: Page, served: str) -> None:
    go(page, f"{served}{REGION}#at=18.20/52.017000/5.786900")
    state(page, "window.kept = 1")
    page.get_by_role("button", name=str(BEFORE)).click()
    page.locator(f"#map[data-of='{BEFORE}']").wait_for()
    expect(page.locator("#title")).to_have_text(f"noorderveld {BEFORE}")
    assert f"/map/noorderveld/{BEFORE}/#" in page.url
    assert state(page, "window.kept") == 1
    assert round(state(page, "window.map.getZoom()"), 2) == 18.2
    assert f"/{BEFORE}/" in state(page, "window.map.getSource('aerial_tiles').tiles[0]")
    page.reload()
    expect(page.locator("#title")).to_have_text(f"noorderveld {BEFORE}")


def test_two_years_lie_on_both_sides_of_a_line(page: Page, served: str) -> None:
    go(page, served + REGION)
    page.get_by_label("compare with").select_option(str(BEFORE))
    page.locator("#map[data-swiped]").wait_for()
    assert f"swipe={BEFORE}" in page.url
    assert f"/{BEFORE}/" in state(page, "window.other.getSource('aerial_tiles').tiles[0]")
    page.wait_for_function("() => window.other.querySourceFeatures('footprints').length > 0")
    expect(page.locator("#left-year")).to_have_text("2024")
    expect(page.locator("#right-year")).to_have_text(str(BEFORE))
    expect(page.locator("#other")).to_have_css("clip-path", "inset(0px 0px 0px 50%)")
    page.get_by_label("where the two years meet").fill("20")
    expect(page.locator("#other")).to_have_css("clip-path", "inset(0px 0px 0px 20%)")
    state(page, "window.map.jumpTo({zoom: 18.4})")
    assert state(page, "window.other.getZoom()") == state(page, "window.map.getZoom()")
    page.get_by_label("compare with").select_option("")
    expect(page.locator("#other")).to_be_hidden()
    assert "swipe" not in page.url


def test_the_register_beside_the_footprints_has_three_colours_and_words(
    page: Page, served: str, project: Project
) -> None:
    counts = agreement(project, NORTH)["verdict"].value_counts()
    assert set(counts.index) == {"found", "missed", "false"}
    go(page, served + REGION)
    page.get_by_label("beside the register").check()
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("found", "missed", "false"))
    expect(page.locator("#sum")).to_contain_text(told)
    for words in ("found: in the register too", "missed: in the register alone", "false: not in the register"):
        expect(page.locator("#legend")).to_contain_text(words)
    drawn(page)
    assert shown(page, "agreement:fill", "verdict") == {"found", "missed", "false"}
    colors = state(page, "window.map.getPaintProperty('agreement:line', 'line-color')")
    assert len(set(colors[3:8:2])) == 3
    assert not shown(page, "footprints:fill", "id"), "two colours for one building"


def test_a_filter_leaves_what_is_sure_and_large(page: Page, served: str, project: Project) -> None:
    frame = footprints.load(project, NORTH)
    go(page, served + REGION)
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("confidence at least").fill("0.7")
    sure = int((frame["confidence"] >= 0.7).sum())
    expect(page.locator("#sum")).to_contain_text(f"{sure} of {len(frame)} buildings in view pass the filter")
    expect(page.locator("#bars i")).to_have_count(20)
    assert page.locator("#bars i.out").count() == 14
    page.wait_for_function(ALL_SURE)  # WebGL follows when it has time
    page.get_by_label("area at least").fill("20")
    both = frame[(frame["confidence"] >= 0.7) & (frame["area"] >= 20)]
    expect(page.locator("#sum")).to_contain_text(f"{len(both)} of")
    page.get_by_text("Download", exact=True).click()
    with page.expect_download() as taken:
        page.get_by_text("in view, as filtered").locator("..").get_by_text("GeoPackage").click()
    assert set(gpd.read_file(taken.value.path())["id"]) == set(both["id"])
    with page.expect_download() as taken:
        page.get_by_text("all of noorderveld 2024").locator("..").get_by_text("GeoJSON").click()
    assert taken.value.suggested_filename == "noorderveld-2024.geojson"
    assert len(gpd.read_file(taken.value.path())) == len(frame)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "none"])
def test_of_many_buildings_the_rest_is_drawn_out_of_the_database(
    page: Page,
    project: Project,
    kind: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """An answer holds the largest; all others come as vector tiles, and where no database is they stay away."""
    monkeypatch.setattr(cache, "MOST_FEATURES", 10)
    url = {"sqlite": f"sqlite:///{tmp_path / 'd.sqlite'}", "none": "postgresql://127.0.0.1:1/none"}.get(kind)
    engine = connect.engine(url or request.getfixturevalue("postgis").migrated())
    if kind != "none":
        connect.migrate(engine)
        load.sync(engine, project)
    results = FastAPI(exception_handlers={Problem: answered})
    results.include_router(ogc_router(engine, project))
    frame = footprints.load(project, NORTH)
    with served_here(Parts(results, build_app(project))) as address:
        go(page, f"http://{address}{REGION}")
        state(page, "window.map.jumpTo({zoom: 15.5})")
        page.locator(f"#map[data-tiled='{'false' if kind == 'none' else 'true'}'][data-drawn]").wait_for()
        expect(page.locator("#sum")).to_contain_text(f"the largest 10 of {len(frame)} buildings in view")
        assert shown(page, "footprints:line", "id") == set(frame.nlargest(10, "area")["id"])
        if kind != "none":
            page.wait_for_function(f"() => {MANY}.length >= {len(frame)}")
            assert shown(page, "footprints:many", "id") == set(frame["id"])
            page.get_by_text("Filter", exact=True).click()
            page.get_by_label("confidence at least").fill("0.7")
            sure = set(frame["id"][frame["confidence"] >= 0.7])
            page.wait_for_function(f"() => {MANY}.length < {len(frame)}")
            assert shown(page, "footprints:many", "id") == sure
    engine.dispose()


def test_a_clicked_building_is_marked_and_its_id_can_be_copied(page: Page, served: str) -> None:
    go(page, served + REGION)
    drawn_first = "window.map.queryRenderedFeatures({layers: ['footprints:fill']})[0]"
    corner = state(page, f"window.map.project({drawn_first}.geometry.coordinates[0][0])")
    page.mouse.click(corner["x"], corner["y"])
    details = page.locator("#details")
    expect(details).to_contain_text("2024-stand-in")
    expect(details).to_contain_text("a.tif")
    chosen = state(page, "new URLSearchParams(location.hash.slice(1)).get('building')")
    assert state(page, f"window.map.getFeatureState({{source: 'footprints', id: '{chosen}'}}).chosen") is True
    details.get_by_role("button", name="copy", exact=True).click()
    assert state(page, "navigator.clipboard.readText()") == chosen
    details.get_by_label("close").click()
    assert not state(page, f"window.map.getFeatureState({{source: 'footprints', id: '{chosen}'}}).chosen")


def test_a_region_page_marks_the_buildings_that_come_while_it_is_open(
    page: Page, served: str, project: Project
) -> None:
    go(page, f"{served}/map/noorderveld/{BEFORE}/")
    stand_in_footprints(project, Partition(BEFORE, NORTH.region), leave_out=5)
    expect(page.locator("#news")).to_contain_text("new building")


def test_a_place_is_found_by_its_coordinates_a_region_by_its_name(page: Page, served: str, project: Project) -> None:
    go(page, f"{served}/map/#year={BEFORE}")
    page.locator("#query").fill("52.0171, 5.7869")
    page.keyboard.press("Enter")
    assert state(page, "window.map.getCenter().toArray().map(part => part.toFixed(4)).join()") == "5.7869,52.0171"
    page.locator("#query").fill("ZUIDER")
    page.locator("#found button").click()
    expect(page.locator("#details")).to_contain_text("zuiderhout")
    page.locator("#query").fill("nowhere")
    expect(page.locator("#found")).to_contain_text("Nothing is called so")
    page.locator("#query").fill(first_building(project, BEFORE))
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/map/noorderveld/{BEFORE}/#*")
    expect(page.locator("#details")).to_contain_text(first_building(project, BEFORE))


# ------------------------------------------------------------------------------------------------ for everybody


def test_on_a_phone_nothing_lies_over_anything(page: Page, served: str, project: Project) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    go(page, f"{served}/map/")
    expect(page.locator("#legend")).to_be_hidden()
    assert overlapping(page) == []
    page.get_by_text("Legend", exact=True).click()
    expect(page.locator("#legend")).to_be_visible()
    assert overlapping(page) == []
    page.get_by_label("region noorderveld").click()
    expect(page.locator("#details")).to_be_visible()
    expect(page.locator("#legend")).to_be_hidden()
    assert overlapping(page) == []
    go(page, f"{served}{REGION}#building={first_building(project)}&swipe={BEFORE}")
    expect(page.locator("#details")).to_be_visible()
    assert overlapping(page) == []
    page.get_by_text("Layers and legend").click()
    assert overlapping(page) == []
    page.set_viewport_size(DESK)  # type: ignore[arg-type]
    assert overlapping(page) == []


def test_a_dark_room_gets_a_dark_map(page: Page, served: str) -> None:
    page.emulate_media(color_scheme="dark")
    go(page, f"{served}/map/")
    light = (
        "getComputedStyle(document.getElementById('head')).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number)"
    )
    assert max(state(page, light)) < 80
    assert state(page, "window.map.getPaintProperty('ground', 'background-color')") == "#12161a"
    page.emulate_media(color_scheme="light")
    page.wait_for_function("() => window.map.getPaintProperty('ground', 'background-color') === '#eef1f4'")


def test_by_keys_alone_a_region_and_a_building_are_picked(page: Page, served: str) -> None:
    go(page, f"{served}/map/")
    name = page.get_by_label("region noorderveld")
    page.locator("#map canvas").focus()
    for _ in range(4):
        page.keyboard.press("Tab")
        if name.evaluate("one => one === document.activeElement"):
            break
    assert name.evaluate("one => getComputedStyle(one).outlineStyle") == "solid", "nobody sees where the keys go"
    page.keyboard.press("Enter")
    expect(page.locator("#details")).to_contain_text("noorderveld")
    go(page, served + REGION)
    page.get_by_text("Buildings in view", exact=True).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#details")).to_contain_text("confidence")
    chosen = page.url
    page.keyboard.press("Escape")
    page.locator("#map canvas").focus()
    page.keyboard.press("Enter")  # the building was brought into the middle of the map
    expect(page.locator("#details h2")).to_have_text("Building")
    assert chosen.split("building=")[1][:16] in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, served: str, project: Project, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    go(page, f"{served}/map/#region=noorderveld&year=2024")
    expect(page.locator("#details")).to_be_visible()
    assert faults(page) == []
    go(page, f"{served}{REGION}#building={first_building(project)}&layers=aerial_tiles,footprints,agreement")
    expect(page.locator("#details")).to_be_visible()
    state(page, "document.querySelectorAll('#side details').forEach(panel => { panel.open = true; })")
    assert faults(page) == []
    for path in ("/partition/building_footprints/2024/noorderveld", "/no/such/page"):
        page.goto(served + path)
        assert faults(page) == []


def test_a_page_that_is_not_there_leads_back(page: Page, served: str) -> None:
    for path in ("/map/nowhere/2024/", "/no/such/page", "/map/noorderveld/1234/"):
        answer = page.goto(served + path)
        assert answer
        assert answer.status == 404
        expect(page.get_by_role("heading")).to_contain_text("There is no such page")
        page.get_by_role("link", name="Back to the map").click()
        page.wait_for_url(f"{served}/map/**")


def test_without_webgl_there_is_a_table_and_a_way_back(page: Page, served: str) -> None:
    plain = page.context.new_page()
    plain.add_init_script(NO_WEBGL)
    plain.goto(f"{served}/map/")
    expect(plain.locator("#instead")).to_contain_text("This browser draws no maps")
    expect(plain.locator("#panels")).to_be_hidden()
    plain.locator("#instead tr", has_text="noorderveld").get_by_role("link").last.click()
    plain.wait_for_url("**/partition/building_footprints/2024/noorderveld")
    expect(plain.locator("figcaption, td").filter(has_text="invented; CC0").first).to_be_visible()
    plain.goto(served + REGION)
    plain.locator("#instead").get_by_role("link", name="All regions").click()
    plain.wait_for_url(f"{served}/map/**")
    plain.close()


def test_below_the_map_lie_degrees_borders_and_the_basemap_of_the_settings(
    page: Page, served: str, asked: list[str]
) -> None:
    asked.clear()
    go(page, served + REGION)
    expect(page.locator("#degrees .parallel").first).to_contain_text("° N")
    expect(page.locator("#degrees .meridian").first).to_contain_text("° E")
    expect(page.locator("#credits")).to_contain_text("Imagery: invented; CC0")
    expect(page.locator("#credits")).to_contain_text(MAKER)  # as words: nothing of it is markup
    page.wait_for_function("() => window.map.querySourceFeatures('regions').length > 0")
    assert any(re.fullmatch(rf"{TILES}/\d+/\d+/\d+\.png", address) for address in asked)
    assert [one for one in asked if one.startswith("error")] == []

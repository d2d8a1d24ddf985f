"""The country's map in a real browser: regions in their colours, and footprints over the imagery."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import browser_page, drawn, preview_server
from PIL import Image
from playwright.sync_api import Page, expect

from groundplan.core.manifest import failure_key
from groundplan.core.partition import Partition
from groundplan.imagery.regions import add_regions
from groundplan.operations import country_map
from groundplan.project import Project, open_project
from groundplan.quality.verdict import verdict_key
from groundplan.synthetic.country import Country

# the first page waits for Chromium, which draws WebGL on the processor
pytestmark = [pytest.mark.browser, pytest.mark.slow]

NORTH, SOUTH = Partition(2024, "noorderveld"), Partition(2024, "zuiderhout")
SCORES = {"iou": 0.61, "object_f1": 0.72, "ground": "test"}
DAGSTER = "http://127.0.0.1:9"
GROUND = (0xEE, 0xF1, 0xF4)  # --ground of site.css, by day


def say(project: Project, partition: Partition) -> None:
    """A verdict as the check leaves it."""
    record = {"passed": True, "serious": True, "message": "", "facts": SCORES, "picture": None}
    project.store.put(verdict_key(country_map.QUALITY, partition), json.dumps(record).encode())


@pytest.fixture(scope="module")
def served(built_home: Path, country: Country, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A country of two regions: one done and scored, one whose predictions failed."""
    folder = tmp_path_factory.mktemp("map")
    shutil.copytree(built_home, folder / "home")
    project = open_project(folder / "home")
    add_regions(project, country.regions)
    say(project, NORTH)
    project.store.put(failure_key("predictions", SOUTH), b"{}")
    with preview_server(folder / "home", folder / "log.txt", DAGSTER) as url:
        yield url


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """Every address that a page asked for, and what it complained of."""
    return []


@pytest.fixture(scope="module")
def page(asked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser_page(tmp_path_factory.mktemp("profile"), 1100, 760, maps=True) as opened:
        opened.on("request", lambda request: asked.append(request.url))
        opened.on("pageerror", lambda error: asked.append(f"error: {error}"))
        opened.on("console", lambda said: asked.append(f"error: {said.text}") if said.type == "error" else None)
        yield opened


def regions_drawn(page: Page) -> dict[str, str]:
    """Region to the colour that the map gives it, out of what WebGL was given to draw."""
    found: dict[str, str] = page.evaluate(
        "() => Object.fromEntries(window.map.queryRenderedFeatures({layers: ['regions']}).map(feature => "
        "[feature.properties.name, window.map.getFeatureState({source: 'regions', id: feature.id}).colour]))"
    )
    return found


def test_the_country_is_drawn_and_a_click_opens_a_region(page: Page, served: str) -> None:
    page.goto(f"{served}/map/")
    drawn(page)
    done, failed = (
        f"rgb({','.join(map(str, country_map.color_of(place)))})"
        for place in (
            country_map.RegionYear(region="a", year=2024, state="done", f1=0.72),
            country_map.RegionYear(region="a", year=2024, state="failed"),
        )
    )
    colors = regions_drawn(page)
    assert colors == {"noorderveld": done, "zuiderhout": failed}
    expect(page.locator("#sum")).to_have_text("2024: 1 done, 1 failed, of 2 regions")
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).reshape(-1, 3).astype(int)
    for color in colors.values():
        near = np.abs(pixels - [int(part) for part in color[4:-1].split(",")]).max(axis=1) < 6
        assert near.mean() > 0.02, f"no ground is {color}"
    place = page.locator(".name", has_text="noorderveld").bounding_box()
    assert place
    page.mouse.click(place["x"] + place["width"] / 2, place["y"] - 20)
    details = page.locator("#details")
    expect(details).to_contain_text("noorderveld 2024")
    expect(details).to_contain_text("0.720")
    expect(details.get_by_text("Open building_footprints in Dagster")).to_have_attribute(
        "href", f"{DAGSTER}/assets/building_footprints?view=partitions&partition=noorderveld%7C2024"
    )
    details.get_by_text("Footprints over imagery").click()
    page.wait_for_url(f"{served}/map/noorderveld/2024/")


def test_footprints_lie_over_the_imagery(page: Page, served: str) -> None:
    page.goto(f"{served}/map/noorderveld/2024/")
    drawn(page, "[data-buildings]")
    said = page.locator("#map").get_attribute("data-buildings")
    shown = page.evaluate(
        "() => new Set(window.map.queryRenderedFeatures({layers: ['footprints:fill']}).map(f => f.properties.id)).size"
    )
    assert int(said or 0) == shown
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    assert len(np.unique(pixels[200:560, 400:700].reshape(-1, 3), axis=0)) > 500, "no imagery in the middle of the map"
    page.get_by_label("imagery").uncheck()
    page.get_by_label("footprints").uncheck()  # whose colours are many too, each over another ground
    drawn(page)
    page.wait_for_timeout(300)
    bare = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    ground = (bare[200:560, 400:700].reshape(-1, 3) == GROUND).all(axis=1)
    assert ground.mean() > 0.9, "more than degrees and borders lies where imagery was switched off"
    assert (pixels[200:560, 400:700].reshape(-1, 3) == GROUND).all(axis=1).mean() < 0.5


def test_no_page_of_the_map_asked_anybody_else_or_failed(asked: list[str], served: str) -> None:
    assert any("/tiles/" in address for address in asked)
    assert any("maplibre-gl-worker" in address for address in asked)
    strange = [address for address in asked if not address.startswith((served, "data:", "blob:"))]
    # the picture of a partition that Dagster never made is not there; the page does without
    assert [one for one in strange if "404" not in one] == []

"""Dagster's pages over a built project, looked at in a real browser: assets, partitions, pictures, checks.

GROUNDPLAN_SCREENSHOTS=folder keeps what was seen. A machine without Chromium fails here: nobody would have looked.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from browser import (
    browser_page,
    materialize,
    open_picture,
    preview_server,
    show_check,
    show_graph,
    show_partition,
    webserver,
)
from playwright.sync_api import Page, expect
from walkthrough import EAST, TOWN, YEAR, Walk

from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.pipeline import ASSETS
from groundplan.project import open_project

# Dagster's web server starts twice, with a code server each, and Chromium loads its UI: the pages are quick after that.
pytestmark = [pytest.mark.browser, pytest.mark.slow]

KEY = f"{TOWN}|{YEAR}"


@pytest.fixture(scope="module")
def url(walked: Walk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with webserver(walked.home, tmp_path_factory.mktemp("webserver") / "log.txt") as address:
        yield address


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """Addresses outside this machine that the pages asked for."""
    return []


@pytest.fixture(scope="module")
def page(url: str, asked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser_page(tmp_path_factory.mktemp("profile")) as opened:
        opened.on("request", lambda request: _note(request.url, url, asked))
        yield opened


def _note(address: str, url: str, asked: list[str]) -> None:
    if not address.startswith((url, url.replace("http", "ws"), "data:", "blob:", "about:")):
        asked.append(address)


def keep(page: Page, name: str) -> None:
    if folder := os.environ.get("GROUNDPLAN_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_the_graph_shows_all_assets_in_their_groups(page: Page, url: str) -> None:
    groups = ("imagery", "labels", "model", "footprints")
    show_graph(page, url, groups)
    nodes = page.locator("foreignObject")
    for name in (*groups, *ASSETS):  # a long name is shortened in its middle: buildi…_footprints
        shown = re.compile(f"^({name}|{name[:4]}\\w*…\\w*{name[-8:]})")
        expect(nodes.filter(has_text=shown)).to_have_count(2 if name == "labels" else 1)  # a group and an asset
    expect(page.get_by_text("Join the Dagster community")).to_have_count(0)
    keep(page, "ui-assets")


def test_partitions_are_a_matrix_of_region_and_year(page: Page, url: str) -> None:
    show_partition(page, url, "aerial_tiles", KEY)
    for region in (TOWN, EAST):
        expect(page.get_by_text(region, exact=True).first).to_be_visible()
    for year in (YEAR, datetime.now(UTC).year):  # delivered, and the coming one
        expect(page.get_by_text(str(year), exact=True).first).to_be_visible()
    expect(page.get_by_text(str(YEAR - 1), exact=True)).to_have_count(0)
    expect(page.get_by_text(KEY).first).to_be_visible()
    expect(page.get_by_text("Materialized (2)")).to_be_visible()
    expect(page.get_by_text("Failed (0)")).to_be_visible()
    expect(page.locator("tr", has_text="imagery [km2]").first).to_be_visible()
    keep(page, "ui-partitions")


def test_a_year_that_nobody_built_is_not_green(page: Page, url: str) -> None:
    coming = datetime.now(UTC).year
    page.goto(f"{url}/assets/aerial_tiles?view=partitions&partition={EAST}%7C{coming}")
    expect(page.get_by_text(f"{EAST}|{coming}").first).to_be_visible()
    expect(page.get_by_text("View all historical events (0)")).to_be_visible()
    expect(page.get_by_text("No metadata entries")).to_be_visible()
    expect(page.get_by_text("Materialized", exact=True)).to_have_count(0)


@pytest.mark.parametrize("asset", ["aerial_tiles", "labels", "predictions", "building_footprints"])
def test_a_materialization_shows_its_figures_and_its_picture(page: Page, url: str, asset: str) -> None:
    show_partition(page, url, asset, KEY)
    for figure in ("blocks made", "size [MB]", "processor seconds", "dagster/uri"):
        expect(page.locator("tr", has_text=figure).first).to_be_visible()
    if asset == "building_footprints":
        expect(page.locator("tr", has_text="dagster/row_count").first).to_be_visible()
    size = open_picture(page)
    assert size["natural"] > 200, "the browser could not decode the picture"
    assert size["high"] > 200
    assert size["shown"] > 200, "the picture is there but not to be seen"
    assert size["bytes"] < 100_000
    keep(page, f"ui-picture-{asset}")


def test_a_trained_model_shows_its_curves_and_its_figures(page: Page, url: str) -> None:
    page.goto(f"{url}/assets/trained_model?view=partitions&partition={YEAR}")
    expect(page.locator("tr", has_text="thresholds").first).to_be_visible()
    assert open_picture(page)["natural"] > 400


@pytest.mark.parametrize(
    ("asset", "check", "says"),
    [
        ("sheets", "sheets_usable", "sheets can be used"),
        ("aerial_tiles", "tiles_complete", "blocks are there and valid COGs"),
        ("building_footprints", "footprints_valid", "footprints are valid and apart"),
    ],
)
def test_checks_say_that_they_passed_and_why(page: Page, url: str, asset: str, check: str, says: str) -> None:
    show_check(page, url, asset, check)
    expect(page.get_by_text(check, exact=True).first).to_be_visible()
    expect(page.get_by_text("Passed", exact=True).first).to_be_visible()
    expect(page.get_by_text(says).first).to_be_visible()
    expect(page.get_by_text(f"|{YEAR}").first).to_be_visible()
    # beside it in the list: the two that had nothing to compare, which are not said to have passed
    expect(page.get_by_text("Failed", exact=True)).to_have_count(2 if asset == "building_footprints" else 0)
    if check == "footprints_valid":
        keep(page, "ui-checks")


def test_the_runs_of_the_command_line_are_listed(page: Page, url: str) -> None:
    page.goto(f"{url}/runs")
    for name in ("predict", "training", "register_labels"):
        expect(page.get_by_role("link", name=name, exact=True).first).to_be_visible()
    expect(page.get_by_text("Success").first).to_be_visible()
    expect(page.get_by_text("Failure", exact=True)).to_have_count(0)


def test_no_page_asked_anybody_else(asked: list[str]) -> None:
    assert not asked


# ---------------------------------------------------------------------------- with the preview server beside it


@pytest.fixture(scope="module")
def pictured(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Dagster's pages over a project whose pictures are served; one of its blocks has bytes that nobody wrote."""
    folder = tmp_path_factory.mktemp("pictured")
    home = folder / "home"
    shutil.copytree(built_home, home)
    with preview_server(home, folder / "previews.txt") as previews:
        settings = home / "groundplan.toml"
        settings.write_text(settings.read_text() + f'\n[serving]\nurl = "{previews}"\n')
        (home / "dagster").mkdir()
        with dg.DagsterInstance.local_temp(str(home / "dagster")) as instance:
            instance.add_dynamic_partitions("regions", ["noorderveld"])
            instance.add_dynamic_partitions("years", ["2023", "2024"])
            project = open_project(home)
            tiles = need_manifest(project.store, "aerial_tiles", Partition(2024, "noorderveld")).objects
            made = next(iter(tiles.values()))
            data = bytearray(project.store.get(made.key))
            data[data.index(made.fingerprint.encode())] ^= 1  # of another size, it would be made again
            project.store.put(made.key, bytes(data))
            materialize(instance, home, "country_map", None)
            materialize(instance, home, "aerial_tiles", "noorderveld|2024")
        with webserver(home, folder / "log.txt") as address:
            yield address


def in_place(page: Page) -> dict[str, int]:
    """The first served picture of the page, without a click: its natural and its shown width."""
    image = page.locator("img[src*='/previews/']").first
    image.wait_for()
    size: dict[str, int] = image.evaluate(
        "async image => { await image.decode(); return {natural: image.naturalWidth, shown: image.clientWidth} }"
    )
    return size


def test_a_served_picture_shows_without_a_click(page: Page, pictured: str) -> None:
    show_partition(page, pictured, "aerial_tiles", "noorderveld|2024")
    size = in_place(page)
    assert size["natural"] > 200
    assert size["shown"] > 100
    expect(page.locator("a[href$='/map/noorderveld/2024/']").first).to_be_visible()
    page.goto(f"{pictured}/assets/country_map")
    assert in_place(page)["natural"] > 200


def test_a_failed_check_says_where_and_what_to_do(page: Page, pictured: str) -> None:
    show_check(page, pictured, "aerial_tiles", "tiles_complete")
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    expect(page.get_by_text("Remove the object and build the partition again").first).to_be_visible()
    expect(page.get_by_text("its content is not what was written").first).to_be_visible()
    assert in_place(page)["natural"] > 200
    keep(page, "ui-failed-check")

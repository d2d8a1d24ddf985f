"""The first hour of two newcomers, by the README alone: its own commands, in a copy of the repository, and a browser.

Here: what must be seen of the demo. Not here: what is typed, and in which clone (cloned.py), imagery of one's own
(test_own_imagery.py), the parts, each of which has its tests.
"""

from __future__ import annotations

import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browser import browser_page, drawn
from cloned import START, Newcomer, activation, bare, cloned
from playwright.sync_api import Page, expect
from readme import command

from groundplan.synthetic.country import draw
from groundplan.synthetic.place import ZANZIBAR

# Servers, a browser and a demo: what a newcomer does first costs what it costs.
pytestmark = [pytest.mark.browser, pytest.mark.daemon, pytest.mark.slow, pytest.mark.timeout(1500)]

PHONE = {"width": 390, "height": 844}
TOWN = replace(ZANZIBAR, origin=(532_200.0, 9_333_000.0))  # on the same island, outside the invented regions


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    return cloned(tmp_path_factory.mktemp("newcomer"))


@pytest.fixture(scope="module")
def demo(newcomer: Newcomer) -> str:
    """What `make demo` said."""
    return newcomer.types(bare(command(START, "make demo")))


# --- the one who knows GIS --------------------------------------------------------------------------------------------


def test_the_demo_says_what_its_figures_mean_and_where_to_go_on(newcomer: Newcomer, demo: str) -> None:
    assert "Footprints against the true buildings" in demo
    assert "Invented houses" in demo
    assert "Warning" not in demo
    listed = demo.split("each line as it stands:")[1].splitlines()
    hints = [bare(line) for line in listed if line.startswith("  ") and "    #" in line]
    status = next(line for line in hints if " status" in line)
    assert "building_footprints" in newcomer.types(status), "a hint that cannot be pasted"


def test_the_commands_after_the_demo_work_as_printed(newcomer: Newcomer, demo: str) -> None:
    activate = activation()
    said = newcomer.types(*activate)
    assert "noorderveld" in said
    assert "groundplan" in newcomer.types(activate[0], "groundplan --version")
    assert newcomer.types(activate[0], "groundplan doctor --home demo")


@pytest.fixture(scope="module")
def opened(newcomer: Newcomer, demo: str) -> Iterator[Newcomer]:
    """`make dev`, until the map and Dagster answer."""
    with newcomer.keeps_running(bare(command(START, "make dev"))) as log:
        pages = [f"http://127.0.0.1:{newcomer.map_port}/healthz", f"http://127.0.0.1:{newcomer.ui_port}/server_info"]
        for page in pages:
            answers(page, log)
        yield newcomer


def there(page: str) -> bool:
    try:
        with urllib.request.urlopen(page, timeout=10):
            return True
    except OSError:
        return False


def answers(page: str, log: Path) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end:
        if there(page):
            return
        time.sleep(0.5)
    raise AssertionError(f"{page} does not answer: {log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser_page(tmp_path_factory.mktemp("profile"), 1280, 800, maps=True) as shown:
        yield shown


def the_map(newcomer: Newcomer) -> str:
    """The address that the README promises, at this test's port."""
    (address,) = re.findall(r"http://127\.0\.0\.1:3001(/map/)", command(START, "make dev"))
    return f"http://127.0.0.1:{newcomer.map_port}{address}"


def test_the_map_shows_the_country_and_whom_to_thank(opened: Newcomer, page: Page) -> None:
    page.goto(the_map(opened))
    drawn(page)
    expect(page.get_by_text("noorderveld").first).to_be_visible()
    expect(page.locator("#credits")).not_to_be_empty()
    page.goto(f"{the_map(opened)}noorderveld/2024/")
    drawn(page, "[data-buildings]")


def test_the_map_fits_a_phone(opened: Newcomer, page: Page) -> None:
    usual = page.viewport_size
    page.set_viewport_size(PHONE)
    page.goto(the_map(opened))
    drawn(page)
    boxes = [page.locator(f"#{name}").bounding_box() for name in ("head", "years")]
    for box in boxes:
        assert box is not None
        assert 0 <= box["x"] <= box["x"] + box["width"] <= PHONE["width"]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"], "the head lies over the years"
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    if usual:
        page.set_viewport_size(usual)


# --- the one who knows Dagster ----------------------------------------------------------------------------------------


def test_the_first_start_makes_nothing_again(opened: Newcomer, page: Page) -> None:
    time.sleep(15)  # three looks of each sensor
    page.goto(f"http://127.0.0.1:{opened.ui_port}/runs")
    expect(page.get_by_text("Success").first).to_be_visible()
    for busy in ("Queued", "Started", "Starting", "Failure"):
        expect(page.locator("tbody").get_by_text(busy, exact=True)).to_have_count(0)


def test_the_country_pages_have_pictures_and_lead_to_the_map(opened: Newcomer, page: Page) -> None:
    page.goto(f"http://127.0.0.1:{opened.ui_port}/assets/country_map")
    expect(page.locator("img[src*='/previews/']").first).to_be_visible()
    page.goto(
        f"http://127.0.0.1:{opened.ui_port}/assets/building_footprints?view=partitions&partition=noorderveld%7C2024"
    )
    expect(page.locator("img[src*='/previews/']").first).to_be_visible()
    expect(page.locator(f"a[href*=':{opened.map_port}/map/']").first).to_be_visible()


def test_a_dropped_sheet_is_on_the_map_and_nobody_did_anything(opened: Newcomer, page: Page, tmp_path: Path) -> None:
    drop = command(START, "cp ")
    pattern = drop.split()[1]
    island = draw(tmp_path / "island", seed=11, size_m=60.0, regions=("mji",), years=(2022,), location=TOWN)
    (sheet, *_) = island.sheets["mji", 2022]
    shutil.copy(sheet, opened.clone / pattern.replace("*", "new"))
    page.goto(the_map(opened))
    drawn(page)
    opened.types(drop)
    expect(page.get_by_text("zanzibar").first).to_be_visible(timeout=600_000)  # the page was not loaded again
    shown = f"{the_map(opened)}zanzibar/2022/"
    end = time.monotonic() + 600
    while not there(shown) and time.monotonic() < end:  # the region is named before its page is there
        time.sleep(1)
    page.goto(shown)
    drawn(page)

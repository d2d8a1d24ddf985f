"""The pictures of the documentation: `python tests/support/screenshots.py demo "noorderveld|2024" docs/images [maps]`.

With the word `maps` at its end: the pages of the map server alone, over the home itself, which nothing writes to.

Here: a copy of a built project, both servers and the daemon over it, and a photograph of each page. Not here: tests.
The footprints' quality is asked to be better than it is, so that a failed check can be seen.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
from browser import (
    ROOT,
    browser_page,
    drawn,
    free_port,
    materialize,
    preview_server,
    save,
    show_check,
    show_graph,
    show_partition,
    webserver,
)
from page_state import NO_WEBGL
from playwright.sync_api import Page

from assets.partitions import key_of
from groundplan.imagery.landing import delivered_partitions
from groundplan.pipeline import ASSETS, partitions_of
from groundplan.project import open_project
from orchestration.backfills import request_backfill

DEMANDED = "0.75"  # IoU


def take(home: Path, key: str, folder: Path) -> None:
    """Photograph the pages of a project, with `key` as the partition that is looked at."""
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        shutil.copytree(home, work / "home")
        maps, ui = free_port(), free_port()
        os.environ.update(
            {
                "GROUNDPLAN_HOME": str(work / "home"),
                "DAGSTER_HOME": str(work / "home/dagster"),
                "GROUNDPLAN_SERVING__URL": f"http://127.0.0.1:{maps}",
                "GROUNDPLAN_QUALITY__MIN_IOU": DEMANDED,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            }
        )
        make_again(work / "home", key)
        with (
            preview_server(work / "home", work / "maps.txt", f"http://127.0.0.1:{ui}", maps) as served,
            webserver(work / "home", work / "log.txt", ui) as url,
        ):
            backfill(work / "home", key)
            with browser_page(work / "wide", 2000, 560) as page:
                graph(page, url, folder)
            with browser_page(work / "usual", 1280, 800) as page:
                dagster_pages(page, url, key, folder)
            with browser_page(work / "maps", 1280, 800, maps=True) as page:
                map_pages(page, served, key, folder)


def make_again(home: Path, key: str) -> None:
    """Every partition once more: nothing is made, but what is said of it now knows the server of pictures."""
    project = open_project(home)
    with dg.DagsterInstance.get() as instance:
        for name in ASSETS:
            for partition in partitions_of(project, name):
                materialize(instance, home, name, str(key_of(partition)))
        materialize(instance, home, "building_footprints", key)  # a check's page shows its last partition
        for name in ("country_map", "country_status", "automation_overview"):
            materialize(instance, home, name, None)


def backfill(home: Path, key: str) -> None:
    """One that the daemon finishes while we wait, at most three minutes."""
    from orchestration.definitions import defs

    project = open_project(home)
    year = int(key.split("|")[1])
    wanted = [partition for partition in delivered_partitions(project) if partition.year == year]
    daemon = subprocess.Popen(
        ["dagster-daemon", "run", "-w", "workspace.yaml"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with dg.DagsterInstance.get() as instance:
            title = f"nightly {year}-11-20: {year}, {len(wanted)} partitions (1 of 1)"
            graph = defs.get_repository_def().asset_graph
            number = request_backfill(
                instance,
                graph,
                ["aerial_tiles", "register_buildings", "labels"],
                wanted,
                title,
                {"groundplan/cause": "nightly"},
                "screenshot",
            )
            end = time.monotonic() + 180
            while time.monotonic() < end:
                found = instance.get_backfill(number)
                if found and found.status.value.startswith("COMPLETED"):
                    return
                time.sleep(2)
    finally:
        daemon.terminate()
        daemon.wait(60)


def graph(page: Page, url: str, folder: Path) -> None:
    show_graph(page, url, ("imagery", "labels", "model", "footprints"))
    page.get_by_text("Hide navigation").first.click()
    page.wait_for_timeout(3000)  # the graph finds its place
    save(page, folder / "ui-assets.png")


def dagster_pages(page: Page, url: str, key: str, folder: Path) -> None:
    page.goto(f"{url}/assets")
    page.get_by_text("Hide navigation").first.click()
    show_partition(page, url, "aerial_tiles", key)
    page.locator("tr", has_text="imagery [km2]").first.wait_for()
    save(page, folder / "ui-partitions.png")
    show_partition(page, url, "building_footprints", key)
    picture = page.locator("img[src*='/previews/']").first
    picture.wait_for()
    page.wait_for_timeout(1500)
    save(page, folder / "ui-materialization.png")
    show_check(page, url, "building_footprints", "footprints_quality")
    page.locator("img[src*='/previews/']").first.wait_for()
    page.wait_for_timeout(1500)
    save(page, folder / "ui-checks.png")
    page.goto(f"{url}/runs/?view=backfills")
    page.get_by_text("nightly").first.wait_for()
    page.wait_for_timeout(2000)
    save(page, folder / "ui-backfill.png")
    page.goto(f"{url}/assets/country_map")
    page.locator("img[src*='/previews/']").first.wait_for()
    page.wait_for_timeout(1500)
    save(page, folder / "ui-country-map.png")


def take_maps(home: Path, key: str, folder: Path) -> None:
    """Photograph the map server's pages alone."""
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        with preview_server(home, work / "maps.txt") as served:
            with browser_page(work / "desk", 1280, 800, maps=True) as page:
                map_pages(page, served, key, folder)
                other_map_pages(page, served, key, folder)
                page.emulate_media(color_scheme="dark")
                region_page(page, served, key, folder / "map-dark.png")
                page.emulate_media(color_scheme="light")
                service_pages(page, served, folder)
            with browser_page(work / "phone", 390, 844, scale=2.0, maps=True) as page:
                region_page(page, served, key, folder / "map-phone.png")
                page.goto(f"{served}/map/")
                drawn(page)
                page.wait_for_timeout(1500)
                save(page, folder / "map-phone-country.png")
            with browser_page(work / "none", 1280, 800) as page:
                page.add_init_script(NO_WEBGL)
                plain_page(page, f"{served}/map/", folder / "map-no-webgl.png")


def map_pages(page: Page, served: str, key: str, folder: Path) -> None:
    region = key.split("|")[0]
    page.goto(f"{served}/map/")
    drawn(page)
    place = page.locator(".name", has_text=region).bounding_box()
    if place:
        page.mouse.click(place["x"] + place["width"] / 2, place["y"] - 20)
    page.wait_for_timeout(1500)
    save(page, folder / "map-country.png")
    region_page(page, served, key, folder / "map-region.png")


def region_page(page: Page, served: str, key: str, file: Path, parts: str = "") -> None:
    """A region's map with what stands after the # of its address."""
    page.goto("about:blank")  # another part of the same address would load nothing
    page.goto(f"{served}/map/{key.replace('|', '/')}/{parts}")
    drawn(page, "[data-buildings]")
    page.wait_for_timeout(2000)
    save(page, file)


def plain_page(page: Page, address: str, file: Path) -> None:
    page.goto(address)
    page.wait_for_timeout(1500)
    save(page, file)


def other_map_pages(page: Page, served: str, key: str, folder: Path) -> None:
    """Beside the register, beside another year, one building; a partition's page, and one that is not there."""
    region, year = key.split("|")
    region_page(page, served, key, folder / "map-register.png", "#layers=aerial_tiles,agreement")
    asked = f"fetch('/footprints/{region}/{year}.geojson').then(found => found.json())"
    first = page.evaluate(f"{asked}.then(found => found.features[0].properties.id)")
    region_page(page, served, key, folder / "map-building.png", f"#building={first}")
    years = page.locator("#swipe option").evaluate_all("all => all.map(one => one.value).filter(Number)")
    if years:
        region_page(page, served, key, folder / "map-swipe.png", f"#swipe={years[0]}")
    plain_page(page, f"{served}/partition/building_footprints/{year}/{region}", folder / "map-partition.png")
    plain_page(page, f"{served}/map/nowhere/1999/", folder / "map-not-found.png")


def service_pages(page: Page, served: str, folder: Path) -> None:
    """The review of polygons (`groundplan review tasks` before), and what programs may ask."""
    page.goto(f"{served}/review/")
    page.locator("body[data-shown]").wait_for()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2000)
    save(page, folder / "review.png")
    plain_page(page, f"{served}/docs", folder / "api-docs.png")


if __name__ == "__main__":
    (take_maps if "maps" in sys.argv[4:] else take)(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))

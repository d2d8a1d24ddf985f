"""The first hour of three newcomers, by the README alone: its own commands, in a copy of the repository, and a browser.

Here: what they type is read out of the README (readme.py) and run as printed, and what they must see is asserted.
Not here: the parts, each of which has its tests. Two things are other than for them, to save a quarter of an hour:
`.venv` is the one in which the tests run, and networks learn for a few steps (settings in the environment).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import geopandas as gpd
import pytest
import rasterio
from browser import ROOT, browser_page, drawn, free_port
from playwright.sync_api import Page, expect
from readme import command, commands, fenced

from groundplan.synthetic.country import draw
from groundplan.synthetic.place import ZANZIBAR

# Servers, a browser and a demo: what a newcomer does first costs what it costs.
pytestmark = [pytest.mark.browser, pytest.mark.daemon, pytest.mark.slow, pytest.mark.timeout(1500)]

START, OWN = "Start", "With your imagery"
QUICK = {"GROUNDPLAN_MODEL__STEPS": "12", "GROUNDPLAN_MODEL__ENCODER_WEIGHTS": "none", "OMP_NUM_THREADS": "1"}
PHONE = {"width": 390, "height": 844}
TOWN = replace(ZANZIBAR, origin=(532_200.0, 9_333_000.0))  # on the same island, outside the invented regions


@dataclass(kw_only=True)
class Newcomer:
    """A person with a terminal in a clone, who does what the README says."""

    clone: Path
    ui_port: int
    map_port: int
    said: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("GROUNDPLAN_", "DAGSTER_", "VIRTUAL_ENV"))}
        known = [part for part in ours["PATH"].split(os.pathsep) if not part.endswith(".venv/bin")]
        ports = {"UI_PORT": str(self.ui_port), "MAP_PORT": str(self.map_port)}
        ports["GROUNDPLAN_SERVING__URL"] = f"http://127.0.0.1:{self.map_port}"  # where the demo's own links lead
        return {**ours, **QUICK, **ports, "PATH": os.pathsep.join(known), "COLUMNS": "160"}

    def types(self, *lines: str, fails: bool = False) -> str:
        """Lines in one terminal, as printed; what they said. They must succeed, or fail."""
        script = "\n".join(lines)
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self.clone,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
        )
        assert (done.returncode != 0) == fails, f"{script}\n{done.stdout[-4000:]}"
        self.said[lines[-1]] = done.stdout
        return done.stdout

    @contextmanager
    def keeps_running(self, line: str) -> Iterator[Path]:
        """A line that runs until Ctrl-C, in a terminal of its own; gives its log. Nothing of it is left afterwards."""
        log = self.clone / "terminal.txt"
        with log.open("wb") as output:
            started = subprocess.Popen(
                ["bash", "-c", f"exec {line}"],
                cwd=self.clone,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield log
            finally:
                os.killpg(started.pid, signal.SIGINT)
                started.wait(60)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    """A clone: what git has of this tree, the environment and the map's library where `make` puts them."""
    clone = tmp_path_factory.mktemp("newcomer") / "groundplan"
    tracked = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    # older than what was installed: `make` installing again would point the environment of all tests at this clone
    for name in ("requirements.txt", "pyproject.toml", "docker/face-weights.txt"):
        os.utime(clone / name, (0, 0))
    (clone / ".venv").symlink_to(ROOT / ".venv")
    vendored = Path("serving/maps/static/vendor")
    shutil.copytree(ROOT / vendored, clone / vendored, dirs_exist_ok=True)
    return Newcomer(clone=clone, ui_port=free_port(), map_port=free_port())


@pytest.fixture(scope="module")
def demo(newcomer: Newcomer) -> str:
    """What `make demo` said."""
    return newcomer.types(bare(command(START, "make demo")))


def bare(line: str) -> str:
    """A line without the comment behind it."""
    return line.split("    #")[0].strip()


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
    activate = next(block for block in commands(START) if block[0].startswith(". "))
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


# --- the one who knows machine learning -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(newcomer: Newcomer, tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    """Files as the README names them: sheets, true buildings, and where those are complete."""
    town = draw(tmp_path_factory.mktemp("town"), seed=5, size_m=130.0, regions=("banepa",), years=(2022,))
    (newcomer.clone / "sheets").mkdir()
    for sheet in town.sheets["banepa", 2022]:
        with rasterio.open(sheet) as source:
            usual = source.crs == town.crs  # one of the drawn suppliers delivers in another, which --like refuses
        if usual:
            shutil.copy(sheet, newcomer.clone / "sheets")
    for path, name in zip(town.registers[2022], ("buildings", "extent"), strict=True):
        gpd.read_file(path).to_crs(4326).to_file(newcomer.clone / f"{name}.geojson")
    return newcomer


def test_own_imagery_becomes_footprints_with_a_score_on_unseen_ground(own: Newcomer) -> None:
    activate = next(block for block in commands(START) if block[0].startswith(". "))[0]
    (lines,) = [block for block in commands(OWN) if block[0].startswith("groundplan init")]
    assert [line.split()[1] for line in lines] == [
        "init",
        "add-imagery",
        "add-register",
        "build",
        "export",
        "evaluate",
    ]
    own.types(activate, lines[0])
    settings = own.clone / "gp" / "groundplan.toml"
    assert "crs" in settings.read_text()
    for line in lines[1:]:
        own.types(activate, line)
    assert "pixels" in own.said[lines[1]] or "px" in own.said[lines[1]], "add-imagery tells what it sees"
    assert "test" in own.said[lines[-1]]
    exported = own.clone / lines[4].split()[2]
    assert {"region", "year", "area_m2", "confidence"} <= set(gpd.read_file(exported).columns)
    assert "othing to do" in own.types(activate, lines[3])
    assert "did you mean" in own.types(activate, lines[3].replace("banepa", "banpea"), fails=True).lower()


def test_the_settings_that_the_readme_shows_are_settings(own: Newcomer, tmp_path: Path) -> None:
    activate = next(block for block in commands(START) if block[0].startswith(". "))[0]
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"")
    shown = fenced(OWN, "toml").replace("/path/to/mobilenet_v2.safetensors", str(weights))
    home = own.clone / "shown"
    shutil.copytree(own.clone / "gp", home)
    text = re.sub(r"^\[model\]\n(?:[^\[\n].*\n|\n)*", "", (home / "groundplan.toml").read_text(), flags=re.MULTILINE)
    text = re.sub(r"^\[credits\]\n(?:[^\[\n].*\n|\n)*", "", text, flags=re.MULTILINE)
    (home / "groundplan.toml").write_text(text + "\n" + shown)
    assert "banepa" in own.types(activate, "groundplan status --home shown")


def test_the_library_does_what_the_readme_shows(own: Newcomer) -> None:
    activate = next(block for block in commands(START) if block[0].startswith(". "))[0]
    script = own.clone / "shown.py"
    script.write_text(fenced("In Python", "python"))
    assert own.types(activate, f"python {script.name}")

"""The review page in a real browser: keys, undo, drawing, two years side by side; and what is kept of it."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import browser_page, preview_server
from playwright.sync_api import Page, expect

from groundplan.core.manifest import manifest_key
from groundplan.core.partition import Partition
from groundplan.database.connect import open_database
from groundplan.database.reviews import add_tasks
from groundplan.labels import registers
from groundplan.project import Project, open_project
from groundplan.reviews.tasks import added_task
from groundplan.reviews.verdicts import read_reviews, settled

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HERE = Partition(2024, "noorderveld")
ASKED = 6


def with_tasks(project: Project) -> Project:
    """Buildings of the register as tasks, and the year before with the same imagery."""
    frame, _ = registers.load(project, HERE)
    shapes = frame.to_crs(4326).geometry.iloc[:ASKED]
    found = [added_task(project, HERE.region, HERE.year, shape.__geo_interface__) for shape in shapes]
    ranks = [replace(task, priority=1 - place / ASKED, reason="unsure") for place, task in enumerate(found)]
    add_tasks(open_database(project), ranks)
    for item in project.store.list(f"landing/{HERE.region}")[:1]:
        project.store.put(f"landing/{HERE.region}/2023/{item.key.rpartition('/')[2]}", project.store.get(item.key))
    for dataset in ("sheets", "aerial_tiles"):
        raw = json.loads(project.store.get(manifest_key(dataset, HERE)))
        raw["partition"]["year"] = 2023
        project.store.put(manifest_key(dataset, Partition(2023, HERE.region)), json.dumps(raw).encode())
    return project


@pytest.fixture(scope="module")
def project(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    home = tmp_path_factory.mktemp("review") / "home"
    shutil.copytree(built_home, home)
    return with_tasks(open_project(home))


@pytest.fixture(scope="module")
def url(project: Project) -> Iterator[str]:
    with preview_server(project.home, project.home / "log.txt") as url:
        yield url


@pytest.fixture(scope="module")
def page(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser_page(tmp_path_factory.mktemp("profile"), maps=True) as page:
        page.complaints = []  # type: ignore[attr-defined]
        page.on("pageerror", lambda error: page.complaints.append(str(error)))  # type: ignore[attr-defined]
        page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)  # type: ignore[attr-defined]
        page.goto(f"{url}/review/")
        shown(page)
        yield page


def shown(page: Page) -> str:
    """Wait for the polygon that is asked about; its task."""
    page.locator("body[data-shown]").wait_for()
    page.wait_for_function("document.body.dataset.task === document.body.dataset.shown")
    return str(page.evaluate("document.body.dataset.task"))


def press(page: Page, key: str, left: int) -> str:
    page.keyboard.press(key)
    expect(page.locator("#progress")).to_contain_text(f"{left} left")
    return shown(page)


def said(project: Project) -> dict[str, str]:
    return {task: review.verdict for task, review in settled(read_reviews(project.store, 2024)).items()}


def test_keys_say_it_and_undo_takes_it_back(page: Page, project: Project) -> None:
    first = shown(page)
    expect(page.locator("#asked")).to_contain_text("the model is not sure")
    second = press(page, "a", 5)
    assert second != first
    assert said(project) == {first: "accept"}
    third = press(page, "r", 4)
    assert said(project)[second] == "reject"
    assert press(page, "z", 5) == second
    assert second not in said(project)
    assert press(page, "n", 4) == third
    assert said(project)[second] == "not sure"


def test_two_years_lie_side_by_side(page: Page) -> None:
    expect(page.locator("#other-year")).to_have_text("2023")
    expect(page.locator("#year")).to_have_text("2024")
    page.locator("#other canvas").wait_for()
    page.keyboard.press("y")
    expect(page.locator("#beside")).to_be_hidden()
    page.keyboard.press("y")
    expect(page.locator("#beside")).to_be_visible()


def test_a_polygon_is_drawn(page: Page, project: Project) -> None:
    task = shown(page)
    page.keyboard.press("d")
    expect(page.locator("#redraw")).to_have_attribute("aria-pressed", "true")
    box = page.locator("#map").bounding_box()
    assert box is not None
    middle, half = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), 60
    for right, down in ((-half, -half), (half, -half), (half, half), (-half, half)):
        page.mouse.move(middle[0] + right, middle[1] + down, steps=3)
        page.mouse.click(middle[0] + right, middle[1] + down)
        page.wait_for_timeout(300)  # two clicks close together are a double click
    page.keyboard.press("Enter")
    expect(page.locator("#progress")).to_contain_text("3 left")
    shown(page)
    (drawn,) = [one for one in read_reviews(project.store, 2024) if one.task == task]
    assert drawn.verdict == "redraw"
    assert drawn.geometry is not None
    assert len(drawn.geometry["coordinates"][0]) == 5
    assert page.complaints == []  # type: ignore[attr-defined]


def call(url: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f"{url}{path}", data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.bad_input
def test_what_makes_no_sense_is_refused_and_kept_nowhere(url: str, project: Project) -> None:
    before = read_reviews(project.store, 2024)
    _, found = call(url, "/v1/review/next?person=ann")
    task = found["task"]["id"]
    cases = [
        ({"task": "f" * 32, "verdict": "accept"}, 404),
        ({"task": task, "verdict": "perhaps"}, 422),
        ({"task": task, "verdict": "undo"}, 422),
        ({"task": task, "verdict": "redraw"}, 422),
        ({"task": "../x", "verdict": "accept"}, 422),
        ({"task": task, "verdict": "accept", "seconds": -1}, 422),
    ]
    assert [call(url, "/v1/review/verdicts", body)[0] for body, _ in cases] == [code for _, code in cases]
    assert call(url, "/v1/review/undo?person=nobody", {})[0] == 409
    assert read_reviews(project.store, 2024) == before


def test_people_who_share_a_machine_are_told_apart(url: str, project: Project) -> None:
    tasks = {person: call(url, f"/v1/review/next?person={person}")[1]["task"]["id"] for person in ("ann", "bob")}
    assert tasks["ann"] != tasks["bob"]
    status, kept = call(url, "/v1/review/verdicts", {"task": tasks["bob"], "verdict": "accept", "person": "bob"})
    assert status == 201
    (mine,) = [one for one in read_reviews(project.store, 2024) if one.id == kept["id"]]
    assert mine.person == "this machine: bob"

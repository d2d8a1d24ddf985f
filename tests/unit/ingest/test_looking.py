"""Headers of foreign files are looked at by a process that has no secret but the store's."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import ORIGIN, MakeProject
from rasterio.transform import from_origin

from groundplan.errors import BadSheet, StoreFailed
from groundplan.ingest import looking
from groundplan.ingest.looking import cleaned, look_at
from groundplan.project import Project

KEY = "landing/north/2024/a.tif"
SIDE, RESOLUTION = 64, 0.3
DUMPABLE = 3  # of prctl: whether it is


@pytest.fixture
def project(make_project: MakeProject, tmp_path: Path) -> Project:
    made = make_project(tmp_path)
    file = made.home / "store" / KEY
    file.parent.mkdir(parents=True)
    place = from_origin(*ORIGIN, RESOLUTION, RESOLUTION)
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": "EPSG:28992", "transform": place}
    with rasterio.open(file, "w", width=SIDE, height=SIDE, **profile) as sheet:
        sheet.write(np.full((3, SIDE, SIDE), 90, np.uint8))
        sheet.update_tags(TIFFTAG_DATETIME="2024:05:06 07:08:09")
    file.with_name("broken.tif").write_bytes(file.read_bytes()[:200])
    return made


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[looking._Lookers]:
    """Looks in processes of their own, beside a secret; they end with the test."""
    lookers = looking._Lookers()
    monkeypatch.setattr(looking, "LOOKERS", lookers)
    monkeypatch.setenv(looking.APART, "1")
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "a-secret-of-the-database")
    monkeypatch.setenv("SMTP_PASSWORD", "a-secret-of-the-mail")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    yield lookers
    while not lookers.idle.empty():
        looker = lookers.idle.get()
        looker.kill()
        looker.communicate()
    ctypes.CDLL(None).prctl(looking.NOT_DUMPABLE, 1, 0, 0, 0)


def test_a_look_from_apart_is_the_same(project: Project, apart: looking._Lookers) -> None:
    """By another process, and once more by the same one; what it refuses is refused with the same words."""
    with rasterio.open(project.home / "store" / KEY) as sheet:
        left, bottom, right, top = sheet.bounds
    for _ in range(2):
        look = look_at(project, KEY, [])
        xs, ys = zip(*look.outline, strict=True)
        assert (min(xs), min(ys), max(xs), max(ys)) == pytest.approx((left, bottom, right, top), abs=1e-6)
        assert look.tags["TIFFTAG_DATETIME"] == "2024:05:06 07:08:09"
    assert apart.idle.qsize() == 1
    with pytest.raises(BadSheet) as refused:
        look_at(project, "landing/north/2024/broken.tif", [])
    os.environ.pop(looking.APART)
    with pytest.raises(BadSheet) as here:
        look_at(project, "landing/north/2024/broken.tif", [])
    assert str(refused.value) == str(here.value)


def test_whoever_opens_the_file_knows_no_password(project: Project, apart: looking._Lookers) -> None:
    """Neither by its own environment nor, with this user's rights, by that of its parent."""
    look_at(project, KEY, [])
    looker = apart.idle.get()
    environment = Path(f"/proc/{looker.pid}/environ").read_bytes()
    apart.idle.put(looker)
    assert b"AWS_REGION=eu-west-1" in environment
    assert b"a-secret" not in environment
    assert ctypes.CDLL(None).prctl(DUMPABLE, 0, 0, 0, 0) == 0


@pytest.mark.fault
def test_a_process_that_dies_or_lies_costs_one_file(
    project: Project, apart: looking._Lookers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next file has a process of its own; an answer is data, and names only errors that there are."""
    look_at(project, KEY, [])
    looker = apart.idle.get()
    looker.kill()
    apart.idle.put(looker)
    with pytest.raises(BadSheet, match="whoever opens it ends"):
        look_at(project, KEY, [])
    assert look_at(project, KEY, []).tags
    for said, error in (
        ({"error": ["StoreFailed", "a", "b", "c"]}, StoreFailed),
        ({"error": ["redacted", "a", "b", "c"]}, BadSheet),
        ({"error": ["SystemExit", KEY, "", ""]}, BadSheet),
    ):
        monkeypatch.setattr(looking, "_ask", lambda *_, said=said: said)
        with pytest.raises(error):
            look_at(project, KEY, [])


def test_what_is_kept_of_an_environment() -> None:
    kept = {"PATH": "a", "AWS_SECRET_ACCESS_KEY": "b", "GROUNDPLAN_HOME": "c", "LC_ALL": "d"}
    dropped = {"DAGSTER_PG_PASSWORD": "e", "GROUNDPLAN_SMTP_PASSWORD": "f", "SLACK_TOKEN": "g", "LOOK_APART": "1"}
    assert cleaned({**kept, **dropped}) == kept

"""Registers that would teach a wrong thing: each is named, none is green, and what contradicts is not learned from."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from conftest import MakeProject
from laid_sheets import HERE, LOSSLESS, ground, here, lay, mosaic, place

from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.errors import BadRegister
from groundplan.ingest.add_imagery import deliver
from groundplan.labels import registers
from groundplan.labels.classes import BACKGROUND, IGNORE
from groundplan.labels.empty_ground import add_empty_ground
from groundplan.pipeline import run_step
from groundplan.project import Project
from groundplan.quality.labels_health import labels_healthy
from groundplan.quality.register_faults import FITS_NOWHERE, faults, strangers

pytestmark = pytest.mark.bad_input

SIDE = 500  # pixels of 0.3 m: 150 m
ALL = here(shapely.box(0, 0, 150, 150))


def houses(seed: int = 4, step: int = 12, width: int = 145) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [
        here(shapely.box(x, y, x + 4 + 4 * rng.random(), y + 4 + 4 * rng.random()))
        for x in range(2, width, step)
        for y in range(2, width, step)
    ]


def write(path: Path, shapes: list[Any]) -> Path:
    import geopandas

    geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:28992").to_file(path)
    return path


@pytest.fixture
def project(tmp_path: Path, make_project: MakeProject) -> Project:
    """Imagery of 2024 with bright roofs; no register."""
    from rasterio.features import rasterize

    made = make_project(tmp_path / "home", imagery=LOSSLESS, grid={"block_size": 512})
    roofs = rasterize(houses(), (SIDE, SIDE), transform=place(0, 0), dtype="uint8") * 90
    image = np.clip(ground(SIDE, SIDE, seed=9) * 0.4 + 30 + roofs, 1, 255).astype(np.uint8)
    deliver(made, [lay(tmp_path / "a.tif", image, place(0, 0))], HERE.region, HERE.year)
    return made


def add(project: Project, shapes: list[Any], name: str = "houses", year: int = HERE.year, **of: Any) -> None:
    """of: the day of the register."""
    files = write(project.home / f"{name}.gpkg", shapes), write(project.home / f"{name}-extent.gpkg", [ALL])
    registers.add_register(project, files[0], year, files[1], **of)


def said(project: Project) -> str:
    """What the check says; it must not be green."""
    for name in ("sheets", "aerial_tiles", "register_buildings", "labels"):
        run_step(project, name, HERE)
    verdict = labels_healthy(project, HERE)
    assert not (verdict.passed and verdict.compared)
    assert not verdict.serious
    assert verdict.draw is not None
    assert verdict.remedy
    return verdict.message


def test_a_right_register_is_green(project: Project) -> None:
    add(project, houses(), day=date(2024, 6, 1))
    for name in ("sheets", "aerial_tiles", "register_buildings", "labels"):
        run_step(project, name, HERE)
    verdict = labels_healthy(project, HERE)
    assert verdict.passed
    assert verdict.compared
    assert verdict.facts["offset certainty"] > FITS_NOWHERE


@pytest.mark.parametrize(
    ("day", "words"),
    [
        (date(2022, 1, 1), "is of 2022-01-01, 24 months older than the imagery: what was built since is missing"),
        (
            date(2026, 6, 1),
            "is of 2026-06-01, 17 months newer than the imagery: what was built since is in it",
        ),
    ],
    ids=["older", "newer"],
)
def test_a_register_of_another_time_is_named(project: Project, day: date, words: str) -> None:
    add(project, houses(), day=day)
    assert words in said(project)


def test_a_register_three_meters_off_is_named(project: Project) -> None:
    add(project, [shapely.affinity.translate(one, 2.1, -2.1) for one in houses()])
    assert "m off the imagery" in said(project)


def test_a_register_that_lost_a_third_since_the_year_before_is_named(project: Project) -> None:
    whole = houses()
    deliver(project, [lay(project.home / "b.tif", ground(SIDE, SIDE), place(0, 0))], HERE.region, HERE.year - 1)
    add(project, whole, year=HERE.year - 1)
    for name in ("sheets", "aerial_tiles", "register_buildings"):
        run_step(project, name, Partition(HERE.year - 1, HERE.region))
    add(project, [one for number, one in enumerate(whole) if number % 10 > 2])
    assert f"of the {len(whole)} buildings that the register of 2023 has here are missing: is it whole?" in said(
        project
    )


def test_footprints_speak_against_a_register_that_lacks_a_third() -> None:
    whole = np.array(houses(), object)
    less = whole[np.arange(len(whole)) % 10 > 2]
    assert f"of {len(whole)} footprints lie where the register has nothing" in strangers(whole, less)
    assert not strangers(whole, whole)
    assert not strangers(whole[: len(whole) // 2], less), "who finds half of it has no word"
    assert not strangers(whole[:5], whole[:4]), "nor do five"


def test_two_registers_of_the_same_ground_are_named(project: Project) -> None:
    add(project, houses())
    add(project, [shapely.affinity.translate(one, 0.4, 0.3) for one in houses()[:40]], name="survey")
    assert "40 buildings are drawn twice, by houses.gpkg and by survey.gpkg. Keep one register" in said(project)


def test_two_registers_of_other_ground_are_no_fault(project: Project) -> None:
    whole = houses()
    add(project, whole[:70])
    add(project, whole[70:], name="east")
    for name in ("sheets", "aerial_tiles", "register_buildings", "labels"):
        run_step(project, name, HERE)
    assert labels_healthy(project, HERE).passed


def test_the_labels_of_another_town_are_named(project: Project) -> None:
    rng = np.random.default_rng(3)
    other = [here(shapely.box(x, y, x + 6, y + 5)) for x, y in rng.uniform(0, 140, (130, 2))]
    add(project, other)
    assert "the register fits the imagery nowhere" in said(project)
    assert "is it of another town?" in said(project)


# ------------------------------------------------------------------------------------------------ empty ground

FIELD = here(shapely.box(60, 60, 100, 100))


def labels_of(project: Project) -> np.ndarray:
    classes, _ = mosaic(project, need_manifest(project.store, "labels", HERE), 512, 512)
    return classes[0]


def test_empty_ground_becomes_ground_without_buildings(project: Project) -> None:
    add_empty_ground(project, write(project.home / "field.gpkg", [FIELD]), HERE.year, day=date(2024, 5, 1))
    for name in ("sheets", "aerial_tiles", "register_buildings", "labels"):
        run_step(project, name, HERE)
    classes = labels_of(project)
    assert (classes[202:332, 202:332] == BACKGROUND).all()
    assert (classes[:198] == IGNORE).all()
    facts = need_manifest(project.store, "register_buildings", HERE).objects["buildings"].facts
    assert facts["empty_m2"] == facts["complete_m2"] == 1600
    assert registers.registers_of(project, HERE.year)[0].date == "2024-05-01"
    verdict = labels_healthy(project, HERE)
    assert verdict.passed
    assert not verdict.compared, "without a building nothing says that it lies right"


def test_empty_ground_that_holds_buildings_is_named_and_not_learned_from(project: Project) -> None:
    outside = [one for one in houses() if not one.intersects(FIELD)]
    barn, wall = here(shapely.box(70, 70, 80, 80)), here(shapely.box(99.5, 70, 110, 80))
    other = here(shapely.box(22.2, 118.2, 25.8, 121.8))
    add(project, [*outside, barn, wall])
    add_empty_ground(project, write(project.home / "fields.gpkg", [FIELD, other]), HERE.year)
    words = said(project)
    assert "1 registered buildings stand on ground that is said to be empty; neither is learned from" in words
    classes = labels_of(project)
    assert (classes[202:332, 202:331] == IGNORE).all(), "the whole field is in doubt, the barn with it"
    assert (classes[396:404, 76:84] == BACKGROUND).all(), "the other field is not"
    assert (classes[235:265, 335:365] != IGNORE).all(), "a wall that reaches over the line is no contradiction"


@pytest.mark.parametrize("kind", ["lines", "nothing"])
def test_empty_ground_that_is_no_ground_changes_nothing(kind: str, project: Project) -> None:
    shapes = [here(shapely.LineString([(0, 0), (9, 9)]))] if kind == "lines" else [shapely.Polygon()]
    with pytest.raises(BadRegister):
        add_empty_ground(project, write(project.home / "field.gpkg", shapes), HERE.year)
    assert not project.store.list("registers")


def test_what_registers_say_does_not_change_where_nothing_new_is_said(project: Project) -> None:
    """Bytes of homes from before: no new key stands in a record, no new count in a file."""
    import json

    add(project, houses())
    raw = json.loads(project.store.get(f"registers/{HERE.year}/houses.json"))
    assert set(raw) == {"name", "buildings", "extent", "digest", "content"}
    for name in ("sheets", "aerial_tiles", "register_buildings"):
        run_step(project, name, HERE)
    facts = need_manifest(project.store, "register_buildings", HERE).objects["buildings"].facts
    assert not {"empty_m2", "contradicting"} & facts.keys()
    assert faults(project, HERE, 12.0) == []

"""Reviews: which polygons are asked about, what holds of several verdicts, and which label blocks they remake."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from conftest import build_all, digests

from groundplan.core.grid import Grid
from groundplan.core.partition import Partition
from groundplan.database.connect import engine as engine_of
from groundplan.database.connect import migrate, open_database
from groundplan.database.intake import take_in
from groundplan.database.reviews import DONE, OPEN, Place, add_tasks, list_tasks, next_task, progress
from groundplan.database.verdicts import mirror, say_of, take_back
from groundplan.errors import BadConfig
from groundplan.footprints import footprints
from groundplan.labels import masks, registers
from groundplan.pipeline import run_asset
from groundplan.project import Project, open_project
from groundplan.raster import cog
from groundplan.reviews import tasks as asked
from groundplan.reviews import verdicts as say
from groundplan.reviews.files import read_verdicts, write_tasks
from groundplan.reviews.register import Unjudged, corrections, write_reviews
from groundplan.reviews.tasks import KnownOfGround, TaskBudget, choose, ranked, tasks_of
from groundplan.training.split import SPLITS, split_of, touches_test

GRID = Grid(crs="EPSG:28992", resolution=0.3, block_size=256, origin=(182361.0, 447771.0))
NOW = datetime(2026, 11, 27, 9, tzinfo=UTC)
HERE = Partition(2024, "noorderveld")
REGION_TASK = {"region": "r", "year": 2024, "block": "x0y0", "footprint": "f", "fingerprint": "", "facts": {}}


def houses(count: int, confidence: float = 0.95) -> gpd.GeoDataFrame:
    lefts = 182400.0 + 12 * np.arange(count)
    boxes = shapely.box(lefts, 447600.0, lefts + 8, 447608.0)
    columns = {"id": [f"f{n}" for n in range(count)], "confidence": np.full(count, confidence), "area": 64.0}
    columns |= {"block": [f"x{n // 5}y0" for n in range(count)], "fingerprint": "p"}
    return gpd.GeoDataFrame(columns, geometry=boxes, crs=GRID.crs)


def review(task: str, verdict: str, person: str = "ann", minute: int = 0, **more: Any) -> say.Review:
    about = REGION_TASK | {"reason": "random", "geometry": None} | more.pop("about", {})
    at = NOW + timedelta(minutes=minute)
    return say.Review(
        id=f"{task}{person}{minute}", task=task, person=person, verdict=verdict, at=at,
        **({"geometry": None, "seconds": 1.0} | more), about=about,
    )  # fmt: skip


# --- which are asked about --------------------------------------------------------------------------------------------


def test_the_useful_come_first_a_share_by_chance_and_few_of_a_block() -> None:
    frame = houses(100)
    frame.loc[40:59, "confidence"] = 0.55
    budget = TaskBudget(tasks=40, random_share=0.1, most_of_block=3)
    found = tasks_of(frame, KnownOfGround(), HERE, GRID, 64.0, budget)
    by_chance = [one for one in found if one.reason == "random"]
    assert len(found) == 40
    assert len(by_chance) == 4
    first = [one for one in found[:10] if one.reason != "random"]
    assert {one.reason for one in first} == {"unsure"}
    assert [one.priority for one in found] == sorted((one.priority for one in found), reverse=True)
    useful = [one.block for one in found if one.reason != "random"]
    assert max(useful.count(block) for block in useful) == 3
    places = [place for place, one in enumerate(found) if one.reason == "random"]
    assert places[0] < 10 < 30 < places[-1], "those by chance are asked all along, not at the end"


def test_the_same_are_drawn_by_chance_whatever_else_there_is() -> None:
    names = [f"n{n}" for n in range(50)]
    budget = TaskBudget(tasks=20, random_share=0.2, most_of_block=99)
    some, others = (ranked(list(scores), ["b"] * 50, names, budget) for scores in (np.zeros(50), np.arange(50.0)))
    assert len(set(some) & set(others)) >= 4


def test_disagreement_with_register_and_year_before_and_what_was_not_found() -> None:
    frame = houses(4)
    boxes = frame.geometry.values.to_numpy()
    lost = shapely.box(182500.0, 447600.0, 182508.0, 447608.0)
    register = np.array([boxes[0], boxes[1], lost])
    known = KnownOfGround(register=register, complete=shapely.box(182390, 447590, 182600, 447620), before=boxes[:3])
    found = tasks_of(frame, known, HERE, GRID, 64.0, TaskBudget(tasks=9, random_share=0, most_of_block=9))
    reasons = {one.footprint: one.reason for one in found}
    assert reasons["f2"] == reasons["f3"] == asked.REGISTER
    assert reasons[""] == asked.NOT_FOUND
    assert {"f0", "f1"} & {one.footprint for one in found[-3:]}
    assert next(one for one in found if one.footprint == "f3").facts["useful"][asked.YEARS] == 0.7
    west, _, east, _ = shapely.geometry.shape(found[0].geometry).bounds
    assert 5 < west < east < 6, "degrees"


def test_what_changes_no_label_comes_last() -> None:
    """The register agrees, however unsure the model is; and on the test's ground nothing is learned."""
    frame = houses(12)
    frame.loc[0:3, "confidence"] = 0.5
    boxes = frame.geometry.values.to_numpy()
    known = KnownOfGround(register=boxes[:8], complete=shapely.box(182390, 447590, 182800, 447620))
    budget = TaskBudget(tasks=12, random_share=0, most_of_block=99)
    found = tasks_of(frame, known, HERE, GRID, 16.0, budget)
    places = {one.footprint: place for place, one in enumerate(found)}
    tested = {f"f{n}" for n in np.flatnonzero(touches_test(boxes, 16.0))}
    assert tested
    assert tested == {one.footprint for one in found[-len(tested) :]}
    lacked, agreed, sure = ({f"f{n}" for n in numbers} - tested for numbers in (range(8, 12), range(4), range(4, 8)))
    assert lacked
    assert agreed
    assert max(places[name] for name in lacked) < min(places[name] for name in agreed)
    assert max(places[name] for name in agreed) < min(places[name] for name in sure)


# --- what holds -------------------------------------------------------------------------------------------------------


def test_undo_takes_back_and_two_who_differ_are_not_sure() -> None:
    said = [review("a", say.ACCEPT), review("a", say.UNDO, minute=1), review("a", say.REJECT, minute=2)]
    assert say.settled(said)["a"].verdict == say.REJECT
    assert say.settled(said[:2]) == {}
    both = [*said, review("a", say.ACCEPT, "bob", 3)]
    assert say.settled(both)["a"].verdict == say.UNSURE
    agree = [review("b", say.ACCEPT), review("b", say.REDRAW, "bob", 1)]
    assert say.settled(agree)["b"].verdict == say.REDRAW


def test_agreement_and_precision() -> None:
    said = [review(t, v, p) for t, v, p in [
        ("a", "accept", "ann"), ("a", "accept", "bob"), ("b", "reject", "ann"), ("b", "reject", "bob"),
        ("c", "accept", "ann"), ("c", "reject", "bob"), ("d", "reject", "ann"), ("d", "reject", "bob"),
    ]]  # fmt: skip
    assert say.agreement(said) == (4, 0.5)
    assert say.precision(said) == (3, pytest.approx(1 / 3))  # of c nobody is sure
    assert say.precision([]) == (0, None)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("verdict", "geometry"),
    [
        ("perhaps", None),
        ("redraw", None),
        ("redraw", {"type": "Point", "coordinates": [5, 52]}),
        ("redraw", {"type": "Polygon", "coordinates": [[[5, 52], [5.1, 52.1], [5, 52.1], [5.1, 52], [5, 52]]]}),
        ("missing", {"type": "Polygon", "coordinates": [[[5, 52], [6, 52], [6, 53], [5, 52]]]}),
        ("missing", {"type": "Polygon", "coordinates": [[[500, 52], [501, 52], [501, 53], [500, 52]]]}),
        ("missing", {"type": "Polygon", "coordinates": "x" * 100}),
    ],
)  # fmt: skip
def test_a_drawing_that_is_no_building_is_refused(verdict: str, geometry: Any) -> None:
    with pytest.raises(BadConfig):
        say.checked_geometry(verdict, geometry)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_task_is_one_persons_for_a_while(tmp_path: Path) -> None:
    made = engine_of(f"sqlite:///{tmp_path / 'r.db'}")
    migrate(made)
    frame = houses(3)
    add_tasks(
        made, tasks_of(frame, KnownOfGround(), HERE, GRID, 64.0, TaskBudget(tasks=3, random_share=0, most_of_block=9))
    )

    def ask(person: str, minutes: float = 0, twice: float = 0.0) -> Any:
        return next_task(made, person, Place(), NOW + timedelta(minutes=minutes), 600, twice)

    first = ask("ann")
    assert ask("ann")["id"] == first["id"], "the same until it is done"
    assert ask("bob")["id"] != first["id"]
    assert ask("cy", minutes=11)["id"] == first["id"], "the lease is over"
    store = open_project(_bare(tmp_path)).store
    say_of(made, store, first, "cy", say.ACCEPT)
    assert progress(made, Place()) == {OPEN: 2, DONE: 1}
    assert first["id"] in {ask("dan", twice=1.0)["id"] for _ in range(3)} | {ask("eve", twice=1.0)["id"]}
    assert take_back(made, store, "cy").task == first["id"]  # type: ignore[union-attr]
    assert progress(made, Place()) == {OPEN: 3, DONE: 0}
    assert take_back(made, store, "cy") is None
    assert next_task(made, "ann", Place(region="elsewhere"), NOW, 600, 0) is None


def _bare(folder: Path) -> Path:
    (folder / "home").mkdir()
    grid = '[grid]\ncrs = "EPSG:28992"\nresolution = 0.3\nblock_size = 256\norigin = [182361.0, 447771.0]\n'
    (folder / "home" / "groundplan.toml").write_text(grid)
    return folder / "home"


# --- verdicts become labels -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    home = tmp_path_factory.mktemp("reviews") / "home"
    shutil.copytree(built_home, home)
    return open_project(home)


def of_building(project: Project, polygon: Any, verdict: str, number: int = 0, drawn: Any = None) -> say.Review:
    degrees = gpd.GeoSeries([polygon, drawn or polygon], crs=project.grid.crs).to_crs(4326)
    shape, other = (one.__geo_interface__ for one in degrees)
    about = {"region": HERE.region, "geometry": shape, "footprint": f"none {number}"}
    return review(f"task{number}", verdict, about=about, geometry=other if verdict in say.DRAWN else None)


def on_training_ground(project: Project, test: bool = False) -> Any:
    """A building of the register, wholly on one split's ground and away from others."""
    frame, _ = registers.load(project, HERE)
    shapes = frame.geometry.values.to_numpy()
    for shape in shapes:
        points = shapely.get_coordinates(shape)
        splits = split_of(points[:, 0], points[:, 1], project.settings.split.cell)
        if test == bool((splits == SPLITS.index("test")).any()):
            return shape
    raise AssertionError("no such building")


def test_only_touched_label_blocks_are_made_anew(project: Project) -> None:
    wrong = on_training_ground(project)
    before = digests(project)
    say.keep(project.store, of_building(project, wrong, say.REJECT))
    written, found = write_reviews(project, HERE.year)
    assert written is not None
    assert written.corrects
    assert found.left_out == 0
    made = build_all(project, last="labels")
    touched = {block.name for block in _blocks_of(project, wrong)}
    remade = {name.partition("/")[2] for name in made["labels"]}
    assert remade
    assert remade <= touched
    assert made.get("aerial_tiles", []) == []
    after = digests(project)
    assert {key: after[key] for key in before if key.startswith("aerial_tiles")}.items() <= before.items()
    frame, _ = registers.load(project, HERE)
    assert not frame.geometry.intersects(wrong.centroid).any()
    classes = _classes(project, wrong.centroid)
    assert classes == masks.BACKGROUND
    # said twice is the same register, and nothing is made again
    assert write_reviews(project, HERE.year)[0] == written
    assert build_all(project, last="labels")["labels"] == []


def _blocks_of(project: Project, polygon: Any) -> list[Any]:
    west, south, east, north = polygon.buffer(project.settings.review.reach + registers.REACH).bounds
    corners = [(x, y) for x in (west, (west + east) / 2, east) for y in (south, (south + north) / 2, north)]
    return [project.grid.at(x, y) for x, y in corners]


def _classes(project: Project, point: Any) -> int:
    from groundplan.core.manifest import need_manifest

    block = project.grid.at(point.x, point.y)
    pixels, _ = cog.read_object(
        project.store, need_manifest(project.store, masks.DATASET, HERE).objects[block.name].key
    )
    west, _, _, north = project.grid.bounds(block)
    row, column = int((north - point.y) / project.grid.resolution), int((point.x - west) / project.grid.resolution)
    return int(pixels[0, row, column])


def test_ground_of_the_test_split_is_for_scoring_only(project: Project) -> None:
    judged = of_building(project, on_training_ground(project, test=True), say.REJECT, 7)
    found = corrections(project, [judged])
    assert found.left_out == 1
    assert len(found.extent) == len(found.buildings) == 0


def test_what_each_verdict_says_of_the_ground(project: Project) -> None:
    house = on_training_ground(project)
    drawn = house.buffer(-0.5)
    accepted = corrections(project, [of_building(project, house, say.ACCEPT)])
    assert shapely.area(accepted.buildings).sum() == pytest.approx(house.area, rel=1e-3)
    redrawn = corrections(project, [of_building(project, house, say.REDRAW, drawn=drawn)])
    assert shapely.area(redrawn.buildings).sum() == pytest.approx(drawn.area, rel=1e-3)
    unsure = corrections(project, [of_building(project, house, say.UNSURE)])
    assert len(unsure.extent) == 0
    neighbour = shapely.affinity.translate(house, house.bounds[2] - house.bounds[0] + 2)
    none, beside = np.array([], object), np.array([neighbour], object)
    rejected = [of_building(project, house, say.REJECT)]
    for others in (Unjudged(footprints=beside, entries=none), Unjudged(footprints=none, entries=beside)):
        around = corrections(project, rejected, others)
        assert not shapely.union_all(around.extent).intersects(neighbour), "nobody judged it"
    corner = shapely.buffer(house.representative_point(), 0.3)
    below = corrections(project, rejected, Unjudged(footprints=none, entries=np.array([corner], object)))
    assert not shapely.union_all(below.extent).intersects(corner), "what was drawn over it is none; it may be one"
    stands = [of_building(project, house, say.ACCEPT)]
    known = corrections(project, stands, Unjudged(footprints=none, entries=np.array([corner], object)))
    assert shapely.union_all(known.extent).buffer(0.01).contains(corner)


def test_a_registers_building_nearby_that_nobody_judged_stays(project: Project) -> None:
    """Not even where the model did not find it: within a verdict's reach only what was shown is known."""
    frame, _ = registers.load(project, HERE)
    shapes, house = frame.geometry.values.to_numpy(), on_training_ground(project)
    near = next(one for one in shapes if 0 < shapely.distance(one, house) < 30)
    judged = shapely.affinity.translate(house, *(np.array(near.centroid.coords[0]) - house.centroid.coords[0]))
    beside = shapely.affinity.translate(judged, near.bounds[2] - judged.bounds[0] + 1.5)
    say.keep(project.store, of_building(project, beside, say.REJECT, 9))
    _, found = write_reviews(project, HERE.year)
    seen = shapely.union_all(found.extent)
    assert shapely.area(shapely.intersection(seen, near)) < 0.2 * near.area
    project.store.delete([item.key for item in project.store.list("reviews")])


def test_a_file_goes_out_and_comes_back_once(project: Project, tmp_path: Path) -> None:
    made = open_database(project)
    found = choose(project, HERE)
    if not found:  # a network of four steps may find nothing
        found = [
            asked.added_task(
                project,
                HERE.region,
                2024,
                of_building(project, on_training_ground(project), "accept").about["geometry"],
            )
        ]
    assert add_tasks(made, found) == len(found)
    path = tmp_path / "tasks.gpkg"
    write_tasks(list_tasks(made, Place(), OPEN), path)
    frame = gpd.read_file(path)
    assert list(frame["verdict"]) == [""] * len(frame)
    frame["verdict"] = [say.ACCEPT, *[""] * (len(frame) - 1)]
    extra = frame.iloc[:1].assign(task="", verdict=say.MISSING)
    bad = frame.iloc[:1].assign(task="", verdict="perhaps")
    filled = gpd.GeoDataFrame(pd.concat([frame, extra, bad]), crs=frame.crs)
    filled.to_file(tmp_path / "back.gpkg", layer="reviews")
    rows, notes = read_verdicts(tmp_path / "back.gpkg", project.settings.registers)
    assert len(rows) == 2
    assert len(notes) == 1
    assert "perhaps" in notes[0]
    assert take_in(made, project, rows, "ann") == (2, [])
    assert take_in(made, project, rows, "ann") == (0, [])
    # the store alone brings a lost database back, and the other way round
    lost = engine_of(f"sqlite:///{tmp_path / 'new.db'}")
    migrate(lost)
    assert mirror(lost, project.store, 2024)[1] >= 2
    assert mirror(lost, project.store, 2024) == (0, 0)
    said = say.read_reviews(project.store, 2024)
    project.store.delete([say.key_of(said[-1])])
    assert mirror(lost, project.store, 2024) == (1, 0)
    assert say.read_reviews(project.store, 2024) == said


def test_without_verdicts_nothing_changes(project: Project) -> None:
    project.store.delete([item.key for item in project.store.list("reviews")])
    written, _ = write_reviews(project, 2024)
    assert written is None
    run_asset(project, "register_buildings", HERE)
    assert [register.name for register in registers.registers_of(project, 2024) if register.corrects] == []
    assert footprints.load(project, HERE) is not None

"""Mining: places on empty ground that a model takes for buildings, whose word counts, and the proof that it pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from conftest import MakeProject
from laid_sheets import HERE, LOSSLESS, ground, here, lay, place
from tiny_models import bright_card, bright_file, bright_graph

from groundplan.core.manifest import load_object, need_manifest
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput
from groundplan.inference import runtime
from groundplan.inference.contract import Contract
from groundplan.ingest.add_imagery import deliver
from groundplan.labels.empty_ground import add_empty_ground
from groundplan.labels.registers import add_register
from groundplan.mining import hard_negatives, rounds, trial
from groundplan.mining.proof import ARMS, ArmResult, judged
from groundplan.mining.random_empty import random_places
from groundplan.pipeline import ALWAYS, asset_state, partitions_of, run_asset
from groundplan.polygons.geoparquet import read
from groundplan.project import Project
from groundplan.quality.mining_pays import mining_pays
from groundplan.training import mined, models, windows
from groundplan.training.model_files import add_model
from groundplan.training.split import SPLITS, split_of

pytestmark = pytest.mark.slow  # torch

YEAR = Partition(HERE.year)
SIDE = 420  # pixels of 0.3 m: 126 m
CELL = 16.0
TARP = 5.0
SPOTS = [(x, y) for y in range(60, 116, 12) for x in range(8, 116, 12)]
"""Upper left corners of bright tarpaulins on the field, metres from the grid's corner."""
HOUSES = [here(shapely.box(x, y, x + 8, y + 7)) for x in range(5, 115, 16) for y in range(5, 40, 16)]
TOWN, FIELD = here(shapely.box(0, 0, 126, 46)), here(shapely.box(0, 54, 126, 124))


def write(path: Path, shapes: list[Any]) -> Path:
    import geopandas

    geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:28992").to_file(path)
    return path


def picture() -> np.ndarray:
    """Bright roofs in the town, bright tarpaulins on the field, on dark ground."""
    from rasterio.features import rasterize

    tarps = [here(shapely.box(x, y, x + TARP, y + TARP)) for x, y in SPOTS]
    bright = rasterize([*HOUSES, *tarps], (SIDE, SIDE), transform=place(0, 0), dtype="uint8") > 0
    return np.where(bright, 230, ground(SIDE, SIDE) // 4 + 20).astype(np.uint8)


def world(home: Path, make_project: MakeProject, field: Any = FIELD, **settings: Any) -> Project:
    """A town with a register without a date beside a field known to be empty, predicted by what sees bright things."""
    project = make_project(home, imagery=LOSSLESS, split={"max_windows": 60}, **settings)
    deliver(project, [lay(home / "a.tif", picture(), place(0, 0))], HERE.region, HERE.year)
    add_register(project, write(home / "houses.gpkg", HOUSES), HERE.year, write(home / "town.gpkg", [TOWN]))
    if field is not None:
        add_empty_ground(project, write(home / "field.gpkg", [field]), HERE.year)
    add_model(project, bright_file(0.30), HERE.year, "tests")
    for name in ("sheets", "aerial_tiles", "register_buildings", "labels", "training_windows", "predictions"):
        run_asset(project, name, HERE if name != "training_windows" else YEAR)
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, make_project: MakeProject) -> Project:
    made = world(tmp_path_factory.mktemp("mining") / "home", make_project, mining={"rounds": 1}, predict={"views": 1})
    run_asset(made, hard_negatives.DATASET, HERE)
    return made


def found(project: Project) -> Any:
    made = need_manifest(project.store, hard_negatives.DATASET, HERE).objects["places"]
    return load_object(project.store, made, read)


def middle_splits(project: Project, frame: Any) -> set[str]:
    xy = np.array(
        [project.grid.corner(col + 0.5, row + 0.5) for col, row in zip(frame["col"], frame["row"], strict=True)]
    )
    return {SPLITS[index] for index in split_of(xy[:, 0], xy[:, 1], CELL)}


# ---------------------------------------------------------------------------------------------------- places


def test_what_looks_like_a_building_on_empty_training_ground_is_mined_and_nothing_else(project: Project) -> None:
    frame = found(project)
    boxes = np.array([here(shapely.box(x, y, x + TARP, y + TARP)) for x, y in SPOTS])
    corners = shapely.get_coordinates(boxes).reshape(len(boxes), -1, 2)
    splits = np.stack([split_of(corners[:, i, 0], corners[:, i, 1], CELL) for i in range(5)])
    cut = shapely.intersects(boxes, here(shapely.union_all([shapely.box(x, 0, x + 1, 200) for x in (76.8, 153.6)])))
    cut |= shapely.intersects(boxes, here(shapely.box(0, 76.8, 200, 77.8)))  # by borders of blocks
    wholly = (splits == SPLITS.index("train")).all(axis=0) & shapely.within(boxes, FIELD) & ~cut
    hit = shapely.STRtree(frame.geometry.values.to_numpy()).query(shapely.centroid(boxes[wholly]), "intersects")
    assert set(hit[0]) == set(range(wholly.sum())), "a tarpaulin of a training cell was not mined"
    assert len(frame) >= wholly.sum() > 10
    assert middle_splits(project, frame) == {"train"}
    assert frame.within(FIELD.buffer(1)).all(), "the register has no date: new buildings may be among its ground"
    assert set(frame["why"]) == {"empty ground: field.gpkg"}
    assert set(frame["generation"]) == {0}
    tiles = {made.key for made in need_manifest(project.store, "aerial_tiles", HERE).objects.values()}
    assert set(frame["chip"]) <= tiles
    assert (frame["score"] > 0.9).all()
    told = {name for name, _, _ in hard_negatives.STEP.about.columns}
    assert told == {*frame.columns, "bbox"}, "the columns that the web UI names"


def test_only_a_project_that_asks_has_them(project: Project) -> None:
    assert partitions_of(project, hard_negatives.DATASET) == [HERE]
    mining = project.settings.mining.model_copy(update={"rounds": 0})
    other = replace(project, settings=project.settings.model_copy(update={"mining": mining}))
    assert partitions_of(other, hard_negatives.DATASET) == []
    assert partitions_of(project, trial.DATASET) == [], "six trainings never begin by themselves"
    assert {hard_negatives.DATASET, trial.DATASET}.isdisjoint(ALWAYS)


@pytest.mark.parametrize(
    ("day", "believed"),
    [(None, False), (date(2023, 6, 1), False), (date(2025, 1, 1), True), (date(2026, 1, 1), False)],
    ids=["no date", "older", "not older", "much newer"],
)
def test_a_register_is_believed_where_it_is_not_older_than_the_imagery(
    project: Project, day: date | None, believed: bool
) -> None:
    from groundplan.labels.register_dates import vouches
    from groundplan.labels.registers import Register, flown

    days = flown(project, HERE)
    assert days == (date(2024, 1, 1), date(2024, 12, 31))
    assert (
        vouches(Register(name="r", buildings="", extent="", digest="", date=day.isoformat() if day else ""), days)
        is believed
    )


def test_places_by_chance_lie_on_empty_training_ground_away_from_buildings(project: Project) -> None:
    import geopandas

    drawn = random_places(project, HERE.year, [HERE.region], 50, seed=1)
    assert len(drawn) == 50
    assert drawn != random_places(project, HERE.year, [HERE.region], 50, seed=2)
    assert drawn == random_places(project, HERE.year, [HERE.region], 50, seed=1)
    frame = geopandas.GeoDataFrame(drawn, columns=["region", "col", "row"])
    assert middle_splits(project, frame) == {"train"}
    points = [shapely.Point(*project.grid.corner(col + 0.5, row + 0.5)) for _, col, row in drawn]
    assert shapely.within(points, FIELD).all()


# ---------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize("sample", ["heaviest", "strata"])
def test_mined_windows_have_at_most_their_share_of_what_is_learned(
    project: Project, sample: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from groundplan.training.scenes import load_scenes, stream_scenes

    split = project.settings.split.model_copy(update={"sample": sample})
    project = replace(project, settings=project.settings.model_copy(update={"split": split}))
    monkeypatch.setattr(mined, "record_key", lambda year: f"tried/{sample}/{year}.json")
    plain = windows.plan(project, YEAR)[0]
    before = windows.read(windows.make(project, plain, lambda: None).data)  # type: ignore[arg-type]
    run_asset(project, hard_negatives.DATASET, HERE)
    adopted = rounds.adopt(project, YEAR)
    planned = windows.plan(project, YEAR)[0]
    assert planned.fingerprint != plain.fingerprint
    assert adopted.key in planned.inputs
    frame = windows.read(windows.make(project, planned, lambda: None).data)  # type: ignore[arg-type]
    assert list(frame[frame["mined"] == 0]["weight"]) == list(before["weight"]), "the others stay as they are"
    new = frame[frame["mined"] > 0]
    assert len(new) == adopted.windows == len(found(project))
    settings = models.train_settings(project)
    if sample == "strata":
        stream = stream_scenes(project, HERE.year, frame, settings)
        share = stream.order.share[(frame[frame["train"] > 0]["mined"] > 0).to_numpy()].sum()
    else:
        share = new["weight"].sum() / frame["weight"].sum()
        assert len(load_scenes(project, HERE.year, frame, "train")) > len(new)
    assert 0.1 < share < 0.2001
    mined.take_back(project, HERE.year)
    assert windows.plan(project, YEAR)[0].fingerprint == plain.fingerprint


# ---------------------------------------------------------------------------------------------------- the proof


HITS = (5, 4, 6, 5)


def arm(name: str, seed: int, alarms: Sequence[int], hits: Sequence[int]) -> ArmResult:
    return ArmResult(
        arm=name,
        seed=seed,
        empty=tuple((count, 0.004) for count in alarms),
        built=tuple((hit, 6, hit, 6) for hit in hits),
    )


def results(alarms: dict[str, list[int]], hits: dict[str, Sequence[int]]) -> list[ArmResult]:
    return [arm(name, seed, alarms[name], hits[name]) for name in ARMS for seed in (0, 1)]


def test_mining_pays_where_it_leaves_fewer_false_alarms_than_chance_and_no_building_is_lost() -> None:
    hits = dict.fromkeys(ARMS, HITS)
    alarms = {"base": [3] * 20, "random": [2] * 20, "mined": [0, 1] * 10}
    proof = judged(results(alarms, hits))
    assert proof.pays
    assert proof.alarms == pytest.approx({"base": 750, "random": 500, "mined": 125})
    assert proof.recall["base"] == pytest.approx(20 / 24)
    assert proof.f1["mined"] == pytest.approx(20 / 24)
    assert proof.alarms_less_random[0] < -375 < proof.alarms_less_random[1] < 0
    lost = judged(results(alarms, {**hits, "mined": [5, 4, 6, 4]}))
    assert not lost.pays
    assert lost.loss == pytest.approx(1 / 24)


def test_mining_does_not_pay_where_as_much_empty_ground_by_chance_does_as_well() -> None:
    hits = dict.fromkeys(ARMS, HITS)
    proof = judged(results({"base": [3] * 20, "random": [0, 1] * 10, "mined": [1, 0] * 10}, hits))
    assert proof.compared
    assert not proof.fewer
    assert not proof.pays


def test_too_little_empty_ground_says_nothing() -> None:
    proof = judged(results({"base": [3] * 9, "random": [2] * 9, "mined": [0] * 9}, dict.fromkeys(ARMS, HITS)))
    assert not proof.compared
    assert not proof.pays
    assert "9 validation cells of empty ground" in proof.words
    none = judged(results({name: [] for name in ARMS}, dict.fromkeys(ARMS, HITS)))
    assert not none.compared


# ---------------------------------------------------------------------------------------------------- the trial


@pytest.fixture(scope="module")
def tried(project: Project) -> Project:
    """Tried with what sees bright things in place of six trainings: those are tested where they are."""
    real, contract = runtime.load, Contract.of(bright_card(0.30), "tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "learn", lambda *_: (None, bright_graph()))
        patch.setattr(runtime, "load", lambda onnx, **options: real(onnx, contract=contract, **options))
        run_asset(project, trial.DATASET, YEAR)
    return project


def test_a_trial_has_three_arms_of_two_seeds_judged_on_the_same_cells(tried: Project) -> None:
    made = need_manifest(tried.store, trial.DATASET, YEAR).objects
    assert set(made) == {f"{name}-{seed}" for name in ARMS for seed in (0, 1)}
    counts = {name: one.facts["windows"] for name, one in made.items()}
    assert counts["base-0"] == 0
    assert counts["mined-0"] == counts["mined-1"] == len(found(tried))
    assert 0.9 * counts["mined-0"] <= counts["random-0"] <= counts["mined-0"], "as much, but by chance"
    assert len({(one.facts["empty_cells"], one.facts["built_cells"]) for one in made.values()}) == 1
    assert made["base-0"].facts["empty_cells"] >= 5
    assert made["base-0"].facts["built_cells"] >= 3
    areas = {one.empty and tuple(km2 for _, km2 in one.empty) for one in trial.results(tried, YEAR)}
    assert len(areas) == 1
    proof = judged(trial.results(tried, YEAR))
    assert proof.alarms["base"] * proof.km2 >= 1, "the tarpaulins of validation cells"
    assert proof.recall["base"] > 0.8, "bright roofs are found"
    verdict = mining_pays(tried, YEAR)
    assert not (verdict.passed and verdict.compared), "one network in all arms proves nothing"
    assert asset_state(tried, trial.DATASET, YEAR).state == "current"


def test_what_pays_makes_a_further_generation_of_the_model_and_can_be_taken_back(tried: Project) -> None:
    plain = models.print_of(tried, YEAR)
    first = rounds.adopt(tried, YEAR)
    try:
        assert first.generation == 1
        assert models.print_of(tried, YEAR) != plain
        assert models.mined_of(tried, YEAR) == {"mined": first.sha256, "generation": 1}
        run_asset(tried, hard_negatives.DATASET, HERE)
        assert set(found(tried)["generation"]) == {1}
        again = rounds.adopt(tried, YEAR)
        assert again.generation == 2
        assert again.windows == first.windows, "the same place is learned from once"
    finally:
        assert mined.take_back(tried, HERE.year)
    assert models.print_of(tried, YEAR) == plain


def test_without_a_place_there_is_no_trial(tmp_path: Path, make_project: MakeProject) -> None:
    bare = world(tmp_path / "home", make_project, field=None)
    run_asset(bare, hard_negatives.DATASET, HERE)
    assert len(found(bare)) == 0
    with pytest.raises(MissingInput, match=r"no place to learn from.*add-register --empty FILE --year 2024"):
        trial.plan(bare, YEAR)


def test_rounds_end_where_little_is_left() -> None:
    assert rounds.why_stop([0])
    assert not rounds.why_stop([50])
    assert not rounds.why_stop([50, 5])
    assert "less than a tenth" in rounds.why_stop([50, 4])


def test_a_run_of_the_trial_shows_its_arms_and_its_judgment(tried: Project) -> None:
    """As Dagster runs it, with its check."""
    import dagster as dg

    from assets.buildings.checks import checks
    from assets.buildings.mining_trial import mining_trial
    from resources.project import ProjectResource

    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("years", [str(YEAR.year)])
    done = dg.materialize(
        [mining_trial, *[check for check in checks if "mining_pays" in {spec.name for spec in check.check_specs}]],
        partition_key=str(YEAR.year),
        instance=instance,
        resources={"project": ProjectResource(home=str(tried.home))},
        raise_on_error=False,
    )
    metadata = done.asset_materializations_for_node("mining_trial")[0].metadata
    assert "| arm | false alarms per km2 | recall | F1 |" in str(metadata["arms"].value)
    assert "picture" in metadata
    (evaluation,) = done.get_asset_check_evaluations()
    assert evaluation.check_name == "mining_pays"
    assert not evaluation.passed

"""Training windows: no ground is in two splits, and the arrays that the network learns from show only their own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from conftest import ORIGIN, MakeProject
from hypothesis import given, settings
from hypothesis import strategies as st
from laid_sheets import LOSSLESS, ground, lay, mosaic, place

from groundplan.config import SplitSettings
from groundplan.core.grid import Block, Grid
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput
from groundplan.ingest.add_imagery import deliver
from groundplan.labels import masks
from groundplan.labels.classes import IGNORE
from groundplan.labels.registers import add_register
from groundplan.pipeline import run_step
from groundplan.project import Project
from groundplan.training import windows
from groundplan.training.augment import batches
from groundplan.training.scenes import CONTEXT, _chips, load_scenes, stream_scenes
from groundplan.training.settings import TrainSettings
from groundplan.training.split import SPLITS, TURNS, split_area, split_mask, split_of

pytestmark = pytest.mark.slow  # torch, and blocks of real size

few = settings(max_examples=50, deadline=None)
places = st.floats(-1e6, 1e6).map(lambda value: round(value, 2))


# ------------------------------------------------------------------------------------------- the split by place


@few
@given(places, places, st.sampled_from([16.0, 64.0, 100.0, 333.3]), st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_all_ground_of_a_cell_is_in_one_split(x: float, y: float, cell: float, right: float, up: float) -> None:
    x0, y0 = np.floor(x / cell) * cell, np.floor(y / cell) * cell
    corner = split_of(np.array([x0 + cell / 2]), np.array([y0 + cell / 2]), cell)
    assert split_of(np.array([x0 + right * cell]), np.array([y0 + up * cell]), cell) == corner


@few
@given(places, places)
def test_each_run_of_seven_cells_has_one_for_validation_and_one_for_the_test(x: float, y: float) -> None:
    along = np.arange(7) * 64.0
    for xs, ys in ((x + along, np.full(7, y)), (np.full(7, x), y + along)):
        counts = np.bincount(split_of(xs, ys, 64.0), minlength=3)
        assert counts.tolist() == [5, 1, 1]


@few
@given(places, places, st.sampled_from([16.0, 64.0, 333.3]))
def test_over_the_turns_each_place_is_test_ground_once_and_validation_ground_once(
    x: float, y: float, cell: float
) -> None:
    found = [int(split_of(np.array([x]), np.array([y]), cell, turn)[0]) for turn in range(TURNS)]
    assert sorted(found) == [0, 0, 0, 0, 0, 1, 2]
    assert split_of(np.array([x]), np.array([y]), cell) == found[0]


def test_a_turn_is_part_of_what_windows_follow_from_and_no_turn_changes_nothing() -> None:
    before = {"cell": 64.0, "window": 1024, "overlap": 256, "max_windows": 600}
    assert SplitSettings().identity == before
    assert SplitSettings(turn=2).identity == {**before, "turn": 2}
    assert SplitSettings().shares == {}
    assert SplitSettings(sample="strata", years="all").identity == {**before, "sample": "strata", "years": "all"}
    with pytest.raises(ValueError, match="needs sample = 'strata'"):
        SplitSettings(years="all")


def test_shares_over_a_large_area_are_five_one_and_one_of_seven() -> None:
    rng = np.random.default_rng(1)
    split = split_of(rng.uniform(-2e5, 2e5, 200_000), rng.uniform(-2e5, 2e5, 200_000), 64.0)
    shares = np.bincount(split, minlength=3) / len(split)
    np.testing.assert_allclose(shares, [5 / 7, 1 / 7, 1 / 7], atol=0.004)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([0.15, 0.25, 0.3, 1.0]),
    st.sampled_from([(256, 512), (256, 1024), (512, 768)]),
    st.tuples(places, places),
    st.integers(-50, 50),
    st.integers(-50, 50),
    st.sampled_from([16.0, 64.0, 50.0]),
)
def test_blocks_of_any_size_see_the_same_split(
    resolution: float, sizes: tuple[int, int], origin: tuple[float, float], col: int, row: int, cell: float
) -> None:
    """Another block size, region or year is another cut of the same ground; the split must not move with it."""
    small, large = (Grid("EPSG:28992", resolution, size, origin) for size in sizes)
    n = large.block_size
    whole = split_mask(large, col * n, row * n, n, n, cell)
    pieces = np.full((n, n), 9, np.uint8)
    m = small.block_size
    for y in range(0, n, m):
        for x in range(0, n, m):
            high, wide = min(m, n - y), min(m, n - x)
            pieces[y : y + high, x : x + wide] = split_mask(small, col * n + x, row * n + y, wide, high, cell)
    np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize("cell", [16.0, 33.3, 64.0])
def test_split_areas_tile_a_block_and_agree_with_its_pixels(cell: float) -> None:
    grid = Grid("EPSG:28992", 0.3, 256, ORIGIN)
    block = Block(3, 5)
    areas = [split_area(grid, block, split, cell) for split in SPLITS]
    assert sum(area.area for area in areas) == pytest.approx(grid.span**2)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert areas[one].intersection(areas[other]).area < 1e-6
    mask = split_mask(grid, 3 * 256, 5 * 256, 256, 256, cell)
    x, y = np.meshgrid(np.arange(256) + 0.5, np.arange(256) + 0.5)
    xs, ys = grid.transform(block) @ (x, y)
    for index, area in enumerate(areas):
        inside = shapely.contains_xy(area, xs, ys)
        assert (inside != (mask == index)).mean() < 0.002, "centres on a border may go to either side"


# ------------------------------------------------------------------------------------------- the index of windows


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory, make_project: MakeProject) -> Project:
    """Two years of one region, 700 x 600 pixels, with houses on a lattice; the index of 2024's windows."""
    import geopandas

    folder = tmp_path_factory.mktemp("windows")
    cell = {"cell": 16.0, "window": 128, "overlap": 32, "max_windows": 40}
    project = make_project(folder / "home", imagery=LOSSLESS, split=cell)
    x, y = ORIGIN
    houses = [shapely.box(x + c, y - r - 9, x + c + 8, y - r) for c in range(3, 205, 14) for r in range(3, 170, 15)]
    geopandas.GeoDataFrame(geometry=houses, crs="EPSG:28992").to_file(folder / "houses.gpkg")
    extent = geopandas.GeoDataFrame(geometry=[shapely.box(x, y - 150, x + 200, y)], crs="EPSG:28992")
    extent.to_file(folder / "extent.gpkg")
    for year, seed in ((2024, 0), (2025, 1)):
        sheet = lay(folder / f"{year}.tif", ground(700, 600, seed=seed), place(0, 0))
        deliver(project, [sheet], "delft", year)
        add_register(project, folder / "houses.gpkg", year, folder / "extent.gpkg")
        for name in ("sheets", "aerial_tiles", "register_buildings", "labels"):
            run_step(project, name, Partition(year, "delft"))
        run_step(project, "training_windows", Partition(year))
    return project


def index(project: Project, year: int = 2024) -> Any:
    made = need_manifest(project.store, windows.DATASET, Partition(year)).objects["windows"]
    return windows.read(project.store.get(made.key))


def test_shares_of_a_window_are_those_of_its_pixels(labeled: Project) -> None:
    frame = index(labeled)
    assert len(frame) == 40, "no more than fit into memory"
    grid = labeled.grid
    for row in frame.head(8).itertuples():
        split = split_mask(grid, row.col, row.row, row.size, row.size, 16.0)
        xs, ys = grid.corner(row.col, row.row)
        x, y = np.meshgrid(xs + (np.arange(128) + 0.5) * 0.3, ys - (np.arange(128) + 0.5) * 0.3)
        known = (x > ORIGIN[0]) & (x < ORIGIN[0] + 200) & (y > ORIGIN[1] - 150) & (y < ORIGIN[1])
        for number, name in enumerate(SPLITS):
            assert getattr(row, name) == pytest.approx(float((known & (split == number)).mean()), abs=0.03)
        assert row.geometry.bounds == pytest.approx((xs, ys - 38.4, xs + 38.4, ys))
    assert (frame["weight"] > 0).all(), "of more windows than fit, the heaviest are taken"


def truth(project: Project, year: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole ground's picture and classes, with a wide border of nothing."""
    parts = []
    for dataset in ("aerial_tiles", masks.DATASET):
        manifest = need_manifest(project.store, dataset, Partition(year, "delft"))
        parts.append(mosaic(project, manifest, 768, 768)[0][: 3 if dataset == "aerial_tiles" else 1])
    image, classes = (
        np.pad(parts[0], ((0, 0), (400, 400), (400, 400))),
        np.pad(parts[1][0], 400, constant_values=IGNORE),
    )
    return image, classes


@pytest.mark.parametrize("year", [2024, 2025])
@pytest.mark.parametrize("split", SPLITS)
def test_a_scene_shows_its_ground_and_is_judged_on_its_own_split_only(labeled: Project, split: str, year: int) -> None:
    frame, (image, classes) = index(labeled, year), truth(labeled, year)
    number, crossing, hidden, scenes = SPLITS.index(split), 0, 0, []
    for col, row, side, weight in _chips(labeled, frame, split):
        part = np.s_[row + 400 : row + 400 + side, col + 400 : col + 400 + side]
        other = split_mask(labeled.grid, col, row, side, side, 16.0) != number
        seen, known = image[(slice(None), *part)].copy(), np.where(other, IGNORE, classes[part])
        if split == "train":
            seen[:, other] = 0  # the network never sees ground of the test
            hidden += int(other.sum())
        else:  # the context is seen, not judged
            inner = np.pad(np.ones((side - 2 * CONTEXT,) * 2, bool), CONTEXT)
            known[~inner] = IGNORE
            assert weight == 1.0
        if (known != IGNORE).any():
            scenes.append((seen, known))
            crossing += col // 256 != (col + side - 1) // 256
    found = load_scenes(labeled, year, frame, split)
    assert len(found) == len(scenes) > 0
    assert crossing, "no scene lies on two blocks"
    assert split != "train" or hidden > 10_000, "the scenes held nothing that had to be hidden"
    for scene, (seen, known) in zip(found, scenes, strict=True):
        np.testing.assert_array_equal(scene.image, seen)
        np.testing.assert_array_equal(scene.label, known)


def test_no_ground_is_judged_twice(labeled: Project) -> None:
    for split in ("validation", "test"):
        judged = np.zeros((1600, 1600), int)
        for col, row, side, _ in _chips(labeled, index(labeled), split):
            inner = slice(CONTEXT, side - CONTEXT)
            own = split_mask(labeled.grid, col, row, side, side, 16.0) == SPLITS.index(split)
            place_ = np.zeros((side, side), int)
            place_[inner, inner] = own[inner, inner]
            judged[row + 400 : row + 400 + side, col + 400 : col + 400 + side] += place_
        assert judged.max() == 1


def test_the_same_labels_give_the_same_windows(labeled: Project) -> None:
    planned = windows.plan(labeled, Partition(2024))[0]
    once = windows.make(labeled, planned, lambda: None).data  # type: ignore[arg-type]
    again = windows.make(labeled, planned, lambda: None).data  # type: ignore[arg-type]
    assert once == again == labeled.store.get(planned.key)
    assert windows.plan(labeled, Partition(2025))[0].fingerprint != planned.fingerprint


def test_a_year_without_a_register_says_what_to_do(tmp_path: Path, make_project: MakeProject) -> None:
    with pytest.raises(MissingInput, match=r"add-register FILE --year 2024"):
        windows.plan(make_project(tmp_path / "home"), Partition(2024))


# ------------------------------------------------------------------------------------------- windows that are streamed

LEARN = TrainSettings(encoder_weights="none", grid_resolution=0.3, resolution=0.3, batch=4, crop=64, seed=3)


def streamed(project: Project, **split: Any) -> tuple[Project, Any]:
    """The project with windows that are streamed, 8 held, and 2025's index of them."""
    chosen = project.settings.split.model_copy(update={"sample": "strata", "years": "all", "max_windows": 8, **split})
    project = replace(project, settings=project.settings.model_copy(update={"split": chosen}))
    planned = windows.plan(project, Partition(2025))[0]
    return project, windows.read(windows.make(project, planned, lambda: None).data)  # type: ignore[arg-type]


def test_an_index_to_stream_holds_all_windows_of_all_years_up_to_its_own(labeled: Project) -> None:
    project, frame = streamed(labeled)
    known = {year: frame[frame["year"] == year] for year in (2024, 2025)}
    assert len(frame) == sum(map(len, known.values())) > 2 * 40, "a bound that is for memory does not choose ground"
    assert set(frame["region"]) == {"delft"}
    for year, found in known.items():
        heaviest = index(labeled, year)
        places_ = {(row.col, row.row): row.weight for row in found.itertuples()}
        assert all(places_[row.col, row.row] == row.weight for row in heaviest.itertuples())
    first = windows.plan(project, Partition(2024))[0]
    assert {name.split("/")[0] for name in first.needs} == {"2024"}, "no year learns from a later one"
    assert (
        windows.plan(labeled, Partition(2025))[0].fingerprint == windows.plan(labeled, Partition(2025))[0].fingerprint
    )


def test_streamed_windows_are_those_that_would_be_held_and_come_again_in_the_same_order(labeled: Project) -> None:
    project, frame = streamed(labeled)
    stream = stream_scenes(project, 2025, frame, LEARN)
    train = frame[frame["train"] > 0].reset_index(drop=True)
    assert len(stream) == len(train)
    held = {
        year: iter(load_scenes(project, year, frame.drop(columns="year")[frame["year"] == year], "train"))
        for year in (2024, 2025)
    }
    for number, row in enumerate(train.itertuples()):
        scene = stream.cut(number)
        if (scene.label != IGNORE).any():
            same = next(held[row.year])
            np.testing.assert_array_equal(scene.image, same.image)
            np.testing.assert_array_equal(scene.label, same.label)
    whole = batches(stream.sources(LEARN), LEARN, 0)
    later = batches(stream_scenes(project, 2025, frame, LEARN).sources(LEARN), LEARN, 11, hands=3)
    for (image, label), (again, known) in zip(islice(whole, 11, 15), islice(later, 4), strict=True):
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(label, known)


def test_what_is_held_of_a_stream_is_bounded_and_each_window_is_used_while_it_is_held(labeled: Project) -> None:
    project, frame = streamed(labeled)
    stream = stream_scenes(project, 2025, frame, LEARN)
    cuts: list[int] = []
    counted = replace(stream, cut=lambda number: cuts.append(number) or stream.cut(number))
    sources = counted.sources(LEARN)
    for step in range(2 * stream.order.steps):
        sources(step)
    assert stream.order.held == 8
    assert len(cuts) <= 2 * 8, "a window was read again within its chunk"


def test_regions_years_and_densities_get_the_shares_that_are_asked_for(labeled: Project) -> None:
    def by_year(**split: Any) -> dict[int, float]:
        project, frame = streamed(labeled, **split)
        stream = stream_scenes(project, 2025, frame, LEARN)
        years = frame[frame["train"] > 0]["year"].to_numpy()
        return {year: float(stream.order.share[years == year].sum()) for year in (2024, 2025)}

    assert by_year() == pytest.approx({2024: 0.5, 2025: 0.5})
    assert by_year(half_life=1.0) == pytest.approx({2024: 1 / 3, 2025: 2 / 3})
    with pytest.raises(MissingInput, match=r"no window has any weight.*split\.trust"):
        by_year(trust={"delft": 0.0})
    project, frame = streamed(labeled)
    order = stream_scenes(project, 2025, frame, LEARN).order
    years = frame[frame["train"] > 0]["year"].to_numpy()
    assert Counter(years[order.chunk(0)].tolist()) == {2024: 16, 2025: 16}, "a chunk has all strata"

"""Labels: each pixel has the class that geometry gives its centre, and a register's health is told truly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from conftest import ORIGIN, MakeProject
from hypothesis import given, settings
from hypothesis import strategies as st
from laid_sheets import HERE, LOSSLESS, ground, here, lay, mosaic, place
from scipy.ndimage import shift as move

from groundplan.config import LabelSettings
from groundplan.core.grid import Block, Grid
from groundplan.ingest.add_imagery import deliver
from groundplan.labels import masks
from groundplan.labels.alignment import offset
from groundplan.labels.classes import BACKGROUND, BUILDING, GAP, IGNORE, INNER_EDGE
from groundplan.labels.registers import add_register
from groundplan.pipeline import run_step
from groundplan.project import Project
from groundplan.quality import checks

pytestmark = pytest.mark.slow  # whole regions, each with its register

GRID = Grid("EPSG:28992", 0.30, 256, ORIGIN)
SMALL = Grid("EPSG:28992", 0.30, 96, ORIGIN)  # what the oracle can do in time
BLOCK = Block(0, 0)
SIDE = SMALL.span
WHOLE = GRID.polygon(BLOCK)
EVERYWHERE = WHOLE.buffer(50)


def oracle(buildings: list[Any], known: Any, settings: LabelSettings) -> tuple[np.ndarray, np.ndarray]:
    """Classes by point in polygon, pixel by pixel, and where a centre is too near to a line to be sure."""
    x, y = np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5)
    x, y = SMALL.transform(BLOCK) @ (x, y)
    near, building, inside = np.zeros(x.shape, int), np.zeros(x.shape, bool), np.zeros(x.shape, bool)
    unsure = np.zeros(x.shape, bool)
    for shape in buildings:
        around = shape.buffer(settings.gap, join_style="mitre")
        inner = shape.buffer(-settings.inner_edge, join_style="mitre")
        building |= shapely.contains_xy(shape, x, y)
        near += shapely.contains_xy(around, x, y)
        inside |= shapely.contains_xy(inner, x, y)
        for line in (shape.boundary, around.boundary, inner.boundary):
            unsure |= shapely.contains_xy(line.buffer(1e-6), x, y)
    if not known.is_empty:
        unsure |= shapely.contains_xy(known.boundary.buffer(1e-6), x, y)
    classes = np.where(building, np.where(inside, BUILDING, INNER_EDGE), np.where(near >= 2, GAP, BACKGROUND))
    return np.where(shapely.contains_xy(known, x, y), classes, IGNORE).astype(np.uint8), unsure


houses = st.builds(
    lambda x, y, wide, high, turn: here(
        shapely.affinity.rotate(shapely.box(x, y, x + wide, y + high), turn, origin="center")
    ),
    st.floats(-8, SIDE),
    st.floats(-8, SIDE),
    st.floats(0.4, 25),
    st.floats(0.4, 25),
    st.floats(0, 90),
)
stars = st.builds(
    lambda x, y, radii: here(
        shapely.Polygon([(x + r * np.cos(k * 0.7), y + r * np.sin(k * 0.7)) for k, r in enumerate(radii)])
    ),
    st.floats(0, SIDE),
    st.floats(0, SIDE),
    st.lists(st.floats(1, 18), min_size=4, max_size=8),
)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.one_of(houses, stars), max_size=8),
    st.sampled_from([0.3, 0.45, 0.9]),
    st.sampled_from([0.4, 0.75]),
    st.sampled_from(
        [EVERYWHERE, here(shapely.box(-1, 5, 20.1, 90)), here(shapely.Point(9, 9).buffer(13)), shapely.Polygon()]
    ),
)
def test_classes_are_those_of_the_pixels_centres(buildings: list[Any], edge: float, gap: float, known: Any) -> None:
    told = LabelSettings(inner_edge=edge, gap=gap)
    classes = masks.draw(np.array(buildings, object), known, SMALL, BLOCK, told)
    expected, unsure = oracle(buildings, known, told)
    assert unsure.mean() < 0.01
    np.testing.assert_array_equal(classes[~unsure], expected[~unsure])


def test_a_courtyard_is_ground_and_its_walls_are_edge() -> None:
    shape = here(shapely.Polygon(shapely.box(10, 10, 50, 50).exterior, [shapely.box(20, 20, 40, 40).exterior]))
    classes = masks.draw(np.array([shape]), EVERYWHERE, GRID, BLOCK, LabelSettings())
    assert classes[100, 100] == BACKGROUND
    assert classes[100, 50] == BUILDING
    assert classes[100, 66] == INNER_EDGE
    assert classes[100, 68] == BACKGROUND, "one building has no gap with itself"


def test_a_shared_wall_is_edge_on_both_sides() -> None:
    terrace = [here(shapely.box(15 + 9 * k, 20, 24 + 9 * k, 32)) for k in range(4)]
    classes = masks.draw(np.array(terrace), EVERYWHERE, GRID, BLOCK, LabelSettings(inner_edge=0.45))
    row = classes[86]  # across all houses
    for wall in (80, 110, 140):  # pixels: 24, 33 and 42 m
        assert row[wall - 4 : wall + 4].tolist() == [1, 1, 1, 2, 2, 1, 1, 1] or (
            row[wall - 2 : wall + 2] == INNER_EDGE
        ).sum() in (2, 3)
        assert row[wall - 1] == row[wall] == INNER_EDGE, "without it two houses would be learned as one"
        assert row[wall - 6] == row[wall + 6] == BUILDING
    assert (row == GAP).sum() == 0, "there is no ground between them"


def test_a_narrow_gap_between_neighbours_is_told_and_a_wide_one_is_ground() -> None:
    pairs = [here(shapely.box(x, y, x + 10, y + 10)) for y, gap in ((5, 1.2), (40, 3.0)) for x in (10, 20 + gap)]
    classes = masks.draw(np.array(pairs), EVERYWHERE, GRID, BLOCK, LabelSettings(gap=1.25))
    assert (classes[33, 67:70] == GAP).all()
    assert (classes[150, 67:76] == BACKGROUND).all()
    alone = masks.draw(np.array(pairs[:1]), EVERYWHERE, GRID, BLOCK, LabelSettings(gap=1.25))
    assert not (alone == GAP).any()


# -------------------------------------------------------------------------------------------------- the step


def town(step: float = 16.0, width: float = 200.0) -> list[Any]:
    """Houses of different sizes on a lattice, metres from the grid's corner."""
    rng = np.random.default_rng(4)
    return [
        here(shapely.box(x, y, x + 5 + 6 * rng.random(), y + 5 + 6 * rng.random()))
        for x in np.arange(4, width, step)
        for y in np.arange(4, width, step)
    ]


def photograph(buildings: list[Any], side: int = 700, east: float = 0.0, north: float = 0.0) -> np.ndarray:
    """A picture on which the roofs are bright, moved by so many metres, with noise; uint8 (3, side, side)."""
    from rasterio.features import rasterize

    drawn = rasterize(buildings, (side, side), transform=place(0, 0), dtype="uint8").astype(float)
    drawn = move(drawn, (-north / 0.3, east / 0.3), order=1, mode="nearest") * 90
    return np.clip(drawn + ground(side, side, seed=9) * 0.4 + 30, 1, 255).astype(np.uint8)


def labeled(
    project: Project, folder: Path, image: np.ndarray, buildings: list[Any], extent: Any, **profile: Any
) -> dict[str, Any]:
    import geopandas

    files = {"houses": buildings, "extent": [extent]}
    for name, shapes in files.items():
        geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:28992").to_file(folder / f"{name}.gpkg")
    deliver(project, [lay(folder / "a.tif", image, place(0, 0), **profile)], HERE.region, HERE.year)
    add_register(project, folder / "houses.gpkg", HERE.year, folder / "extent.gpkg")
    for name in ("sheets", "aerial_tiles", "register_buildings", "labels"):
        manifest = run_step(project, name, HERE).manifest
    classes, _ = mosaic(project, manifest, 768, 768)
    return {"manifest": manifest, "classes": classes[0], "verdict": checks.labels_healthy(project, HERE)}


def test_ground_outside_the_extent_or_without_imagery_is_unknown(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    seen = np.ones((700, 700), bool)
    seen[300:340, 100:600] = False
    extent = here(shapely.box(15, 15, 180, 150))
    result = labeled(project, tmp_path, photograph(town()), town(), extent, mask=seen)
    x, y = (np.arange(768) + 0.5) * 0.3, (np.arange(768) + 0.5) * 0.3
    complete = (x[None] > 15) & (x[None] < 180) & (y[:, None] > 15) & (y[:, None] < 150)
    known = complete & np.pad(seen, (0, 68))
    np.testing.assert_array_equal(result["classes"] != IGNORE, known)
    assert ((result["classes"] == BUILDING) & known).sum() > 5000
    facts = [made.facts for made in result["manifest"].objects.values()]
    for name, classes in (("known", (0, 1, 2, 3)), ("building", (1, 2)), ("edge", (2,)), ("gap", (3,))):
        assert sum(fact[name] for fact in facts) == np.isin(result["classes"], classes).sum()
    assert result["verdict"].passed
    assert result["verdict"].facts["covered share"] == pytest.approx(known.mean(), abs=1e-4)


def test_only_buildings_near_a_block_decide_its_labels(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    everywhere = here(shapely.box(0, 0, 210, 210))
    first = labeled(project, tmp_path, photograph(town()), town(), everywhere)["manifest"]
    more = [*town(), here(shapely.box(170, 170, 172, 172))]  # block x02y02 begins at 153.6 m
    second = labeled(project, tmp_path, photograph(town()), more, everywhere)["manifest"]
    changed = {name for name in first.objects if first.objects[name].key != second.objects[name].key}
    assert changed == {"x02y02"}


@pytest.mark.parametrize(
    ("east", "north"), [(0.0, 0.0), (0.9, 0.0), (0.0, -1.5), (-2.4, 1.8), (3.0, 3.0)], ids=lambda value: f"{value:+}m"
)
def test_a_known_offset_is_found_within_a_pixel(east: float, north: float) -> None:
    grid = Grid("EPSG:28992", 0.30, 768, ORIGIN)
    classes = masks.draw(np.array(town()), here(shapely.box(0, 0, 230, 230)), grid, BLOCK, LabelSettings())
    image = photograph(town(), 768, east, north)
    found = offset(image, classes, 0.30)
    assert found is not None
    assert found[0] == pytest.approx(-east, abs=0.31)
    assert found[1] == pytest.approx(-north, abs=0.31)
    assert found[2] > checks.LEAST_PROMINENCE, "it must be believed"


def test_no_offset_is_guessed_from_too_little() -> None:
    blank = np.full((256, 256), IGNORE, np.uint8)
    assert offset(ground(256, 256), blank, 0.3) is None
    few = blank.copy()
    few[100:110, 100:110] = INNER_EDGE
    assert offset(ground(256, 256), few, 0.3) is None
    noise = masks.draw(np.array(town(26, 70)), EVERYWHERE, GRID, BLOCK, LabelSettings())
    found = offset(ground(256, 256, seed=8), noise, 0.3)
    assert found is None or found[2] < checks.LEAST_PROMINENCE, "noise must not be believed"


# ------------------------------------------------------------------------------------------- a register's health


def test_a_shifted_register_is_named(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS, grid={"block_size": 768})
    image = photograph(town(), 768, east=2.1, north=-2.1)
    verdict = labeled(project, tmp_path, image, town(), here(shapely.box(0, 0, 230, 230)))["verdict"]
    assert not verdict.passed
    assert not verdict.serious, "it can still be learned from"
    assert "3.0 m off the imagery" in verdict.message
    assert "Check the CRS and datum" in verdict.message


@pytest.mark.bad_input
def test_a_register_that_claims_to_be_complete_where_it_is_empty_fails(
    tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    away = [here(shapely.box(900, 900, 910, 910))]
    verdict = labeled(project, tmp_path, photograph([WHOLE]), away, here(shapely.box(0, 0, 950, 950)))["verdict"]
    assert not verdict.passed
    assert verdict.serious
    assert "shows no building" in verdict.message


def test_a_region_without_a_register_passes_and_says_so(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    deliver(project, [lay(tmp_path / "a.tif", ground(200, 200), place(0, 0))], HERE.region, HERE.year)
    for name in ("sheets", "aerial_tiles", "register_buildings", "labels"):
        manifest = run_step(project, name, HERE).manifest
    classes, _ = mosaic(project, manifest, 256, 256)
    assert (classes == IGNORE).all(), "unlabelled ground is not background"
    verdict = checks.labels_healthy(project, HERE)
    assert verdict.passed
    assert "no register covers" in verdict.message


def test_labels_lie_on_the_same_pixels_as_their_image(tmp_path: Path, make_project: MakeProject) -> None:
    from rasterio.io import MemoryFile

    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    result = labeled(project, tmp_path, photograph(town()), town(), here(shapely.box(0, 0, 210, 210)))
    for name, made in result["manifest"].objects.items():
        with MemoryFile(project.store.get(made.key)) as memory, memory.open() as source:
            assert source.transform == project.grid.transform(Block.parse(name))
            assert isinstance(source.transform, Affine)
            assert source.crs.to_epsg() == 28992
            assert source.overviews(1) == [] or source.read(out_shape=(1, 64, 64)).max() in (1, 2, 3, 255)

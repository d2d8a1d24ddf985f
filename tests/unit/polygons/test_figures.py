"""Figures of buildings, against values that can be counted by hand on squares."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from shapely import affinity

from groundplan.polygons.figures import (
    area_shares,
    boundary_f,
    corner_distances,
    corners_of,
    figures,
    merged,
    polis,
    table,
    tangent_error,
    walls,
    walls_kept,
)

GROUND = shapely.box(0, 0, 200, 200)


def box(x: float, y: float, wide: float = 10, high: float = 10) -> shapely.Polygon:
    return shapely.box(x, y, x + wide, y + high)


def array(*polygons: shapely.Polygon) -> np.ndarray:
    return np.array(polygons, object)


def test_what_is_as_it_should_be_has_no_fault() -> None:
    true = array(box(10, 10), box(20, 10), box(50, 50, 20, 8))
    found = figures(true, true, GROUND)
    assert {found.objects.completeness, found.objects.correctness, found.objects.quality} == {1.0}
    assert found.area.quality == pytest.approx(1)
    assert (found.merged, found.fragments, found.polis, found.tangent, found.corner_rmse) == pytest.approx(
        (0,) * 5, abs=1e-9
    )
    assert (found.n_ratio, found.c_iou, found.boundary_f, found.right_angles, found.walls_kept) == pytest.approx(
        (1,) * 5
    )
    assert found.corners == 4
    assert found.by_size == {
        "0-15 m2": (0, 1.0),
        "15-40 m2": (0, 1.0),
        "40-80 m2": (0, 1.0),
        "80-160 m2": (2, 1.0),
        "over 160 m2": (1, 1.0),
    }
    assert len(table(found)) == 18 + len(found.by_size)


def test_completeness_correctness_and_quality_are_counted() -> None:
    true = array(box(10, 10), box(40, 10), box(70, 10), box(100, 10))
    found = array(box(10, 10), box(41, 10), box(150, 150))  # two right, one invented, two missed
    told = figures(found, true, GROUND)
    assert told.objects.completeness == 2 / 4
    assert told.objects.correctness == 2 / 3
    assert told.objects.quality == 2 / 5
    assert told.area.completeness == pytest.approx(190 / 400)
    assert told.area.correctness == pytest.approx(190 / 300)
    assert told.area.quality == pytest.approx(190 / 510)
    assert told.by_size["80-160 m2"] == (4, 0.5)


def test_a_building_on_the_frame_is_judged_whole() -> None:
    ground = shapely.box(0, 0, 15, 200)
    true, found = array(box(8, 10)), array(box(10.5, 10))  # one stands on either side of the frame
    assert figures(true, found, ground).objects.correctness == 1.0
    assert area_shares(found, true, ground).completeness == pytest.approx(4.5 / 7)


def test_merged_and_fragmented_buildings_are_told_apart() -> None:
    true = array(box(0, 0), box(10, 0), box(50, 0), box(80, 0))
    found = array(box(0, 0, 20), box(50, 0, 5), box(55, 0, 5), box(80, 0))
    told = figures(found, true, GROUND)
    assert told.merged == 2 / 4
    assert told.fragments == 2 / 4
    assert merged(true, true, np.ones(4, bool)) == 0
    assert merged(found, true, np.array([True, False, False, True])) == 1 / 2, "only what counts is counted"


def test_polis_is_half_of_each_way() -> None:
    one = box(0, 0)
    assert polis(one, box(0, 2)) == pytest.approx(2 * (2 * 2 + 2 * 0) / 4 / 2)
    assert polis(one, box(1, 1, 8, 8)) == pytest.approx((math.sqrt(2) + 1) / 2), "vertices to outlines, not to vertices"
    assert polis(one, shapely.segmentize(one, 2.5)) == 0


def test_the_greatest_angle_of_an_outline_is_that_by_which_it_was_turned() -> None:
    house = box(0, 0, 20, 10)
    assert tangent_error(house, house) == pytest.approx(0, abs=1e-6)
    assert tangent_error(box(0.5, 0.5, 19, 9), house) == pytest.approx(0, abs=1e-6), "an inset one is parallel"
    turned = tangent_error(affinity.rotate(house, 12), house)
    assert turned == pytest.approx(12, abs=1)
    steps = [(x, (k % 2) * 0.3) for k in range(40) for x in (k * 0.5, k * 0.5 + 0.5)]
    staircase = shapely.Polygon([*steps, (20, 10), (0, 10)])
    assert tangent_error(staircase, house) < 90.1


def test_the_boundary_figure_follows_its_tolerance() -> None:
    true, found = array(box(0, 0)), array(box(0.4, 0))
    assert boundary_f(found, true, 0.5) == pytest.approx(1)
    assert boundary_f(found, true, 0.3) == pytest.approx((19.4 + 19.4 + 0.2) / 80 + 0.5 - 19.5 / 40, abs=0.02)
    assert boundary_f(array(box(100, 100)), true, 0.5) == 0


def test_only_vertices_that_turn_are_corners() -> None:
    with_neighbour = shapely.Polygon([(0, 0), (5, 0), (10, 0), (10, 10), (5, 10.1), (0, 10)])  # two on straight walls
    xy, turn = corners_of(with_neighbour)
    assert len(xy) == 4
    assert turn == pytest.approx([90] * 4, abs=1.5)
    hexagon = shapely.Polygon([(math.cos(a), math.sin(a)) for a in np.arange(6) * math.pi / 3])
    told = figures(array(hexagon), array(hexagon), shapely.box(-5, -5, 5, 5))
    assert (told.right_angles, told.corners) == (0, 6)
    court = box(0, 0).difference(box(4, 4, 2, 2))
    assert len(corners_of(court)[0]) == 8


def test_corners_are_the_same_within_a_metre_one_to_one() -> None:
    close, found, true = corner_distances(box(0.3, 0.4), box(0, 0))
    assert (len(close), found, true) == (4, 4, 4)
    assert close == pytest.approx([0.5] * 4)
    told = figures(array(box(0, 0, 10, 8.5)), array(box(0, 0)), GROUND)
    assert (told.corner_precision, told.corner_recall, told.corner_rmse) == (0.5, 0.5, 0)
    cut = shapely.Polygon([(0, 0), (10, 0), (10, 8), (8, 10), (0, 10)])
    told = figures(array(cut), array(box(0, 0)), GROUND)
    assert told.n_ratio == 5 / 4
    assert told.c_iou == pytest.approx(98 / 100 * (1 - 1 / 9))
    assert (told.corner_precision, told.corner_recall) == (3 / 5, 3 / 4)


def test_a_wall_is_kept_where_half_of_it_is() -> None:
    row = array(box(0, 0), box(10, 0), box(20, 0), box(30, 9.5), box(60, 0))  # half a metre is no wall
    assert [(a, b) for a, b, _ in walls(row)] == [(0, 1), (1, 2)]
    assert [length for *_, length in walls(row)] == pytest.approx([10, 10], abs=0.1)
    apart = array(box(0, 0), box(10, 0), box(20.5, 0), box(30, 9.5), box(60, 0))
    shifted = array(box(0, 0), box(10, 6), box(20, 0), box(30, 9.5), box(60, 0))
    assert walls_kept(row, row) == 1
    assert walls_kept(row, apart) == 0.5
    assert walls_kept(row, shifted) == 0


def test_nothing_is_no_error() -> None:
    none = array()
    told = figures(none, array(box(0, 0)), GROUND)
    assert (told.objects.completeness, told.objects.correctness, told.objects.quality) == (0, 1, 0)
    assert math.isnan(told.polis)
    table(told)
    assert figures(none, none, GROUND).objects.quality == 1

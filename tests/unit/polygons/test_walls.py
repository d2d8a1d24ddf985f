"""Touching buildings: squared together, in one direction where they have one, with one wall between two."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize, shapes
from rasterio.transform import from_origin
from shapely import affinity

from groundplan.polygons import walls
from groundplan.polygons.instances import Thresholds
from groundplan.polygons.outlines import block_outlines, merge_outlines
from groundplan.polygons.regularize import Regularity, regularize, separate, simplified
from groundplan.polygons.walls import contacts, together

PIXEL = 0.2
WEST, NORTH = 180_000.0, 5_600_000.0  # far from the origin, as national grids are: rounding shows there


def traced(plans: list[shapely.Polygon], side: int = 400) -> np.ndarray:
    """Exact pixel outlines of plans, y downward from the upper left corner; where they overlap the later one wins."""
    where = from_origin(WEST, NORTH, PIXEL, PIXEL)
    placed = [affinity.translate(affinity.scale(plan, 1, -1, origin=(0, 0)), WEST, NORTH) for plan in plans]
    raster = rasterize(((p, k + 1) for k, p in enumerate(placed)), (side, side), transform=where, dtype=np.int32)
    found = shapes(raster, mask=raster > 0, connectivity=4, transform=where)
    largest: dict[int, shapely.Polygon] = {}
    for shape, value in found:
        polygon = shapely.geometry.shape(shape)
        if int(value) not in largest or polygon.area > largest[int(value)].area:
            largest[int(value)] = polygon
    return np.array([largest[value] for value in sorted(largest)], object)


def row_of(number: int, degrees: float, wobble: list[float], width: float = 6.0) -> list[shapely.Polygon]:
    """A row of houses, each with wobbling corners at the street and the garden, turned about its middle."""
    plans = []
    for at in range(number):
        up, down = wobble[(2 * at) % len(wobble)], wobble[(2 * at + 1) % len(wobble)]
        left, right = 40 + (at - number / 2) * width, 40 + (at + 1 - number / 2) * width
        plans.append(shapely.Polygon([(left, 34 + up), (right, 34 - up), (right, 45 + down), (left, 45 - down)]))
    return [affinity.rotate(plan, degrees, origin=(40, 40)) for plan in plans]


def finished(raw: np.ndarray, pairs: np.ndarray | None = None) -> np.ndarray:
    return separate(together(raw, contacts(raw) if pairs is None else pairs), raw)


def common_wall(one: shapely.Polygon, other: shapely.Polygon) -> float:
    return shapely.length(shapely.intersection(one.exterior, shapely.buffer(other, 0.001)))


def furthest(found: np.ndarray, expected: np.ndarray) -> float:
    """Metres between the outlines that differ most."""
    return float(shapely.hausdorff_distance(shapely.boundary(found), shapely.boundary(expected)).max(initial=0.0))


@st.composite
def towns(draw: st.DrawFn) -> np.ndarray:
    """Two rows back to back, of houses of several sizes and depths, and one house of another direction."""
    size = st.tuples(st.floats(5, 12), st.floats(6, 12))
    return town(draw(st.floats(-44, 44)), [draw(st.lists(size, min_size=1, max_size=4)) for _ in range(2)])


def town(degrees: float, rows: list[list[tuple[float, float]]]) -> np.ndarray:
    plans = []
    for side, row in zip((-1, 1), rows, strict=True):
        x = 12.0
        for width, depth in row:
            plans.append(shapely.box(x, min(40, 40 + side * depth), x + width, max(40, 40 + side * depth)))
            x += width
    plans.append(affinity.rotate(shapely.box(60, 35, 68, 44), 25))
    return traced([affinity.rotate(plan, degrees, origin=(40, 40)) for plan in plans])


@given(towns())
@settings(max_examples=15, deadline=None)
def test_any_town_becomes_sound_buildings_that_share_no_ground(raw):
    found = finished(raw)
    assert len(found) == len(raw)
    single = shapely.get_type_id(found) == shapely.GeometryType.POLYGON
    assert (single & shapely.is_valid(found) & (shapely.get_num_coordinates(found) >= 5)).all()
    one, other = np.triu_indices(len(found), 1)
    assert shapely.area(shapely.intersection(found[one], found[other])).max(initial=0.0) < 1e-6
    common = shapely.area(shapely.intersection(found, raw))
    large = shapely.area(raw) > 15
    assert (common / (shapely.area(found) + shapely.area(raw) - common))[large].min() > 0.7


@given(towns(), st.randoms())
@settings(max_examples=10, deadline=None)
def test_neither_order_nor_place_matters(raw, random):
    expected = finished(raw)
    order = np.array(random.sample(range(len(raw)), len(raw)))
    assert furthest(finished(raw[order]), expected[order]) < 1e-6
    step = np.array([random.randint(-20_000, 20_000), random.randint(-20_000, 20_000)])
    there = shapely.transform(raw, lambda xy: xy + step)
    back = shapely.transform(finished(there, contacts(raw)), lambda xy: xy - step)
    assert furthest(back, expected) < 1e-6


@given(st.integers(2, 8), st.floats(-180, 180), st.floats(-40, 40))
@settings(max_examples=10, deadline=None)
def test_turning_the_world_turns_the_result(number, degrees, first):
    raw = traced(row_of(number, first, [0.3, -0.2, 0.15, 0.25, -0.1]))
    pairs, middle = contacts(raw), (WEST + 40, NORTH - 40)
    turned = np.array([affinity.rotate(one, degrees, origin=middle) for one in raw], object)
    plain = np.array([affinity.rotate(one, degrees, origin=middle) for one in simplified(raw, Regularity())], object)
    # stairs have corners that lie equally far out: which of them GEOS keeps, the last digit decides
    assume(furthest(simplified(turned, Regularity()), plain) < 1e-6)
    expected = np.array([affinity.rotate(one, degrees, origin=middle) for one in together(raw, pairs)], object)
    assert furthest(together(turned, pairs), expected) < 1e-5


@given(st.integers(2, 9), st.floats(-44, 44), st.lists(st.floats(-0.25, 0.25), min_size=6, max_size=6))
@settings(max_examples=25, deadline=None)
def test_a_row_of_n_houses_has_n_minus_one_shared_walls_and_one_direction(number, degrees, wobble):
    raw = traced(row_of(number, degrees, wobble))
    found = finished(raw)
    pairs = contacts(raw)
    assert pairs.shape[1] == number - 1
    assert min(common_wall(found[i], found[j]) for i, j in pairs.T) > 0.9 * 10.5
    assert (shapely.get_num_coordinates(found) == 5).all()
    edges = np.diff(shapely.get_coordinates(found).reshape(number, 5, 2), axis=1)
    turn = np.degrees(np.arctan2(edges[..., 1], edges[..., 0])) * 4
    assert np.abs((turn - turn[0, 0] + 180) % 360 - 180).max() < 1e-3


def test_two_rows_of_different_directions_keep_them():
    north = [affinity.rotate(shapely.box(20 + 6 * k, 30, 26 + 6 * k, 40), 0) for k in range(4)]
    south = [affinity.rotate(shapely.box(20 + 6 * k, 40, 26 + 6 * k, 50), 20, origin=(20, 40)) for k in range(4)]
    raw = traced(north + south)
    found = together(raw, contacts(raw), Regularity(iou=0.6))  # so low that a wrong direction would be taken
    edges = np.diff(shapely.get_coordinates(found[[0, 4]]).reshape(2, 5, 2), axis=1)[:, 0]
    first, second = np.degrees(np.arctan2(edges[:, 1], edges[:, 0])) % 90
    assert min(first, 90 - first) < 1.5
    assert min(abs(second - 20), abs(second - 70)) < 1.5
    assert all(common_wall(found[k], found[k + 1]) > 8 for k in (0, 1, 2, 4, 5, 6))


def test_three_houses_that_meet_leave_no_ground_between_them():
    plans = [shapely.box(20, 20, 30.3, 30), shapely.box(30.3, 20, 40, 30.4), shapely.box(20, 30, 40, 40)]
    raw = traced([affinity.rotate(plan, 17, origin=(30, 30)) for plan in plans])
    found = finished(raw)
    assert not shapely.get_num_interior_rings(shapely.buffer(shapely.union_all(found), 0.001))
    assert shapely.union_all(found).buffer(0.001).area == pytest.approx(shapely.area(found).sum(), abs=0.2)


def crossed(shape: shapely.Polygon) -> shapely.Polygon:
    west, south, east, north = shape.bounds
    return shapely.Polygon([(west, south), (east, north), (east, south), (west, north)])


def test_walls_that_cross_are_no_shape_and_stop_no_region(monkeypatch):
    """GEOS refuses to intersect a ring that crosses itself; the house is squared without its group."""
    raw, drawn = traced(row_of(3, 0, [0.0])), walls._drawn
    with pytest.raises(shapely.errors.GEOSException):
        shapely.intersection(crossed(raw[0]), raw[0])
    monkeypatch.setattr(walls, "_drawn", lambda *given: np.array([crossed(shape) for shape in drawn(*given)], object))
    assert shapely.is_valid(together(raw, contacts(raw))).all()


@given(towns())
@settings(max_examples=25, deadline=None)
def test_what_is_square_already_stays(raw):
    pairs = contacts(raw)
    once = together(raw, pairs)
    assert furthest(together(once, pairs), once) < 1e-6


def test_walls_that_moved_near_others_meet_them_at_once():
    """Towns of which one wall met another only when they were squared a second time."""
    rows = [(7.3, 6.27), (6.12, 9.31), (5.17, 9.27)], [(6.19, 10.49), (5.9, 7.24)]
    others = [(6.98, 7.08), (10.72, 9.73), (6.66, 7.25)], [(8.41, 9.81), (10.33, 8.88), (6.75, 10.06)]
    for raw in (town(-20.34, [*rows]), town(-32.59, [*others])):
        pairs = contacts(raw)
        once = together(raw, pairs)
        assert furthest(together(once, pairs), once) < 1e-6


def test_who_touches_nobody_is_what_regularize_makes_of_him():
    raw = traced(
        [shapely.box(5, 5, 15, 12), shapely.box(17, 5, 25, 12), affinity.rotate(shapely.box(40, 40, 50, 52), 30)]
    )
    assert not contacts(raw).size
    assert shapely.to_wkb(together(raw, contacts(raw))).tolist() == shapely.to_wkb(regularize(raw)).tolist()
    row = traced(
        [shapely.box(5, 5, 15, 12), shapely.box(15, 5, 25, 12), affinity.rotate(shapely.box(40, 40, 50, 52), 30)]
    )
    assert together(row, contacts(row))[2].equals_exact(regularize(row)[2], 0)
    assert shapely.to_wkb(together(row, contacts(row)[:, :0])).tolist() == shapely.to_wkb(regularize(row)).tolist()


def test_a_gap_of_two_pixels_is_never_closed():
    raw = traced([shapely.box(10, 10, 20, 20), shapely.box(20.4, 10, 30, 20)])
    one, other = finished(raw)
    assert shapely.distance(one, other) == pytest.approx(2 * PIXEL, abs=0.02)


def test_what_lies_beyond_a_few_neighbours_does_not_matter():
    plans = row_of(24, 0, [0.2, -0.15, 0.1, 0.05, -0.2], width=3.2)
    whole, cut = traced(plans), traced(plans[:20])
    assert furthest(finished(cut)[:3], finished(whole)[:3]) < 1e-6
    walls = contacts(whole)
    assert np.mean([common_wall(a, b) > 5 for a, b in zip(*finished(whole)[walls], strict=True)]) > 0.85


def test_how_blocks_cut_the_ground_does_not_matter():
    size, halo, thresholds = 128, 64, Thresholds(min_area=5)
    plans = row_of(8, 20, [0.2, -0.1, 0.15], width=5)
    where = from_origin(0, 80, PIXEL, PIXEL)
    flipped = [affinity.scale(plan, 1, -1, origin=(40, 40)) for plan in plans]
    label = rasterize(((p, k + 1) for k, p in enumerate(flipped)), (384, 384), transform=where, dtype=np.int32)
    edge = np.zeros(label.shape, bool)
    edge[:, 1:] |= (label[:, 1:] != label[:, :-1]) & (label[:, 1:] > 0) & (label[:, :-1] > 0)
    edge[1:] |= (label[1:] != label[:-1]) & (label[1:] > 0) & (label[:-1] > 0)
    probability = np.stack([(label > 0) * np.uint8(250), edge * np.uint8(240)])

    def outlines(side: int) -> np.ndarray:
        padded = np.pad(probability, ((0, 0), (halo, halo), (halo, halo)))
        pieces = []
        for row in range(384 // side):
            for col in range(384 // side):
                part = padded[:, row * side :, col * side :][:, : side + 2 * halo, : side + 2 * halo]
                pieces.append(block_outlines(part, halo, col, row, thresholds, PIXEL))
        whole = merge_outlines(pieces, thresholds, PIXEL).geometry.to_numpy()
        return shapely.transform(
            whole, lambda xy: np.stack([WEST + xy[:, 0] * PIXEL, NORTH - xy[:, 1] * PIXEL], axis=1)
        )

    expected = finished(outlines(384))
    assert len(expected) == 8
    assert shapely.to_wkb(finished(outlines(size))).tolist() == shapely.to_wkb(expected).tolist()

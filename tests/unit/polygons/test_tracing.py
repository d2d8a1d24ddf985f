"""Pixel edges and squared rings, many at once: what slow and simple ways find, to the bit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import shapes
from scipy import ndimage

from groundplan.polygons.squaring import common, squared
from groundplan.polygons.tracing import corners_of, polygons, sums, traced


@st.composite
def labelled(draw: st.DrawFn) -> np.ndarray:
    """Pieces that touch, with holes, and corners where pixels of one piece meet: int32 (n, m), 1..K."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    smooth = ndimage.gaussian_filter(random.normal(size=shape), draw(st.sampled_from([0.0, 0.6, 2.0])))
    kinds = np.digitize(smooth, np.quantile(smooth, [0.3, 0.7]))
    pieces = np.zeros(shape, np.int32)
    for kind in (1, 2):
        parts, _ = ndimage.label(kinds == kind)
        pieces[parts > 0] = parts[parts > 0] + pieces.max()
    return pieces


def drawn_by_gdal(pieces: np.ndarray, left: int, top: int) -> list[bytes]:
    """The same from GDAL, in canonical form."""
    found = {}
    for shape, value in shapes(pieces, mask=pieces > 0, connectivity=4, transform=(1, 0, left, 0, 1, top)):
        polygon = shapely.make_valid(shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]))
        found[int(value)] = shapely.normalize(polygon)
    return [shapely.to_wkb(found[piece]) for piece in sorted(found)]


@pytest.mark.filterwarnings("ignore:.*:rasterio.errors.NotGeoreferencedWarning")
@given(labelled(), st.integers(-50, 1_000_000))
@settings(max_examples=30, deadline=None)
def test_pixel_edges_are_those_of_gdal(pieces, left):
    ours = traced(pieces, left, -left)
    assert shapely.is_valid(ours).all()
    assert [shapely.to_wkb(one) for one in ours] == drawn_by_gdal(pieces, left, -left)


def one_ring(xy: list[list[float]], jog: float) -> list[tuple[float, float]] | None:
    """A ring squared by itself, wall by wall."""
    walls: list[list[float]] = []
    for (x0, y0), (x1, y1) in pairwise(xy):
        level = abs(x1 - x0) >= abs(y1 - y0)
        length, place = (abs(x1 - x0), (y0 + y1) / 2) if level else (abs(y1 - y0), (x0 + x1) / 2)
        if not walls or walls[-1][0] != level:
            walls.append([level, 0.0, 0.0])
        walls[-1][1] += length * place
        walls[-1][2] += length
    if len(walls) % 2:
        _, moment, length = walls.pop()
        if not walls:
            return None
        walls[0][1] += moment
        walls[0][2] += length
    if len(walls) < 4:
        return None
    first, at, weight = walls[0][0], [wall[1] / wall[2] for wall in walls], [wall[2] for wall in walls]
    while len(at) > 4:
        lengths = [abs(at[(i + 1) % len(at)] - at[i - 1]) for i in range(len(at))]
        shortest = lengths.index(min(lengths))
        if lengths[shortest] >= jog:
            break
        start = (shortest - 1) % len(at)
        at, weight, first = at[start:] + at[:start], weight[start:] + weight[:start], first ^ (start % 2)
        both = weight[0] + weight[2]
        at = [(at[0] * weight[0] + at[2] * weight[2]) / both, *at[3:]]
        weight = [both, *weight[3:]]
    return [(at[i - 1], at[i]) if bool(first) ^ bool(i % 2) else (at[i], at[i - 1]) for i in range(len(at))]


def one_polygon(polygon: shapely.Polygon, jog: float) -> shapely.Polygon | None:
    rings = [one_ring(shapely.get_coordinates(ring).tolist(), jog) for ring in shapely.get_rings(polygon)]
    if not all(rings):
        return None
    found = shapely.Polygon(rings[0], rings[1:])
    return found if found.is_valid and found.area > 0 else None


@st.composite
def outlines(draw: st.DrawFn) -> np.ndarray:
    """Turned and simplified outlines of pieces, in metres; some with courtyards."""
    raw = traced(draw(labelled()), 0, 0)
    turn = draw(st.floats(0, 1.5).map(lambda angle: round(angle, 9)))  # no place on the ground is 5e-324 m
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    plain = shapely.transform(shapely.simplify(raw, draw(st.sampled_from([0.5, 1.2]))), lambda xy: xy @ matrix)
    return plain[shapely.is_valid(plain) & (shapely.area(plain) > 0)]


@given(outlines(), st.sampled_from([0.0, 0.8, 3.0]))
@settings(max_examples=20, deadline=None)
def test_rings_squared_together_are_those_squared_one_by_one_to_the_bit(plain, jog):
    ours = squared(plain, jog)
    for found, polygon in zip(ours, plain, strict=True):
        expected = one_polygon(polygon, jog)
        assert (found is None) == (expected is None)
        assert found is None or shapely.to_wkb(found) == shapely.to_wkb(expected)


@given(outlines())
@settings(max_examples=20, deadline=None)
def test_shared_ground_is_that_of_geos(plain):
    shapes_ = squared(plain, 0.8)
    expected = np.nan_to_num(shapely.area(shapely.intersection(shapes_, plain)))
    np.testing.assert_allclose(common(shapes_, plain), expected, rtol=1e-9, atol=1e-9)


@given(labelled(), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_corners_alone_say_how_many_pixels_a_piece_has_and_what_is_in_them(pieces, seed):
    raster = np.random.default_rng(seed).integers(0, 256, pieces.shape).astype(np.uint8)
    labels, pixels, total = sums(corners_of(np.pad(pieces, 1)), raster)
    assert labels.tolist() == list(range(1, pieces.max() + 1))
    assert pixels.tolist() == np.bincount(pieces.ravel())[1:].tolist()
    assert total.tolist() == np.bincount(pieces.ravel(), raster.ravel())[1:].tolist()


def test_a_sum_is_right_where_the_table_of_sums_runs_over():
    pieces = np.ones((3000, 3000), np.int32)
    _, pixels, total = sums(corners_of(np.pad(pieces, 1)), np.full(pieces.shape, 255, np.uint8))
    assert pixels.tolist() == [9_000_000]
    assert total.tolist() == [255 * 9_000_000]  # more than 2^31


def test_pieces_may_be_chosen_and_the_others_are_not_drawn():
    pieces = np.array([[1, 0, 2], [1, 3, 2]], np.int32)
    assert [shape.area for shape in polygons(corners_of(np.pad(pieces, 1)), np.array([2, 3]), 0, 0)] == [2, 1]

"""The evaluator against other people's definitions, and against cases that can be worked out by hand."""

from __future__ import annotations

import io
from itertools import permutations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.features import rasterize
from rasterio.transform import from_origin
from scipy import ndimage
from shapely import affinity
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from groundplan.polygons import metrics
from groundplan.polygons.metrics import compare_picture, match_one_to_one, score, table

AREA = shapely.box(0, 0, 100, 100)


def squares(*corners: tuple[float, float], side: float = 10.0) -> np.ndarray:
    return np.array([shapely.box(x, y, x + side, y + side) for x, y in corners], object)


def town(seed: int, number: int = 25, reach: float = 100.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array(
        [
            affinity.rotate(shapely.box(x, y, x + w, y + h), turn)
            for x, y, w, h, turn in rng.uniform((-5, -5, 3, 3, 0), (reach, reach, 20, 20, 90), (number, 5))
        ],
        object,
    )


def test_a_set_against_itself_is_perfect():
    scores = score(town(1), town(1), area=AREA, resolution=0.5)
    assert scores.buildings == scores.predicted == scores.matched > 15
    assert scores.iou == scores.pixel_f1 == scores.boundary_iou == scores.object_f1 == scores.object_f1_70 == 1.0
    assert scores.area_m2 == 10_000


@pytest.mark.parametrize("shift", [1, 2, 4, 6])
def test_shifted_squares_by_hand(shift):
    truth = squares((10, 10), (40, 40), (70, 20))
    moved = np.array([affinity.translate(square, shift, 0) for square in truth], object)
    scores = score(moved, truth, area=AREA, resolution=0.25, boundary=1.0)
    assert scores.iou == pytest.approx((10 - shift) / (10 + shift))
    assert scores.precision_px == scores.recall_px == pytest.approx(1 - shift / 10)
    frame = 100 - 64  # a band 1 m wide inside a 10 m square
    common = 2 * (10 - shift)  # the level bars of the two frames overlap, the upright ones do not
    assert scores.boundary_iou == pytest.approx(common / (2 * frame - common), abs=0.01)
    assert scores.object_f1 == (1.0 if scores.iou >= 0.5 else 0.0)
    assert scores.object_f1_70 == (1.0 if scores.iou >= 0.7 else 0.0)
    assert scores.vertices_per_building == 4
    assert scores.right_angle_share == 1


@pytest.mark.parametrize("tile", [64, 4096])
@pytest.mark.parametrize("seed", [2, 3])
def test_pixels_agree_with_scikit_learn_in_tiles_or_not(monkeypatch, tile, seed):
    monkeypatch.setattr(metrics, "TILE", tile)
    predicted, truth = town(seed), town(seed + 10)
    area = shapely.Polygon([(3, 5), (95, 12), (88, 97), (10, 90)])
    scores = score(predicted, truth, area=area, resolution=0.5, boundary=1.5)
    where = from_origin(-20, 120, 0.5, 0.5)
    inside, p, t = (rasterize(s, (280, 280), transform=where).astype(bool) for s in ([area], predicted, truth))
    assert scores.iou == pytest.approx(jaccard_score(t[inside], p[inside]), abs=1e-12)
    assert scores.pixel_f1 == pytest.approx(f1_score(t[inside], p[inside]), abs=1e-12)
    assert scores.precision_px == pytest.approx(precision_score(t[inside], p[inside]), abs=1e-12)
    assert scores.recall_px == pytest.approx(recall_score(t[inside], p[inside]), abs=1e-12)
    bands = [m & inside & (ndimage.distance_transform_edt(m | ~inside) <= 3) for m in (p, t)]
    assert scores.boundary_iou == pytest.approx(jaccard_score(bands[1][inside], bands[0][inside]), abs=1e-12)


def test_the_frame_is_no_boundary_and_its_width_is_in_metres():
    half = np.array([shapely.box(-50, 0, 50, 100)], object)
    wide = np.array([shapely.box(-50, -50, 50, 150)], object)
    for resolution in (0.25, 0.5):
        assert score(half, wide, area=AREA, resolution=resolution).boundary_iou == 1.0
    shifted = np.array([shapely.box(-50, 0, 49, 100)], object)
    ious = {b: score(half, shifted, area=AREA, resolution=0.25, boundary=b).boundary_iou for b in (1, 2, 4)}
    assert ious == {b: pytest.approx((b - 1) / (b + 1)) for b in (1, 2, 4)}


def test_buildings_count_where_their_inside_point_lies_but_may_match_outside():
    truth = squares((94, 50), (200, 200))  # the first one's middle lies at x 99: in the area
    predicted = squares((96, 50), (-4, 10), (-8, 80))  # middles at 101 (out, yet a match), 1 (in), -3 (out)
    scores = score(predicted, truth, area=AREA, resolution=0.5)
    assert (scores.buildings, scores.predicted, scores.matched) == (1, 1, 1)
    assert scores.object_recall == 1.0
    assert scores.object_precision == 0.0


def test_one_prediction_finds_one_building_only():
    truth = squares((10, 10), (10.5, 10))  # labels may overlap
    scores = score(squares((10, 10)), truth, area=AREA, resolution=0.5)
    assert (scores.matched, scores.object_precision, scores.object_recall) == (1, 1.0, 0.5)
    assert scores.object_f1 == pytest.approx(2 / 3)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.5]))
@settings(max_examples=60, deadline=None)
def test_the_assignment_is_the_best_one(seed, limit):
    rng = np.random.default_rng(seed)
    gain = rng.random((4, 5)) * (rng.random((4, 5)) < 0.6)
    pairs = np.array(np.nonzero(gain))
    matches = match_one_to_one(pairs, gain[tuple(pairs)], limit)
    best = max(sum(g for g in (gain[i, j] for i, j in enumerate(p)) if g >= limit) for p in permutations(range(5), 4))
    assert gain[tuple(matches)].sum() == pytest.approx(best)
    assert all(len(np.unique(side)) == len(side) for side in matches)
    assert (gain[tuple(matches)] >= limit).all()


def test_a_pair_that_does_not_overlap_is_never_a_match():
    pairs, gain = np.array([[0, 0, 1], [0, 1, 0]]), np.array([0.95, 0.4, 0.4])
    assert match_one_to_one(pairs, gain, 0.3).tolist() == [[0], [0]]


def test_nothing_found_and_nothing_there():
    none = np.empty(0, object)
    missed = score(none, squares((10, 10)), area=AREA, resolution=0.5)
    assert (missed.iou, missed.object_f1, missed.object_recall, missed.vertices_per_building) == (0, 0, 0, 0)
    invented = score(squares((10, 10)), none, area=AREA, resolution=0.5)
    assert (invented.iou, invented.object_f1, invented.object_precision) == (0, 0, 0)
    empty = score(none, none, area=AREA, resolution=0.5)
    assert (empty.iou, empty.boundary_iou, empty.object_f1, empty.buildings) == (1, 1, 1, 0)


def test_corners_of_holes_and_slanted_ones_count():
    yard = squares((0, 0))[0].difference(shapely.box(3, 3, 6, 6))
    slanted = shapely.Polygon([(20, 20), (30, 20), (38, 30), (28, 30)])  # corners of 51 and 129 degrees
    nearly = affinity.skew(shapely.box(50, 50, 60, 60), 8)  # 82 and 98 degrees
    scores = score(np.array([yard, slanted, nearly]), np.empty(0, object), area=AREA, resolution=0.5)
    assert scores.vertices_per_building == pytest.approx(16 / 3)
    assert scores.right_angle_share == pytest.approx(12 / 16)


def test_odd_geometry_is_taken_as_the_ground_that_it_covers():
    bow_tie = shapely.Polygon([(10, 10), (20, 20), (20, 10), (10, 20)])
    odd = np.array([bow_tie, None, shapely.Polygon()], object)
    scores = score(odd, shapely.make_valid(np.array([bow_tie])), area=AREA, resolution=0.1)
    assert (scores.predicted, scores.iou, scores.object_f1) == (1, 1.0, 1.0)


def test_the_table_says_what_and_in_which_unit():
    rows = dict(table(score(town(1), town(1), area=AREA, resolution=0.5, boundary=1.05)))
    assert rows["scored ground"] == "1.00 ha"
    assert rows["boundary IoU, 1.05 m band"] == "1.000"
    assert rows["vertices per building"] == "4.0"
    assert rows["right angles (within 10 degrees)"] == "100 %"


def test_the_picture_is_small_and_in_the_promised_colours():
    photograph = np.random.default_rng(0).integers(0, 255, (600, 800, 3), dtype=np.uint8)  # the hardest to compress
    transform = from_origin(0, 150, 0.25, 0.25)
    truth, predicted = squares((20, 20), (60, 60), side=20), squares((21, 20), (120, 100), side=20)
    png = compare_picture(photograph, predicted, truth, transform)
    assert len(png) < 100_000
    calm = compare_picture(np.full((1500, 2000, 3), 120, np.uint8), predicted, truth, from_origin(0, 150, 0.1, 0.1))
    picture = Image.open(io.BytesIO(calm))
    assert max(picture.size) == 900
    pixels, zoom = np.asarray(picture.convert("RGB")), 900 / 200
    for x, y, color in ((31, 20, metrics.GREEN), (70, 60, metrics.RED), (130, 100, metrics.YELLOW)):
        row, column = int((150 - y) * zoom), int(x * zoom)
        near = pixels[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3)
        assert color in [tuple(int(c) for c in pixel) for pixel in near]
    assert compare_picture(photograph, predicted, truth, transform, limit=len(png) + 1) == png


@pytest.mark.bad_input
def test_bad_input_is_refused():
    dutch = gpd.GeoSeries(squares((10, 10)), crs=28992)
    with pytest.raises(ValueError, match="EPSG:28992, truth in EPSG:32631"):
        score(dutch, dutch.set_crs(32631, allow_override=True), area=AREA, resolution=0.5)
    with pytest.raises(ValueError, match="projected CRS in metres, got EPSG:4326"):
        score(dutch.set_crs(4326, allow_override=True), dutch, area=AREA, resolution=0.5)
    for broken in ({"area": shapely.Polygon()}, {"resolution": 0.0}, {"boundary": -1.0}):
        with pytest.raises(ValueError, match="needs an area"):
            score(dutch, dutch, **({"area": AREA, "resolution": 0.5} | broken))
    assert score(dutch.to_frame("geometry"), dutch, area=AREA, resolution=0.5).iou == 1

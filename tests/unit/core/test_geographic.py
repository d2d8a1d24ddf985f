"""The 180th meridian: shapes are cut there, and boxes that cross have west > east, as RFC 7946 wants."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from groundplan.core.geographic import box_of, cut_at_180, geographic, unwrapped
from groundplan.core.grid import area_of_use

FIJI = "EPSG:3460"


def test_a_shape_across_the_meridian_is_cut_and_keeps_its_ground() -> None:
    square = shapely.box(2_000_000, 3_999_000, 2_400_000, 4_000_000)  # 180 E lies at about 2,133,000
    cut = geographic([square], FIJI)[0]
    assert cut.geom_type == "MultiPolygon"
    west, east = sorted(cut.geoms, key=lambda part: -part.bounds[0])
    assert west.bounds[2] == 180
    assert east.bounds[0] == -180
    assert all(shapely.is_ccw(part.exterior) for part in cut.geoms)
    whole = shapely.union(west, shapely.transform(east, lambda points: points + np.array([360, 0])))
    assert abs(whole.area - cut.area) < 1e-9
    box = box_of([cut])
    assert box is not None
    assert box[0] > box[2]
    assert unwrapped(box)[2] - box[0] == pytest.approx(whole.bounds[2] - whole.bounds[0])


def test_a_shape_elsewhere_stays_as_it_is() -> None:
    square = shapely.box(180_000, 440_000, 181_000, 441_000)
    there = geographic([square], "EPSG:28992")[0]
    assert there.geom_type == "Polygon"
    box = box_of([there])
    assert box is not None
    assert box == there.bounds
    assert unwrapped(box) == box


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        (shapely.Polygon([(179.5, 1), (-179.5, 1), (-179.5, 2), (179.5, 2)]), 2),
        (shapely.box(179.5, 1, 180.5, 2), 2),  # counted on beyond 180
        (shapely.box(-180.5, 1, -179.5, 2), 2),
        (shapely.box(179.5, 1, 180, 2), 1),  # touches only
        (shapely.MultiPolygon([shapely.box(179.5, 1, 180, 2), shapely.box(-180, 1, -179.5, 2)]), 2),  # cut already
        (shapely.LineString([(179.5, 1), (-179.5, 1)]), 2),
    ],
)
def test_however_a_shape_says_that_it_crosses(shape: shapely.Geometry, parts: int) -> None:
    cut = cut_at_180(np.array([shape], object))[0]
    assert len(shapely.get_parts(cut)) == parts
    left, _, right, _ = shapely.bounds(shapely.get_parts(cut)).T
    assert (right - left <= 0.5 + 1e-9).all()


def test_the_narrowest_box_of_islands_on_both_sides() -> None:
    islands = [shapely.box(177, -19, 178, -18), shapely.box(-179, -17, -178, -16), shapely.box(179, -18, 179.5, -17)]
    assert box_of(islands) == (177, -19, -178, -16)
    assert box_of([]) is None


def test_an_area_of_use_across_the_meridian_is_no_band_around_the_earth() -> None:
    for crs in (FIJI, "EPSG:3832", "EPSG:3338", "EPSG:3994"):
        use = area_of_use(crs)
        assert use is not None
        assert use[2] - use[0] < 22_000_000

"""Evidence: the figure of a polygon is what a plain look at all of the raster gives, however blocks cut it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from painted_years import GRID, RESOLUTION
from rasterio.features import rasterize
from rasterio.transform import from_origin

from groundplan.changes.evidence import SEARCH, SHRUNK, evidence
from groundplan.core.grid import Block

WHOLE = replace(GRID, block_size=512)
LEFT, TOP = GRID.origin
SHAPES = np.array(
    [
        shapely.box(LEFT + 70, TOP - 84, LEFT + 84, TOP - 70),  # on all four blocks
        shapely.box(LEFT + 20, TOP - 30, LEFT + 29, TOP - 20),
        shapely.Point(LEFT + 76.8, TOP - 30).buffer(6),
        shapely.affinity.rotate(shapely.box(LEFT + 100, TOP - 110, LEFT + 112, TOP - 100), 33),
    ],
    object,
)
RASTER = np.random.default_rng(11).integers(0, 256, (512, 512), dtype=np.uint8)
SEEN = np.random.default_rng(12).random((512, 512)) > 0.2


def plain(shape: shapely.Polygon) -> float:
    """The same by rasterio and a loop."""
    inner = shapely.buffer(shape, -SHRUNK, join_style="mitre")
    mask = rasterize([inner], (512, 512), transform=from_origin(LEFT, TOP, RESOLUTION, RESOLUTION)).astype(bool)
    steps = sorted({round(step / RESOLUTION) for step in np.linspace(-SEARCH, SEARCH, 5)})
    moved = (np.roll(mask, (row, col), (0, 1)) & SEEN for row in steps for col in steps)
    return float(max(RASTER[here].mean() for here in moved)) / 255


def test_it_is_the_greatest_mean_around_whatever_blocks_cut_it() -> None:
    four = {
        Block(col, row): lambda part=(slice(256 * row, 256 * row + 256), slice(256 * col, 256 * col + 256)): (
            RASTER[part],
            SEEN[part],
        )
        for row in range(2)
        for col in range(2)
    }
    cut = evidence(SHAPES, GRID, four, lambda: None)
    np.testing.assert_array_equal(cut, evidence(SHAPES, WHOLE, {Block(0, 0): lambda: (RASTER, SEEN)}, lambda: None))
    np.testing.assert_allclose(cut, [plain(shape) for shape in SHAPES], atol=1e-9)


@pytest.mark.parametrize(("share", "known"), [(0.6, True), (0.25, False)])
def test_of_what_is_hardly_seen_nothing_is_known(share: float, known: bool) -> None:
    seen = np.zeros((512, 512), bool)
    seen[:, : round((20 + 9 * share) / RESOLUTION)] = True
    (found,) = evidence(SHAPES[1:2], WHOLE, {Block(0, 0): lambda: (RASTER, seen)}, lambda: None)
    assert np.isnan(found) != known


def test_without_blocks_or_polygons_nothing_is_known() -> None:
    assert np.isnan(evidence(SHAPES, GRID, {}, lambda: None)).all()
    assert evidence(SHAPES[:0], GRID, {}, lambda: None).shape == (0,)

"""The grid: blocks and pixels lie where the arithmetic says, for any resolution, block size, origin and side."""

from __future__ import annotations

import math

import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplan.core.grid import ALIGNED, Block, Grid, area_of_use, default_origin, unique

RESOLUTIONS = st.sampled_from([0.05, 0.075, 0.15, 0.25, 0.3, 0.5, 1.0, 2.5, 0.1234])
SIZES = st.sampled_from([256, 512, 1024, 4096, 8192])
ORIGINS = st.tuples(
    st.floats(-9e6, 9e6).map(lambda value: round(value, 3)), st.floats(-9e6, 9e6).map(lambda value: round(value, 3))
)
GRIDS = st.builds(Grid, st.just("EPSG:28992"), RESOLUTIONS, SIZES, ORIGINS)
BLOCKS = st.builds(Block, st.integers(-5000, 5000), st.integers(-5000, 5000))
SHARES = st.floats(0.001, 0.999)  # of a block's side, so not on a border

few = settings(max_examples=60, deadline=None)


@few
@given(GRIDS, BLOCKS, SHARES, SHARES)
def test_a_point_of_a_blocks_ground_is_in_that_block(grid: Grid, block: Block, right: float, down: float) -> None:
    left, bottom, east, top = grid.bounds(block)
    assert math.isclose(east - left, grid.span, rel_tol=1e-6)
    assert math.isclose(top - bottom, grid.span, rel_tol=1e-6)
    assert grid.at(left + right * grid.span, top - down * grid.span) == block


@few
@given(GRIDS, BLOCKS)
def test_a_border_belongs_to_the_block_east_and_south_of_it(grid: Grid, block: Block) -> None:
    left, bottom, right, top = grid.bounds(block)
    assert grid.at(left, top) == block
    assert grid.at(right, top) == Block(block.col + 1, block.row)
    assert grid.at(left, bottom) == Block(block.col, block.row + 1)


@few
@given(GRIDS, BLOCKS, st.integers(0, 300), st.integers(0, 4000), st.integers(0, 4000))
def test_transform_and_pixel_are_each_others_inverse(grid: Grid, block: Block, margin: int, col: int, row: int) -> None:
    transform = grid.transform(block, margin)
    x, y = transform @ (col, row)
    across, down = grid.pixel(x, y)
    assert abs(across - (block.col * grid.block_size - margin + col)) < 1e-4
    assert abs(down - (block.row * grid.block_size - margin + row)) < 1e-4
    left, bottom, right, top = grid.bounds(block, margin)
    side = grid.block_size + 2 * margin
    corner = transform @ (side, side)
    assert (transform.c, transform.f) == (left, top)
    assert math.isclose(corner[0], right, abs_tol=1e-5)
    assert math.isclose(corner[1], bottom, abs_tol=1e-5)


@few
@given(GRIDS, BLOCKS)
def test_neighbours_touch_and_do_not_overlap(grid: Grid, block: Block) -> None:
    import shapely

    here = grid.polygon(block)
    around = block.neighbors()
    assert len(set(around)) == 8
    assert block not in around
    for other in around:
        there = grid.polygon(other)
        assert there.distance(here) < 1e-6
        assert there.intersection(here).area < 1e-6 * here.area
    whole = shapely.union_all([here, *map(grid.polygon, around)], grid_size=1e-4)
    assert math.isclose(whole.area, 9 * grid.span**2, rel_tol=1e-3)


@few
@given(GRIDS, BLOCKS, st.integers(1, 3), st.integers(1, 3), SHARES)
def test_touching_lists_the_blocks_that_share_ground(
    grid: Grid, block: Block, wide: int, high: int, share: float
) -> None:
    left, _, _, top = grid.bounds(block)
    exact = (left, top - high * grid.span, left + wide * grid.span, top)
    rows = [Block(block.col + x, block.row + y) for y in range(high) for x in range(wide)]
    assert grid.touching(exact) == rows, "a shared border is no shared ground"
    inner = (left + share * grid.span, exact[1] + 0.0005 * grid.span, exact[2] - 0.0005 * grid.span, top - 0.0005)
    assert grid.touching(inner) == [one for one in rows if grid.bounds(one)[2] > inner[0]]
    around = grid.touching(exact, margin=1)
    assert len(around) == (wide + 2) * (high + 2)
    assert set(rows) < set(around)
    import shapely

    box = shapely.box(*inner)
    assert all(grid.polygon(one).intersection(box).area > 0 for one in grid.touching(inner))


@few
@given(GRIDS, st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), st.floats(0.02, 0.98))
def test_aligned_means_shifted_by_whole_pixels(grid: Grid, col: int, row: int, off: float) -> None:
    r = grid.resolution
    x, y = grid.corner(col, row)
    assert grid.aligned(Affine(r, 0, x, 0, -r, y))
    assert grid.aligned(Affine(r, 0, x + ALIGNED * r * 0.5, 0, -r, y))
    assert not grid.aligned(Affine(r, 0, x + off * r, 0, -r, y))
    assert not grid.aligned(Affine(r, 0, x, 0, -r, y + off * r))
    assert not grid.aligned(Affine(r * 1.001, 0, x, 0, -r, y)), "it drifts off within a thousand pixels"
    assert not grid.aligned(Affine(r, 0, x, 0, r, y)), "south up"
    assert not grid.aligned(Affine(r, 0, float("inf"), 0, -r, y))
    assert not grid.aligned(Affine(r, 0, x, 0, -r, float("nan")))
    assert not grid.aligned(Affine.translation(x, y) @ Affine.rotation(0.01) @ Affine.scale(r, -r))


@few
@given(GRIDS, st.integers(0, 5000), st.integers(0, 5000))
def test_morecantile_agrees(grid: Grid, col: int, row: int) -> None:
    import morecantile

    bounds = grid.tms.xy_bounds(morecantile.Tile(col, row, 0))
    for mine, theirs in zip(grid.bounds(Block(col, row)), bounds, strict=True):
        assert math.isclose(mine, theirs, abs_tol=1e-4)


def test_morecantile_finds_the_block_of_a_place() -> None:
    grid = Grid("EPSG:28992", 0.25, 8192, (0.0, 624640.0))
    tile = grid.tms._tile(84_500.0, 447_600.0, 0)
    assert grid.at(84_500.0, 447_600.0) == Block(tile.x, tile.y)
    assert grid.tms.crs.to_epsg() == 28992


@given(BLOCKS)
def test_a_name_tells_its_block(block: Block) -> None:
    assert Block.parse(block.name) == block


def test_names_read_well_and_others_are_refused() -> None:
    assert [block.name for block in (Block(12, 7), Block(0, 0), Block(-3, 140))] == ["x12y07", "x00y00", "x-3y140"]
    for name in ("", "x1", "x1y", "y1x1", "x1y2.tif", "x1.5y2", "X01Y02", "x--1y2"):
        with pytest.raises(ValueError, match="is not a block name"):
            Block.parse(name)


@pytest.mark.parametrize("crs", ["EPSG:28992", "EPSG:32645", "EPSG:25832", "EPSG:2056", "EPSG:27700", "EPSG:2193"])
@pytest.mark.parametrize("resolution", [0.05, 0.15, 0.25, 0.3, 0.075])
@pytest.mark.parametrize("block_size", [256, 1024, 8192])
def test_default_origin_gives_positive_blocks_and_alignment_with_round_coordinates(
    crs: str, resolution: float, block_size: int
) -> None:
    x, y = default_origin(crs, resolution, block_size)
    grid = Grid(crs, resolution, block_size, (x, y))
    use = area_of_use(crs)
    assert use is not None
    first = grid.at(use[0], use[3])
    assert min(first.col, first.row) >= 0
    assert max(first.col, first.row) <= 1, "no more than a block of waste"
    # national deliveries begin at multiples of their pixel
    middle = ((use[0] + use[2]) / 2, (use[1] + use[3]) / 2)
    corner = [round(value / resolution) * resolution for value in middle]
    assert grid.aligned(Affine(resolution, 0, corner[0], 0, -resolution, corner[1]))
    assert not grid.aligned(Affine(resolution, 0, corner[0] + resolution / 3, 0, -resolution, corner[1]))


def test_a_crs_without_an_area_of_use_begins_at_nought() -> None:
    crs = "+proj=tmerc +lat_0=52 +lon_0=5 +ellps=GRS80 +units=m"
    assert area_of_use(crs) is None
    assert default_origin(crs, 0.25, 1024) == (0.0, 0.0)


def test_identity_tells_grids_apart() -> None:
    grid = Grid("EPSG:28992", 0.25, 1024, (0.0, 0.0))
    others = [
        Grid("EPSG:32631", 0.25, 1024, (0.0, 0.0)),
        Grid("EPSG:28992", 0.5, 1024, (0.0, 0.0)),
        Grid("EPSG:28992", 0.25, 512, (0.0, 0.0)),
        Grid("EPSG:28992", 0.25, 1024, (0.0, 1.0)),
    ]
    assert len({str(one.identity()) for one in [grid, *others]}) == 5


def test_work_is_listed_row_by_row_and_once() -> None:
    blocks = [Block(2, 1), Block(1, 1), Block(5, 0), Block(1, 1), Block(-1, 2)]
    assert unique(blocks) == [Block(5, 0), Block(1, 1), Block(2, 1), Block(-1, 2)]

"""Separation, block-wise outlines and their merging: the way the ground is cut into blocks must not show."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from geopandas.testing import assert_geodataframe_equal
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from scipy import ndimage

from groundplan.core.grid import Block
from groundplan.core.manifest import Planned
from groundplan.core.materialize import Cancellation
from groundplan.footprints import outlines as step
from groundplan.footprints.outlines import make_outlines, part_side
from groundplan.polygons.geoparquet import read
from groundplan.polygons.instances import (
    LEVELS,
    STEPS,
    WHOLE,
    Thresholds,
    _parts,
    grown_labels,
    instances,
    pixels_of,
    reach,
)
from groundplan.polygons.outlines import _groups, _part, block_outlines, merge_outlines
from groundplan.raster import cog

RESOLUTION = 0.5
SMALL = Thresholds(seed_area=1.0, min_area=3.0)  # 4 and 12 pixels
HALO = reach(SMALL, RESOLUTION)
EVERYTHING = Thresholds(seed_area=0.0, min_area=0.0)


def ground(size: int = 96) -> np.ndarray:
    return np.zeros((2, size, size), np.uint8)


def build(probability: np.ndarray, x: int, y: int, w: int, h: int, certain: int = 230) -> None:
    """A building: sure inside, an edge two pixels wide around."""
    probability[0, y : y + h, x : x + w] = certain
    probability[1, y : y + h, x : x + w] = 240
    probability[1, y + 2 : y + h - 2, x + 2 : x + w - 2] = 10


def cut(probability: np.ndarray, size: int, thresholds: Thresholds, halo: int = HALO) -> list[gpd.GeoDataFrame]:
    height, width = (-(-n // size) for n in probability.shape[1:])
    padded = np.pad(probability, ((0, 0), (halo, halo + size), (halo, halo + size)))
    span = size + 2 * halo
    blocks = [(c, r, padded[:, r * size :, c * size :][:, :span, :span]) for r in range(height) for c in range(width)]
    return [block_outlines(block, halo, c, r, thresholds, RESOLUTION) for c, r, block in blocks]


def whole(probability: np.ndarray, size: int, thresholds: Thresholds = SMALL, halo: int = HALO) -> gpd.GeoDataFrame:
    return merge_outlines(cut(probability, size, thresholds, halo), thresholds, RESOLUTION)


def burn(buildings: gpd.GeoDataFrame, shape: tuple[int, ...]) -> np.ndarray:
    if not len(buildings):
        return np.zeros(shape, np.int32)
    return rasterize(((g, k + 1) for k, g in enumerate(buildings.geometry)), shape, dtype=np.int32)


def same_parts(one: np.ndarray, other: np.ndarray) -> bool:
    """Do two label rasters divide the same ground in the same way, whatever the numbers?"""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs) and bool(((one > 0) == (other > 0)).all())


def equal_bytes(one: gpd.GeoDataFrame, other: gpd.GeoDataFrame) -> bool:
    return [g.wkb for g in one.geometry] == [g.wkb for g in other.geometry] and one.drop(columns="geometry").equals(
        other.drop(columns="geometry")
    )


@st.composite
def towns(draw: st.DrawFn) -> np.ndarray:
    """Buildings, many of which touch or overlap, some without a seed, under noise."""
    probability = ground()
    for _ in range(draw(st.integers(1, 14))):
        x, y = draw(st.integers(0, 84)), draw(st.integers(0, 84))
        build(probability, x, y, draw(st.integers(2, 40)), draw(st.integers(2, 40)), draw(st.sampled_from([150, 230])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    noise = ndimage.gaussian_filter(rng.normal(size=probability.shape), (0, 1, 1)) * draw(st.sampled_from([0, 60, 160]))
    return np.clip(probability + noise, 0, 255).astype(np.uint8)


@pytest.mark.slow
@given(towns(), st.sampled_from([16, 24, 48, 70]), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_blocks_of_any_size_in_any_order_give_the_same_bytes(probability, size, random):
    undivided = whole(probability, 96)
    frames = cut(probability, size, SMALL)
    random.shuffle(frames)
    merged = merge_outlines(frames, SMALL, RESOLUTION)
    assert equal_bytes(merged, undivided)
    assert (merged.geom_type == "Polygon").all()
    assert merged.is_valid.all()
    assert same_parts(burn(merged, (96, 96)), instances(probability, SMALL, RESOLUTION))


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.sampled_from([7, 20]), st.sampled_from([0, 2]), st.sampled_from([1, 3]))
@settings(max_examples=8, deadline=None)
def test_even_with_noise_and_a_halo_too_small_no_pixel_is_lost_or_doubled(seed, size, smooth, halo):
    noise = np.random.default_rng(seed).normal(size=(2, 60, 60))
    smoothed = ndimage.gaussian_filter(noise, (0, smooth, smooth))
    probability = np.clip(128 + 90 * smoothed / smoothed.std(), 0, 255).astype(np.uint8)
    merged = whole(probability, size, EVERYTHING, halo)
    mask = probability[0] >= 128
    assert merged["pixels"].sum() == mask.sum() == merged.area.sum()
    assert (merged["pixels"] == merged.area).all()
    assert ((burn(merged, (60, 60)) > 0) == mask).all()
    assert (merged.geom_type == "Polygon").all()
    assert merged.is_valid.all()
    total = (merged["confidence"] * merged["pixels"]).sum() * 255
    assert total == pytest.approx(probability[0][mask].sum(dtype=np.int64))


@pytest.mark.parametrize("wall", range(44, 53))
@pytest.mark.parametrize("upright", [True, False])
def test_two_buildings_that_touch_near_a_border_stay_two(wall, upright):
    probability = ground()
    build(probability, 20, 30, wall - 20, 40)
    build(probability, wall, 36, 80 - wall, 40)
    probability = probability if upright else np.ascontiguousarray(probability.transpose(0, 2, 1))
    merged = whole(probability, 48)
    assert sorted(merged["pixels"]) == pytest.approx(sorted([40 * (wall - 20), 40 * (80 - wall)]), rel=0.02)
    assert equal_bytes(merged, whole(probability, 96))


def test_a_building_larger_than_a_block_is_one_with_its_courtyard():
    probability = ground()
    build(probability, 3, 5, 90, 80)
    build(probability, 20, 22, 50, 40, certain=0)
    frames = cut(probability, 16, SMALL)
    assert sum(len(frame) for frame in frames) > 20
    (building,) = merge_outlines(frames, SMALL, RESOLUTION).itertuples()
    assert building.pixels == 90 * 80 - 50 * 40
    assert len(building.geometry.interiors) == 1
    assert shapely.get_num_coordinates(building.geometry) == 10  # no trace of the borders
    assert building.geometry.contains(shapely.Point(building.anchor_x + 0.5, building.anchor_y + 0.5))


def test_views_that_disagree_about_a_seedless_building_still_make_one():
    probability = ground(160)
    probability[:, 10:30, 5:155] = np.array([160, 140])[:, None, None]  # too much edge everywhere for a seed
    probability[1, 15:25, 8:20] = 0  # but for one end, far out of the other blocks' sight
    (building,) = whole(probability, 20, halo=4).itertuples()
    assert building.pixels == 20 * 150


def test_seeds_divide_and_small_ones_do_not():
    probability = ground()
    build(probability, 10, 10, 20, 20)
    build(probability, 30, 10, 20, 20)
    probability[1, 18:20, 29:30] = 0  # noise on the wall: 2 pixels are no seed
    labels = instances(probability, SMALL, RESOLUTION)
    assert labels.dtype == np.int32
    assert labels.max() == 2
    assert (labels[10:30, 10:30] == labels[20, 20]).mean() > 0.98
    assert (labels[10:30, 30:50] == labels[20, 40]).mean() > 0.98
    assert (labels > 0).sum() == 800
    assert instances(probability, Thresholds(seed_area=0.25, min_area=0.0), RESOLUTION).max() == 3


def test_the_wall_runs_along_the_ridge_and_not_halfway():
    probability = ground()
    probability[0, 20:50, 10:70] = 230
    probability[1, 20:50, 15:45] = 180  # too much for a seed, on both sides of the ridge
    probability[1, 20:50, 40] = 250
    labels = instances(probability, SMALL, RESOLUTION)
    assert (labels[20:50, 10:40] == labels[35, 12]).all()
    assert (labels[20:50, 41:70] == labels[35, 68]).all()
    assert labels[35, 12] != labels[35, 68]


def test_half_the_votes_do_not_glue():
    yes, no = (np.array([3, 48, 0, 10, says], np.int32) for says in (1, 0))  # (side, line, start, length, continues)
    mostly_no = np.array([3, 48, 0, 9, 0, 3, 48, 9, 1, 1], np.int32)
    for west, one in ((yes, True), (no, False), (mostly_no, True)):
        groups, unanswered = _groups([np.array([1, 48, 0, 11, 1], np.int32), west])
        assert (groups[0] == groups[1]) == one
        assert unanswered.tolist() == [True, False]  # the eleventh pixel goes on, where nobody answers


def test_the_mask_threshold_is_strict_and_seedless_parts_are_kept_when_large():
    probability = ground()
    probability[0, 10:20, 10:20] = 127  # 127 / 255 < 0.5
    probability[0, 40:50, 40:50] = 128
    probability[1, 40:50, 40:50] = 255
    probability[0, 70:73, 70:73] = 128  # 9 pixels < 12
    labels = instances(probability, SMALL, RESOLUTION)
    assert np.array_equal(labels, (probability[1] > 0).astype(np.int32))


def test_the_flood_agrees_with_a_priority_queue():
    from skimage.segmentation import watershed

    rng = np.random.default_rng(5)
    probability = np.zeros((2, 300, 300))
    for x, y in rng.integers(0, 270, (60, 2)):
        build(probability, x, y, *rng.integers(10, 30, 2))
    probability = ndimage.gaussian_filter(probability, (0, 1, 1)) + rng.normal(size=probability.shape) * 8
    probability = np.clip(probability, 0, 255).astype(np.uint8)
    height = probability[0].astype(int) * (255 - probability[1].astype(int))
    mask = probability[0] > 127
    seeds, number = ndimage.label(mask & (height > 0.35 * 255 * 255))
    sizes = np.bincount(seeds.ravel())
    seeds[(sizes < 4)[seeds]] = 0
    expected = watershed(-height, seeds, mask=mask, connectivity=1)
    labels = instances(probability, Thresholds(seed=0.35, seed_area=1.0, min_area=0.0), RESOLUTION)
    seen = expected > 0
    pairs, shared = np.unique(np.stack([expected[seen], labels[seen]]), axis=1, return_counts=True)
    most = pd.Series(shared).groupby(pairs[0]).max().sum()
    assert number > 20
    assert most / seen.sum() > 0.99


def test_small_buildings_go_only_after_merging():
    probability = ground()
    probability[0, 44:52, 44:52] = 255  # 64 pixels, a quarter in each of four blocks
    thresholds = Thresholds(seed_area=0.0, min_area=16.0)
    assert len(whole(probability, 48, thresholds)) == 1
    assert len(whole(probability, 96, Thresholds(seed_area=0.0, min_area=16.1))) == 0
    assert len(whole(probability, 48, Thresholds(seed_area=0.0, min_area=16.1))) == 0


def test_a_building_that_leaves_the_given_blocks_is_open():
    probability = ground()
    build(probability, 30, 10, 40, 20)
    build(probability, 10, 60, 20, 20)
    frames = cut(probability, 48, SMALL)
    merged = merge_outlines([f for f in frames if len(f) and f["col"].iat[0] == 0], SMALL, RESOLUTION)
    assert merged[["pixels", "open"]].to_numpy().tolist() == [[18 * 20, True], [400, False]]
    assert not merge_outlines(frames, SMALL, RESOLUTION)["open"].any()


def test_pieces_survive_geoparquet():
    probability = ground()
    build(probability, 30, 30, 40, 40)
    stored = []
    for frame in cut(probability, 32, SMALL):
        file = io.BytesIO()
        frame.to_parquet(file)
        stored.append(gpd.read_parquet(file))
    assert {"NESW", "ES"} & set(pd.concat(stored)["touches"])
    assert equal_bytes(merge_outlines(stored, SMALL, RESOLUTION), whole(probability, 96))


def test_blocks_may_lie_anywhere_on_the_grid():
    probability = ground()
    build(probability, 20, 20, 60, 30)
    padded = np.pad(probability, ((0, 0), (HALO, HALO), (HALO, HALO)))
    frames = [
        block_outlines(
            padded[:, :, 48 * k : 48 * k + 48 + 2 * HALO][:, : 48 + 2 * HALO], HALO, 40_000 + k, -3, SMALL, RESOLUTION
        )
        for k in (0, 1)
    ]
    (building,) = merge_outlines(frames, SMALL, RESOLUTION).itertuples()
    assert building.geometry.bounds == (40_000 * 48 + 20, -3 * 48 + 20, 40_000 * 48 + 80, -3 * 48 + 48)


def test_nothing_is_a_frame_too():
    frames = cut(ground(), 48, SMALL)
    merged = merge_outlines(frames, SMALL, RESOLUTION)
    assert len(merged) == 0
    assert list(merged.columns) == list(whole(np.full((2, 96, 96), 200, np.uint8), 96).columns)
    assert merge_outlines([], SMALL, RESOLUTION).empty


@pytest.mark.bad_input
def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        block_outlines(np.zeros((2, 40, 40)), 4, 0, 0, SMALL, RESOLUTION)
    with pytest.raises(ValueError, match="halo of 20"):
        block_outlines(np.zeros((2, 40, 40), np.uint8), 20, 0, 0, SMALL, RESOLUTION)
    with pytest.raises(ValueError, match="mask must be in"):
        Thresholds(mask=1.5)
    with pytest.raises(ValueError, match="min_area"):
        Thresholds(min_area=-1)
    probability = ground()
    build(probability, 10, 10, 30, 30)
    frames = cut(probability, 96, SMALL)
    with pytest.raises(ValueError, match="given twice"):
        merge_outlines(frames * 2, SMALL, RESOLUTION)


def test_a_large_block_outlined_in_parts_is_the_same(
    tmp_path: Path, make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by outlining parts of a block; what is merged must not know of it."""
    project = make_project(tmp_path / "home")
    n = project.grid.block_size
    probability = ground(2 * n)
    for x in range(10, 2 * n - 40, 42):  # houses in rows: across the borders of parts and blocks, some of them touching
        for y in range(4, 2 * n - 40, 55):
            build(probability, x, y, 26, 30)
            build(probability, x + 26, y, 12, 20, 200)
    near = {Block(col, row): f"predictions/x{col}y{row}.tif" for col in (0, 1) for row in (0, 1)}
    for block, key in near.items():
        part = probability[:, block.row * n : (block.row + 1) * n, block.col * n : (block.col + 1) * n]
        encoding = cog.Encoding("deflate")
        project.store.put(key, cog.write(part, None, project.grid.transform(block), project.grid.crs, encoding))
    merged, rows = [], []
    for side in (n, n // 4):
        monkeypatch.setattr(step, "part_side", lambda size, side=side: side)
        planned = [
            Planned(name=block.name, fingerprint="f", key="key", inputs=(), args=(block, near, asdict(SMALL)))
            for block in near
        ]
        frames = [read(make_outlines(project, one, Cancellation()).data) for one in planned]
        merged.append(merge_outlines(frames, SMALL, project.grid.resolution))
        rows.append(sum(map(len, frames)))
    assert len(merged[0]) > 100
    assert rows[1] > rows[0]
    assert_geodataframe_equal(*merged)
    monkeypatch.undo()
    assert [part_side(size) for size in (256, 2048, 2304, 8192, 32768)] == [256, 2048, 768, 2048, 2048]


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
@settings(max_examples=20, deadline=None)
def test_parts_of_few_pixels_are_those_of_the_whole_raster(seed, share):
    mask = np.pad(np.random.default_rng(seed).random((9, 12)) < share, 1)
    mask[4, 4] = True
    parts = np.zeros(mask.shape, np.int32)
    parts[mask] = _parts(np.flatnonzero(mask), mask.shape[1]) + 1
    assert same_parts(parts, ndimage.label(mask)[0])


def test_a_building_that_comes_back_into_a_block_lies_there_in_parts():
    labels = np.zeros((40, 40), np.int32)
    labels[0, 3:5] = labels[0:30, 30] = labels[29, 1:30] = labels[12:29, 1] = labels[12, 0] = 7  # two parts, one long
    labels[20:22, 20:22], labels[0, 10], labels[0, 12] = 8, 9, 9
    expected = np.zeros(labels.shape, np.int32)
    for label in (7, 8, 9):
        found, _ = ndimage.label(labels == label)
        expected[found > 0] = found[found > 0] + expected.max()
    _part(labels)
    assert same_parts(labels, expected)
    assert set(np.unique(labels)) >= {0, 7, 8, 9}


def test_the_flood_takes_the_highest_neighbour_step_by_step():
    """The rule of `_flood` written out, pixel by pixel: the labels of two towns must be the same."""
    for seed in (1, 2):
        noise = np.random.default_rng(seed).normal(size=(2, 40, 44))
        probability = np.clip(150 + 200 * ndimage.gaussian_filter(noise, (0, 2, 2)), 0, 255).astype(np.uint8)
        probability = probability // 48 * 48  # many heights are equal
        thresholds = Thresholds(mask=0.3, seed=0.45, seed_area=2.0, min_area=0.0)
        assert same_parts(grown_labels(probability, thresholds, RESOLUTION), flooded(probability, thresholds))


def flooded(probability: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    building, edge = np.pad(probability.astype(int), ((0, 0), (1, 1), (1, 1)))
    height, mask, ceiling = building * (255 - edge), building > int(255 * thresholds.mask), int(WHOLE * thresholds.seed)
    labels, number = ndimage.label(mask & (height > ceiling))
    for label in range(1, number + 1):
        if (labels == label).sum() < pixels_of(thresholds.seed_area, RESOLUTION):
            labels[labels == label] = 0
    for level in range(LEVELS - 1, -1, -1):
        come = mask & (np.minimum(height * LEVELS // (ceiling + 1), LEVELS - 1) >= level)
        for _ in range(STEPS if level else labels.size):
            before = labels.copy()
            for y, x in np.argwhere(come & (before == 0)):
                near = [(y - 1, x), (y, x - 1), (y, x + 1), (y + 1, x)]
                best = max((place for place in near if before[place]), key=lambda place: height[place], default=None)
                labels[y, x] = before[best] if best else 0
            if (labels == before).all():
                break
    rest, _ = ndimage.label(mask & (labels == 0))
    labels[rest > 0] = rest[rest > 0] + number
    return labels[1:-1, 1:-1]

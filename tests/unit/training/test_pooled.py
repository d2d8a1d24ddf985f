"""Pooled training: what an arm may see, the packed file, and crops on the device that are those of the processor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplan.errors import Damaged
from groundplan.labels.classes import BUILDING, IGNORE, INNER_EDGE
from groundplan.training import augment, device_augment, pack, pooled
from groundplan.training.augment import CropSource
from groundplan.training.device_augment import Canvas, Draws
from groundplan.training.pack import Ground
from groundplan.training.pooled import Arm
from groundplan.training.scene import Scene
from groundplan.training.settings import TrainSettings
from groundplan.training.split import SPLITS, TURNS, cell_number, split_of_number

pytestmark = pytest.mark.slow  # torch

TINY = TrainSettings(
    encoder_weights="none", grid_resolution=0.3, resolution=0.3, steps=3, minutes=60, batch=2, crop=64, average=0.9
)


def ground(region: str = "here", year: int = 2022, seed: int = 0, trust: float = 1.0) -> Ground:
    """Bright roofs on dark ground, whose label follows from the pixels; cells of 48 pixels."""
    rng = np.random.default_rng(seed)
    high, wide = 150, 230
    roof = np.zeros((high, wide), bool)
    for top in range(8, high - 30, 40):
        for left in range(6, wide - 30, 44):
            roof[top : top + 24, left : left + 28] = rng.random() < 0.8
    image = np.where(roof, 210, 60) + rng.integers(0, 9, (3, high, wide))
    rows, columns = np.mgrid[:high, :wide]
    number = cell_number(columns, rows, 48.0)
    label = np.where(roof, BUILDING, 0).astype(np.uint8)
    label[:, -20:] = IGNORE
    return Ground(
        region=region,
        year=year,
        image=image.astype(np.uint8),
        label=label,
        number=number,
        resolution=0.3,
        trust=trust,
    )


# ------------------------------------------------------------------------------------------------- what an arm sees


@pytest.mark.parametrize("turn", range(TURNS))
def test_an_arm_sees_training_ground_of_its_turn_alone_and_nothing_of_a_region_left_out(turn: int) -> None:
    grounds = [ground("here"), ground("here", 2024, seed=1), ground("there", seed=2)]
    found = pooled.material(grounds, Arm(name="x", without=frozenset({"there"}), turn=turn), TINY)
    assert set(found.places.region) == {"here"}
    hidden = split_of_number(grounds[0].number, turn) != SPLITS.index("train")
    for source in found.sources:
        assert (source.label[hidden] == IGNORE).all()
        assert not source.image[hidden].any()
        assert source.image[~hidden].all()


def test_over_all_turns_every_cell_is_test_ground_once_and_the_same_in_every_year() -> None:
    number = ground().number
    splits = np.stack([split_of_number(number, turn) for turn in range(TURNS)])
    assert ((splits == SPLITS.index("test")).sum(axis=0) == 1).all()
    assert ((splits == SPLITS.index("validation")).sum(axis=0) == 1).all()
    assert [arm.turn for arm in pooled.turns()] == list(range(TURNS))


def test_little_trusted_ground_is_learned_from_less() -> None:
    arm = Arm(name="x", turn=None)

    def share(trust: float) -> float:
        found = pooled.material([ground("here"), ground("there", trust=trust)], arm, TINY)
        return float(found.share[found.places.region == "there"].sum())

    assert share(1.0) == pytest.approx(0.5)
    assert share(0.25) == pytest.approx(0.2)


def test_tuning_sees_its_home_alone_or_has_so_many_crops_from_elsewhere() -> None:
    grounds = [ground("here"), ground("there", seed=1), ground("beyond", seed=2), ground("away", seed=3)]
    without = frozenset({"away"})
    alone = pooled.material(grounds, Arm(name="x", without=without, home="here"), TINY)
    assert set(alone.places.region) == {"here"}
    mixed = pooled.material(grounds, Arm(name="x", without=without, home="here", others=0.25), TINY)
    assert set(mixed.places.region) == {"here", "there", "beyond"}
    assert mixed.share[mixed.places.region == "here"].sum() == pytest.approx(0.75)
    assert mixed.share.sum() == pytest.approx(1.0)


# ------------------------------------------------------------------------------------------------- the packed file


def test_packed_ground_keeps_labels_and_cells_and_almost_the_pixels() -> None:
    grounds = [ground("here"), ground("there", 2024, seed=3, trust=0.2)]
    data = pack.write(grounds)
    assert data == pack.write(grounds)
    for before, after in zip(grounds, pack.read(data), strict=True):
        assert (after.name, after.resolution, after.trust) == (before.name, before.resolution, before.trust)
        np.testing.assert_array_equal(after.label, before.label)
        np.testing.assert_array_equal(after.number, before.number)
        assert np.abs(after.image.astype(int) - before.image).mean() < 3
    with pytest.raises(Damaged, match="packed ground"):
        pack.read(data[:-200])


# ------------------------------------------------------------------------------------------------- on the device


def _draws(found: pooled.Material, count: int, side: int, seed: int) -> Draws:
    chosen = np.random.default_rng(seed).integers(0, len(found.share), count)
    return device_augment.draw(found.boxes, chosen, found.sources, found.known, side, [seed])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 0.4, 0.75]))
def test_crops_are_those_of_the_processor_for_the_same_place(seed: int, resolution: float) -> None:
    chosen = replace(TINY, resolution=resolution)
    found = pooled.material([ground(), ground(seed=9)], Arm(name="x"), chosen)
    draws, side = _draws(found, 3, 64, seed), 64
    image, label = device_augment.warp(Canvas.of(found.sources, "cpu"), draws.on("cpu"), side)
    for at in range(3):
        source, affine = found.sources[draws.raster[at]], draws.affine[at].astype(float)
        expected = augment._warp(source.image, affine.copy(), side, source.pool, 0)
        assert np.abs(image[at].numpy().transpose(1, 2, 0) - expected).mean() < 1.5
        same = label[at].numpy() == augment._warp(source.label, affine.copy(), side, 1, IGNORE)
        assert same.mean() > 0.97  # OpenCV rounds places to 1/32 of a pixel


def test_crops_are_mirrored_half_of_the_time_turned_all_round_and_scaled_as_on_the_processor() -> None:
    found = pooled.material([ground()], Arm(name="x", turn=None), TINY)
    turn = _draws(found, 2000, 64, 1).affine[:, :, :2]
    size = np.linalg.det(turn.astype(float))
    assert 0.45 < (size < 0).mean() < 0.55
    zoom = np.sqrt(np.abs(size))
    assert augment.ZOOM[0] <= zoom.min() < 0.76
    assert 1.3 < zoom.max() <= augment.ZOOM[1]
    angle = np.arctan2(turn[:, 0, 1], turn[:, 1, 1])
    assert (np.histogram(angle, 8, (-np.pi, np.pi))[0] > 180).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_image_and_label_stay_together(seed: int) -> None:
    """The roof is what is bright: however a crop is turned and recolored, its label says the same."""
    found = pooled.material([ground(seed=seed)], Arm(name="x", turn=None), TINY)
    draws = _draws(found, 4, 64, seed)
    image, label = device_augment.crops(
        Canvas.of(found.sources, "cpu"), draws.on("cpu"), 64, torch.Generator().manual_seed(seed)
    )
    assert image.min() >= 0
    assert image.max() <= 255
    assert torch.equal(image, image.floor())
    for picture, classes in zip(image.mean(dim=1).numpy(), label.numpy(), strict=True):
        known, roof = classes != IGNORE, classes == BUILDING
        if (roof & known).sum() < 50 or (~roof & known).sum() < 50:
            continue
        middle = (picture[roof].mean() + picture[~roof & known].mean()) / 2
        assert ((picture > middle) == roof)[known].mean() > 0.93


def test_colors_are_changed_as_on_the_processor() -> None:
    """Gain, tone, saturation and blur of the same figures give the same picture to within a rounding step."""
    import cv2

    rng = np.random.default_rng(4)
    image = cv2.GaussianBlur(rng.integers(1, 255, (48, 40, 3), dtype=np.uint8), (0, 0), 2)
    figures = {"gain": [[1.2, 1.1, 0.9]], "shift": [-0.05], "gamma": [1.15], "saturation": [0.6], "blur": [0.9]}
    draws = Draws(
        raster=np.zeros(1, int),
        affine=np.zeros((1, 2, 3), "f4"),
        noise=np.zeros(1, "f4"),
        **{key: np.array(value, "f4") for key, value in figures.items()},
    )
    level = np.arange(256) / 255
    table = np.stack([(level**1.15 - 0.45) * gain + 0.45 - 0.05 for gain in figures["gain"][0]])
    table = np.clip(table * 255 + 0.5, 0, 255).astype(np.uint8)
    out = np.stack([table[band][image[:, :, band]] for band in range(3)], axis=2)
    gray = out.mean(axis=2, dtype=np.float32)[..., None]
    out = np.clip(gray + (out - gray) * np.float32(0.6), 0, 255).astype(np.uint8)
    out = cv2.GaussianBlur(out, (0, 0), 0.9)
    pixels = torch.from_numpy(image.transpose(2, 0, 1)[None]).float()
    found = device_augment.recolor(pixels, draws.on("cpu"), torch.Generator())
    assert np.abs(found[0].numpy().transpose(1, 2, 0) - out).max() <= 1


def test_ground_without_imagery_stays_blank() -> None:
    image = np.zeros((3, 80, 80), np.uint8)
    image[:, :, 40:] = 120
    found = [CropSource.of(Scene(image, np.zeros((80, 80), np.uint8)), TINY)]
    boxes = device_augment.Boxes(raster=np.zeros(1, int), left=np.zeros(1), top=np.zeros(1), side=np.full(1, 80))
    draws = device_augment.draw(boxes, np.zeros(6, int), found, [device_augment.labeled(found[0].label)], 64, [1])
    still = replace(draws, blur=np.zeros(6, "f4")).on("cpu")
    canvas = Canvas.of(found, "cpu")
    blank = (device_augment.warp(canvas, still, 64)[0] == 0).all(dim=1)
    assert blank.any()
    assert not device_augment.recolor(device_augment.warp(canvas, still, 64)[0], still, torch.Generator())[
        blank[:, None].expand(-1, 3, -1, -1)
    ].any()


def test_crops_are_drawn_until_a_quarter_of_them_is_labeled() -> None:
    here = ground()
    here.label[:, 60:] = IGNORE  # windows of 256 pixels: most draws lie where nothing is known
    found = pooled.material([here], Arm(name="x", turn=None), TINY)
    draws = _draws(found, 200, 64, 3)
    _, label = device_augment.warp(Canvas.of(found.sources, "cpu"), draws.on("cpu"), 64)
    share = (label != IGNORE).float().mean(dim=(1, 2))
    assert (share > 0.2).float().mean() > 0.85  # one draw in three would do


# ------------------------------------------------------------------------------------------------- learning


def test_batches_taken_up_at_a_step_are_those_of_an_undisturbed_training() -> None:
    found = pooled.material([ground(), ground("there", seed=1)], Arm(name="x"), TINY)
    whole = pooled.batches(found, TINY, 0)
    undisturbed = [next(whole) for _ in range(67)]  # a chunk has 64 steps
    for step in (3, 63, 66):
        image, label = next(pooled.batches(found, TINY, step))
        assert torch.equal(image, undisturbed[step][0])
        assert torch.equal(label, undisturbed[step][1])


def test_what_is_learned_is_the_same_twice_and_fits_the_product() -> None:
    from groundplan.training.network import load_state

    found = pooled.material([ground()], Arm(name="x"), TINY)
    one, two = (pooled.learn(found, TINY, every=1) for _ in range(2))
    assert one.steps == TINY.steps
    assert all(torch.equal(value, two.state[key]) for key, value in one.state.items())
    assert [loss for _, loss in one.losses] == [loss for _, loss in two.losses]
    raster = pooled.predict(one.network, ground(), TINY, core=64, margin=16)
    assert raster.shape == (2, 150, 230)
    again = pooled.predict(load_state(one.state, TINY), ground(), TINY, core=64, margin=16)
    np.testing.assert_array_equal(raster, again)
    turned = pooled.predict(one.network, ground(), TINY, core=64, margin=16, turned=(2,))
    assert (turned != raster).any()
    both = pooled.predict(one.network, ground(), TINY, core=64, margin=16, turned=(0, 2))
    np.testing.assert_array_equal(both, (raster.astype(int) + turned + 1) // 2)


def test_pixel_figures_count_known_ground_alone() -> None:
    label = np.array([[0, BUILDING, INNER_EDGE, IGNORE]], np.uint8)
    said = np.array([[[0, 255, 255, 255]], [[0, 0, 255, 0]]], np.uint8)
    assert pooled.pixel_figures(said, label) == {
        "building_hit": 2,
        "building_union": 2,
        "core_hit": 1,
        "core_union": 1,
        "edge_hit": 1,
        "edge_union": 1,
    }

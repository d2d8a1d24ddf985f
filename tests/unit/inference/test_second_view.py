"""Seen again by need: the rule on hand-made probabilities, on processors and on a device, however blocks are cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplan.inference import second_view
from groundplan.inference.second_view import AROUND, BUDGET, CELL, CROP, Squares, places, squares
from groundplan.inference.sliding_window import predict_canvas

STEP = 32


def said_of(pixels: np.ndarray, turn: int) -> np.ndarray:
    """A network that answers with its first band, and turned with 40 more; its second band is the edge."""
    return np.stack([np.minimum(pixels[0].astype(np.uint16) + 40 * (turn > 0), 255), pixels[1].astype(np.uint16)])


def ground(high: int, wide: int, spots: list[tuple[int, int, int]]) -> np.ndarray:
    """uint8 (3, H, W): sure ground with squares (row, col, side) of which the first view does not know."""
    pixels = np.full((3, high, wide), 10, np.uint8)
    for row, col, side in spots:
        pixels[0, row : row + side, col : col + side] = 100
    return pixels


def by_need(window: np.ndarray, margin: int, seen: Callable[[np.ndarray, int], np.ndarray] = said_of) -> np.ndarray:
    return second_view.seen_by_need(window, margin, STEP, seen)


def test_what_the_first_view_is_sure_of_is_seen_once() -> None:
    seen: list[int] = []

    def watched(pixels: np.ndarray, turn: int) -> np.ndarray:
        seen.append(turn)
        return said_of(pixels, turn)

    window = ground(1280, 1280, [(30, 30, 64)])  # in the rim, which nobody keeps
    assert np.array_equal(by_need(window, 128, watched), said_of(window, 0))
    assert seen == [0]


def test_the_most_unsure_squares_are_seen_again_and_no_more_than_the_budget() -> None:
    spots = [(200, 200, 40), (200, 900, 60), (900, 200, 50), (900, 900, 30)]
    window = ground(1280, 1280, spots)
    cost: list[int] = []

    def watched(pixels: np.ndarray, turn: int) -> np.ndarray:
        cost.append(pixels[0].size if turn else 0)
        return said_of(pixels, turn)

    found = by_need(window, 128, watched)
    again = {(row, col) for row, col, side in spots if (found[0, row : row + side, col : col + side] == 120).all()}
    assert again == {(200, 200), (200, 900), (900, 200)}  # 100 and 140 averaged; the smallest is left
    assert found[0, 910, 910] == 100
    assert 0 < sum(cost) <= BUDGET * 1280**2
    assert np.array_equal(found[1], said_of(window, 0)[1])


def test_a_small_window_is_seen_again_whole_or_not_at_all() -> None:
    assert squares(512, 512, 64, STEP) is None
    unsure, sure = ground(256, 256, [(100, 100, 60)]), ground(256, 256, [(100, 100, 4)])
    assert by_need(unsure, 64)[0, 128, 128] == 120
    assert by_need(unsure, 64)[0, 10, 10] == 30  # sure ground too: 10 and 50
    assert np.array_equal(by_need(sure, 64), said_of(sure, 0))


@pytest.mark.parametrize("step", [32, 64, 128, 256, 512])
def test_crops_are_what_a_network_takes(step: int) -> None:
    cut = squares(2304, 2304, 128, step)
    assert cut is not None
    assert cut.crop % step == 0
    assert cut.kept % CELL == 0
    assert cut.most * cut.crop**2 <= BUDGET * 2304**2


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 96, 128]), st.sampled_from([(768, 768), (1024, 896)]))
def test_squares_lie_inside_the_core_apart_and_are_the_best_there_are(
    seed: int, margin: int, sides: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    said = np.zeros((2, *sides), np.uint8)
    for _ in range(6):
        row, col = rng.integers(0, sides[0] - 64), rng.integers(0, sides[1] - 64)
        said[0, row : row + 64, col : col + 64] = rng.integers(0, 256, (64, 64))
    cut = squares(*sides, margin, STEP)
    assert cut is not None
    found, unsure = places(said, cut), second_view.unsure_in(said)
    counts = [int(unsure[r : r + cut.kept, c : c + cut.kept].sum()) for r, c in found[:1]]
    best = max(
        int(unsure[r : r + cut.kept, c : c + cut.kept].sum())
        for r in range(margin, sides[0] - margin - cut.kept + 1, CELL)
        for c in range(margin, sides[1] - margin - cut.kept + 1, CELL)
    )
    assert counts == ([best] if best >= cut.least else [])
    assert all(margin <= p <= side - margin - cut.kept for one in found for p, side in zip(one, sides, strict=True))
    assert len(set(found)) == len(found) <= cut.most


@pytest.mark.parametrize("sides", [(1280, 1280), (768, 1024), (256, 256)])
def test_a_device_decides_as_processors_do(sides: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    from groundplan.inference.device_views import seen_by_need

    rng = np.random.default_rng(5)
    windows = np.stack([ground(*sides, []), *(ground(*sides, _spots(rng, sides)) for _ in range(3))])
    alike = ground(*sides, [(160, 160, 32), (160, sides[1] - 192, 32)])  # of two alike the left one
    windows = np.concatenate([windows, alike[None]])

    def seen(pixels: torch.Tensor, turn: int) -> torch.Tensor:
        return torch.from_numpy(np.stack([said_of(one, turn) for one in pixels.numpy()]).astype(np.uint8))

    there = seen_by_need(torch.from_numpy(windows), 128 if sides[0] > 256 else 32, STEP, seen).numpy()
    here = np.stack([by_need(one, 128 if sides[0] > 256 else 32) for one in windows])
    assert np.array_equal(there, here)
    assert not np.array_equal(here, np.stack([said_of(one, 0) for one in windows]))


def _spots(rng: np.random.Generator, sides: tuple[int, int]) -> list[tuple[int, int, int]]:
    return [(int(rng.integers(sides[0] - 40)), int(rng.integers(sides[1] - 40)), 40) for _ in range(12)]


@dataclass(kw_only=True)
class ByNeed:
    """A runtime without a network."""

    bands: int = 3
    step: int = STEP
    grid_resolution: float = 0.15
    metadata: dict[str, str] = field(default_factory=dict)
    views: second_view.Views = "unsure"

    def predict(self, window: np.ndarray, margin: int = 0) -> np.ndarray:
        return by_need(window, margin)


def test_blocks_cut_in_any_way_give_the_same_bytes() -> None:
    rng, core, margin = np.random.default_rng(1), 512, 128
    pixels = ground(2048 + 2 * margin, 1024 + 2 * margin, [])
    for _ in range(60):
        row, col = rng.integers(0, pixels.shape[1] - 40), rng.integers(0, pixels.shape[2] - 40)
        pixels[0, row : row + 40, col : col + 40] = rng.integers(20, 240, (40, 40))
    mask = np.ones(pixels.shape[1:], bool)
    whole = predict_canvas(ByNeed(), pixels, mask, core, margin)
    for side in (512, 1024):
        for row in range(0, 2048, side):
            for col in range(0, 1024, side):
                part = np.s_[row : row + side + 2 * margin, col : col + side + 2 * margin]
                found = predict_canvas(ByNeed(), pixels[:, *part], mask[part], core, margin)
                assert np.array_equal(found, whole[:, row : row + side, col : col + side])
    assert (whole != said_of(pixels, 0)[:, margin:-margin, margin:-margin]).any()


def test_the_rule_as_it_stands() -> None:
    """A window of the default settings has room for three squares of 256 pixels: 27 % of a view."""
    assert squares(1280, 1280, 128, 128) == Squares(CROP, CROP - 2 * AROUND, 3, 128)

"""Windows that a coarse pass finds empty: from the window alone, and only where windows are large."""

from __future__ import annotations

import numpy as np
import pytest

from groundplan.inference.empty_ground import COARSER, SMALLEST, SURELY, is_empty


def looks(level: int, place: tuple[int, int] | None = None) -> tuple[list[tuple[int, ...]], object]:
    """A network that sees `level` at one pixel of what it is given, and what it was given."""
    given: list[tuple[int, ...]] = []

    def seen(pixels: np.ndarray, turn: int) -> np.ndarray:
        given.append(pixels.shape)
        said = np.zeros((2, *pixels.shape[1:]), np.uint16)
        said[0, *(place or (100, 100))] = level
        return said

    return given, seen


@pytest.mark.parametrize(("level", "expected"), [(SURELY - 1, True), (SURELY, False), (255, False)])
def test_a_window_is_empty_where_nothing_is_as_probable_as_a_building_might_be(level: int, expected: bool) -> None:
    given, seen = looks(level)
    assert is_empty(np.zeros((3, 1280, 1280), np.uint8), 128, 128, seen) is expected  # type: ignore[arg-type]
    assert given == [(3, 384, 384)]  # 1280 / COARSER, widened to what the network takes


@pytest.mark.parametrize("place", [(10, 100), (100, 1280 // COARSER - 10), (350, 100)])
def test_what_lies_in_the_rim_or_beyond_the_window_is_another_windows(place: tuple[int, int]) -> None:
    _, seen = looks(255, place)
    assert is_empty(np.zeros((3, 1280, 1280), np.uint8), 128, 128, seen)  # type: ignore[arg-type]


def test_small_windows_are_always_run() -> None:
    given, seen = looks(0)
    side = SMALLEST + 2 * 64 - 32
    assert not is_empty(np.zeros((3, side, side), np.uint8), 64, 32, seen)  # type: ignore[arg-type]
    assert not given

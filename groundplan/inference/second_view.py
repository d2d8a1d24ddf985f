"""Second view by need: which parts of a window are seen again, turned by half a turn, because the first is unsure.

Here: the rule, and its arithmetic on processors. Not here: the same rule on a device (device_views.py), running the
network (runtime.py, torch_runtime.py).

What is seen again follows from the window alone, so how blocks cut the ground does not matter. Squares of KEPT pixels,
each with AROUND more on every side for the network to see, are taken where most pixels are unsure, the most unsure
first, until none has enough of them or the budget is spent. A window that is too small for that is seen again whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

Views: TypeAlias = Literal[1, 2, 4, 8, "unsure"]
CELL = 32  # pixels between places where a square may lie
CROP, AROUND = 384, 64
BUDGET = 0.3
"""Share of a window's own cost that seeing parts of it again may cost."""
LOW, HIGH = 64, 191
"""Probability of a building, 0..255, between which a pixel is unsure."""
LEAST = 0.01
"""Share of a square's pixels that must be unsure for it to be worth a second view."""
TURN = 2
"""Quarter turns of the second view."""


@dataclass(frozen=True, slots=True)
class Squares:
    """What may be seen again of a window, in pixels."""

    crop: int
    """Side of what the network sees."""
    kept: int
    """Side of what counts of it, in its middle except at the window's border."""
    most: int
    """Squares of one window."""
    margin: int
    """The window's rim, which nobody keeps."""

    @property
    def cells(self) -> int:
        return self.kept // CELL

    @property
    def least(self) -> int:
        """Unsure pixels that a square must have."""
        return max(1, round(LEAST * self.kept**2))


def squares(high: int, wide: int, margin: int, step: int) -> Squares | None:
    """Of a window of these sides; None where it is too small to be seen again in parts."""
    crop = -(-CROP // step) * step
    kept = (crop - 2 * AROUND) // CELL * CELL
    most = int(BUDGET * high * wide / crop**2)
    if not most or min(high, wide) < crop or min(high, wide) - 2 * margin < kept:
        return None
    return Squares(crop, kept, most, margin)


def unsure_in(said: np.ndarray) -> np.ndarray:
    """bool (H, W) of probabilities uint8 (2, H, W): where the first view does not know."""
    return np.asarray((said[0] >= LOW) & (said[0] <= HIGH))


def places(said: np.ndarray, cut: Squares) -> list[tuple[int, int]]:
    """Upper left pixels of the squares that are kept, the most unsure first; of two alike the upper, then the left."""
    high, wide = said.shape[1:]
    margin = cut.margin
    unsure = unsure_in(said)[margin : high - margin, margin : wide - margin]
    cells = _cell_sums(unsure)
    found: list[tuple[int, int]] = []
    while len(found) < cut.most:
        sums = np.lib.stride_tricks.sliding_window_view(cells, (cut.cells, cut.cells)).sum(axis=(2, 3))
        row, col = np.unravel_index(int(sums.argmax()), sums.shape)
        if sums[row, col] < cut.least:
            break
        cells[row : row + cut.cells, col : col + cut.cells] = 0
        found.append((margin + int(row) * CELL, margin + int(col) * CELL))
    return found


def _cell_sums(unsure: np.ndarray) -> np.ndarray:
    """Unsure pixels of each whole cell, int64; what is left over at the right and below is no place for a square."""
    rows, cols = (side // CELL for side in unsure.shape)
    return unsure[: rows * CELL, : cols * CELL].reshape(rows, CELL, cols, CELL).sum(axis=(1, 3))


def begin_of(place: int, side: int, cut: Squares) -> int:
    """Where the crop around a kept square begins: inside the window, on one axis."""
    return min(max(0, place - (cut.crop - cut.kept) // 2), side - cut.crop)


def seen_by_need(
    window: np.ndarray, margin: int, step: int, seen: Callable[[np.ndarray, int], np.ndarray]
) -> np.ndarray:
    """Probabilities uint8 (2, H, W) of a window uint8 (bands, H, W), parts of which may be seen twice.

    margin: pixels at its rim that nobody keeps. seen: the network's answer, uint16 (2, h, w), to some pixels that are
    turned by so many quarter turns, turned back.
    """
    first = seen(window, 0)
    high, wide = window.shape[1:]
    cut = squares(high, wide, margin, step)
    if cut is None:
        inner = unsure_in(first)[margin : high - margin, margin : wide - margin]
        again = inner.sum() >= max(1, round(LEAST * inner.size))
        return ((first + seen(window, TURN) + 1) // 2 if again else first).astype(np.uint8)
    result = first.astype(np.uint8)
    for top, left in places(first, cut):
        row, col = begin_of(top, high, cut), begin_of(left, wide, cut)
        turned = seen(window[:, row : row + cut.crop, col : col + cut.crop], TURN)
        kept = np.s_[:, top : top + cut.kept, left : left + cut.kept]
        inside = turned[:, top - row : top - row + cut.kept, left - col : left - col + cut.kept]
        result[kept] = (first[kept] + inside + 1) // 2
    return result

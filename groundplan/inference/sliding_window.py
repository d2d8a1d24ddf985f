"""Sliding-window inference: a raster of any size through a network of fixed window size.

Here: windows with a margin, row by row, in constant memory. Not here: the network's runtime (runtime.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    pass
from groundplan.inference.runtime import Runtime

Rows = Callable[[int, int], tuple[np.ndarray, np.ndarray]]
CORE, MARGIN = 1024, 128
"""Pixels of a window that are kept, and of ground around them that the network sees too.

With a half-trained network, moving the lattice by half a core flipped 0.5 % of mask pixels near seams with a margin of
128, and 2.1 % with 64.
"""


def predict_canvas(
    runtime: Runtime,
    canvas: np.ndarray,
    mask: np.ndarray,
    core: int = CORE,
    margin: int = MARGIN,
    check: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Probabilities uint8 (2, H, W) of a canvas uint8 (bands, H + 2 * margin, W + 2 * margin).

    `mask` bool, of the canvas's sides, says where there is imagery. As `predict_rows`, with all of it in memory.

    Raises:
        ValueError: sides that do not fit together.
        ModelMismatch: the canvas has other bands than the model.
    """
    if canvas.shape[1:] != mask.shape or min(mask.shape) <= 2 * margin:
        raise ValueError(f"canvas {canvas.shape}, mask {mask.shape}, margin {margin} do not fit together")

    def rows(top: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
        return canvas[:, top:bottom], mask[top:bottom]

    return np.concatenate(list(predict_rows(runtime, rows, mask.shape[0], core, margin, check)), axis=1)


def predict_rows(
    runtime: Runtime,
    rows: Rows,
    high: int,
    core: int = CORE,
    margin: int = MARGIN,
    check: Callable[[], None] = lambda: None,
) -> Iterator[np.ndarray]:
    """Probabilities uint8 (2, up to `core`, W) of a canvas with margins and `high` rows in all, from the top down.

    `rows(top, bottom)` gives canvas uint8 (bands, bottom - top, W + 2 * margin) and where there is imagery, bool;
    elsewhere the canvas counts as 0 and so does the result. Windows lie on a lattice from the canvas's inner corner,
    each keeps its core of `core` pixels, and those
    without imagery in their core are not run; so blocks whose sides are multiples of `core` give the bytes that
    one raster of all of them would give. What a last window lacks is 0, as ground without imagery is. Choose core and
    margin so that core + 2 * margin is a multiple of the runtime's step: otherwise every window is widened to one by
    its own reflection, which costs time and nothing else. `check` is called before every window, stops by raising.
    Only the rows of one row of windows are asked for at once, so memory does not grow with `high`.

    Raises:
        ValueError: sides that do not fit together.
        ModelMismatch: the canvas has other bands than the model.
    """
    if high <= 2 * margin or core < 1 or margin < 0:
        raise ValueError(f"{high} rows, core {core}, margin {margin} do not fit together")
    side = core + 2 * margin
    widen = ((0, 0), (0, -side % runtime.step), (0, -side % runtime.step))
    for top in range(0, high - 2 * margin, core):
        canvas, mask = rows(top, min(high, top + side))
        inner = mask[margin : mask.shape[0] - margin, margin : mask.shape[1] - margin]
        result = np.zeros((2, *inner.shape), np.uint8)
        for left in range(0, inner.shape[1], core):
            if not inner[:, left : left + core].any():
                continue
            check()
            window = np.pad(_window(canvas, mask, left, side), widen, mode="symmetric")
            kept = result[:, :, left : left + core]
            kept[:] = runtime.predict(window, margin)[:, margin:, margin:][:, : kept.shape[1], : kept.shape[2]]
        result *= inner
        yield result


def _window(canvas: np.ndarray, mask: np.ndarray, left: int, side: int) -> np.ndarray:
    """The window with its margins that begins at column `left` of some rows; 0 where there is no imagery."""
    valid = mask[:, left : left + side]
    window = np.zeros((canvas.shape[0], side, side), np.uint8)
    np.multiply(canvas[:, :, left : left + side], valid, out=window[:, : valid.shape[0], : valid.shape[1]])
    return window

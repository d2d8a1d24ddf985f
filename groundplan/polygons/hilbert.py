"""Hilbert's curve: a line through all cells of a square on which near cells stay near.

Here: the number of a cell along the curve. Not here: which ground a cell is (footprints/national_cut.py).
https://en.wikipedia.org/wiki/Hilbert_curve, Applications and mapping algorithms
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_BITS = 32


def distances(x: NDArray[np.integer], y: NDArray[np.integer], bits: int) -> NDArray[np.uint64]:
    """Number (n,) of cells along the curve of a square with 2**bits cells on each side.

    x, y: column and row (n,), 0 to 2**bits - 1. The first `2 * k` bits of a number are the cell's number on the curve
    of 2**k cells: a coarse cell is one unbroken stretch. Raises ValueError for cells outside the square.
    """
    if not 0 < bits <= MOST_BITS or any(len(side) and (side.min() < 0 or side.max() >> bits) for side in (x, y)):
        raise ValueError(f"cells are outside a square of 2**{bits} cells")
    across, along = x.astype(np.uint32), y.astype(np.uint32)
    number: NDArray[np.uint64] = np.zeros(len(x), np.uint64)
    one, three = np.uint32(1), np.uint32(3)
    for bit in range(bits - 1, -1, -1):
        right, down = (across >> np.uint32(bit)) & one, (along >> np.uint32(bit)) & one
        number = (number << np.uint64(2)) | ((right * three) ^ down).astype(np.uint64)
        # the quarters at the curve's ends are turned: masks of all ones where that is so
        turned = down - one
        mirrored = turned & (np.uint32(0) - right)
        across, along = across ^ mirrored, along ^ mirrored
        change = (across ^ along) & turned
        across, along = across ^ change, along ^ change
    return number

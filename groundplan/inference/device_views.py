"""Second view by need on a device: the rule of second_view.py for a batch of windows, without looking at the host.

Here: the rule as tensors, so that it can be part of a captured graph. Not here: what it decides (second_view.py), the
network (torch_runtime.py). A graph has one shape: every window is given its full number of squares, and those that the
rule does not ask for change nothing. So it always costs the budget, and decides as processors do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from groundplan.inference.second_view import CELL, HIGH, LEAST, LOW, TURN, Squares, squares

if TYPE_CHECKING:
    import torch

Seen = "Callable[[torch.Tensor, int], torch.Tensor]"


def seen_by_need(
    pixels: torch.Tensor, margin: int, step: int, seen: Callable[[torch.Tensor, int], torch.Tensor]
) -> torch.Tensor:
    """uint8 (N, 2, H, W) of windows uint8 (N, bands, H, W); seen: as on processors, uint8, for a batch."""
    import torch

    first = seen(pixels, 0)
    high, wide = pixels.shape[2:]
    unsure = ((first[:, 0] >= LOW) & (first[:, 0] <= HIGH))[:, margin : high - margin, margin : wide - margin]
    cut = squares(high, wide, margin, step)
    if cut is None:
        enough = unsure.sum(dim=(1, 2)) >= max(1, round(LEAST * unsure[0].numel()))
        return torch.where(enough[:, None, None, None], mean(first, seen(pixels, TURN)), first)
    cells = _cell_sums(unsure)
    result = first.clone()
    for _ in range(cut.most):
        row, col, enough = _most_unsure(cells, cut)
        _see_again(pixels, first, result, (row * CELL + margin, col * CELL + margin), enough, cut, seen)
    return result


def mean(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Of two views, rounded up as on processors; uint8."""
    import torch

    return torch.div(one.to(torch.int16) + other + 1, 2, rounding_mode="floor").to(torch.uint8)


def _cell_sums(unsure: torch.Tensor) -> torch.Tensor:
    """int64 (N, rows, cols): unsure pixels of each whole cell."""
    count, (rows, cols) = len(unsure), (side // CELL for side in unsure.shape[1:])
    return unsure[:, : rows * CELL, : cols * CELL].reshape(count, rows, CELL, cols, CELL).sum(dim=(2, 4))


def _most_unsure(cells: torch.Tensor, cut: Squares) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Row and column of the best square of each window, and whether it is worth it; its cells are taken out."""
    import torch

    sums = cells.unfold(1, cut.cells, 1).unfold(2, cut.cells, 1).sum(dim=(3, 4))
    count, rows, cols = sums.shape
    order = torch.arange(rows * cols, device=cells.device)
    best = (sums.reshape(count, -1) * (rows * cols) - order).argmax(dim=1)  # of two alike the first
    row, col = best // cols, best % cols
    enough = sums.reshape(count, -1).gather(1, best[:, None])[:, 0] >= cut.least
    down, across = (torch.arange(side, device=cells.device) for side in cells.shape[1:])
    inside = ((down >= row[:, None]) & (down < row[:, None] + cut.cells))[:, :, None]
    inside = inside & ((across >= col[:, None]) & (across < col[:, None] + cut.cells))[:, None, :]
    cells.masked_fill_(inside, 0)
    return row, col, enough


def _see_again(
    pixels: torch.Tensor,
    first: torch.Tensor,
    result: torch.Tensor,
    place: tuple[torch.Tensor, torch.Tensor],
    enough: torch.Tensor,
    cut: Squares,
    seen: Callable[[torch.Tensor, int], torch.Tensor],
) -> None:
    """One square of each window, averaged into the result where it is worth it."""
    import torch

    top, left = place
    reach = (cut.crop - cut.kept) // 2
    row, col = (
        (at - reach).clamp(0, side - cut.crop) for at, side in ((top, pixels.shape[2]), (left, pixels.shape[3]))
    )
    crop, kept = (torch.arange(side, device=pixels.device) for side in (cut.crop, cut.kept))
    windows = torch.arange(len(pixels), device=pixels.device)[:, None, None, None]
    some = _part(pixels, windows, row[:, None] + crop, col[:, None] + crop)
    turned = _part(seen(some, TURN), windows, (top - row)[:, None] + kept, (left - col)[:, None] + kept)
    rows, cols = top[:, None] + kept, left[:, None] + kept
    both = mean(_part(first, windows, rows, cols), turned)
    bands = torch.arange(2, device=pixels.device)[None, :, None, None]
    there = _part(result, windows, rows, cols)
    result[windows, bands, rows[:, None, :, None], cols[:, None, None, :]] = torch.where(
        enough[:, None, None, None], both, there
    )


def _part(of: torch.Tensor, windows: torch.Tensor, rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w) of (N, C, H, W): each window's own rows (N, h) and columns (N, w)."""
    import torch

    bands = torch.arange(of.shape[1], device=of.device)[None, :, None, None]
    return of[windows, bands, rows[:, None, :, None], cols[:, None, None, :]]

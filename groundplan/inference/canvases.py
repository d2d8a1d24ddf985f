"""Memory of blocks that are predicted on a device, and what is made of a block's result there.

Here: how a block is cut into windows and tiles, canvases on both sides, tiles ready to be coded, overviews. Not here:
when what is copied and computed (conveyor.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """How blocks are cut: all in pixels."""

    block: int
    core: int
    margin: int
    tile: int
    edge: int
    """Width of the edges that neighbours may see."""

    @property
    def cores(self) -> int:
        """Cores along a side, the last of which may reach over it."""
        return -(-self.block // self.core)

    @property
    def canvas(self) -> int:
        """Side of a canvas: whole windows."""
        return self.cores * self.core + 2 * self.margin

    def levels(self) -> list[int]:
        """Sides of the block and of its overviews, down to one tile."""
        sides = [self.block]
        while sides[-1] > self.tile:
            sides.append(-(-sides[-1] // 2))
        return sides

    def tiles(self, side: int) -> int:
        """Tiles along a side of a level."""
        return -(-side // self.tile)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """A block's probabilities as they come from the device; the arrays are reused once the block is let go."""

    levels: list[np.ndarray]
    """Of the block and each overview uint8 (tiles, tile * tile * 2): bands interleaved, and of each pixel the
    difference to the one left of it, as TIFF's horizontal predictor has it."""
    edges: list[np.ndarray]
    """uint8 (2, edge, block) above and below, (2, block, edge) left and right."""
    building: int
    """Pixels above 127."""


@dataclass(slots=True, kw_only=True, eq=False)
class Slot:
    """Memory of one block in hand, on the host and on the device."""

    canvas: np.ndarray
    """uint8 (canvas, canvas, bands), to be filled: ground without imagery is 0."""
    mask: np.ndarray
    """bool (block, block): where there is imagery; only looked at where `partial`."""
    partial: bool
    host: dict[str, Any]
    device: dict[str, Any]
    whole: Callable[[], None] | None = None
    """All of the device's work on a block that is not partial, where that is ready to run by one call."""


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """A block whose canvas is filled."""

    slot: Slot
    windows: list[tuple[int, int]]
    """Row and column of each window that is run."""
    done: Future[Any] = field(default_factory=Future)
    uploaded: Any = None
    begun: bool = False
    dropped: bool = False
    left: int = 0

    @property
    def at_once(self) -> bool:
        """Whether one call does all of it."""
        return self.slot.whole is not None and not self.slot.partial


def new_slot(ground: Lattice, bands: int, where: str) -> Slot:
    """Memory of one block in hand; on the host page-locked, where the device is a GPU."""
    import torch

    kept = _both("canvas", (ground.canvas, ground.canvas, bands), where)
    kept |= _both("mask", (ground.block, ground.block), where)
    host: dict[str, Any] = {name: pair[0] for name, pair in kept.items()}
    device: dict[str, Any] = {name: pair[1] for name, pair in kept.items()}
    sizes = [(ground.tiles(side) ** 2, ground.tile**2 * 2) for side in ground.levels()]
    edges = [(2, ground.edge, ground.block)] * 2 + [(2, ground.block, ground.edge)] * 2
    shapes = [*sizes, *edges]
    kept |= _both("made", (sum(math.prod(shape) for shape in shapes) + 8,), where)  # one piece: one copy brings it back
    for found, side in ((host, 0), (device, 1)):
        parts = kept["made"][side].split([*(math.prod(shape) for shape in shapes), 8])
        views = [part.view(shape) for part, shape in zip(parts[:-1], shapes, strict=True)]
        found |= {"made": kept["made"][side], "levels": views[: len(sizes)], "edges": views[len(sizes) :]}
        found["building"] = parts[-1].view(torch.int64)
    whole = ground.cores * ground.core
    device["result"] = torch.zeros((2, whole, whole), dtype=torch.uint8, device=where)
    return Slot(
        canvas=host["canvas"].numpy(), mask=host["mask"].numpy().view(bool), partial=False, host=host, device=device
    )


def _both(name: str, shape: tuple[int, ...], where: str) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    import torch

    host = torch.zeros(shape, dtype=torch.uint8, pin_memory=where == "cuda")
    return {name: (host, torch.zeros(shape, dtype=torch.uint8, device=where))}


def as_tiles(level: torch.Tensor, tile: int) -> torch.Tensor:
    """uint8 (2, H, W) to (tiles, tile * tile * 2): interleaved, differences along rows, 0 beyond the raster."""
    from torch.nn.functional import pad

    bands, high, wide = level.shape
    level = pad(level, (0, -wide % tile, 0, -high % tile)) if high % tile or wide % tile else level
    rows, cols = level.shape[1] // tile, level.shape[2] // tile
    tiles = level.reshape(bands, rows, tile, cols, tile).permute(1, 3, 2, 4, 0).reshape(rows * cols, tile, tile, bands)
    left = pad(tiles, (0, 0, 1, 0))[:, :, :tile]
    return (tiles - left).reshape(rows * cols, -1)


def halved(level: torch.Tensor) -> torch.Tensor:
    """Means of two by two pixels, rounded; uint8 (2, H, W) to (2, H / 2, W / 2), a last odd pixel counted twice."""
    import torch
    from torch.nn.functional import pad

    bands, high, wide = level.shape
    wider = level.to(torch.int16)
    if high % 2 or wide % 2:
        wider = pad(wider[None].float(), (0, wide % 2, 0, high % 2), mode="replicate")[0].to(torch.int16)
    four = wider.reshape(bands, wider.shape[1] // 2, 2, wider.shape[2] // 2, 2)
    total = four[:, :, 0, :, 0] + four[:, :, 0, :, 1] + four[:, :, 1, :, 0] + four[:, :, 1, :, 1]
    return torch.div(total + 2, 4, rounding_mode="floor").to(torch.uint8)


def mirrored(side: int, wide: int) -> np.ndarray:
    """Index by which a row of `side` pixels is widened by its own reflection, as `np.pad` does it."""
    return np.pad(np.arange(side), (0, wide - side), mode="symmetric")

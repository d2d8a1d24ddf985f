"""Halo: a block with the edges of its neighbours around it, and digests of those edges.

Here: reading across block borders. Not here: a block's own file (cog.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.core.grid import Block, Grid
from groundplan.core.store import Store

if TYPE_CHECKING:
    pass
from groundplan.raster.cog import CACHE, damage_named, opened, read_object, read_window
from groundplan.raster.edges import DIRECTIONS as DIRECTIONS
from groundplan.raster.edges import EDGE as EDGE
from groundplan.raster.edges import OPPOSITE as OPPOSITE
from groundplan.raster.edges import digest_of
from groundplan.raster.edges import edge_window as edge_window


def edge_digests(data: bytes) -> dict[str, str]:
    """Edge digests: what a neighbor can see of a block; direction to hash of the pixels and mask there.

    A halo's fingerprint uses these and not the neighbour's own fingerprint, so that a change in the middle of a block
    does not remake the blocks around it.
    """
    from rasterio.io import MemoryFile

    digests = {}
    with MemoryFile(data) as memory, memory.open() as source:
        for direction in DIRECTIONS:
            pixels, mask = read_window(source, edge_window(direction, source.width, min(EDGE, source.width)))
            digests[direction] = digest_of(pixels, mask)
    return digests


@dataclass(frozen=True, kw_only=True)
class BlockWithHalo:
    """An open block with its halo, to be read some rows at a time."""

    side: int
    """Pixels along a side: the block and its halo on both sides."""
    bands: int
    _name: str
    _halo: int
    _source: Any
    _around: tuple[tuple[int, int, np.ndarray, np.ndarray], ...]  # row, column, pixels and mask of each neighbour

    def rows(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels uint8 (bands, bottom - top, side) and mask bool of the rows top..bottom - 1, counted with the halo.

        Ground without a block is 0 and masked out. Raises MissingInput when the block is damaged.
        """
        halo, n = self._halo, self.side - 2 * self._halo
        pixels = np.zeros((self.bands, bottom - top, self.side), np.uint8)
        mask = np.zeros(pixels.shape[1:], bool)
        first, last = max(0, top - halo), min(n, bottom - halo)
        if first < last:
            place = slice(first + halo - top, last + halo - top), slice(halo, halo + n)
            with damage_named(self._name):
                pixels[:, *place], mask[place] = read_window(self._source, (0, first, n, last - first))
        for row, col, part, valid in self._around:
            first, last = max(row, top), min(row + part.shape[1], bottom)
            if first < last:
                place = slice(first - top, last - top), slice(col, col + part.shape[2])
                pixels[:, *place], mask[place] = part[:, first - row : last - row], valid[first - row : last - row]
        return pixels, mask


@contextmanager
def open_with_halo(
    store: Store, grid: Grid, block: Block, halo: int, keys: dict[Block, str]
) -> Iterator[BlockWithHalo]:
    """Open a block with `halo` pixels of its neighbors around it. keys: object key of each block that exists.

    Memory: the halo, and where the store is not a folder the block's encoded bytes.
    """
    import rasterio

    n, places = grid.block_size, {-1: 0, 0: halo, 1: halo + grid.block_size}
    neighbours = {
        direction: Block(block.col + dx, block.row + dy)
        for direction, (dx, dy) in DIRECTIONS.items()
        if halo and Block(block.col + dx, block.row + dy) in keys
    }

    def strip(direction: str) -> tuple[int, int, np.ndarray, np.ndarray]:
        dx, dy = DIRECTIONS[direction]
        window = edge_window(OPPOSITE[direction], n, halo)
        return places[dy], places[dx], *read_object(store, keys[neighbours[direction]], window)

    with ThreadPoolExecutor(len(DIRECTIONS)) as pool:  # of a bucket, the wait for its answers is what costs
        around = tuple(pool.map(strip, neighbours))
    with rasterio.Env(GDAL_CACHEMAX=CACHE), opened(store, keys[block]) as source:
        yield BlockWithHalo(
            side=n + 2 * halo,
            bands=source.count,
            _name=store.uri(keys[block]),
            _halo=halo,
            _source=source,
            _around=around,
        )


def read_with_halo(
    store: Store, grid: Grid, block: Block, halo: int, keys: dict[Block, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Read all of it, as `open_with_halo`: pixels (bands, n + 2 halo, n + 2 halo), mask (n + 2 halo, n + 2 halo)."""
    with open_with_halo(store, grid, block, halo, keys) as ground:
        return ground.rows(0, ground.side)


def halo_identity(edges: dict[Block, dict[str, str]], block: Block) -> dict[str, str]:
    """Halo's part of a block's fingerprint: what it sees of its neighbors. edges: `edge_digests` of each block."""
    edges_of = {}
    for direction, (dx, dy) in DIRECTIONS.items():
        neighbor = edges.get(Block(block.col + dx, block.row + dy))
        if neighbor is not None:
            edges_of[direction] = neighbor[OPPOSITE[direction]]
    return edges_of

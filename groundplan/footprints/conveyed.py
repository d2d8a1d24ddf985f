"""Blocks predicted on a device: read and decoded, computed, coded, several of them in hand at once.

Here: what is done to a block beside the device's work. Not here: the device (inference/conveyor.py), which blocks there
are and one block after the other on processors (predictions.py). Needs numpy, OpenCV, pyarrow and torch alone, so that
benchmarks/gpu.py runs on a machine that has no more.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from groundplan.core.stopwatch import noted
from groundplan.inference.canvases import Lattice, Predicted, Slot
from groundplan.inference.conveyor import Conveyor
from groundplan.raster.coded_cog import ZSTD, Level, Tag, pieces
from groundplan.raster.edges import DIRECTIONS, OPPOSITE, digest_of, edge_window
from groundplan.raster.jpeg_tiles import JpegBlock, Part, read_into

CODING = 1
"""Level of zstd. On two towns level 1 coded five times as fast as deflate's level 1 and came out a tenth smaller; level
3 took 1.6 times as long for a hundredth."""
SHORT = 1 << 14  # bytes that are copied sooner than Python's lock is had back
KEPT_BYTES = 256 * 2**20  # of edges that a neighbour will want, decoded once with their block


class Input(Protocol):
    """A block and what lies around it, as the conveyor reads them."""

    def own(self, out: np.ndarray, pool: Executor, check: Callable[[], None]) -> np.ndarray | None:
        """Fill uint8 (block, block, bands) and return the mask, bool (block, block), or None where all is valid."""

    def around(self, direction: str, window: tuple[int, int, int, int], pool: Executor) -> np.ndarray | None:
        """A window (col, row, width, height) of the neighbour in a direction, uint8 (height, width, bands).

        0 where it has no imagery; None where there is no neighbour.
        """

    def identity(self, direction: str) -> str:
        """Name of the neighbour's object, of the block's own for "": what was decoded of it once need not be again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegInput:
    """Blocks as JPEG tiles. blocks, parts, names: by direction, the block itself under ""."""

    blocks: Mapping[str, JpegBlock]
    parts: Mapping[str, Part]
    names: Mapping[str, str]

    def own(self, out: np.ndarray, pool: Executor, check: Callable[[], None]) -> np.ndarray | None:
        high, wide = out.shape[:2]
        return read_into(self.blocks[""], self.parts[""], (0, 0, wide, high), out, pool, check)

    def around(self, direction: str, window: tuple[int, int, int, int], pool: Executor) -> np.ndarray | None:
        if direction not in self.blocks:
            return None
        out = np.zeros((window[3], window[2], 3), np.uint8)
        read_into(self.blocks[direction], self.parts[direction], window, out, pool)
        return out

    def identity(self, direction: str) -> str:
        return self.names.get(direction, "")


@dataclass(slots=True, kw_only=True)
class Edges:
    """Edges of blocks that were decoded lately; a bounded number of bytes."""

    most: int = KEPT_BYTES
    _kept: OrderedDict[tuple[str, str], np.ndarray] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def take(self, name: str, direction: str) -> np.ndarray | None:
        with self._turn:
            return self._kept.get((name, direction))

    def keep(self, name: str, direction: str, edge: np.ndarray) -> None:
        with self._turn:
            before = self._kept.pop((name, direction), None)
            self._bytes += edge.nbytes - (0 if before is None else before.nbytes)
            self._kept[name, direction] = edge
            while self._bytes > self.most:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def forget(self) -> None:
        with self._turn:
            self._kept.clear()
            self._bytes = 0


class Files:
    """Memory of blocks' files, taken again for the next block once nobody holds the last one's. As many as are in hand.

    New memory for each would cost the system four times what copying does, and Python's lock is held while it goes.
    """

    def __init__(self) -> None:
        self._turn, self._spare = threading.Lock(), list[np.ndarray]()

    def joined(self, parts: Sequence[bytes | memoryview]) -> memoryview:
        """All parts, one behind the other; NumPy lets Python's lock go while it copies, and may not for `bytes`."""
        size, at = sum(len(part) for part in parts), 0
        room = self._room(size)
        whole = room[:size]
        weakref.finalize(whole, self._spare.append, room).atexit = False  # with the last view of it
        said = whole.data
        for part in parts:
            if len(part) < SHORT:
                said[at : at + len(part)] = part
            else:
                whole[at : at + len(part)] = np.frombuffer(part, np.uint8)
            at += len(part)
        return said

    def _room(self, size: int) -> np.ndarray:
        with self._turn:
            room = self._spare.pop() if self._spare else np.empty(0, np.uint8)
        return room if len(room) >= size else np.empty(size + size // 8, np.uint8)


class Meter:
    """Processor seconds since it was asked last: blocks overlap, and together they have cost what the process has."""

    def __init__(self) -> None:
        self._turn, self._last = threading.Lock(), time.process_time()

    def since(self) -> float:
        with self._turn:
            before, self._last = self._last, time.process_time()
            return self._last - before


@dataclass(frozen=True, kw_only=True)
class Line:
    """What blocks share on their way: the device, threads for tiles, edges decoded lately."""

    conveyor: Conveyor
    pool: Executor
    edges: Edges = field(default_factory=Edges)
    meter: Meter = field(default_factory=Meter)
    files: Files = field(default_factory=Files)
    spent: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "device": 0.0, "code": 0.0})
    """Seconds that blocks spent in each part; they overlap, so the sum is more than the clock's."""

    def close(self) -> None:
        """Let threads and the device go, once what was given to them is done."""
        self.conveyor.close()
        self.pool.shutdown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """A block's file and what is said of it."""

    data: memoryview
    building: float
    edges: dict[str, str]


def predict_block(
    line: Line, given: Input, place: Mapping[int, Tag], check: Callable[[], None] = lambda: None
) -> Coded:
    """A block through the conveyor: its COG, coded with zstd, and its facts. Called by as many threads as it has slots.

    place: tags of the block's place on the ground. Raises what reading raises, and whatever `check` does.
    """
    conveyor, ground = line.conveyor, line.conveyor.ground
    begun, clocks = time.perf_counter(), list[float]()

    def fill(slot: Slot) -> None:
        clocks.append(time.perf_counter())
        _fill(slot, ground, given, line, check)
        clocks.append(time.perf_counter())

    with conveyor.predict(fill, check) as predicted:
        computed = time.perf_counter()
        filling, filled = clocks
        line.spent["read"] += filled - begun
        line.spent["device"] += computed - filled
        noted("read", filled - filling)
        noted("compute", computed - filled + filling - begun)  # until there was room on the device, too
        check()
        levels = [
            Level(side, coded(tiles, line.pool)) for side, tiles in zip(ground.levels(), predicted.levels, strict=True)
        ]
        edges, building = digests(predicted, ground), predicted.building / ground.block**2
    data = line.files.joined(pieces(levels, 2, ground.tile, ZSTD, place))
    coding = time.perf_counter() - computed
    line.spent["code"] += coding
    noted("write", coding)
    return Coded(data=data, building=round(building, 6), edges=edges)


def _fill(slot: Slot, ground: Lattice, given: Input, line: Line, check: Callable[[], None]) -> None:
    mask = fill_canvas(slot.canvas, ground.block, ground.margin, given, line.pool, line.edges, check)
    slot.partial = mask is not None
    if mask is not None:
        slot.mask[:] = mask


def fill_canvas(
    canvas: np.ndarray,
    n: int,
    margin: int,
    given: Input,
    pool: Executor,
    edges: Edges,
    check: Callable[[], None] = lambda: None,
) -> np.ndarray | None:
    """A block of n pixels with the edges of its neighbours around it, in uint8 (n + 2 margin or more, same, bands).

    Ground without imagery is 0. Returns the block's mask, bool (n, n), or None where all of it is valid.
    """
    inner = canvas[margin : margin + n, margin : margin + n]
    mask = given.own(inner, pool, check)
    if not margin:
        return mask
    for direction in DIRECTIONS:
        col, row, wide, high = edge_window(direction, n, margin)
        edges.keep(given.identity(""), direction, inner[row : row + high, col : col + wide].copy())
    places = {-1: slice(0, margin), 0: slice(margin, margin + n), 1: slice(margin + n, 2 * margin + n)}
    for direction, (dx, dy) in DIRECTIONS.items():
        check()
        there = canvas[places[dy], places[dx]]
        found = _edge(given, direction, edge_window(OPPOSITE[direction], n, margin), pool, edges)
        there[:] = 0 if found is None else found
    return mask


def _edge(
    given: Input, direction: str, window: tuple[int, int, int, int], pool: Executor, edges: Edges
) -> np.ndarray | None:
    name = given.identity(direction)
    found = edges.take(name, OPPOSITE[direction]) if name else None
    if found is None:
        found = given.around(direction, window, pool)
        if found is not None and name:
            edges.keep(name, OPPOSITE[direction], found)
    return found


def coded(tiles: np.ndarray, pool: Executor) -> list[bytes]:
    """Each row of uint8 (tiles, bytes) with zstd, several at a time."""
    some = max(1, len(tiles) // 32)
    parts = [tiles[first : first + some] for first in range(0, len(tiles), some)]
    return [data for part in pool.map(_coded, parts) for data in part]


def _coded(tiles: np.ndarray) -> list[bytes]:
    import pyarrow

    codec, whole, size = _codec(), pyarrow.py_buffer(tiles), tiles.shape[1]
    return [codec.compress(whole.slice(at, size), asbytes=True) for at in range(0, whole.size, size)]


def _codec() -> Any:
    """A thread's own: what codes is not made for several at a time."""
    import pyarrow

    if not hasattr(_OWN, "codec"):
        _OWN.codec = pyarrow.Codec("zstd", compression_level=CODING)
    return _OWN.codec


_OWN = threading.local()


def digests(predicted: Predicted, ground: Lattice) -> dict[str, str]:
    """Digests of a block's edges, as raster/halo.py reads them from a file."""
    above, below, left, right = predicted.edges
    wide = ground.edge
    parts = {
        "nw": above[:, :, :wide],
        "n": above,
        "ne": above[:, :, -wide:],
        "w": left,
        "e": right,
        "sw": below[:, :, :wide],
        "s": below,
        "se": below[:, :, -wide:],
    }
    return {name: digest_of(part, np.ones(part.shape[1:], bool)) for name, part in parts.items()}

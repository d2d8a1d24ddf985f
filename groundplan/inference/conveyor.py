"""Blocks through a device, several in hand at once, so that it computes while others are read, coded and stored.

Here: canvases in page-locked memory, copies beside the computing, batches of windows out of several blocks, and what is
made of a block on the device: tiles ready to be coded, overviews, edges. Not here: reading and coding
(footprints/conveyed.py), the network (torch_runtime.py). On a CPU the same code runs without streams.

A thread for each block in hand fills a canvas, gives it to the one thread that speaks with the device, and waits. All
windows lie on the lattice that `predict_rows` has.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.inference.torch_runtime import Captured, TorchRuntime

if TYPE_CHECKING:
    import torch

AHEAD = 2  # batches that the device has before it: enough that it never waits, few enough that they get full
LARGE, SMALL = 2048, 1024
"""Pixels of a window's core on a GPU: the larger is less overlap and a higher rate, where the memory is there."""
BATCH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
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


class Conveyor:
    """A runtime's device with room for `slots` blocks. `predict` may be called by as many threads."""

    def __init__(self, runtime: TorchRuntime, ground: Ground, slots: int, batch: int = BATCH) -> None:
        import torch

        self.runtime, self.ground = runtime, ground
        self.watched = False
        """Whether it is written down when the device computes."""
        self._cuda = runtime.device == "cuda"
        self.slots = slots
        side = ground.core + 2 * ground.margin
        self._side, wide = side, -(-side // runtime.step) * runtime.step
        self.batch: Captured = runtime.ready(batch, wide, wide)
        self._mirror = torch.from_numpy(_mirrored(side, wide)).to(runtime.device) if wide > side else None
        self._free: queue.Queue[Slot] = queue.Queue()
        for _ in range(slots):
            self._free.put(self._slot())
        self._streams = [torch.cuda.Stream() for _ in range(3)] if self._cuda else []  # in, compute, out
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._waiting: deque[tuple[Job, int, int]] = deque()
        self.busy: list[tuple[Any, Any]] = []
        """Pairs of events around each batch, or of seconds on a CPU: when the device computed."""
        self._failure: BaseException | None = None
        if self._cuda:
            torch.cuda.synchronize()  # what was prepared until here went another way than what comes
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._thread.start()

    @contextmanager
    def predict(self, fill: Callable[[Slot], None], check: Callable[[], None] = lambda: None) -> Iterator[Predicted]:
        """A block, whose canvas `fill` fills; within the context its arrays are there. Waits for a place.

        `check` is asked while it waits, and stops by raising. Raises what `fill` and the device raise.
        """
        slot = self._taken(check)
        job = None
        try:
            slot.partial = False
            fill(slot)
            job = self._job(slot)
            self._jobs.put(job)
            yield self._result(job, check)
        except BaseException:
            if job is not None:
                job.dropped = True  # nobody waits for the rest of it
            raise
        finally:
            if job is not None and self._failure is None:  # the device may still write there
                self._ended(job, lambda: None)
            self._free.put(slot)

    def close(self) -> None:
        """End the thread once it has done what was given to it."""
        self._jobs.put(None)
        self._thread.join()

    def busy_seconds(self) -> float:
        """For how long the device computed, until now; forgets it."""
        pairs, self.busy = self.busy, []
        if not self._cuda:
            return sum(end - begin for begin, end in pairs)
        return sum(begin.elapsed_time(end) for begin, end in pairs) / 1000

    # --- a block's own thread -----------------------------------------------------------------------------------------

    def _taken(self, check: Callable[[], None]) -> Slot:
        while True:
            check()
            try:
                return self._free.get(timeout=0.5)
            except queue.Empty:
                continue

    def _job(self, slot: Slot) -> Job:
        """The block on its way to the device."""
        import torch

        ground, job = self.ground, Job(slot=slot, windows=[])
        for row in range(ground.cores):
            for col in range(ground.cores):
                top, left, core = row * ground.core, col * ground.core, ground.core
                if not slot.partial or slot.mask[top : top + core, left : left + core].any():
                    job.windows.append((row, col))
        job.left = len(job.windows)
        if self._cuda:
            with torch.cuda.stream(self._streams[0]):
                self._bring(slot)
                job.uploaded = torch.cuda.Event()
                job.uploaded.record()
        else:
            self._bring(slot)
        return job

    def _bring(self, slot: Slot) -> None:
        slot.device["canvas"].copy_(slot.host["canvas"], non_blocking=True)
        if slot.partial:
            slot.device["mask"].copy_(slot.host["mask"], non_blocking=True)

    def _ended(self, job: Job, check: Callable[[], None]) -> None:
        """Wait until the device has brought a block back."""
        done = _wait(job.done, check, self._thread)
        if done is not None:
            done.synchronize()

    def _result(self, job: Job, check: Callable[[], None]) -> Predicted:
        self._ended(job, check)
        host = job.slot.host
        return Predicted(
            levels=[level.numpy() for level in host["levels"]],
            edges=[edge.numpy() for edge in host["edges"]],
            building=int(host["building"]),
        )

    # --- the device's thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        import torch

        if self._cuda:
            torch.cuda.set_stream(self._streams[1])
        given: list[Job] = []
        flying: deque[Any] = deque()
        try:
            while (windows := self._next(given)) is not None:
                if not windows:
                    continue
                for job, _, _ in windows:
                    self._begin(job)
                begin = self._mark()
                self._compute(windows)
                for job in {id(job): job for job, _, _ in windows}.values():
                    if job.left == 0:
                        self._finish(job)
                        given.remove(job)
                end = self._mark()
                if self.watched:
                    self.busy.append((begin, end))
                flying.append(end)
                if self._cuda and len(flying) > AHEAD:
                    flying.popleft().synchronize()
        except BaseException as error:  # whatever it was: those who wait must hear of it
            self._failure = error
            for job in [*given, *self._drained()]:
                job.done.set_exception(error)

    def _next(self, given: list[Job]) -> list[tuple[Job, int, int]] | None:
        """Up to a batch of windows, of as many blocks as it takes; waits for the first. None at the end."""
        self._drop(given)
        while len(self._waiting) < len(self.batch.windows):
            try:
                job = self._jobs.get(block=not self._waiting)
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)
                if not self._waiting:
                    return None
                break
            given.append(job)
            self._waiting.extend((job, row, col) for row, col in job.windows)
            if not job.windows:  # no imagery at all
                self._begin(job)
                self._finish(job)
                given.remove(job)
        self._drop(given)
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), len(self.batch.windows)))]

    def _drop(self, given: list[Job]) -> None:
        """Forget windows of blocks that nobody waits for."""
        for job in [one for one in given if one.dropped]:
            self._waiting = deque(each for each in self._waiting if each[0] is not job)
            given.remove(job)
            job.done.set_result(None)

    def _drained(self) -> Iterator[Job]:
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                yield job

    def _mark(self) -> Any:
        import torch

        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True, blocking=True)
        event.record()
        return event

    def _begin(self, job: Job) -> None:
        import torch

        if not job.begun:
            job.begun = True
            if self._cuda:
                torch.cuda.current_stream().wait_event(job.uploaded)
            job.slot.device["result"].zero_()

    def _compute(self, windows: list[tuple[Job, int, int]]) -> None:
        """One batch. What is left over of a batch that is not full is computed too, and not looked at."""
        core, margin = self.ground.core, self.ground.margin
        for place, (job, row, col) in enumerate(windows):
            top, left = row * core, col * core
            window = job.slot.device["canvas"][top : top + self._side, left : left + self._side]
            if self._mirror is not None:
                window = window[self._mirror][:, self._mirror]
            self.batch.windows[place].copy_(window)
        self.batch.run()
        for place, (job, row, col) in enumerate(windows):
            said = self.batch.said[place, :, margin : margin + core, margin : margin + core]
            job.slot.device["result"][:, row * core : (row + 1) * core, col * core : (col + 1) * core] = said
            job.left -= 1

    def _finish(self, job: Job) -> None:
        """Tiles, overviews and edges of a whole block, on their way back."""
        import torch

        ground, slot = self.ground, job.slot
        result = slot.device["result"][:, : ground.block, : ground.block]
        if slot.partial:
            result.mul_(slot.device["mask"])
        levels = slot.device["levels"]
        level = result
        for index, tiles in enumerate(levels):
            if index:
                level = halved(level)
            tiles.copy_(as_tiles(level, ground.tile))
        slot.device["building"].copy_((result[0] > 127).sum())
        edge = ground.edge
        parts = (result[:, :edge], result[:, -edge:], result[:, :, :edge], result[:, :, -edge:])
        for kept, part in zip(slot.device["edges"], parts, strict=True):
            kept.copy_(part)
        if not self._cuda:
            self._fetch(slot)
            job.done.set_result(None)
            return
        ended = torch.cuda.Event()
        ended.record()
        back = self._streams[2]
        back.wait_event(ended)
        with torch.cuda.stream(back):
            self._fetch(slot)
            done = torch.cuda.Event(blocking=True)
            done.record()
        job.done.set_result(done)

    def _fetch(self, slot: Slot) -> None:
        for name in ("levels", "edges"):
            for host, device in zip(slot.host[name], slot.device[name], strict=True):
                host.copy_(device, non_blocking=True)
        slot.host["building"].copy_(slot.device["building"], non_blocking=True)

    # --- memory -------------------------------------------------------------------------------------------------------

    def _slot(self) -> Slot:
        import torch

        ground = self.ground
        kept = self._both("canvas", (ground.canvas, ground.canvas, self.runtime.bands))
        kept |= self._both("mask", (ground.block, ground.block))
        host: dict[str, Any] = {name: pair[0] for name, pair in kept.items()}
        device: dict[str, Any] = {name: pair[1] for name, pair in kept.items()}
        sizes = [(ground.tiles(side) ** 2, ground.tile**2 * 2) for side in ground.levels()]
        edges = [(2, ground.edge, ground.block)] * 2 + [(2, ground.block, ground.edge)] * 2
        for name, shapes in (("levels", sizes), ("edges", edges)):
            pairs = [self._both("", shape)[""] for shape in shapes]
            host[name], device[name] = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        host["building"] = torch.zeros((), dtype=torch.int64, pin_memory=self._cuda)
        device["building"] = torch.zeros((), dtype=torch.int64, device=self.runtime.device)
        whole = ground.cores * ground.core
        device["result"] = torch.zeros((2, whole, whole), dtype=torch.uint8, device=self.runtime.device)
        return Slot(
            canvas=host["canvas"].numpy(), mask=host["mask"].numpy().view(bool), partial=False, host=host, device=device
        )

    def _both(self, name: str, shape: tuple[int, ...]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        import torch

        host = torch.zeros(shape, dtype=torch.uint8, pin_memory=self._cuda)
        return {name: (host, torch.zeros(shape, dtype=torch.uint8, device=self.runtime.device))}


def fitted(
    runtime: TorchRuntime, ground: Callable[[int], Ground], core: int, slots: int, batch: int = BATCH
) -> Conveyor:
    """A conveyor with the largest windows and batch that the device has memory for.

    ground: how blocks are cut with a core of so many pixels. core: what is asked for; a GPU takes up to LARGE.
    Raises MemoryError where not even one window fits.
    """
    import torch

    cores = sorted({core, max(core, LARGE), max(core, SMALL)} if runtime.device == "cuda" else {core}, reverse=True)
    for each in cores:
        for count in (batch, max(1, batch // 2), 1):
            try:
                return Conveyor(runtime, ground(each), slots, count)
            except torch.OutOfMemoryError:
                pass  # what it took is free once the error is forgotten
            torch.cuda.empty_cache()
    raise MemoryError(f"the device has no room for a window of {cores[-1]} pixels and {slots} blocks")


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


def _mirrored(side: int, wide: int) -> np.ndarray:
    """Index by which a row of `side` pixels is widened by its own reflection, as `np.pad` does it."""
    return np.pad(np.arange(side), (0, wide - side), mode="symmetric")


def _wait(done: Future[Any], check: Callable[[], None], thread: threading.Thread) -> Any:
    while True:
        check()
        try:
            return done.result(timeout=0.5)
        except NotYet:
            if done.done():
                raise
            if not thread.is_alive():
                raise RuntimeError("the device's thread has ended") from None

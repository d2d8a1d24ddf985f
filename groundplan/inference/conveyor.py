"""Blocks through a device, several in hand at once, so that it computes while others are read, coded and stored.

Here: copies beside the computing, batches of windows out of several blocks, what is made of a block on the device. Not
here: its memory (canvases.py), reading and coding (footprints/conveyed.py), the network (torch_runtime.py). On a CPU
the same code runs without streams.

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
from typing import TYPE_CHECKING, Any

from groundplan.inference.canvases import Job, Lattice, Predicted, Slot, as_tiles, halved, mirrored, new_slot
from groundplan.inference.torch_runtime import Captured, TorchRuntime, capture

if TYPE_CHECKING:
    import torch

AHEAD = 2  # batches that the device has before it: enough that it never waits, few enough that they get full
LARGE, SMALL = 2048, 1024
"""Pixels of a window's core on a GPU: the larger is less overlap and a higher rate, where the memory is there."""
BATCH = 4


class Conveyor:
    """A runtime's device with room for `slots` blocks. `predict` may be called by as many threads."""

    def __init__(
        self, runtime: TorchRuntime, ground: Lattice, slots: int, batch: int = BATCH, at_once: bool | None = None
    ) -> None:
        """at_once: whole blocks by one call each, which a GPU needs: for its threads Python's lock is a long wait."""
        import torch

        self.runtime, self.ground = runtime, ground
        self.watched = False
        """Whether it is written down when the device computes."""
        self._cuda = runtime.device == "cuda"
        self.slots = slots
        side = ground.core + 2 * ground.margin
        self._side, wide = side, -(-side // runtime.step) * runtime.step
        self.batch: Captured = runtime.ready(batch, wide, wide, ground.margin)
        self._mirror = torch.from_numpy(mirrored(side, wide)).to(runtime.device) if wide > side else None
        self._free: queue.Queue[Slot] = queue.Queue()
        for number in range(slots):
            slot = new_slot(ground, runtime.bands, runtime.device)
            if at_once or (at_once is None and self._cuda):
                slot.whole = self._at_once(slot, number == 0)
            self._free.put(slot)
        self._streams = [torch.cuda.Stream() for _ in range(3)] if self._cuda else []  # in, compute, out
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._waiting: deque[tuple[Job, int, int]] = deque()
        self._held: Job | None = None
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
            building=int(host["building"][0]),
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
                for job, _, _ in windows:
                    self._begin(job)
                begin = self._mark()
                self._work(windows, given)
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

    def _work(self, windows: list[tuple[Job, int, int]], given: list[Job]) -> None:
        """A batch, or a block by one call; and those that it makes whole go back."""
        jobs = list({id(job): job for job, _, _ in windows}.values())
        if windows and jobs[0].at_once:
            assert jobs[0].slot.whole is not None
            jobs[0].slot.whole()
            jobs[0].left = 0
        elif windows:
            self._compute(windows)
            for job in jobs:
                if job.left == 0:
                    self._made(job.slot)
        for job in jobs:
            if job.left == 0:
                self._back(job)
                given.remove(job)

    def _next(self, given: list[Job]) -> list[tuple[Job, int, int]] | None:
        """Up to a batch of windows, of as many blocks as it takes, or all windows of a block that is done by one call.

        Waits for the first. None at the end.
        """
        while len(self._waiting) < len(self.batch.windows) and self._held is None:
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
            if job.at_once:
                self._held = job  # after what waits, or that would wait for as long as such blocks come
            elif job.windows:
                self._waiting.extend((job, row, col) for row, col in job.windows)
            else:  # no imagery at all
                self._begin(job)
                self._made(job.slot)
                self._back(job)
                given.remove(job)
        self._drop(given)
        if not self._waiting and self._held is not None:
            job, self._held = self._held, None
            return [(job, row, col) for row, col in job.windows]
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), len(self.batch.windows)))]

    def _drop(self, given: list[Job]) -> None:
        """Forget windows of blocks that nobody waits for."""
        for job in [one for one in given if one.dropped]:
            self._waiting = deque(each for each in self._waiting if each[0] is not job)
            self._held = None if self._held is job else self._held
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
            if not job.at_once:
                job.slot.device["result"].zero_()

    def _compute(self, windows: list[tuple[Job, int, int]]) -> None:
        """One batch. What is left over of a batch that is not full is computed too, and not looked at."""
        for place, (job, row, col) in enumerate(windows):
            self.batch.windows[place].copy_(self._window(job.slot, row, col))
        self.batch.run()
        for place, (job, row, col) in enumerate(windows):
            self._keep(job.slot, row, col, self.batch.said[place])
            job.left -= 1

    def _window(self, slot: Slot, row: int, col: int) -> torch.Tensor:
        top, left = row * self.ground.core, col * self.ground.core
        window = slot.device["canvas"][top : top + self._side, left : left + self._side]
        return window if self._mirror is None else window[self._mirror][:, self._mirror]

    def _keep(self, slot: Slot, row: int, col: int, said: torch.Tensor) -> None:
        core, margin = self.ground.core, self.ground.margin
        place = slice(row * core, (row + 1) * core), slice(col * core, (col + 1) * core)
        slot.device["result"][:, *place] = said[:, margin : margin + core, margin : margin + core]

    def _at_once(self, slot: Slot, first: bool) -> Callable[[], None]:
        """All windows of a block, and what is made of them, as one call: captured on a GPU, with the batch's memory."""
        size, cores = len(self.batch.windows), self.ground.cores
        places = [(row, col) for row in range(cores) for col in range(cores)]

        def work() -> None:
            for start in range(0, len(places), size):
                some = places[start : start + size]
                for place, (row, col) in enumerate(some):
                    self.batch.windows[place].copy_(self._window(slot, row, col))
                said = self.runtime.said(self.batch.windows[: len(some)], self.ground.margin)
                for place, (row, col) in enumerate(some):
                    self._keep(slot, row, col, said[place])
            self._made(slot)

        return capture(work, self.batch.pool, int(first))[0] if self._cuda else work

    def _made(self, slot: Slot) -> None:
        """Tiles, overviews and edges of a block whose windows are all there."""
        ground = self.ground
        result = slot.device["result"][:, : ground.block, : ground.block]
        if slot.partial:
            result.mul_(slot.device["mask"])
        level = result
        for index, tiles in enumerate(slot.device["levels"]):
            if index:
                level = halved(level)
            tiles.copy_(as_tiles(level, ground.tile))
        slot.device["building"].copy_((result[0] > 127).sum())
        edge = ground.edge
        parts = (result[:, :edge], result[:, -edge:], result[:, :, :edge], result[:, :, -edge:])
        for kept, part in zip(slot.device["edges"], parts, strict=True):
            kept.copy_(part)

    def _back(self, job: Job) -> None:
        """What was made of a block, on its way to the host."""
        import torch

        host, device = job.slot.host["made"], job.slot.device["made"]
        if not self._cuda:
            host.copy_(device)
            job.done.set_result(None)
            return
        ended = torch.cuda.Event()
        ended.record()
        back = self._streams[2]
        back.wait_event(ended)
        with torch.cuda.stream(back):
            host.copy_(device, non_blocking=True)
            done = torch.cuda.Event(blocking=True)
            done.record()
        job.done.set_result(done)


def fitted(
    runtime: TorchRuntime, ground: Callable[[int], Lattice], core: int, slots: int, batch: int = BATCH
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

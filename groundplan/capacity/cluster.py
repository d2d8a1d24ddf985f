"""Event simulation of a spot cluster: runs start, make objects, are killed and tried again, second by second.

Here: the cluster's clock and its books. Not here: what a run has to do and what that costs (simulation.py, costs.py).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groundplan.capacity.request import Request
from groundplan.capacity.request import Machines, Phase, Tally

RUN_GETS, RUN_LISTS, RUN_PUTS = 12, 4, 3
"""Requests of a run besides those for its blocks: manifests of the region and its neighbours, the journal."""
NONE = Machines(0, 0, 0.0)
GIVE_UP = 60_000  # pods of a step, beyond which it does not end: 40 for each of 1,350 regions


@dataclass
class _Run:
    phases: tuple[Phase, ...]
    done: list[int]
    tries: int = 0


@dataclass(kw_only=True)
class SimulatedCluster:
    """Nodes of one kind over time; those that wait for a pod are warm."""

    request: Request
    lives: Iterator[float]
    keep: bool
    warm: list[float] = field(default_factory=list)  # since when
    tally: Tally = field(default_factory=Tally)
    finished: bool = True
    machines: Machines = NONE
    spare_after: float = 0.0

    @property
    def width(self) -> int:
        return self.machines.width

    def resize(self, machines: Machines, now: float) -> None:
        """Pods of another size go onto nodes of another size; the old ones wait their time and are given back."""
        if machines == self.machines:
            return
        self._drop_idle(now)
        after = sum(self.request.idle_seconds - (now - since) for since in self.warm) * self.width
        self.tally.spare += len(self.warm) * self.request.idle_seconds * self.width
        self.spare_after, self.warm, self.machines = self.spare_after + after, [], machines

    def stage(self, work: Sequence[tuple[Phase, ...]], begin: float) -> float:
        """All runs of a step, from `begin` until the returned second."""
        runs = [_Run(phases, [0] * len(phases)) for phases in work]
        ready = [
            (begin + index * self.request.launch_seconds, index) for index in range(len(runs))
        ]  # sorted, so a heap
        ending: list[tuple[float, int, bool]] = []
        now = begin
        self.tally.runs = len(runs)
        while ready or ending:
            if ready and len(ending) < self.machines.slots:
                start = max(now, ready[0][0])
                if not ending or start < ending[0][0]:
                    now, index = start, heapq.heappop(ready)[1]
                    heapq.heappush(ending, self._start(now, index, runs[index]))
                    continue
            now, index, whole = heapq.heappop(ending)
            if whole:
                self.warm.append(now)
            else:
                heapq.heappush(ready, (now + self._delay(runs[index]), index))
            if self.tally.pods > GIVE_UP:
                self.finished = False
                break
        return now

    def _delay(self, run: _Run) -> float:
        run.tries += 1
        if run.tries % (self.request.max_retries + 1):
            return self.request.retry_seconds
        self.tally.asked_again += 1
        return self.request.request_again_seconds

    def _start(self, now: float, index: int, run: _Run) -> tuple[float, int, bool]:
        """When this pod ends, and whether it finished its run."""
        request, tally = self.request, self.tally
        self._drop_idle(now)
        startup = request.start_seconds
        if self.warm:
            tally.spare += (now - self.warm.pop()) * self.width
        else:
            tally.nodes += 1
            startup += request.image_pull_seconds
        tally.pods += 1
        tally.gets += RUN_GETS
        tally.lists += RUN_LISTS
        lives = next(self.lives)
        tally.starting += min(lives, startup) * self.width
        worked, whole = (0.0, False) if lives < startup else self._work(run, lives - startup)
        tally.preemptions += not whole
        tally.puts += RUN_PUTS * whole
        return now + min(lives, startup + worked), index, whole

    def _drop_idle(self, now: float) -> None:
        kept = [since for since in self.warm if now - since <= self.request.idle_seconds]
        self.tally.spare += (len(self.warm) - len(kept)) * self.request.idle_seconds * self.width
        self.warm = kept

    def _work(self, run: _Run, lives: float) -> tuple[float, bool]:
        """Seconds until the run is whole or the node is gone, and which of them. Marks what is done."""
        here, clock = Tally(), 0.0
        for at, phase in enumerate(run.phases):
            left = phase.objects - run.done[at]
            waves = math.ceil(left / phase.lanes)
            if clock + waves * phase.wall > lives:
                waves = int((lives - clock) / phase.wall)
            made = min(left, waves * phase.lanes)
            self._count(here, phase, made, waves * phase.wall)
            run.done[at] += made
            clock += waves * phase.wall
            if made < left:
                self._count_lost(here, phase, min(phase.lanes, left - made), lives - clock)
                if not self.keep:
                    here.lost += here.computing + here.store
                    here.lost_objects += here.objects
                    here.computing = here.store = here.bytes_written = 0.0
                    here.objects, run.done = 0, [0] * len(run.done)
                self.tally.add(here)
                return lives, False
        self.tally.add(here)
        return clock, True

    def _count(self, here: Tally, phase: Phase, made: int, seconds: float) -> None:
        computing, store = made * phase.cpu_seconds, made * phase.store_seconds * phase.cores
        here.computing += computing
        here.store += store
        here.idle += seconds * self.width - computing - store
        here.objects += made
        here.gets += made * phase.gets
        here.puts += made * phase.puts
        here.bytes_read += made * phase.bytes_read
        here.bytes_written += made * phase.bytes_written

    def _count_lost(self, here: Tally, phase: Phase, hand: int, seconds: float) -> None:
        busy = hand * phase.cores
        here.lost += busy * seconds
        here.idle += (self.width - busy) * seconds
        here.lost_objects += hand
        here.gets += hand * phase.gets
        here.bytes_read += hand * phase.bytes_read

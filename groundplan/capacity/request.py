"""Capacity request: the backfill whose time and cost are asked for, and what comes out.

Here: values. Not here: the simulation (simulation.py, cluster.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from groundplan.capacity.costs import KINDS
from groundplan.errors import BadConfig

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class Machines:
    """Machines of one kind: vCPUs of each, how many at most, euro per vCPU and hour."""

    width: int
    slots: int
    price: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Capacity request: the ground, the machines, their prices. Seconds and euro. Raises BadConfig."""

    area_km2: float
    resolution: float
    block_size: int = 8192
    regions: int = 1350
    spread: float = 0.8
    """Sigma of the logarithm of region sizes; 0 makes them equal."""
    steps: tuple[str, ...] = ("sheets", "aerial_tiles", "predictions", "building_outlines", "building_footprints")
    vcpus: int = 64
    vcpus_per_pod: int = 4
    vcpus_per_io_pod: int = 2
    """Of steps that make one object per region. Both as in the chart's profiles, `cpu` and `io`."""
    spot_price: float = 0.015
    """Per vCPU and hour."""
    gpus: int = 0
    """Machines with a GPU at a time, which then make the predictions; 0: the vCPUs make them."""
    vcpus_per_gpu_pod: int = 16
    """Of such a machine: as many as the one had that the shipped figure was measured on."""
    gpu_price: float = 2.5
    """Per machine with a GPU and hour, its vCPUs included."""
    interruption_rate: float = 0.05
    """Nodes lost per node and hour."""
    start_seconds: float = 10.0
    image_pull_seconds: float = 120.0
    """From asking for a fresh node until its first pod may start."""
    retry_seconds: float = 80.0
    max_retries: int = 3
    request_again_seconds: float = 3600.0
    idle_seconds: float = 600.0
    """A node without a pod is given back after so long."""
    launch_seconds: float = 0.25
    """The daemon plans and submits one run after the other."""
    stream_mb: float = 100.0
    """MB per second between the store and one block that is being made."""
    latency_seconds: float = 0.02
    request_price: float = 0.005
    """Per 1,000 writes and listings."""
    read_price: float = 0.0004
    """Per 1,000 reads."""
    storage_price: float = 0.02
    """Per GB and month."""
    largest_first: bool = False
    stretch_launches: float = 0.0
    """As the setting `run.stretch_launches`; 0: a run for each region."""
    seed: int = 7

    def __post_init__(self) -> None:
        for name in ("area_km2", "resolution", "stream_mb"):
            _demand(getattr(self, name) > 0, name, "must be greater than 0", getattr(self, name))
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float | int):
                _demand(math.isfinite(value) and value >= 0, item.name, "must be a number of at least 0", value)
        _demand(self.resolution <= 100, "resolution", "is in metres per pixel, at most 100", self.resolution)
        fits = 256 <= self.block_size <= 32768 and self.block_size % 256 == 0
        _demand(fits, "block_size", "must be a multiple of 256, from 256 to 32768", self.block_size)
        _demand(self.regions >= 1, "regions", "must be at least 1", self.regions)
        _demand(self.spread <= 3, "spread", "must be at most 3: one region would be nearly all", self.spread)
        _demand(self.vcpus_per_gpu_pod >= 1, "vcpus_per_gpu_pod", "must be at least 1", self.vcpus_per_gpu_pod)
        for name in ("vcpus_per_pod", "vcpus_per_io_pod"):
            width = getattr(self, name)
            _demand(width >= 1, name, "must be at least 1", width)
            _demand(self.vcpus >= width, "vcpus", f"must hold at least one pod of {width}", self.vcpus)
        unknown = [name for name in self.steps if name not in KINDS]
        _demand(not unknown, "steps", f"must be some of {', '.join(KINDS)}", ", ".join(unknown))
        _demand(bool(self.steps), "steps", "must name at least one step", "none")

    def machines(self, steps: Sequence[str]) -> Machines:
        """Machines of a stage; a pod is as large as its machine."""
        if self.gpus and all(KINDS[name].on_gpu for name in steps):
            return Machines(self.vcpus_per_gpu_pod, self.gpus, self.gpu_price / self.vcpus_per_gpu_pod)
        single = all(KINDS[name].objects == "region" for name in steps)
        width = self.vcpus_per_io_pod if single else self.vcpus_per_pod
        return Machines(width, self.vcpus // width, self.spot_price)

    @property
    def block_km2(self) -> float:
        return (self.block_size * self.resolution / 1000) ** 2

    @property
    def megapixels(self) -> float:
        """Of one block."""
        return self.block_size**2 / 1e6


def _demand(holds: bool, name: str, must: str, given: object) -> None:
    if not holds:
        option = "--" + name.replace("_", "-")
        raise BadConfig(option, f"it {must}, not {given}", "Give another value; `groundplan plan --help` lists all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Outcome of a simulated backfill."""

    stages: Mapping[str, Tally]
    machines: Mapping[str, Machines]
    """Of each stage."""
    longest: float
    """Seconds of the largest region's runs, one after the other, if no node went."""
    blocks: int
    regions: int
    """That own a block."""
    spare_after: float = 0.0
    """vCPU seconds of nodes that no later step could use, before they were given back; billed, and in no capacity."""
    finished: bool = True

    @property
    def seconds(self) -> float:
        return self.total.seconds

    @property
    def total(self) -> Tally:
        whole = Tally()
        for tally in self.stages.values():
            whole.add(tally)
        return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """The objects of one step in one run. Seconds are those of one object."""

    step: str
    objects: int
    lanes: int  # objects in hand at a time
    cores: int  # processors that work on one of them
    cpu_seconds: float
    store_seconds: float
    gets: int
    puts: int
    bytes_read: float
    bytes_written: float

    @property
    def wall(self) -> float:
        return self.cpu_seconds / self.cores + self.store_seconds


@dataclass(slots=True, kw_only=True)
class Tally:
    """Accounts of a simulation: where the vCPU seconds went, and what happened."""

    computing: float = 0.0  # of objects that were finished
    store: float = 0.0  # a block's processors waiting for its bytes
    idle: float = 0.0  # processors of a running pod without a block
    starting: float = 0.0
    lost: float = 0.0  # blocks in hand, when a node went
    spare: float = 0.0  # nodes kept warm without a pod
    capacity: float = 0.0  # all that was allowed while the clock ran
    seconds: float = 0.0  # of the clock
    runs: int = 0
    pods: int = 0
    nodes: int = 0
    preemptions: int = 0
    asked_again: int = 0
    objects: int = 0
    lost_objects: int = 0
    gets: int = 0
    puts: int = 0
    lists: int = 0
    bytes_read: float = 0.0
    bytes_written: float = 0.0

    @property
    def billed(self) -> float:
        """vCPU seconds that are paid for."""
        return self.computing + self.store + self.idle + self.starting + self.lost + self.spare

    def add(self, other: Tally) -> Tally:
        """This tally, with the other on top."""
        for name in TALLIED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


TALLIED = tuple(item.name for item in fields(Tally))

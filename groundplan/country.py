"""A country's backfill, simulated: runs on spot nodes that start, make blocks, die and are tried again.

Here: what is asked, the regions, and what each of their runs has to do. Not here: the life of pods and nodes (spot.py),
what a block costs (costs.py), what follows from the result (bounds.py), tables and pictures (the command `plan`).

The model, in words. A step is a stage: its runs begin when the step before has ended everywhere, because blocks read
their neighbours'. A run makes one region, in a pod as large as its node. Within a run blocks are made side by side,
one per processor, or one after the other on all of them; all blocks of a step cost the same. A node lives for an
exponentially distributed time; when it goes, the blocks in hand are lost and no others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from groundplan.costs import KINDS, NEIGHBOURS, SHEET_RANGES, Costs, edge_reads, sheet_reads, uploads
from groundplan.errors import BadConfig
from groundplan.spot import Cluster, Phase, Tally

STAGES = (("sheets",), ("aerial_tiles",), ("labels",), ("predictions",), ("building_outlines", "building_footprints"))
"""Steps in order; outlines are made in the run of the footprints."""
HOPELESS = 100  # pods that one object would need on average, beyond which it is no plan


@dataclass(frozen=True, slots=True)
class Backfill:
    """What is asked: the ground, the machines, their prices. Times in seconds, money in euro. Raises BadConfig."""

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
        for name in ("vcpus_per_pod", "vcpus_per_io_pod"):
            width = getattr(self, name)
            _demand(width >= 1, name, "must be at least 1", width)
            _demand(self.vcpus >= width, "vcpus", f"must hold at least one pod of {width}", self.vcpus)
        unknown = [name for name in self.steps if name not in KINDS]
        _demand(not unknown, "steps", f"must be some of {', '.join(KINDS)}", ", ".join(unknown))
        _demand(bool(self.steps), "steps", "must name at least one step", "none")

    def width(self, steps: Sequence[str]) -> int:
        """vCPUs of the pods of a stage."""
        single = all(KINDS[name].objects == "region" for name in steps)
        return self.vcpus_per_io_pod if single else self.vcpus_per_pod

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    stages: Mapping[str, Tally]
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


def region_blocks(ask: Backfill) -> np.ndarray:
    """Blocks of each region that owns one, in the order in which they are asked for; together the country's."""
    blocks = max(1, math.ceil(ask.area_km2 / ask.block_km2 - 1e-9))
    sizes = np.exp(ask.spread * np.random.default_rng([ask.seed, 0]).standard_normal(ask.regions))
    edges = np.round(np.concatenate([[0.0], np.cumsum(sizes)]) / sizes.sum() * blocks).astype(int)
    counts = np.diff(edges)
    counts = counts[counts > 0]
    return np.sort(counts)[::-1] if ask.largest_first else counts


def ring(blocks: int) -> int:
    """A region's blocks and those around it, if it is about square."""
    return round((math.sqrt(blocks) + 2) ** 2)


def phase(ask: Backfill, costs: Costs, name: str, blocks: int) -> Phase:
    """One step of a region of so many blocks."""
    kind, cost = KINDS[name], costs.steps[name]
    per_block = ask.megapixels if kind.per == "megapixel" else ask.block_km2
    objects = {"block": blocks, "ring": ring(blocks), "region": 1}[kind.objects]
    units = per_block * (blocks if kind.objects == "region" else 1)
    size = cost.bytes * units
    source = costs.steps[kind.reads].bytes * ask.megapixels
    if kind.reads == "landing":
        read = source * sheet_reads(kind.objects, ask.block_size) * (blocks if kind.objects == "region" else 1)
        gets = math.ceil(read / SHEET_RANGES[kind.objects])
    elif kind.objects == "region":
        read, gets = source * ring(blocks), ring(blocks)
    else:
        share, more = edge_reads(ask.block_size) if kind.seen > 1 else (0.0, 0)
        read, gets = source * (1 + share), 1 + more
    at_once = 1 + NEIGHBOURS if kind.seen > 1 else 1  # neighbours' edges are asked for side by side
    waits = (math.ceil(gets / at_once) + 1) * ask.latency_seconds + (read + size) / (ask.stream_mb * 1e6)
    lanes, cores = (1, ask.vcpus_per_pod) if kind.alone else (ask.vcpus_per_pod, 1)
    lanes, cpu = min(lanes, objects), cost.cpu_seconds * units
    return Phase(name, objects, lanes, cores, cpu, waits, gets, uploads(size), read, size)


def simulate(ask: Backfill, costs: Costs, *, keep: bool = True, lifetimes: Iterator[float] | None = None) -> Outcome:
    """The whole backfill. keep=False: a run that dies loses all that it made, as scripts without blocks do.

    lifetimes: seconds that each node of the next pod lives on, in place of the seed's. Raises BadConfig where no
    pod lives long enough to make a block.
    """
    counts = region_blocks(ask)
    lives = lifetimes or _lifetimes(ask)
    cluster = Cluster(ask, lives, keep)
    stages, longest, begin = {}, 0.0, 0.0
    for names in STAGES:
        chosen = [name for name in names if name in ask.steps]
        if not chosen:
            continue
        made = {n: tuple(phase(ask, costs, name, n) for name in chosen) for n in sorted({*counts.tolist()})}
        _refuse_hopeless(ask, made)
        cluster.tally = Tally()
        cluster.resize(ask.width(chosen), begin)
        end = cluster.stage([made[n] for n in counts.tolist()], begin)
        longest += ask.start_seconds + max(_length(phases) for phases in made.values())
        cluster.tally.capacity = (end - begin) * cluster.slots * cluster.width
        cluster.tally.seconds, begin = end - begin, end
        stages[" + ".join(chosen)] = cluster.tally
        if not cluster.finished:
            break
    cluster.resize(0, begin)
    return Outcome(stages, longest, int(counts.sum()), len(counts), cluster.spare_after, cluster.finished)


def _length(phases: Sequence[Phase]) -> float:
    return sum(math.ceil(one.objects / one.lanes) * one.wall for one in phases)


def _refuse_hopeless(ask: Backfill, made: Mapping[int, Sequence[Phase]]) -> None:
    longest = max(one.wall for phases in made.values() for one in phases)
    needs = ask.start_seconds + ask.image_pull_seconds + longest
    if ask.interruption_rate * needs / 3600 > math.log(HOPELESS):
        lives = 3600 / ask.interruption_rate
        raise BadConfig(
            f"--interruption-rate {ask.interruption_rate}",
            f"a node would live for {lives:.0f} s on average and needs {needs:.0f} s to start and make one object",
            "Give a lower rate, smaller blocks or more vCPUs per pod",
        )


def _lifetimes(ask: Backfill) -> Iterator[float]:
    rng = np.random.default_rng([ask.seed, 1])
    while True:
        yield from (
            rng.exponential(3600 / ask.interruption_rate, 4096).tolist() if ask.interruption_rate else [math.inf] * 4096
        )

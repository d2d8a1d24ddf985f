"""Simulation of a country's backfill: runs on spot nodes that start, make blocks, die and are tried again.

Here: what is asked, the regions, and what each of their runs has to do. Not here: the life of pods and nodes
(cluster.py), what a block costs (costs.py), what follows from the result (analysis.py), tables and pictures (the
command `plan`).

The model, in words. A step is a stage: its runs begin when the step before has ended everywhere, because blocks read
their neighbours'. A run makes one region, or several small ones one after the other, in a pod as large as its node.
Within a run blocks are made side by side, one per processor, or one after the other on all of them; all blocks of a
step cost the same. A node lives for an exponentially distributed time; when it goes, the blocks in hand are lost and no
others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from groundplan.capacity.cluster import NONE, SimulatedCluster
from groundplan.capacity.costs import KINDS, NEIGHBORS, SHEET_RANGES, Costs, edge_reads, sheet_reads, uploads
from groundplan.capacity.request import Outcome, Phase, Request, Tally
from groundplan.capacity.stretches import PART_SECONDS, LaunchCost, cut
from groundplan.errors import BadConfig
from groundplan.footprints.on_device import MOST_BLOCKS
from groundplan.pipeline import ASSETS, STEPS

STAGES = tuple(
    tuple(name for name, step in STEPS.items() if step.work and asset in (name, step.comes_with)) for asset in ASSETS
)
"""Steps that grow with the country, in order; what comes with a dataset is made in its run."""
HOPELESS = 100  # pods that one object would need on average, beyond which it is no plan


def region_blocks(request: Request) -> np.ndarray:
    """Blocks of each region that owns one, in the order in which they are asked for; together the country's."""
    blocks = max(1, math.ceil(request.area_km2 / request.block_km2 - 1e-9))
    sizes = np.exp(request.spread * np.random.default_rng([request.seed, 0]).standard_normal(request.regions))
    edges = np.round(np.concatenate([[0.0], np.cumsum(sizes)]) / sizes.sum() * blocks).astype(int)
    counts = np.diff(edges)
    counts = counts[counts > 0]
    return np.sort(counts)[::-1] if request.largest_first else counts


def ring(blocks: int) -> int:
    """A region's blocks and those around it, if it is about square."""
    return round((math.sqrt(blocks) + 2) ** 2)


def phase(request: Request, costs: Costs, name: str, blocks: int) -> Phase:
    """Phase of one step in a region of so many blocks."""
    kind, cost = KINDS[name], costs.steps[name]
    per_block = request.megapixels if kind.per == "megapixel" else request.block_km2
    objects = {"block": blocks, "ring": ring(blocks), "region": 1}[kind.objects]
    units = per_block * (blocks if kind.objects == "region" else 1)
    size = cost.bytes * units
    source = costs.steps[kind.reads].bytes * request.megapixels
    if kind.reads == "landing":
        read = source * sheet_reads(kind.objects, request.block_size) * (blocks if kind.objects == "region" else 1)
        gets = math.ceil(read / SHEET_RANGES[kind.objects])
    elif kind.objects == "region":
        read, gets = source * ring(blocks), ring(blocks)
    else:
        share, more = edge_reads(request.block_size) if kind.around else (0.0, 0)
        read, gets = source * (1 + share), 1 + more
    at_once = 1 + NEIGHBORS if kind.around else 1  # neighbours' edges are asked for side by side
    waits = (math.ceil(gets / at_once) + 1) * request.latency_seconds + (read + size) / (request.stream_mb * 1e6)
    lanes, cores = (1, request.vcpus_per_pod) if kind.alone else (request.vcpus_per_pod, 1)
    lanes, cpu = min(lanes, objects), cost.cpu_seconds * units
    if kind.on_gpu and request.gpus:  # others are read, coded and stored while one is computed
        lanes, cores, cpu = 1, request.vcpus_per_gpu_pod, costs.gpu_seconds * units * request.vcpus_per_gpu_pod
        waits = max(0.0, waits / MOST_BLOCKS - cpu / cores)
    return Phase(
        step=name,
        objects=objects,
        lanes=lanes,
        cores=cores,
        cpu_seconds=cpu,
        store_seconds=waits,
        gets=gets,
        puts=uploads(size),
        bytes_read=read,
        bytes_written=size,
    )


def simulate(request: Request, costs: Costs, *, keep: bool = True, lifetimes: Iterator[float] | None = None) -> Outcome:
    """Simulate the backfill. keep=False: a run that dies loses all that it made, as scripts without blocks do.

    lifetimes: seconds that each node of the next pod lives on, in place of the seed's. Raises BadConfig where no
    pod lives long enough to make a block.
    """
    counts = region_blocks(request)
    lives = lifetimes or _lifetimes(request)
    cluster = SimulatedCluster(request=request, lives=lives, keep=keep)
    stages, machines, longest, begin = {}, {}, 0.0, 0.0
    for names in STAGES:
        chosen = [name for name in names if name in request.steps]
        if not chosen:
            continue
        made = {n: tuple(phase(request, costs, name, n) for name in chosen) for n in sorted({*counts.tolist()})}
        _refuse_hopeless(request, made)
        name = " + ".join(chosen)
        cluster.resize(request.machines(chosen), begin)  # what waits in vain is the books' of the step before
        cluster.tally, machines[name] = Tally(), cluster.machines
        end = cluster.stage(runs_of(request, [made[n] for n in counts.tolist()]), begin)
        longest += request.start_seconds + max(seconds_of(phases) for phases in made.values())
        cluster.tally.capacity = (end - begin) * cluster.machines.slots * cluster.machines.width
        cluster.tally.seconds, begin = end - begin, end
        stages[name] = cluster.tally
        if not cluster.finished:
            break
    cluster.resize(NONE, begin)
    return Outcome(
        stages=stages,
        machines=machines,
        longest=longest,
        blocks=int(counts.sum()),
        regions=len(counts),
        spare_after=cluster.spare_after,
        finished=cluster.finished,
    )


def seconds_of(phases: Sequence[Phase]) -> float:
    """Of a run's objects, made in waves of as many as it has in hand."""
    return sum(math.ceil(one.objects / one.lanes) * one.wall for one in phases)


def runs_of(request: Request, regions: Sequence[tuple[Phase, ...]]) -> list[tuple[Phase, ...]]:
    """What each run has to do: one region, or with `stretch_launches` several that each take less than a launch."""
    expected: dict[int, float | None] = {
        index: PART_SECONDS + seconds_of(phases) for index, phases in enumerate(regions)
    }
    groups = cut(expected, expected, LaunchCost(request.start_seconds, request.stretch_launches))
    return [
        regions[group[0]] if len(group) == 1 else tuple(each for index in group for each in _part(regions[index]))
        for group in groups
    ]


def _part(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """A region's phases in a run that others share: it waits for a run of its own to begin in that process."""
    first, *others = phases
    waits = first.store_seconds + PART_SECONDS / math.ceil(first.objects / first.lanes)
    return replace(first, store_seconds=waits), *others


def _refuse_hopeless(request: Request, made: Mapping[int, Sequence[Phase]]) -> None:
    longest = max(one.wall for phases in made.values() for one in phases)
    needs = request.start_seconds + request.image_pull_seconds + longest
    if request.interruption_rate * needs / 3600 > math.log(HOPELESS):
        lives = 3600 / request.interruption_rate
        raise BadConfig(
            f"--interruption-rate {request.interruption_rate}",
            f"a node would live for {lives:.0f} s on average and needs {needs:.0f} s to start and make one object",
            "Give a lower rate, smaller blocks or more vCPUs per pod",
        )


def _lifetimes(request: Request) -> Iterator[float]:
    rng = np.random.default_rng([request.seed, 1])
    while True:
        yield from (
            rng.exponential(3600 / request.interruption_rate, 4096).tolist()
            if request.interruption_rate
            else [math.inf] * 4096
        )

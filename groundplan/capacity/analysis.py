"""Capacity analysis: what a simulated backfill comes to, what binds it, and what other machines would change.

Here: money, shares, lower bounds, sweeps: pure functions of simulations. Not here: the simulation (simulation.py), how
results are shown (the command `plan`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from groundplan.capacity.costs import KINDS, Costs
from groundplan.capacity.rates import GPU_WHOLE
from groundplan.capacity.request import Outcome, Request, Tally
from groundplan.capacity.simulation import simulate
from groundplan.errors import BadConfig

VCPUS = (8, 16, 32, 64, 128, 256, 512, 1024)
BLOCK_SIZES = (2048, 4096, 8192, 16384)
STORE_READS, STORE_WRITES = 5500, 3500
"""Requests per second that one prefix of a bucket takes before it pushes back: S3's published figures."""


@dataclass(frozen=True, slots=True)
class Bill:
    """Cost in euro; storage in euro per month."""

    machines: float
    requests: float
    storage_month: float

    @property
    def once(self) -> float:
        return self.machines + self.requests


def bill(request: Request, outcome: Outcome) -> Bill:
    tally = outcome.total
    writes, reads = tally.puts + tally.lists, tally.gets
    requests = (writes * request.request_price + reads * request.read_price) / 1000
    machines = sum(stage.billed / 3600 * outcome.machines[name].price for name, stage in outcome.stages.items())
    return Bill(machines, requests, tally.bytes_written / 1e9 * request.storage_price)


@dataclass(frozen=True, slots=True)
class Share:
    """A part of all vCPU hours between the first second and the last."""

    name: str
    vcpu_hours: float
    share: float


def shares(outcome: Outcome) -> list[Share]:
    """Breakdown of the capacity by use; together all of it."""
    tally = outcome.total
    capacity = tally.capacity
    spare = tally.spare - outcome.spare_after
    parts = {
        "computing": tally.computing,
        "waiting for the store": tally.store,
        "processors of a pod without a block": tally.idle,
        "starting pods and nodes": tally.starting,
        "lost with a node": tally.lost,
        "nodes waiting for a pod": spare,
    }
    parts["no node: others still run"] = max(0.0, capacity - sum(parts.values()))
    return [Share(name, seconds / 3600, seconds / capacity if capacity else 0.0) for name, seconds in parts.items()]


@dataclass(frozen=True, slots=True)
class Bound:
    """A lower bound of the time: what it would take if nothing else did."""

    name: str
    hours: float
    why: str


def bounds(request: Request, outcome: Outcome) -> list[Bound]:
    """Lower bounds of the time, from the hardest to the softest."""
    tally = outcome.total
    compute, starting, store = (_alone(outcome, name) for name in ("computing", "starting", "store"))
    crowd = max(tally.gets / STORE_READS, (tally.puts + tally.lists) / STORE_WRITES)
    launching = tally.runs * request.launch_seconds
    width = f"{request.vcpus} vCPUs" + (f" and {request.gpus} with a GPU" if request.gpus else "")
    found = [
        Bound("vCPUs", compute / 3600, f"{tally.computing / 3600:,.0f} vCPU hours of computing on {width}"),
        Bound("longest partition", outcome.longest / 3600, "the largest region, one step after the other"),
        Bound("start-up", starting / 3600, f"{tally.pods:,} pods on {tally.nodes:,} fresh nodes"),
        Bound("waiting for the store", store / 3600, "a block's requests and bytes, one after the other"),
        Bound("store's request rate", crowd / 3600, f"{tally.gets:,} reads at {STORE_READS} a second, one prefix"),
        Bound("launching", launching / 3600, f"{tally.runs:,} runs, {request.launch_seconds} s each in the daemon"),
    ]
    return sorted(found, key=lambda bound: -bound.hours)


def _alone(outcome: Outcome, part: str) -> float:
    """Seconds of a part of the work, if all machines of each stage shared it evenly and did nothing else."""
    whole = {name: machines.slots * machines.width for name, machines in outcome.machines.items()}
    return sum(float(getattr(tally, part)) / whole[name] for name, tally in outcome.stages.items())


def verdict(request: Request, costs: Costs, outcome: Outcome) -> str:
    """Bottleneck in a sentence or two: what binds, and what would help."""
    hardest = bounds(request, outcome)[0]
    hours = outcome.seconds / 3600
    twice = simulate(replace(request, vcpus=2 * request.vcpus), costs)
    faster = f"Twice the vCPUs: {twice.seconds / 3600:.1f} h instead of {hours:.1f} h"
    at = f"{hardest.hours / hours:.0%} of the time" if hours else "all"
    if hardest.name == "vCPUs":
        largest = max(shares(outcome)[1:], key=lambda share: share.share)
        return f"vCPUs bind: computing alone is {at}; next is '{largest.name}', {largest.share:.0%}. {faster}."
    if hardest.name == "longest partition":
        sorted_ = simulate(replace(request, largest_first=True), costs)
        return (
            f"The longest partition binds: it alone is {at}. More vCPUs do not help ({faster}); smaller regions or "
            f"larger pods do; largest regions first: {sorted_.seconds / 3600:.1f} h."
        )
    return f"{hardest.name[0].upper()}{hardest.name[1:]} binds: it alone is {at} ({hardest.why}). {faster}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What predicts: processors, or machines with a GPU. Hours and euro of the backfill, and of its predictions.

    machine_hours: of machines of `price`, that are paid for; computing_hours: those in which they predict.
    """

    name: str
    hours: float
    euro: float
    predicting_hours: float
    predicting_euro: float
    machine_hours: float
    computing_hours: float
    price: float
    source: str


def offers(request: Request, costs: Costs, outcome: Outcome, gpus: int) -> list[Offer]:
    """Predictions on the vCPUs, which is `outcome`, or on so many GPUs; the cheaper first. None without predictions."""
    names = [name for name in request.steps if KINDS[name].on_gpu]
    if not names:
        return []
    other = replace(request, gpus=gpus)
    shipped = f"docs/benchmarks.md: {GPU_WHOLE}; here {1 / costs.gpu_seconds:.0f} MPx/s by pixels and views"
    found = [
        _offer(request, outcome, names, f"{request.vcpus} vCPUs", costs.steps["predictions"].source),
        _offer(other, simulate(other, costs), names, f"{gpus} with a GPU", shipped),
    ]
    return sorted(found, key=lambda offer: offer.euro)


def _offer(request: Request, outcome: Outcome, names: Sequence[str], name: str, source: str) -> Offer:
    (stage,) = [stage for stage in outcome.stages if set(names) & set(stage.split(" + "))]
    tally, machines = outcome.stages[stage], outcome.machines[stage]
    paid = tally.billed / 3600
    return Offer(
        name=name,
        hours=outcome.seconds / 3600,
        euro=bill(request, outcome).once,
        predicting_hours=tally.seconds / 3600,
        predicting_euro=paid * machines.price,
        machine_hours=paid / machines.width,
        computing_hours=tally.computing / 3600 / machines.width,
        price=machines.price * machines.width,
        source=source,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One simulation of a sweep."""

    value: int
    hours: float
    euro: float
    wasted: float
    requests: int
    blocks: int


def point(request: Request, costs: Costs, value: int) -> Point:
    outcome = simulate(request, costs)
    tally = outcome.total
    requests = tally.gets + tally.puts + tally.lists
    return Point(
        value=value,
        hours=outcome.seconds / 3600,
        euro=bill(request, outcome).once,
        wasted=wasted(tally),
        requests=requests,
        blocks=outcome.blocks,
    )


def wasted(tally: Tally) -> float:
    """Lost vCPU seconds for each one that went into an object which was finished."""
    useful = tally.computing + tally.store
    return tally.lost / useful if useful else 0.0


def over_vcpus(request: Request, costs: Costs, vcpus: Sequence[int] = VCPUS) -> list[Point]:
    """Sweep over vCPUs."""
    least = max(request.vcpus_per_pod, request.vcpus_per_io_pod)
    values = sorted({value for value in (*vcpus, request.vcpus) if value >= least})
    return [point(replace(request, vcpus=value), costs, value) for value in values]


def over_block_sizes(request: Request, costs: Costs, sizes: Sequence[int] = BLOCK_SIZES) -> list[Point]:
    """Sweep over block sizes, without those of which no pod would live to finish a block."""
    points = []
    for value in sorted({*sizes, request.block_size}):
        with suppress(BadConfig):
            points.append(point(replace(request, block_size=value), costs, value))
    return points


def other_seeds(request: Request, costs: Costs, draws: int = 9) -> list[Point]:
    """Sweep over seeds: other sizes of regions, other deaths."""
    return [
        point(replace(request, seed=request.seed + 1 + draw), costs, request.seed + 1 + draw) for draw in range(draws)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A backfill in which small neighbors share a run, beside a run for each region. runs: by step, each and shared."""

    launches: float
    runs: dict[str, tuple[int, int]]
    hours: tuple[float, float]
    euro: tuple[float, float]
    gpu_hours: tuple[float, float] | None = None
    """Hours of machines with a GPU that are paid for, where predictions are asked for."""

    @property
    def saved(self) -> int:
        """Runs, each of them a launch."""
        return sum(each - shared for each, shared in self.runs.values())


def shared(request: Request, costs: Costs, outcome: Outcome, launches: float, gpus: int) -> Shared:
    """What changes where regions that take less than a launch share runs of up to so many launches' work.

    outcome: of the request, which has a run for each region.
    """
    other = replace(request, stretch_launches=launches)
    together = simulate(other, costs)
    names = [name for name in request.steps if KINDS[name].on_gpu]
    gpu = [replace(one, gpus=gpus) for one in (request, other)] if names else []
    paid = [_offer(one, simulate(one, costs), names, "", "").machine_hours for one in gpu]
    return Shared(
        launches=launches,
        runs={name: (tally.runs, together.stages[name].runs) for name, tally in outcome.stages.items()},
        hours=(outcome.seconds / 3600, together.seconds / 3600),
        euro=(bill(request, outcome).once, bill(other, together).once),
        gpu_hours=(paid[0], paid[1]) if paid else None,
    )

"""A country's backfill, simulated from the shipped costs: every table of docs/scale.md.

    python -m benchmarks.country [--resolution 0.25] [--area-km2 41543] [--regions 1350] [--small]

Nothing is measured here: costs are those of `groundplan plan` (groundplan/capacity), prices and interruptions its
defaults. Against: bars of 120 processor-hours for cutting, predictions and outlines, or one hour of a machine with a
GPU; and the same backfill with other settings, machines and deaths, each changed alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.common import arguments, show
from groundplan.capacity import analysis
from groundplan.capacity.costs import KINDS, Costs, reference
from groundplan.capacity.request import Outcome, Request
from groundplan.capacity.simulation import simulate
from groundplan.errors import BadConfig

CPU_HOURS, GPU_HOURS = 120.0, 1.0  # bars
CUTTING = ("sheets", "aerial_tiles")


def hours(outcome: Outcome) -> float:
    return outcome.seconds / 3600


def chain(request: Request, costs: Costs) -> Iterator[tuple[str, str]]:
    """What the whole backfill takes, is billed and asks of the store."""
    outcome, others = simulate(request, costs), analysis.other_seeds(request, costs)
    tally, bill = outcome.total, analysis.bill(request, outcome)
    yield "blocks, regions", f"{outcome.blocks:,}, {outcome.regions:,}"
    yield "hours (nine more seeds)", f"{hours(outcome):.2f} ({_range([one.hours for one in others])})"
    yield "machines + requests, euro", f"{bill.machines:.2f} + {bill.requests:.2f} = {bill.once:.2f}"
    yield "of other seeds, euro", _range([one.euro for one in others])
    yield "paid for / computing, vCPU hours", f"{bill.machines / request.spot_price:.0f} / {tally.computing / 3600:.0f}"
    yield "km2 per hour", f"{request.area_km2 / hours(outcome):,.0f}"
    yield "euro per 1,000 km2", f"{bill.once / request.area_km2 * 1000:.3f}"
    yield "runs; nodes lost with a pod", f"{tally.runs:,}; {tally.preemptions}"
    yield "work lost", f"{analysis.wasted(tally):.3%}"
    yield "requests, millions", f"{(tally.gets + tally.puts + tally.lists) / 1e6:.1f}"
    yield "read, TB; stored, TB", f"{tally.bytes_read / 1e12:.2f}; {tally.bytes_written / 1e12:.2f}"
    yield "stored, euro a month", f"{bill.storage_month:.1f}"
    cut = replace(request, steps=CUTTING)
    alone = simulate(cut, costs)
    once = analysis.bill(cut, alone)
    yield "cutting alone: hours, euro", f"{hours(alone):.2f}, {once.machines:.2f} + {once.requests:.2f}"
    for share in analysis.shares(outcome):
        yield share.name, f"{share.share:.1%}"


def steps(request: Request, costs: Costs) -> Iterator[tuple[str, float, float]]:
    """Hours and euro of each stage."""
    outcome = simulate(request, costs)
    for name, tally in outcome.stages.items():
        writes, reads = tally.puts + tally.lists, tally.gets
        asked = (writes * request.request_price + reads * request.read_price) / 1000
        yield name, tally.seconds / 3600, tally.billed / 3600 * outcome.machines[name].price + asked


def computing(request: Request, costs: Costs) -> dict[str, float]:
    """Processor-hours of each step, without starts and waiting."""
    outcome = simulate(request, costs, keep=False)
    blocks, rings = outcome.blocks * request.megapixels, _ringed(request, outcome) * request.megapixels
    units = {"block": blocks, "ring": rings, "region": blocks}
    found = {}
    for name in request.steps:
        of = request.area_km2 if KINDS[name].per == "km2" else units[KINDS[name].objects]
        found[name] = of * costs.steps[name].cpu_seconds / 3600
    return found


def _ringed(request: Request, outcome: Outcome) -> float:
    """Blocks of all regions and of the rings around them."""
    (stage,) = [tally for name, tally in outcome.stages.items() if "building_outlines" in name]
    return float(stage.objects - outcome.regions)


def changes(request: Request, costs: Costs) -> Iterator[tuple[str, float, float]]:
    """Hours and euro where one thing is changed."""
    others = {
        "as it is": {},
        "pods of 2 vCPUs": {"vcpus_per_pod": 2},
        "pods of 8": {"vcpus_per_pod": 8},
        "a quarter of the regions": {"regions": max(1, round(request.regions / 3.947))},
        "largest regions first": {"largest_first": True},
        "50 MB/s a block": {"stream_mb": 50.0},
        "a node takes 300 s to start, a pod 30 s": {"image_pull_seconds": 300.0, "start_seconds": 30.0},
        "twice the price of vCPUs": {"spot_price": 2 * request.spot_price},
        "twice the vCPUs": {"vcpus": 2 * request.vcpus},
        "four times the vCPUs": {"vcpus": 4 * request.vcpus},
        "blocks of twice the side": {"block_size": min(32768, 2 * request.block_size)},
        "small regions together": {"stretch_launches": 10.0},
    }
    for name, given in others.items():
        yield name, *_cost(replace(request, **given), costs)  # type: ignore[arg-type]
    network = costs.network
    for name, arm in {"one view": ("auto", 1), "float32, two views (nothing set)": ("f32", 2)}.items():
        yield name, *_cost(request, reference(*arm).at(request.resolution, network))  # type: ignore[arg-type]


def _cost(request: Request, costs: Costs) -> tuple[float, float]:
    outcome = simulate(request, costs)
    return hours(outcome), analysis.bill(request, outcome).once


def devices(request: Request, costs: Costs, counts: Sequence[int]) -> Iterator[tuple[str, str, str, str]]:
    """Predictions on the vCPUs and on a machine with a GPU."""
    for regions in counts:
        for launches in (0.0, 10.0):
            asked = replace(request, regions=regions, stretch_launches=launches)
            for offer in analysis.offers(asked, costs, simulate(asked, costs), 1):
                paid = f"{offer.machine_hours:.2f}; {offer.computing_hours:.2f}"
                name = f"{regions:,} regions" + (", small ones together" if launches else "")
                yield name, offer.name, f"{offer.hours:.2f} h, {offer.euro:.2f} euro", paid


def deaths(request: Request, costs: Costs, counts: Sequence[int]) -> Iterator[tuple[str, str, str]]:
    """The same with blocks, and as if a run that dies began at its first pixel."""
    for regions in counts:
        for rate in (0.05, 0.5, 2.0):
            asked = replace(request, regions=regions, interruption_rate=rate)
            yield f"{regions:,}, {rate:.0%}", _lost(asked, costs, True), _lost(asked, costs, False)


def _lost(request: Request, costs: Costs, keep: bool) -> str:
    try:
        outcome = simulate(request, costs, keep=keep)
    except BadConfig:
        return "refused"
    if not outcome.finished:
        return "does not end"
    return f"{hours(outcome):.1f} h, {analysis.wasted(outcome.total):.3%} lost"


def bars(request: Request, costs: Costs) -> Iterator[str]:
    """Of computing on processors; and of a GPU's predictions with the rest on the processors of its machine."""
    told, one_view = computing(request, costs), reference("auto", 1).at(request.resolution, costs.network)
    rest = sum(hours for name, hours in told.items() if name not in ("sheets", "predictions"))
    gpu = simulate(request, costs).blocks * request.megapixels * costs.gpu_seconds / 3600
    found = {
        "processor-hours of cutting, predictions, outlines": (rest + told["predictions"], CPU_HOURS),
        "the same with one view": (rest + computing(request, one_view)["predictions"], CPU_HOURS),
        "hours of a GPU, predictions alone": (gpu, GPU_HOURS),
        "hours of a GPU's machine, one part after the other": (gpu + rest / request.vcpus_per_gpu_pod, GPU_HOURS),
    }
    for name, (value, bar) in found.items():
        yield f"bar: {name}: {value:.2f} ({bar:.0f}), {'met' if value <= bar else 'not met'}"


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f} - {max(values):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--resolution", type=float, default=0.25)
    parser.add_argument("--area-km2", type=float, default=41543.0)
    parser.add_argument("--regions", type=int, default=1350)
    given = arguments(parser, area_km2=300.0, regions=12)
    request = Request(area_km2=given.area_km2, resolution=given.resolution, regions=given.regions)
    costs = reference().at(given.resolution)
    counts = [request.regions, max(1, round(request.regions / 3.947)), max(1, request.regions // 112)]
    rows: list[tuple[Any, ...]] = [*chain(request, costs)]
    show(f"A country at {given.resolution:g} m: sheets to footprints", ("", "simulated"), rows)
    parts = [(name, hours) for name, hours in computing(request, costs).items()]
    show("Computing alone", ("step", "processor-hours"), parts, [*bars(request, costs)])
    show("Stage by stage", ("stage", "hours", "euro"), [*steps(request, costs)])
    show("What would change", ("changed", "hours", "euro"), [*changes(request, costs)])
    columns = ("regions", "predictions by", "all", "hours of that machine: paid; computing")
    show("Processors or a GPU", columns, [*devices(request, costs, counts)])
    show(
        "What blocks are for", ("regions, nodes lost per hour", "blocks", "without"), [*deaths(request, costs, counts)]
    )


if __name__ == "__main__":
    main()

"""`groundplan plan`: capacity planning for a country's backfill on spot nodes.

Here: the command's options, its tables and its picture. Not here: the simulation (groundplan/capacity/simulation.py),
what follows from it (groundplan/capacity/analysis.py), costs (groundplan/capacity/costs.py). Imports happen inside
functions: `--help` is instant.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from groundplan.errors import BadConfig

if TYPE_CHECKING:
    from groundplan.capacity.analysis import Bill, Offer, Point, Shared
    from groundplan.capacity.costs import Costs
    from groundplan.capacity.node_types import NodeOffer
    from groundplan.capacity.request import Outcome, Request


BAR = 28  # characters of the longest bar
STEPS = "sheets,tiles,predictions,outlines,footprints"


def plan(
    area_km2: Annotated[float, typer.Option(help="ground to be covered")],
    resolution: Annotated[float, typer.Option(help="metres per pixel")],
    block_size: Annotated[int, typer.Option(help="pixels per block side")] = 8192,
    regions: Annotated[int, typer.Option(help="partitions of a year")] = 1350,
    spread: Annotated[float, typer.Option(help="of region sizes: sigma of their logarithm, 0 for equal ones")] = 0.8,
    steps: Annotated[str, typer.Option(help="which, with commas; also labels")] = STEPS,
    vcpus: Annotated[int, typer.Option(help="at most so many at a time")] = 64,
    vcpus_per_pod: Annotated[int, typer.Option(help="of a pod that makes blocks; a node holds one")] = 4,
    vcpus_per_io_pod: Annotated[int, typer.Option(help="of a pod that makes one object, such as a catalogue")] = 2,
    spot_price: Annotated[float, typer.Option(help="euro per vCPU and hour")] = 0.015,
    gpus: Annotated[int, typer.Option(min=1, help="machines with a GPU at a time, in the comparison")] = 1,
    vcpus_per_gpu_pod: Annotated[int, typer.Option(help="of such a machine")] = 16,
    gpu_price: Annotated[float, typer.Option(help="euro per machine with a GPU and hour, its vCPUs included")] = 2.5,
    interruption_rate: Annotated[float, typer.Option(help="nodes taken away, per node and hour")] = 0.05,
    start_seconds: Annotated[float, typer.Option(help="from a pod's creation to its first block")] = 10.0,
    image_pull_seconds: Annotated[float, typer.Option(help="a fresh node: boot and image")] = 120.0,
    retry_seconds: Annotated[float, typer.Option(help="from a node's death to the next try")] = 80.0,
    max_retries: Annotated[int, typer.Option(help="then the partition waits to be asked for again")] = 3,
    request_again_seconds: Annotated[float, typer.Option(help="until somebody asks again")] = 3600.0,
    idle_seconds: Annotated[float, typer.Option(help="until a node without a pod is given back")] = 600.0,
    launch_seconds: Annotated[float, typer.Option(help="the daemon's work for one run")] = 0.25,
    stream_mb: Annotated[float, typer.Option(help="MB per second of one block's reads and writes")] = 100.0,
    latency_seconds: Annotated[float, typer.Option(help="of a request to the store")] = 0.02,
    request_price: Annotated[float, typer.Option(help="euro per 1,000 writes and listings")] = 0.005,
    read_price: Annotated[float, typer.Option(help="euro per 1,000 reads")] = 0.0004,
    storage_price: Annotated[float, typer.Option(help="euro per GB and month")] = 0.02,
    largest_first: Annotated[bool, typer.Option("--largest-first", help="largest regions first")] = False,
    stretch_launches: Annotated[
        float, typer.Option(min=0, help="as run.stretch_launches, of the runs that small regions share; 0: none")
    ] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="of region sizes and of deaths")] = 7,
    home: Annotated[
        Path | None,
        typer.Option("--home", envvar="GROUNDPLAN_HOME", help="project whose manifests say what a block costs"),
    ] = None,
    nodes: Annotated[Path | None, typer.Option(help="TOML of your cloud's node types: which is cheapest")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG of hours and euro over vCPUs and block sizes")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON for a program")] = False,
) -> None:
    """Simulate a country's backfill on spot nodes: hours, cost, what is lost, and what binds."""
    from groundplan.capacity import analysis, node_types
    from groundplan.capacity.request import Request
    from groundplan.capacity.simulation import simulate

    types = node_types.read_types(nodes) if nodes else []
    if plot is not None and plot.suffix.lower() != ".png":
        raise BadConfig(f"--plot {plot}", "the picture is a PNG", "Give a name that ends in .png")
    request = Request(
        area_km2=area_km2,
        resolution=resolution,
        block_size=block_size,
        regions=regions,
        spread=spread,
        steps=_steps(steps),
        vcpus=vcpus,
        vcpus_per_pod=vcpus_per_pod,
        vcpus_per_io_pod=vcpus_per_io_pod,
        spot_price=spot_price,
        vcpus_per_gpu_pod=vcpus_per_gpu_pod,
        gpu_price=gpu_price,
        interruption_rate=interruption_rate,
        start_seconds=start_seconds,
        image_pull_seconds=image_pull_seconds,
        retry_seconds=retry_seconds,
        max_retries=max_retries,
        request_again_seconds=request_again_seconds,
        idle_seconds=idle_seconds,
        launch_seconds=launch_seconds,
        stream_mb=stream_mb,
        latency_seconds=latency_seconds,
        request_price=request_price,
        read_price=read_price,
        storage_price=storage_price,
        largest_first=largest_first,
        seed=seed,
    )
    costs = _costs(home)
    costs = costs.at(resolution, costs.network)
    outcome, whole = simulate(request, costs), simulate(request, costs, keep=False)
    if not outcome.finished:
        reason = f"it does not end: {outcome.total.preemptions:,} pods died before a step was whole"
        raise BadConfig(f"--interruption-rate {interruption_rate}", reason, "Give a lower rate or smaller blocks")
    others = analysis.other_seeds(request, costs)
    offers = analysis.offers(request, costs, outcome, gpus)
    shared = analysis.shared(request, costs, outcome, stretch_launches, gpus)
    on_types = node_types.compared(request, costs, types, gpus)
    sweeps = analysis.over_vcpus(request, costs), analysis.over_block_sizes(request, costs)
    if plot is not None:
        picture(plot, request, *sweeps)
    out = Console(width=None if sys.stdout.isatty() else 140)
    if as_json:
        said = _as_json(request, costs, outcome, whole, others, offers, shared, sweeps)
        said["node_types"] = [{**asdict(offer), "node": offer.node.model_dump()} for offer in on_types]
        out.print_json(json.dumps(said))
        return
    tables = [*_tables(request, costs, outcome, whole, others), *_together(shared), *_devices(request, offers)]
    for item in (*tables, *_on_types(on_types), analysis.verdict(request, costs, outcome), *_sweeps(*sweeps)):
        out.print(item, highlight=False, soft_wrap=isinstance(item, str))
    if plot is not None:
        out.print(f"Picture: {plot}", highlight=False, soft_wrap=True)


def _steps(text: str) -> tuple[str, ...]:
    """Datasets of short or full names. Raises BadConfig."""
    from groundplan.capacity.costs import KINDS

    names = {**{kind.short: name for name, kind in KINDS.items()}, **{name: name for name in KINDS}}
    given = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := [word for word in given if word not in names]:
        allowed = ", ".join(kind.short for kind in KINDS.values())
        raise BadConfig("--steps", f"there is no step '{unknown[0]}'", f"Choose from: {allowed}")
    return tuple(name for name in KINDS if name in {names[word] for word in given})


def _costs(home: Path | None) -> Costs:
    """What was measured in the given project, or in one that is found from here; else the reference."""
    from groundplan.capacity.costs import measured, reference
    from groundplan.project import find_home, open_project

    if home is not None:
        return measured(open_project(home))
    try:
        found = find_home(Path.cwd())
    except BadConfig:
        return reference()
    try:
        return measured(open_project(found))
    except BadConfig as error:
        if error.thing == str(found):  # a project that has made nothing yet; broken settings are an error
            return reference()
        raise


def _tables(request: Request, costs: Costs, outcome: Outcome, whole: Outcome, others: Sequence[Point]) -> list[Any]:
    from groundplan.capacity import analysis

    ground = f"{request.area_km2:,.0f} km2 at {request.resolution:g} m"
    blocks = f"{outcome.blocks:,} blocks of {request.block_size} pixels in {outcome.regions:,} regions"
    rate = f"{request.interruption_rate:.1%} of nodes lost per hour"
    cluster = f"{request.vcpus} vCPUs in pods of {request.vcpus_per_pod}, {rate}"
    head = f"{ground}: {blocks}\n{cluster}\nCosts of blocks {costs.label}"
    stages = Table("step", title="By step", title_justify="left")
    for name in ("runs", "objects", "hours", "vCPU hours", "euro", "GB read", "GB written", "cpu-s / object"):
        stages.add_column(name, justify="right")
    for name, tally in outcome.stages.items():
        paid = tally.billed / 3600
        stages.add_row(
            name.replace("building_", ""),
            f"{tally.runs:,}",
            f"{tally.objects:,}",
            f"{tally.seconds / 3600:.2f}",
            f"{paid:,.1f}",
            f"{paid * outcome.machines[name].price:.2f}",
            f"{tally.bytes_read / 1e9:,.0f}",
            f"{tally.bytes_written / 1e9:,.1f}",
            f"{tally.computing / max(1, tally.objects):.2f}",
        )
    where = Table("of the vCPU hours", title="Where they go", title_justify="left")
    for name in ("vCPU hours", "share"):
        where.add_column(name, justify="right")
    for share in analysis.shares(outcome):
        where.add_row(share.name, f"{share.vcpu_hours:,.1f}", f"{share.share:.1%}")
    binds = Table("what binds", title="Each limit alone", title_justify="left")
    binds.add_column("hours", justify="right")
    binds.add_column("why")
    for bound in analysis.bounds(request, outcome):
        binds.add_row(bound.name, f"{bound.hours:.2f}", bound.why)
    return [head, _figures(request, outcome, whole, others), stages, where, binds]


def _together(shared: Shared) -> list[Table]:
    """A run for each region beside runs that small neighbors share; nothing where that is not asked for."""
    if not shared.launches:
        return []
    title = f"Small neighbors in one run, of up to {shared.launches:g} launches of work: {shared.saved:,} runs saved"
    table = Table("figure", "unit", title=title, title_justify="left")
    for name in ("a run each", "together"):
        table.add_column(name, justify="right")
    for name, (each, together) in shared.runs.items():
        table.add_row(f"runs of {name.replace('building_', '')}", "", f"{each:,}", f"{together:,}")
    figures = [("time", "hours", shared.hours), ("cost", "euro", shared.euro)]
    figures += [("a GPU is paid for", "hours", shared.gpu_hours)] if shared.gpu_hours else []
    for name, unit, values in figures:
        table.add_row(name, unit, *(f"{value:.2f}" for value in values))
    return [table]


def _devices(request: Request, offers: Sequence[Offer]) -> list[Any]:
    """Predictions by processors beside those by a GPU, the cheaper first; nothing where there are no predictions."""
    if not offers:
        return []
    table = Table("figure", "unit", title="Spot processors or spot GPUs, the cheaper first", title_justify="left")
    for offer in offers:
        table.add_column(offer.name, justify="right")
    rows: list[tuple[str, str, Callable[[Offer], str]]] = [
        ("all of it: time", "hours", lambda offer: f"{offer.hours:.2f}"),
        ("  machines and requests", "euro", lambda offer: f"{offer.euro:.2f}"),
        ("  per hour", "km2", lambda offer: f"{request.area_km2 / offer.hours:,.0f}"),
        ("  per 1,000 km2", "euro", lambda offer: f"{1000 * offer.euro / request.area_km2:.3f}"),
        ("predictions: time", "hours", lambda offer: f"{offer.predicting_hours:.2f}"),
        ("  machines", "euro", lambda offer: f"{offer.predicting_euro:.2f}"),
        ("  machines are paid for", "hours", lambda offer: f"{offer.machine_hours:.2f}"),
        ("  of which computing", "hours", lambda offer: f"{offer.computing_hours:.2f}"),
        ("  a machine", "euro / hour", lambda offer: f"{offer.price:g}"),
    ]
    for name, unit, said in rows:
        table.add_row(name, unit, *(said(offer) for offer in offers))
    return [table, *(f"{offer.name}: {offer.source}" for offer in offers)]


def _on_types(offers: Sequence[NodeOffer]) -> list[Table]:
    """The same backfill on nodes of each type that was named; nothing where none was."""
    if not offers:
        return []
    table = Table("node type", title="Node types, the cheapest first", title_justify="left")
    for name in ("vCPUs", "euro / hour", "nodes at a time", "hours", "euro"):
        table.add_column(name, justify="right")
    for offer in offers:
        node = offer.node
        ends = ("never ends", "") if offer.hours is None else (f"{offer.hours:.2f}", f"{offer.euro:.2f}")
        table.add_row(node.name, f"{node.usable} of {node.vcpus}", f"{node.price:g}", f"{offer.nodes}", *ends)
    return [table]


def _figures(request: Request, outcome: Outcome, whole: Outcome, others: Sequence[Point]) -> Table:
    """The main table: with blocks, and as if a partition were one piece."""
    from groundplan.capacity.analysis import bill

    table = Table("figure", "unit", title="The backfill", title_justify="left")
    for name in ("with blocks", "other seeds", "without blocks"):
        table.add_column(name, justify="right")
    hours, euros = [point.hours for point in others], [point.euro for point in others]
    ranges = {"time": f"{min(hours):.2f} - {max(hours):.2f}", "cost": f"{min(euros):.2f} - {max(euros):.2f}"}
    mine, theirs = (_column(one, bill(request, one)) for one in (outcome, whole))
    for (name, unit), value in mine.items():
        other = theirs[name, unit] if whole.finished else "never ends"
        table.add_row(name, unit, value, ranges.get(name, ""), other)
    return table


def _column(outcome: Outcome, money: Bill) -> dict[tuple[str, str], str]:
    from groundplan.capacity.analysis import wasted

    tally = outcome.total
    return {
        ("time", "hours"): f"{tally.seconds / 3600:.2f}",
        ("cost", "euro"): f"{money.once:.2f}",
        ("  of which machines", "euro"): f"{money.machines:.2f}",
        ("  of which requests", "euro"): f"{money.requests:.2f}",
        ("paid for", "vCPU hours"): f"{tally.billed / 3600:,.1f}",
        ("computing", "vCPU hours"): f"{tally.computing / 3600:,.1f}",
        ("runs", ""): f"{tally.runs:,}",
        ("pods", ""): f"{tally.pods:,}",
        ("fresh nodes", ""): f"{tally.nodes:,}",
        ("nodes lost", "with a pod"): f"{tally.preemptions:,}",
        ("asked for again", "partitions"): f"{tally.asked_again:,}",
        ("objects lost in hand", ""): f"{tally.lost_objects:,}",
        ("wasted work", "%"): f"{100 * wasted(tally):.3f}",
        ("reads", "requests"): f"{tally.gets:,}",
        ("writes and listings", "requests"): f"{tally.puts + tally.lists:,}",
        ("read", "TB"): f"{tally.bytes_read / 1e12:.2f}",
        ("stored", "TB"): f"{tally.bytes_written / 1e12:.3f}",
        ("storage", "euro / month"): f"{money.storage_month:.2f}",
    }


def _sweeps(vcpus: Sequence[Point], sizes: Sequence[Point]) -> list[Table]:
    tables = []
    for title, points in (("vCPUs", vcpus), ("block size, pixels", sizes)):
        table = Table(title, title=f"Over {title}", title_justify="left")
        for name in ("blocks", "hours", "euro", "wasted %", "requests"):
            table.add_column(name, justify="right")
        table.add_column("hours")
        longest = max(point.hours for point in points)
        for point in points:
            bar = "█" * max(1, round(BAR * point.hours / longest))
            table.add_row(
                f"{point.value:,}",
                f"{point.blocks:,}",
                f"{point.hours:.2f}",
                f"{point.euro:.2f}",
                f"{100 * point.wasted:.3f}",
                f"{point.requests:,}",
                bar,
            )
        tables.append(table)
    return tables


def _as_json(
    request: Request,
    costs: Costs,
    outcome: Outcome,
    whole: Outcome,
    others: Sequence[Point],
    offers: Sequence[Offer],
    shared: Shared,
    sweeps: tuple[Sequence[Point], Sequence[Point]],
) -> dict[str, Any]:
    from groundplan.capacity import analysis

    def result(one: Outcome) -> dict[str, Any]:
        money = analysis.bill(request, one)
        return {
            "finished": one.finished,
            "hours": one.seconds / 3600,
            "euro": money.once,
            **asdict(money),
            "vcpu_hours": one.total.billed / 3600,
            "wasted": analysis.wasted(one.total),
            **asdict(one.total),
        }

    return {
        "asked": asdict(request),
        "costs": {"label": costs.label, "steps": {name: asdict(cost) for name, cost in costs.steps.items()}},
        "blocks": outcome.blocks,
        "regions": outcome.regions,
        "result": result(outcome),
        "without_blocks": result(whole),
        "steps": {name: asdict(tally) for name, tally in outcome.stages.items()},
        "shares": [asdict(share) for share in analysis.shares(outcome)],
        "bounds": [asdict(bound) for bound in analysis.bounds(request, outcome)],
        "binds": analysis.verdict(request, costs, outcome),
        "other_seeds": [asdict(point) for point in others],
        "offers": [asdict(offer) for offer in offers],
        "shared_runs": {**asdict(shared), "saved": shared.saved},
        "over_vcpus": [asdict(point) for point in sweeps[0]],
        "over_block_sizes": [asdict(point) for point in sweeps[1]],
    }


def picture(path: Path, request: Request, vcpus: Sequence[Point], sizes: Sequence[Point]) -> None:
    """Hours and euro over vCPUs and over block sizes, as a PNG. Raises BadConfig where it cannot be written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), dpi=100, layout="constrained")
    axes = figure.subplots(1, 2)
    for left, points, title, asked in (
        (axes[0], vcpus, "vCPUs", request.vcpus),
        (axes[1], sizes, "block size, pixels", request.block_size),
    ):
        values = [point.value for point in points]
        right = left.twinx()
        left.plot(values, [point.hours for point in points], "o-", color="tab:blue", label="hours")
        right.plot(values, [point.euro for point in points], "s--", color="tab:orange", label="euro")
        left.axvline(asked, color="grey", linewidth=0.8, linestyle=":")
        left.set_xscale("log", base=2)
        left.set_xticks(values, [f"{value}" for value in values], fontsize=8)
        left.minorticks_off()
        left.set_xlabel(title)
        left.set_ylabel("hours", color="tab:blue")
        right.set_ylabel("euro", color="tab:orange")
        right.set_ylim(0, 1.1 * max(point.euro for point in points) or 1)
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[1].set_ylim(0, 1.1 * max(point.hours for point in sizes))
    figure.suptitle(f"{request.area_km2:,.0f} km2 at {request.resolution:g} m; dotted: what was asked", fontsize=10)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise BadConfig(str(path), f"it cannot be written ({error.strerror})", "Give another place") from error

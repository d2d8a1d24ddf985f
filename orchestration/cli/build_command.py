"""`groundplan build`: its options, what it says of each partition, its exit code; and `--dry-run`.

Here: words and tables. Not here: the order of work and the runs (build.py), what would be done (planned.py),
collections (collections.py).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from groundplan.errors import BadConfig
from orchestration.cli import collections as of_images
from orchestration.cli.terminal import AsJson, Home, Region, Year, as_dict, bars, err, hints, open_home, out

if TYPE_CHECKING:
    from groundplan.project import Project
    from orchestration.cli.build import PartitionResult
    from orchestration.cli.planned import Intended

COLORS = {"made": "green", "current": "green", "failed": "red", "waiting": "yellow"}


def build(
    region: Region = None,
    year: Year = None,
    select: Annotated[list[str] | None, typer.Option(help="only this asset; give it again for more")] = None,
    with_inputs: Annotated[
        bool, typer.Option("--with-inputs", help="also what the chosen assets are made from")
    ] = False,
    retrain: Annotated[bool, typer.Option("--retrain", help="train anew although the settings are the same")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be made, and make nothing")] = False,
    collection: Annotated[str | None, typer.Option(help="this image collection, and no imagery")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Materialize with Dagster what is missing or stale, in order, and say what was done."""
    project = open_home(home)
    if collection is not None:
        if region is not None or year is not None or retrain:
            raise BadConfig(
                "build --collection", "a collection has no region, year or model", "Leave those options out"
            )
        choice = of_images.CollectionChoice(collection, select or [], with_inputs)
        if dry_run:
            raise typer.Exit(of_images.say_intended(project, choice, as_json, out))
        with bars(as_json):
            raise typer.Exit(of_images.build_collection(project, choice, as_json, out))
    chosen = _chosen(project, region, year, select or [], with_inputs)
    if dry_run:
        raise typer.Exit(_say_intended(project, region, year, chosen, retrain, as_json))
    raise typer.Exit(_build(project, region, year, chosen, retrain, as_json, offer=bool(select) and not with_inputs))


def _chosen(
    project: Project, region: str | None, year: int | None, select: list[str], with_inputs: bool
) -> list[str] | None:
    """The assets that are meant, in order; None for all. Raises BadConfig for a name of nothing."""
    from groundplan.pipeline import ASSETS, STEPS
    from groundplan.step import upstream
    from orchestration.cli.known import DELIVER, check_assets, check_place

    check_assets(select, ASSETS)
    if not check_place(project, region, year):
        raise BadConfig("build", "nothing was delivered yet", DELIVER)
    if not select:
        return None
    inputs = {other for name in select for other in upstream(STEPS, name)} if with_inputs else set()
    return [name for name in ASSETS if name in {*select, *inputs}]


def _build(
    project: Project,
    region: str | None,
    year: int | None,
    chosen: list[str] | None,
    retrain: bool,
    as_json: bool,
    offer: bool,
) -> int:
    """Build, print, and return the exit code: 1 where something failed, waits, or was left alone."""
    from groundplan.core.progress import current_progress
    from orchestration.cli.left_alone import left_alone

    done = []
    with bars(as_json):
        with current_progress().task("looking at what is there", 0, 0):
            from orchestration.cli.build import build as run
            from orchestration.cli.preflight import check_training

            check_training(project, region, year, chosen, retrain)
        for item in run(project, region, year, chosen, retrain):
            done.append(item)
            if not as_json and (item.outcome != "current" or item.checks):
                say(item)
    lines = left_alone(project)
    for line in lines:
        err.print(f"[yellow]left alone[/] {line}", highlight=False, soft_wrap=True)
    if as_json:
        out.print_json(json.dumps([as_dict(item) for item in done]))
    else:
        _summary(done)
        if offer and any(item.outcome == "waiting" for item in done):
            _offer_inputs(region, year, chosen or [])
    return int(bool(lines) or any(item.outcome in ("failed", "waiting") or item.checks for item in done))


def _offer_inputs(region: str | None, year: int | None, chosen: list[str]) -> None:
    from groundplan.commands import quoted

    words = [f"--select {name}" for name in chosen]
    words += [f"--region {quoted(region)}"] if region is not None else []
    words += [f"--year {year}"] if year is not None else []
    text = f"What they wait for is made with them by `groundplan build {' '.join(words)} --with-inputs`"
    out.print(hints(text), highlight=False, soft_wrap=True)


def say(item: PartitionResult) -> None:
    """A line on a partition that was looked at, and one on each of its checks that failed."""
    color = COLORS[item.outcome]
    what = f"{item.made} made, {item.kept} kept, {item.seconds:.1f} s" if item.outcome == "made" else item.message
    if item.outcome == "made" and item.message:
        what += f"; it was {item.message}"
    out.print(f"[{color}]{item.outcome:8}[/] {item.asset:20} {item.partition!s:18} {hints(what)}", soft_wrap=True)
    for name, message in item.checks.items():
        out.print(f"[yellow]check[/]    {name}: {hints(message)}", soft_wrap=True)


def _summary(done: list[Any]) -> None:
    counts = {
        outcome: sum(item.outcome == outcome for item in done) for outcome in ("made", "current", "failed", "waiting")
    }
    blocks = sum(item.made for item in done)
    if counts["current"] == len(done):
        out.print(f"Nothing to do: all {len(done)} partitions are current.")
        return
    out.print(
        ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) + f"; {blocks} objects made"
    )


def _say_intended(
    project: Project, region: str | None, year: int | None, chosen: list[str] | None, retrain: bool, as_json: bool
) -> int:
    """What a build would do, as a table. The exit code: 1 where something could not be made."""
    from orchestration.cli.planned import intended, states_of
    from orchestration.cli.preflight import check_training

    rows = intended(project, states_of(project, region, year, chosen), retrain)
    if as_json:
        out.print_json(json.dumps([as_dict(row) for row in rows]))
    else:
        _intended_table(rows)
    if any(row.dataset == "trained_model" and row.would == "make" for row in rows):
        check_training(project, region, year, chosen, retrain)
    return int(any(row.would == "wait" for row in rows))


def _intended_table(rows: list[Intended]) -> None:
    todo = [row for row in rows if row.would != "keep"]
    if not todo:
        out.print(f"Nothing to do: all {len(rows)} partitions are current.")
        return
    colors = {"make": "green", "look again": "cyan", "wait": "yellow"}
    table = Table(
        "asset", "region", "year", "would", "objects", "why", title="What a build would do", title_justify="left"
    )
    for row in todo:
        where = row.partition
        table.add_row(
            row.dataset,
            hints(where.region or "all"),
            str(where.year),
            f"[{colors[row.would]}]{row.would}[/]",
            "" if row.objects is None else str(row.objects),
            hints(row.why),
        )
    out.print(table)
    made = sum(row.would == "make" for row in todo)
    out.print(f"{made} partitions to make, {len(rows) - len(todo)} current. Nothing was changed")

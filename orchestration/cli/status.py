"""`groundplan status`: every asset by region and year, how good it is, and the first cause of what does not go on.

Here: the table, and what is said below it. Not here: how a partition stands (groundplan/step.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from orchestration.cli.terminal import AsJson, Home, Region, Year, as_dict, bars, hints, open_home, out, plain

if TYPE_CHECKING:
    from groundplan.core.partition import Partition
    from groundplan.project import Project
    from groundplan.step import State

    Found = State[Partition]

COLORS = {
    "current": "green",
    "failed": "bold red",
    "damaged": "bold red",
    "stale": "yellow",
    "missing": "cyan",
    "waiting": "dim",
}


def status(
    region: Region = None,
    year: Year = None,
    every: Annotated[bool, typer.Option("--all", help="all advice, not the first cause alone")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Every asset by region and year: blocks done, missing, failed, when, how good, and what to do next."""
    from orchestration.cli.known import check_place
    from orchestration.cli.left_alone import left_alone
    from orchestration.cli.planned import states_of

    project = open_home(home)
    check_place(project, region, year)
    with bars(as_json):
        states = states_of(project, region, year, None)
    if as_json:
        out.print_json(json.dumps([as_dict(state) for state in states]))
        return
    if states:
        out.print(_table(project, states))
    for line in left_alone(project):
        out.print(line, soft_wrap=True)
    for line in _all_notes(states) if every else advice(project, states, region, year):
        out.print(hints(line), highlight=False, soft_wrap=True)
    if not states:
        text = "Nothing was delivered yet: `groundplan add-imagery FILE... --region NAME --year YEAR`"
        out.print(hints(text), highlight=False, soft_wrap=True)


def _table(project: Project, states: Sequence[Found]) -> Table:
    table = Table(
        "asset", "region", "year", "state", "done", "missing", "failed", "score", "MB", "when (UTC)", "seconds"
    )
    for state in states:
        manifest = state.manifest
        table.add_row(
            state.dataset,
            plain(state.partition.region or "all"),
            str(state.partition.year),
            f"[{COLORS[state.state]}]{state.state}[/]",
            str(state.done),
            str(max(0, state.planned - state.done)),
            str(state.failed or ""),
            _score(project, state),
            f"{manifest.total_bytes / 1e6:.1f}" if manifest else "",
            manifest.committed[:19].replace("T", " ") if manifest else "",
            f"{manifest.seconds:.1f}" if manifest else "",
        )
    return table


def _score(project: Project, state: Found) -> str:
    """F1 of buildings at IoU 0.5, and on which ground: of a model, and of footprints against the register."""
    from groundplan.core.records import read_record
    from groundplan.errors import GroundplanError
    from groundplan.operations.country_map import QUALITY
    from groundplan.quality.verdict import verdict_key

    if not state.manifest:
        return ""
    if state.dataset == "trained_model":
        facts = state.manifest.objects["model"].facts
        scores = facts.get("test") or facts.get("validation")
        return _f1(scores, "test" if facts.get("test") else "validation")
    if state.dataset != "building_footprints":
        return ""
    try:
        scores = read_record(project.store, verdict_key(QUALITY, state.partition)).get("facts")
    except GroundplanError:
        return ""
    return _f1(scores, str(scores.get("ground", ""))) if isinstance(scores, dict) else ""


def _f1(scores: Any, ground: str) -> str:
    """'' where no number is there: what a text of the store says may be spoiled."""
    found = scores.get("object_f1") if isinstance(scores, dict) else None
    return f"F1 {found:.2f} {plain(ground)}".rstrip() if isinstance(found, float) else ""


def advice(project: Project, states: Sequence[Found], region: str | None, year: int | None) -> list[str]:
    """Lines on what to do: what failed, the build that makes what can be made, and the first cause of what waits."""
    from groundplan.commands import quoted
    from orchestration.cli.planned import intended

    rows = intended(project, states)
    lines = [f"{state.dataset} {state.partition}: {state.note}" for state in states if state.note and not _waits(state)]
    if made := sum(row.would in ("make", "look again") for row in rows):
        words = [f"--region {quoted(region)}"] if region is not None else []
        words += [f"--year {year}"] if year is not None else []
        lines.append(f"`groundplan {' '.join(['build', *words])}` makes {made} of these {len(rows)}")
    waiting = [state for state, row in zip(states, rows, strict=True) if row.would == "wait"]
    roots = [state for at, state in enumerate(waiting) if not any(_feeds(other, state) for other in waiting[:at])]
    lines += [f"{state.dataset} {state.partition}: {state.note}" for state in roots]
    if rest := len(waiting) - len(roots):
        lines.append(f"{rest} more wait for that; `groundplan status --all` says for what")
    return lines


def _waits(state: Found) -> bool:
    return state.state == "waiting"


def _feeds(other: Found, state: Found) -> bool:
    """Whether what a partition is made from holds another partition."""
    from groundplan.pipeline import STEPS
    from groundplan.step import upstream

    same = other.partition.year == state.partition.year
    near = "" in (other.partition.region, state.partition.region) or other.partition == state.partition
    return same and near and other.dataset in upstream(STEPS, state.dataset)


def _all_notes(states: Iterable[Found]) -> list[str]:
    return [f"{state.dataset} {state.partition}: {state.note}" for state in states if state.note]

"""`groundplan mine`: places on empty ground where the model sees buildings, learned from while that pays.

Here: the loop and its words. Not here: the places, the trial and its judgment (groundplan/mining), runs (build.py).

No sensor and no schedule begins it: a round is six trainings, and a seventh where it pays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from groundplan.core.partition import Partition
from groundplan.errors import BadConfig
from orchestration.cli.terminal import Home, OneYear, bars, open_home, out, plain

if TYPE_CHECKING:
    from groundplan.project import Project

BEFORE = ("sheets", "aerial_tiles", "register_buildings", "labels", "training_windows", "baseline_model")
PREDICTED = (*BEFORE, "trained_model", "predictions")


def mine(
    year: OneYear,
    rounds: Annotated[
        int | None,
        typer.Option(min=0, max=5, help="rounds at most; 0 takes back what was mined [default: mining.rounds]"),
    ] = None,
    home: Home = None,
) -> None:
    """Learn from places on empty ground where the model sees buildings, as long as a trial shows that it pays."""
    from groundplan.mining.rounds import check_own_model
    from groundplan.training.mined import take_back
    from orchestration.cli.known import check_place

    project = open_home(home)
    check_place(project, None, year)
    count = project.settings.mining.rounds if rounds is None else rounds
    if rounds is None and not count:
        raise BadConfig("mining.rounds", "it is 0: nothing is mined", "Set it, or give --rounds")
    if not count:
        taken = take_back(project, year)
        told = "the model will learn from no mined place any more" if taken else "nothing was mined"
        out.print(f"{year}: {told}. Build again: `groundplan build --year {year}`" if taken else f"{year}: {told}")
        return
    check_own_model(project, year)
    with bars(quiet=False):
        raise typer.Exit(_rounds(project, Partition(year), count))


def _rounds(project: Project, partition: Partition, most: int) -> int:
    """All rounds. The exit code: 1 where something could not be made."""
    from groundplan.mining.rounds import adopt, mined_places, why_stop

    counts: list[int] = []
    while len(counts) < most:
        if not _made(project, partition, PREDICTED) or not _made(project, partition, ("hard_negatives",)):
            return 1
        counts.append(mined_places(project, partition))
        out.print(f"Round {len(counts)}: {counts[-1]} places on empty ground look like buildings")
        if why := why_stop(counts):
            out.print(f"Round {len(counts)} is the last: {why}. The model stays as it is")
            return 0
        if not _made(project, partition, ("mining_trial",)):
            return 1
        if not _pays(project, partition):
            return 0
        found = adopt(project, partition)
        out.print(f"The model of {partition} learns from {found.windows} mined places: generation {found.generation}")
    # footprints are left to `groundplan build`: they are remade once, not in each round
    return 0 if _made(project, partition, PREDICTED) else 1


def _pays(project: Project, partition: Partition) -> bool:
    """Judge a trial and say it."""
    from groundplan.mining import trial
    from groundplan.mining.proof import judged
    from groundplan.quality.mining_pays import mining_pays

    header, *lines = judged(trial.results(project, partition)).rows()
    table = Table(*header)
    for line in lines:
        table.add_row(*line)
    out.print(table)
    verdict = mining_pays(project, partition)
    good = verdict.passed and verdict.compared
    said = "It pays" if good else "It does not pay" if verdict.compared else "Nobody can tell whether it pays"
    out.print(plain(f"{said}: {verdict.message}"), soft_wrap=True)
    if not good:
        out.print(f"The model of {partition} stays as it is")
    return good


def _made(project: Project, partition: Partition, names: tuple[str, ...]) -> bool:
    """Build datasets of the year; whether all are there."""
    from groundplan.pipeline import STEPS
    from groundplan.step import is_wanted
    from orchestration.cli.build import build
    from orchestration.cli.build_command import say

    asked = ("hard_negatives", "mining_trial")
    chosen = [name for name in names if name in asked or is_wanted(STEPS[name], project.settings)]
    whole = True
    for item in build(project, year=partition.year, select=chosen):
        if item.outcome != "current" and not (item.outcome == "made" and item.asset == "mining_trial"):
            say(item)
        whole = whole and item.outcome not in ("failed", "waiting")
    return whole

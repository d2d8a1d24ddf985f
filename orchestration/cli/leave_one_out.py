"""`groundplan leave-one-out`: how each region is drawn by a model that learned from all the others.

Here: options and the table. Not here: the trainings (groundplan/training/leave_one_out.py).
"""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from orchestration.cli.terminal import AsJson, Home, OneYear, as_dict, bars, open_home, out, plain

COLUMNS = {"iou": "IoU", "object_f1": "F1", "boundary_iou": "boundary IoU", "buildings": "buildings"}


def leave_one_out(
    year: OneYear,
    regions: Annotated[list[str] | None, typer.Option(help="leave out these alone; give it again for more")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.05, help="budget of each training [default: model.minutes]")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """For each region with labels: learn from all others, and say how it is drawn. No model of the project changes."""
    from groundplan.training.leave_one_out import leave_one_out as run

    with bars(as_json):
        found = list(run(open_home(home), year, regions or [], minutes))
    if as_json:
        out.print_json(json.dumps([as_dict(one) for one in found]))
        return
    table = Table("left out", "learned from", "cells", *COLUMNS.values())
    for one in found:
        values = (one.figures.get(name, 0.0) for name in COLUMNS)
        told = (f"{value:.0f}" if value >= 2 else f"{value:.3f}" for value in values)
        table.add_row(plain(one.region), plain(", ".join(one.learned)), str(one.cells), *told)
    out.print(table)

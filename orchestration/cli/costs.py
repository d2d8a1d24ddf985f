"""`groundplan costs`: what regions and years have cost, and whether a year is within its budget.

Here: the table, JSON, the exit code. Not here: the sums (groundplan/operations/spent.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from orchestration.cli.terminal import AsJson, Home, Region, Year, hints, open_home, out, plain

if TYPE_CHECKING:
    from groundplan.operations.spent import RegionCost, YearCost
    from groundplan.project import Project


def costs(region: Region = None, year: Year = None, home: Home = None, as_json: AsJson = False) -> None:
    """What was spent, by region and year, and each year against its budget; exit code 1 where it is over."""
    from groundplan.operations.spent import by_year, spent

    project = open_home(home)
    rows = spent(project, year, region)
    years = [] if region else by_year(project, rows)
    if as_json:
        typer.echo(json.dumps(_as_json(project, rows, years), indent=1, ensure_ascii=False))
    else:
        _print(project, rows, years)
    if any(one.over for one in years):
        raise typer.Exit(1)


def _as_json(project: Project, rows: Sequence[RegionCost], years: Sequence[YearCost]) -> dict[str, object]:
    price = project.settings.nightly.price_per_cpu_hour
    return {
        "currency": project.settings.nightly.currency,
        "price_per_cpu_hour": price,
        "regions": [
            {
                "year": row.partition.year,
                "region": row.partition.region,
                "processor_hours": row.hours,
                "cost": row.hours * price,
                "seconds": row.seconds,
                "unread": row.unread,
            }
            for row in rows
        ],
        "years": [
            {"year": one.year, "processor_hours": one.hours, "cost": one.cost, "budget": one.budget, "over": one.over}
            for one in years
        ],
    }


def _print(project: Project, rows: Sequence[RegionCost], years: Sequence[YearCost]) -> None:
    from rich.table import Table

    nightly = project.settings.nightly
    table = Table("year", "region", "processor hours", f"cost [{nightly.currency}]", "most of it")
    for row in rows:
        dearest = max(row.seconds, key=lambda name: row.seconds[name], default="")
        place = row.partition.region or "the year as a whole"
        cost = row.hours * nightly.price_per_cpu_hour
        table.add_row(str(row.partition.year), plain(place), f"{row.hours:,.3f}", f"{cost:,.3f}", dearest)
    out.print(table)
    for one in years:
        budget = f", of a budget of {one.budget:,.3f}" if one.budget is not None else ", no budget is set"
        mark = "over budget" if one.over else "year"
        said = f"{mark} {one.year}: {one.cost:,.3f} {nightly.currency}{budget}"
        out.print(said, highlight=False, soft_wrap=True, markup=False)
    if unread := sum(row.unread for row in rows):
        out.print(hints(f"{unread} manifests could not be read: `groundplan status` names them"), soft_wrap=True)

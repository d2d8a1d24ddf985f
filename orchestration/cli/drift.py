"""`groundplan drift`: which regions' imagery or predictions are unlike those that the model is known to do well on.

Here: options and the table. Not here: figures and statistics (groundplan/monitoring).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from orchestration.cli.terminal import AsJson, Home, Region, Year, bars, hints, open_home, out, plain

if TYPE_CHECKING:
    from groundplan.core.partition import Partition
    from groundplan.monitoring.report import DriftReport
    from groundplan.project import Project

WORDS = {None: "[dim]not known[/]", True: "[bold red]no[/]", False: "[green]yes[/]"}


def drift(
    region: Region = None,
    year: Year = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="first make the baseline, of the regions of the model's own year")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="take this region and year into the baseline: a person looked at it")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Compare each region's imagery, predictions and buildings with the model's baseline."""
    from groundplan.monitoring import report
    from orchestration.cli.known import check_place

    project = open_home(home)
    check_place(project, region, year)
    asked = asked_for(project, region, year)
    with bars(as_json):
        if baseline:
            for one in sorted({part.year for part in asked}):
                report.make_baseline(project, one, _made(project))
        if accept:
            _accept(project, asked)
        found = [report.look(project, part, datetime.now(UTC)) for part in asked]
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False))
        return
    _show(found)


def _made(project: Project) -> list[Partition]:
    """Regions and years whose footprints are made."""
    from groundplan.operations.status import MADE, take

    return [one.partition for one in take(project) if one.dataset == "building_footprints" and one.state == MADE]


def asked_for(project: Project, region: str | None, year: int | None) -> list[Partition]:
    """Raises MissingInput where no footprints are made of what is asked for."""
    from groundplan.errors import MissingInput

    made = _made(project)
    asked = [part for part in made if region in (None, part.region) and year in (None, part.year)]
    if not asked:
        raise MissingInput(
            "footprints", "none are made there", "Build them: `groundplan build`; `groundplan status` says how far"
        )
    return asked


def _accept(project: Project, asked: list[Partition]) -> None:
    from groundplan.errors import BadConfig
    from groundplan.monitoring import report

    if len(asked) != 1:
        raise BadConfig("--accept", f"{len(asked)} regions and years are meant", "Give --region and --year of one")
    report.accept(project, asked[0])


def _show(found: list[DriftReport]) -> None:
    table = Table("region", "year", "like the baseline", "of regions", "unlike", "most unusual blocks")
    for one in found:
        figures = ", ".join(dict.fromkeys(each.figure for each in one.unusual))
        blocks = ", ".join(one.blocks) if one.out else ""
        table.add_row(plain(one.region), str(one.year), WORDS[one.out], str(one.compared), figures, blocks)
    out.print(table)
    for text in dict.fromkeys(f"{one.partition}: {one.cause}" if one.cause else one.why for one in found):
        if text:
            out.print(hints(text), highlight=False, soft_wrap=True)

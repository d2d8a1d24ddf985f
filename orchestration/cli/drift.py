"""`groundplan drift`: which regions, or cameras, see or predict unlike those that the model is known to do well on.

Here: options and the table. Not here: figures and statistics (groundplan/monitoring).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from groundplan.errors import BadConfig, MissingInput
from orchestration.cli.terminal import AsJson, Home, Region, Year, bars, hints, open_home, out, plain

if TYPE_CHECKING:
    from groundplan.core.partition import Partition
    from groundplan.database.image_drift import CameraReport
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
        bool, typer.Option("--accept", help="take this region and year, or camera and day, into the baseline")
    ] = False,
    images: Annotated[bool, typer.Option("--images", help="of single images, by camera and day")] = False,
    camera: Annotated[str | None, typer.Option(help="with --images; all cameras unless given")] = None,
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="with --images; the last day that any came")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Compare each region's imagery, predictions and buildings with the model's baseline."""
    from groundplan.monitoring import report
    from orchestration.cli.known import check_place

    project = open_home(home)
    if images:
        _images(project, camera, day.date() if day else None, baseline, accept, as_json)
        return
    if camera or day:
        raise BadConfig("--camera, --day", "they are of single images", "Give --images too")
    check_place(project, region, year)
    asked = asked_for(project, region, year)
    with bars(as_json):
        if baseline:
            for one in sorted({part.year for part in asked}):
                report.make_baseline(project, one, _made(project))
        if accept:
            _accept(project, asked)
        found = [report.look(project, part, datetime.now(UTC)) for part in asked]
    if project.settings.database.url:
        _keep(project, found)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False))
        return
    _show(found)


def _keep(project: Project, found: list[DriftReport]) -> None:
    from groundplan.database.connect import open_database
    from groundplan.database.drift import keep_verdicts

    engine = open_database(project)
    for one in found:
        keep_verdicts(engine, one.name, datetime.fromisoformat(one.at), one.figures)


def _images(project: Project, camera: str | None, day: date | None, baseline: bool, accept: bool, json_: bool) -> None:
    """Raises MissingInput where no image ever arrived, BadConfig."""
    from groundplan.database import image_drift
    from groundplan.database.connect import open_database
    from groundplan.database.drift import newest_day

    if accept and (camera is None or day is None):
        raise BadConfig("--accept", "it is not said what", "Give --camera and --day; --camera '' where it is not known")
    engine = open_database(project)
    chosen = day or newest_day(engine)
    if chosen is None:
        raise MissingInput("images", "none was analysed yet", "Start `groundplan serve --work`, and send one")
    taken = image_drift.make_baseline(project, engine, chosen) if baseline else 0
    taken += image_drift.accept(project, engine, chosen, camera) if accept else 0
    found = [
        one
        for one in image_drift.look(project, engine, chosen, datetime.now(UTC))
        if camera is None or one.camera == camera
    ]
    if json_:
        typer.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False))
        return
    if baseline or accept:
        out.print(f"{taken} days of cameras taken into the baseline", highlight=False)
    _show_cameras(found)


def _show_cameras(found: list[CameraReport]) -> None:
    table = Table("camera", "day", "model", "images", "like the baseline", "of days", "unlike")
    for one in found:
        figures = ", ".join(dict.fromkeys(each.figure for each in one.unusual))
        name = plain(one.camera) or "[dim]not known[/]"
        table.add_row(name, one.day, plain(one.model), str(one.images), WORDS[one.out], str(one.compared), figures)
    out.print(table)
    for text in dict.fromkeys(f"{one.name}: {one.cause}" if one.cause else one.why for one in found):
        if text:
            out.print(hints(text), highlight=False, soft_wrap=True)


def _made(project: Project) -> list[Partition]:
    """Regions and years whose footprints are made."""
    from groundplan.operations.status import MADE, take

    return [one.partition for one in take(project) if one.dataset == "building_footprints" and one.state == MADE]


def asked_for(project: Project, region: str | None, year: int | None) -> list[Partition]:
    """Raises MissingInput where no footprints are made of what is asked for."""
    made = _made(project)
    asked = [part for part in made if region in (None, part.region) and year in (None, part.year)]
    if not asked:
        raise MissingInput(
            "footprints", "none are made there", "Build them: `groundplan build`; `groundplan status` says how far"
        )
    return asked


def _accept(project: Project, asked: list[Partition]) -> None:
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

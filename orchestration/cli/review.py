"""`groundplan review`: what people are asked about, files for QGIS and JOSM, and labels from what they said.

Here: options and what is printed. Not here: choosing, verdicts, the register (groundplan/reviews).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestration.cli.terminal import (
    Home,
    OneYear,
    Region,
    Year,
    bars,
    open_home,
    out,
    pasted,
    plain,
    print_next,
    print_notes,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from groundplan.core.partition import Partition
    from groundplan.project import Project

review = typer.Typer(no_args_is_help=True, help="Ask people about buildings, and learn from what they say.")


@review.command("tasks")
def choose_tasks(region: Region = None, year: Year = None, home: Home = None) -> None:
    """Choose the polygons that are most worth a look; those that were judged stay."""
    from groundplan.database.reviews import add_tasks
    from groundplan.reviews.tasks import choose

    project = open_home(home)
    engine, count = _database(project), 0
    with bars(False):
        for part in _made(project, region, year):
            found = choose(project, part, _unusual(project, part))
            count += add_tasks(engine, found)
    out.print(f"{count} new polygons to look at")
    print_next("serve")
    out.print("Then open http://127.0.0.1:3001/review/", highlight=False)


@review.command("status")
def show_status(region: Region = None, year: Year = None, home: Home = None) -> None:
    """How far it is, what was said, how two people agree, and the share of buildings among those drawn by chance."""
    from collections import Counter

    from groundplan.database.reviews import Place, progress
    from groundplan.reviews.verdicts import agreement, precision, read_reviews, settled

    project = open_home(home)
    for one in sorted({part.year for part in _made(project, region, year)}):
        told = progress(_database(project), Place(region=region, year=one))
        said = [each for each in read_reviews(project.store, one) if region in (None, each.about["region"])]
        words = ", ".join(
            f"{count} {word}" for word, count in Counter(r.verdict for r in settled(said).values()).items()
        )
        out.print(f"{one}: {told['done']} done, {told['open']} open. {words or 'Nothing was said'}", highlight=False)
        (pairs, kappa), (drawn, share) = agreement(said), precision(said)
        if pairs:
            out.print(
                f"  two people judged {pairs}; kappa {'not defined' if kappa is None else kappa}", highlight=False
            )
        if share is not None:
            out.print(f"  of {drawn} drawn by chance {share:.0%} are buildings", highlight=False)


@review.command("export")
def export_tasks(
    file: Annotated[Path, typer.Argument(help="GeoPackage to write")],
    region: Region = None,
    year: Year = None,
    home: Home = None,
) -> None:
    """Write open tasks as a GeoPackage: fill in its column `verdict` in QGIS or JOSM, and import it."""
    from groundplan.database.reviews import OPEN, Place, list_tasks
    from groundplan.reviews.files import write_tasks

    found = list_tasks(_database(open_home(home)), Place(region=region, year=year), OPEN)
    write_tasks(found, file)
    out.print(f"{len(found)} tasks in {plain(str(file))}", highlight=False)


@review.command("import")
def import_verdicts(
    file: Annotated[Path, typer.Argument(help="GeoPackage that was exported and filled in")],
    person: Annotated[str, typer.Option(help="who filled it in")],
    home: Home = None,
) -> None:
    """Take in what was filled in; a verdict that this person gave before is not taken twice."""
    from groundplan.database.intake import take_in
    from groundplan.reviews.files import read_verdicts

    project = open_home(home)
    found, notes = read_verdicts(file, project.settings.registers)
    taken, left = take_in(_database(project), project, found, person)
    print_notes([*notes, *left])
    out.print(f"{taken} verdicts taken in")
    if taken:
        years = sorted({one.year for one in found})
        print_next(f"review apply --year {years[-1]}")


@review.command("apply")
def apply_verdicts(year: OneYear, home: Home = None) -> None:
    """Make a register of a year's verdicts; the next build makes the labels around them anew."""
    from groundplan.database.verdicts import mirror
    from groundplan.reviews.register import write_reviews

    project = open_home(home)
    to_store, to_database = mirror(_database(project), project.store, year)
    register, found = write_reviews(project, year)
    if to_store or to_database:
        out.print(f"{to_store} verdicts brought to the store, {to_database} to the database")
    if register is None:
        out.print("No verdict changes any label yet")
        return
    out.print(f"{len(found.buildings)} buildings are said to stand; {found.left_out} verdicts are for scoring only")
    out.print(f"Labels: {plain(pasted(f'build --year {year} --select labels'))}", highlight=False, soft_wrap=True)
    out.print(f"A new model: {plain(pasted(f'build --year {year} --retrain'))}", highlight=False, soft_wrap=True)


def _database(project: Project) -> Engine:
    from groundplan.database.connect import open_database

    return open_database(project)


def _made(project: Project, region: str | None, year: int | None) -> list[Partition]:
    from orchestration.cli.drift import asked_for

    return asked_for(project, region, year)


def _unusual(project: Project, part: Partition) -> tuple[str, ...]:
    """The most unusual blocks of its drift report, where one says that it is out."""
    from groundplan.errors import MissingInput
    from groundplan.monitoring.report import read_report, report_key

    try:
        report = read_report(project, report_key(part))
    except MissingInput:
        return ()
    return report.blocks if report.out else ()

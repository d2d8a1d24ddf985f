"""What commands share: the options that many have, the console, and text on it.

Here: options by their one name and help, both consoles, notes. Not here: any command.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from groundplan.core.partition import FIRST_YEAR, LAST_YEAR

if TYPE_CHECKING:
    from groundplan.project import Project

WIDE = None if sys.stdout.isatty() else 140  # tables in a log are not cut
out = Console(width=WIDE)
err = Console(stderr=True)

Home = Annotated[
    Path | None,
    typer.Option("--home", envvar="GROUNDPLAN_HOME", help="folder of the project; by default looked for from here"),
]
Region = Annotated[str | None, typer.Option(help="only this region")]
Year = Annotated[int | None, typer.Option(min=FIRST_YEAR, max=LAST_YEAR, help="only this year")]
OneRegion = Annotated[str, typer.Option("--region", help="name of the region")]
Layer = Annotated[str | None, typer.Option(help="layer of the file, where it holds several of polygons")]
ExtentLayer = Annotated[str | None, typer.Option(help="layer of the extent's file")]
Where = Annotated[str | None, typer.Option(help="SQL condition on the file's columns that a building must meet")]
OneYear = Annotated[int, typer.Option("--year", min=FIRST_YEAR, max=LAST_YEAR)]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for a program")]


def open_home(home: Path | None) -> Project:
    from groundplan.project import find_home, open_project

    return open_project(home or find_home(Path.cwd()))


def plain(text: str) -> str:
    """Text in which the terminal's markup does nothing, wherever it came from."""
    from rich.markup import escape

    return escape(text)


def print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        out.print(f"[yellow]note[/] {plain(note)}", highlight=False, soft_wrap=True)

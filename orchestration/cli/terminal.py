"""What commands share: the options that many have, the console, and text on it.

Here: options by their one name and help, both consoles, opening the project, text with commands that can be pasted. Not
here: any command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from groundplan.commands import PROGRAM, pasteable, program
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
OneYear = Annotated[int, typer.Option("--year", min=FIRST_YEAR, max=LAST_YEAR, help="year of the imagery")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for a program")]


_opened: list[Path] = []  # the project that this command works on: what is printed names it where it must


def begin() -> None:
    """A command begins: no project is open."""
    _opened.clear()


def open_home(home: Path | None) -> Project:
    from groundplan.project import find_home, open_project

    project = open_project(home or find_home(Path.cwd()))
    _opened[:] = [project.home]
    return project


def called() -> str:
    """How this program is called from the current folder."""
    return program(sys.argv[0], Path.cwd())


def hints(text: str) -> str:
    """The text, with commands that can be pasted as they stand, in which the terminal's markup does nothing."""
    return plain(pasteable(text, called(), _to_name(), Path.cwd()))


def pasted(command: str) -> str:
    """One command of this program, such as `status`, as it can be pasted."""
    return pasteable(f"`{PROGRAM} {command}`", called(), _to_name(), Path.cwd()).strip("`")


def _to_name() -> Path | None:
    """The project, where a command without --home would mean another or none."""
    from groundplan.errors import BadConfig
    from groundplan.project import find_home

    if not _opened:
        return None
    try:
        found = Path(os.environ.get("GROUNDPLAN_HOME") or find_home(Path.cwd())).absolute()
    except BadConfig:
        return _opened[0]
    return None if found == _opened[0] else _opened[0]


def plain(text: str) -> str:
    """Text in which the terminal's markup does nothing, wherever it came from."""
    from rich.markup import escape

    return escape(text)


def print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        out.print(f"[yellow]note[/] {hints(note)}", highlight=False, soft_wrap=True)


def print_next(command: str) -> None:
    """A line that goes on from here, as it can be pasted."""
    out.print(f"Next: {plain(pasted(command))}", highlight=False, soft_wrap=True)


def as_dict(item: Any) -> dict[str, Any]:
    """A record as JSON has it, without the manifest that it may hold."""
    from dataclasses import asdict

    row = asdict(item)
    row.pop("manifest", None)
    return row


def bars(quiet: bool) -> AbstractContextManager[None]:
    """Progress on the terminal while a command works; none where a program reads."""
    from orchestration.cli.progress_bars import bars as shown

    return shown(err, quiet)

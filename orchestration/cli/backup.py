"""`groundplan backup` and `groundplan restore`.

Here: options and words. Not here: what is kept (groundplan/operations/backup.py).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestration.cli.terminal import Home, open_home, out, print_next

if TYPE_CHECKING:
    from groundplan.operations.backup import Copied

Dagster = Annotated[
    str | None,
    typer.Option(
        help="Dagster's storage: a folder, or postgresql://HOST/DATABASE; by default DAGSTER_HOME, or the home's"
    ),
]


def backup(
    folder: Annotated[Path, typer.Argument(help="where the copy is kept; a second one copies what is new")],
    dagster: Dagster = None,
    whole: Annotated[bool, typer.Option("--all", help="also what a build would make again")] = False,
    home: Home = None,
) -> None:
    """Copy what people gave, models, both databases and the settings: what no build makes again."""
    from groundplan.operations.backup import backup as run

    project = open_home(home)
    folder.mkdir(parents=True, exist_ok=True)
    _say("copied", run(project, folder.absolute(), _storage(dagster, project.home), whole))


def restore(
    folder: Annotated[Path, typer.Argument(help="a folder that `groundplan backup` has made")],
    home: Annotated[
        Path, typer.Option("--home", help="a new folder, or one with a groundplan.toml that is to be used")
    ],
    dagster: Dagster = None,
) -> None:
    """Bring a backup back into an empty home and store; all of it is checked before anything is written."""
    from groundplan.operations.backup import restore as run

    _say("restored", run(folder.absolute(), home.absolute(), _storage(dagster, home.absolute())))
    open_home(home)
    print_next("build")


def _storage(asked: str | None, home: Path) -> str:
    return asked or os.environ.get("DAGSTER_HOME") or str(home / "dagster")


def _say(verb: str, done: Copied) -> None:
    said = f"{done.objects} objects {verb}, {done.bytes / 1e6:,.1f} MB; {done.unchanged} were there"
    out.print(f"{said}; {len(done.databases)} files of databases", highlight=False, soft_wrap=True)

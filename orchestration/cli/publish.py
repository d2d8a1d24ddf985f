"""`groundplan qgis` and `groundplan stac`: what is made as a QGIS project, or as a catalogue for STAC clients.

Here: their options. Not here: writing (groundplan/publish/).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.terminal import Home, open_home, out, plain


def qgis(
    folder: Annotated[Path | None, typer.Argument(help="folder to write; `qgis` in the project by default")] = None,
    home: Home = None,
) -> None:
    """Write a QGIS project: footprints and register as files, imagery from the map server."""
    from groundplan.publish.qgis import SERVER, write_qgis

    project = open_home(home)
    written = write_qgis(project, folder or project.home / "qgis")
    out.print(f"Wrote [bold]{plain(str(written))}[/]", soft_wrap=True)
    served = project.settings.serving.url or SERVER
    out.print(f"Its imagery comes from {plain(served)}: keep `groundplan serve` running", soft_wrap=True)


def stac(
    folder: Annotated[Path | None, typer.Argument(help="folder to write; `stac` in the project by default")] = None,
    home: Home = None,
) -> None:
    """Write a static STAC catalogue of sheets, tiles and footprints, with relative links."""
    from groundplan.publish.stac import write_stac

    project = open_home(home)
    written = write_stac(project, folder or project.home / "stac")
    out.print(f"Wrote [bold]{plain(str(written))}[/]", soft_wrap=True)

"""`groundplan serve`: the preview server of a project; `groundplan open`: where its pages are, in a browser.

Here: their options. Not here: what it answers, and how it is bounded (serving/).
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundplan.errors import BadConfig, Stopped
from orchestration.cli.terminal import Home, hints, open_home, out, plain

if TYPE_CHECKING:
    from groundplan.project import Project

LOCAL = "127.0.0.1"
PORT, UI_PORT = 3001, 3000


def serve(
    host: Annotated[
        str, typer.Option(help="address to listen at; there is no log-in, so by default this machine only")
    ] = LOCAL,
    port: Annotated[int, typer.Option(min=0, max=65535)] = PORT,
    work: Annotated[bool, typer.Option("--work", help="work off messages too, as `work` does")] = False,
    maps_only: Annotated[
        bool, typer.Option("--maps-only", help="answer no programs: no model and no database is opened")
    ] = False,
    home: Home = None,
) -> None:
    """Serve maps and pictures for a browser, and answers about images, areas and results for programs."""
    from serving.api.app import build
    from serving.logs import json_logs
    from serving.maps.app import build_app
    from serving.maps.cache import load_libraries
    from serving.maps.connections import Bounds, server_of
    from serving.maps.hosts import is_this_machine

    if work and maps_only:
        raise BadConfig("--maps-only", "a server of maps works off no messages", "Give one of --work and --maps-only")
    project = open_home(home)
    chosen = project.settings.serving
    if not is_this_machine(host):
        typer.echo(
            f"Warning: there is no log-in, and {host} is reached from elsewhere: whoever reaches port {port} sees "
            "every picture and map. Let only a reverse proxy with a log-in reach it (docs/web-ui.md). Images, areas "
            "and results are answered to keys alone: `groundplan keys add` (docs/serving.md)",
            err=True,
        )
    typer.echo(f"Maps and pictures of {project.home}: http://{host}:{port}/map/")
    if not maps_only:
        typer.echo(f"Answers for programs: http://{host}:{port}/docs")
    if not sys.stderr.isatty():
        json_logs()
    load_libraries()
    bounds = Bounds(most_each=chosen.connections_per_address, proxies=chosen.proxies)
    with suppress(Stopped):  # Ctrl-C is how it ends
        app = build_app(project, host) if maps_only else build(project, host, work)
        server_of(app, host, port, bounds).run()


def open_pages(
    ui: Annotated[bool, typer.Option("--ui", help="Dagster's web UI, not the map")] = False,
    show: Annotated[bool, typer.Option(help="also in a browser, where this machine has one")] = True,
    home: Home = None,
) -> None:
    """Print where the map and Dagster's web UI are, and show one of them in a browser."""
    import webbrowser

    project = open_home(home)
    found = _addresses(project)
    for name, address in found.items():
        state = "" if _answers(address) else "    [yellow]nothing answers there[/]"
        out.print(f"{name:8}{plain(address)}{state}", highlight=False, soft_wrap=True)
    chosen = found["Dagster" if ui else "map"]
    if not _answers(chosen):
        _say_how_to_start(project)
        raise typer.Exit(1)
    if show:
        webbrowser.open(chosen)


def _addresses(project: Project) -> dict[str, str]:
    """As settings have them, else where `serve` and `make dev` put them."""
    chosen = project.settings.serving
    maps, pages = chosen.url or f"http://{LOCAL}:{PORT}", chosen.dagster_url or f"http://{LOCAL}:{UI_PORT}"
    return {"map": f"{maps.rstrip('/')}/map/", "Dagster": pages}


def _answers(address: str) -> bool:
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    try:
        with urlopen(address, timeout=2):
            return True
    except HTTPError:
        return True
    except (URLError, OSError, ValueError):
        return False


def _say_how_to_start(project: Project) -> None:
    from groundplan.commands import shortest

    text = "Start the map with `groundplan serve`"
    if Path("Makefile").is_file() and Path("workspace.yaml").is_file():
        text += f", or the map and Dagster with `make dev HOME_FOLDER={shortest(Path.cwd(), project.home)}`"
    out.print(hints(text), highlight=False, soft_wrap=True)

"""`groundplan serve`: the preview server of a project.

Here: its options. Not here: what it answers, and how it is bounded (serving/).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LOCAL = "127.0.0.1"


def serve(
    host: Annotated[
        str, typer.Option(help="address to listen at; there is no log-in, so by default this machine only")
    ] = LOCAL,
    port: Annotated[int, typer.Option(min=0, max=65535)] = 3001,
    home: Annotated[Path | None, typer.Option("--home", envvar="GROUNDPLAN_HOME", help="folder of the project")] = None,
) -> None:
    """Serve pictures and maps for a browser: read-only, for Dagster's pages and people."""
    from groundplan.project import find_home, open_project
    from serving.maps.app import build_app
    from serving.maps.cache import load_libraries
    from serving.maps.connections import Bounds, server_of
    from serving.maps.hosts import is_this_machine

    project = open_project(home or find_home(Path.cwd()))
    chosen = project.settings.serving
    if not is_this_machine(host):
        typer.echo(
            f"Warning: there is no log-in, and {host} is reached from elsewhere: whoever reaches port {port} sees "
            "every picture and map. Let only a reverse proxy with a log-in reach it (docs/web-ui.md)",
            err=True,
        )
    typer.echo(f"Maps and pictures of {project.home}: http://{host}:{port}/map/")
    load_libraries()
    bounds = Bounds(most_each=chosen.connections_per_address, proxies=chosen.proxies)
    server_of(build_app(project, host), host, port, bounds).run()

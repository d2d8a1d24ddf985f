"""`groundplan serve`: the preview server of a project.

Here: its options, and how the server is bounded. Not here: what it answers (serving/).
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
    import uvicorn

    from groundplan.project import find_home, open_project
    from serving.maps.app import build_app

    project = open_project(home or find_home(Path.cwd()))
    typer.echo(f"Maps and pictures of {project.home}: http://{host}:{port}/map/")
    # one process; connections and the address line are bounded, and a request that dawdles is let go
    uvicorn.run(
        build_app(project),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=400,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=32 * 1024,
    )

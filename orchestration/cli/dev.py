"""`groundplan dev`: Dagster's web UI and daemon, maps, and answers about images, over a project, until told to stop.

Here: starting them, and ending all that they started. Not here: what they do; Dagster's part is `dg dev`.

Each is begun in a session of its own, by which everything that it starts is found again: run workers and code servers
outlive their parents otherwise. A terminal's Ctrl-C reaches only this process, which then tells them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from groundplan.commands import PROGRAM
from groundplan.errors import BadConfig
from orchestration.cli.serve import LOCAL, PORT, UI_PORT
from orchestration.cli.terminal import Home, open_home, out, plain

if TYPE_CHECKING:
    from groundplan.project import Project

PATIENCE = 6.0  # seconds in which services end by themselves
INSISTING = 2.0  # seconds after they were told again
WORKSPACE = """load_from:
  - python_module:
      module_name: groundplan_project.definitions
      location_name: groundplan
"""

Service = subprocess.Popen[bytes]


def dev(
    port: Annotated[int, typer.Option(min=1, max=65535, help="of the map")] = PORT,
    ui_port: Annotated[int, typer.Option(min=1, max=65535, help="of Dagster's web UI")] = UI_PORT,
    home: Home = None,
) -> None:
    """Run Dagster's web UI and daemon, the maps, and answers about images, over a project, until Ctrl-C."""
    project = open_home(home)
    for option, number in (("--port", port), ("--ui-port", ui_port)):
        _check_free(option, number)
    _sync(project)
    environment = _environment(project, port, ui_port)
    out.print(f"Map       http://{LOCAL}:{port}/map/\nDagster   http://{LOCAL}:{ui_port}", highlight=False)
    out.print(
        f"Images    http://{LOCAL}:{port}/docs, or files into {plain(project.store.uri('inbox/'))}", highlight=False
    )
    out.print("Both end with Ctrl-C\n", highlight=False)
    told = threading.Event()
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # an exception could come between a start and its note;
        # and not here: the loop below may just hold the lock that `set` takes
        signal.signal(number, lambda *_: start_new_thread(told.set, ()))
    services: dict[str, Service] = {}
    try:
        for name, command in _commands(project, port, ui_port).items():
            services[name] = subprocess.Popen(command, cwd=project.home, env=environment, start_new_session=True)
        while not told.wait(0.5):
            for name, service in services.items():
                if service.poll() is not None:
                    raise BadConfig(
                        name, f"it ended by itself, with code {service.returncode}", "See what it said above"
                    )
        typer.echo("stopping the map, Dagster, and the runs that it has begun", err=True)
    finally:
        end(list(services.values()))


def _check_free(option: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCAL, port))
        except OSError as error:
            reason = f"another program listens at port {port}"
            raise BadConfig(option, reason, "Give another: UI_PORT=3002 MAP_PORT=3003 with make dev") from error


def _sync(project: Project) -> None:
    """The home's Dagster folder, and the project's regions and years in it."""
    from orchestration.cli.build import sync

    sync(project)


def _environment(project: Project, port: int, ui_port: int) -> dict[str, str]:
    ours = {
        "GROUNDPLAN_HOME": str(project.home),
        "DAGSTER_HOME": os.environ.get("DAGSTER_HOME") or str(project.home / "dagster"),
        "GROUNDPLAN_SERVING__URL": _reached(project.settings.serving.url, port),
        "GROUNDPLAN_SERVING__DAGSTER_URL": _reached(project.settings.serving.dagster_url, ui_port),
    }
    return {**os.environ, **ours}


def _reached(chosen: str, port: int) -> str:
    """Where a browser finds it: as the settings say, unless they name this machine, where the port says more."""
    return chosen if chosen and urlsplit(chosen).hostname != LOCAL else f"http://{LOCAL}:{port}"


def _commands(project: Project, port: int, ui_port: int) -> dict[str, list[str]]:
    """What is run. In the home's folder, since Dagster warns of a dagster.yaml that lies where it is started."""
    beside = Path(sys.executable).with_name
    serve = [str(beside(PROGRAM)), "serve", "--work", "--host", LOCAL, "--port", str(port)]
    # in an installation without the group `dev` there is no dg, and the same is called dagster
    dagster = beside("dg") if beside("dg").is_file() else beside("dagster")
    # at `info` each sensor's look is a line, every few seconds; what runs do is told at `warning` too
    quiet = ["--log-level", "warning"]
    pages = [str(dagster), "dev", "-w", str(_workspace(project)), "-h", LOCAL, "-p", str(ui_port), *quiet]
    return {"map": serve, "Dagster": pages}


def _workspace(project: Project) -> Path:
    """The checkout's workspace file; in a wheel's installation one in the home."""
    ours = Path(__file__).parents[2] / "workspace.yaml"
    if ours.is_file():
        return ours
    path = project.home / "dagster" / "workspace.yaml"
    path.write_text(WORKSPACE, "utf-8")
    return path


def end(services: Sequence[Service]) -> None:
    """End services and all that they started: politely, then firmly. Returns when nothing of them is left."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for service in services:  # dg dev knows Ctrl-C alone, and ends what it has started by itself
            with suppress(ProcessLookupError):
                service.send_signal(signal.SIGINT)
        _wait(lambda: not _left(services), PATIENCE)
        for number, seconds in ((signal.SIGTERM, INSISTING), (signal.SIGKILL, INSISTING)):
            _tell(_left(services), number)
            _wait(lambda: not _left(services), seconds)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(processes: Sequence[int], number: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _wait(over: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not over() and time.monotonic() < until:
        time.sleep(0.1)


def _left(services: Sequence[Service]) -> list[int]:
    """Processes of the services' sessions that are alive: of all of them where /proc lists them, else the services."""
    for service in services:
        service.poll()  # one that has ended is none, once it was asked
    sessions = {service.pid for service in services}
    if not Path("/proc/self").exists():
        return [service.pid for service in services if service.returncode is None]
    return [process for process in _processes() if _session_of(process) in sessions and not _is_dead(process)]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _session_of(process: int) -> int | None:
    try:
        return os.getsid(process)
    except OSError:
        return None


def _is_dead(process: int) -> bool:
    """Whether it only waits for its parent to take note."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return True

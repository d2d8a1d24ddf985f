"""`make dev` ends all that it started: on Ctrl-C, on SIGTERM, and when a part of it ends by itself.

Real processes: make, the map server, dg dev with its web server, daemon and code servers. Each is in a session that the
command made, by which it is found here as well.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from conftest import MakeProject

ROOT = Path(__file__).parents[2]
# What starts is Dagster: web server, daemon, code servers; 40 s of CPU for each case.
pytestmark = [pytest.mark.daemon, pytest.mark.slow]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes_of(home: Path) -> list[int]:
    """Processes that were started for a project: they have it in their environment."""
    mark, found = f"GROUNDPLAN_HOME={home}".encode(), []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait(over: Callable[[], object], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not over() and time.monotonic() < until:
        time.sleep(0.2)
    return bool(over())


def answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=5):
            return True
    except (URLError, OSError):
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_20_seconds_after(tmp_path: Path, make_project: MakeProject, number: signal.Signals) -> None:
    home, port, ui_port = make_project(tmp_path / "home").home, free_port(), free_port()
    done = ["-o", ".venv/.done", "-o", "serving/maps/static/vendor/.done"]  # the environment is the one of the tests
    words = [f"HOME_FOLDER={home}", f"MAP_PORT={port}", f"UI_PORT={ui_port}", f"BIN={Path(sys.executable).parent}"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("GROUNDPLAN_", "DAGSTER_"))}
    started = subprocess.Popen(["make", *done, "dev", *words], cwd=ROOT, env=clean, start_new_session=True)
    try:
        assert wait(lambda: answers(port) and answers(ui_port), 300), "it does not come up"
        assert len(processes_of(home)) >= 4, "map, dg dev, its web server and daemon"
        if number == signal.SIGINT:
            os.killpg(started.pid, number)  # as a terminal does
        else:
            os.kill(started.pid, number)
        assert wait(lambda: started.poll() is not None and not processes_of(home), 20)
    finally:
        for process in [*processes_of(home), started.pid]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        started.wait()


@pytest.mark.bad_input
def test_a_port_that_is_taken_is_named_and_nothing_is_started(tmp_path: Path, make_project: MakeProject) -> None:
    home = make_project(tmp_path / "home").home
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [Path(sys.executable).with_name("groundplan"), "dev", "--home", home, "--port"]
        words = [*map(str, command), str(taken.getsockname()[1])]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "another program listens at port" in done.stderr
    assert not processes_of(home)

"""A project that lives: Dagster's code server and daemon as processes of their own, as `make dev` starts them.

Here: starting, killing and ending them, and waiting for what they do. Not here: what is expected of them
(test_daemon.py), pods (tests/kubernetes).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from browser import free_port
from hasty_daemon import COMMAND as HASTY_DAEMON
from servers import Postgres

from groundplan.core.manifest import read_manifest
from groundplan.core.partition import Partition
from groundplan.imagery.landing import delivered_partitions
from groundplan.pipeline import ASSETS, partitions_of
from groundplan.project import Project

ROOT = Path(__file__).parents[2]
KILLED_BEFORE_LAUNCH = """
import os, sys
from dagster import DagsterInstance
def die(*_, **__):
    os.kill(os.getpid(), 9)
DagsterInstance.submit_run = die
from dagster._daemon.cli import main
sys.argv = ["dagster-daemon", *sys.argv[1:]]
main()
"""


@dataclass(kw_only=True)
class Living:
    """The processes over one project, and Dagster's record of what they do."""

    project: Project
    folder: Path  # DAGSTER_HOME
    instance: dg.DagsterInstance
    env: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *words: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *words],
            env=self.env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def start_daemon(self, dies_before_launch: bool = False) -> None:
        words = ["run", "-w", str(self.folder / "workspace.yaml")]
        if dies_before_launch:
            self.start("daemon", sys.executable, "-c", KILLED_BEFORE_LAUNCH, *words)
        else:
            self.start("daemon", *HASTY_DAEMON, *words)

    def kill(self, name: str) -> None:
        """SIGKILL: nothing is written, nothing is handed over."""
        self.processes[name].kill()
        self.processes[name].wait()

    def end(self) -> None:
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def wait(self, what: str, is_so: Callable[[], Any], seconds: float = 900) -> float:
        """Seconds until it is so. Raises with the daemon's last words when it does not come."""
        started = time.monotonic()
        while not is_so():
            if time.monotonic() - started > seconds:
                raise TimeoutError(f"{what}: not in {seconds:.0f} s; {self.last_words()}")
            time.sleep(0.5)
        return time.monotonic() - started

    def last_words(self) -> str:
        logs = [f"{path.name}: ...{path.read_text(errors='replace')[-3000:]}" for path in self.folder.glob("*.log")]
        runs = [
            (
                run.status.value,
                run.tags.get("dagster/partition"),
                sorted(key.to_user_string() for key in run.asset_selection or ()),
            )
            for run in self.instance.get_runs(limit=20)
        ]
        return "\n".join([*logs, str(runs)])

    def made(self, dataset: str, *partitions: Partition) -> bool:
        return all(read_manifest(self.project.store, dataset, one) for one in partitions)

    def runs(self, asset: str | None = None) -> list[dg.DagsterRun]:
        """Oldest first; of one asset when it is named."""
        found = reversed(self.instance.get_runs())
        return [run for run in found if asset is None or dg.AssetKey(asset) in (run.asset_selection or ())]

    def quiet(self) -> bool:
        """Nothing runs or waits, and every tick of the last seconds asked for nothing."""
        active = dg.RunsFilter(
            statuses=[
                dg.DagsterRunStatus.QUEUED,
                dg.DagsterRunStatus.NOT_STARTED,
                dg.DagsterRunStatus.STARTING,
                dg.DagsterRunStatus.STARTED,
            ]
        )
        return not self.instance.get_runs(active)


@contextmanager
def living(
    project: Project,
    *,
    postgres: Postgres | None = None,
    env: Mapping[str, str] | None = None,
    sensors: bool = True,
    daemon: bool = True,
) -> Iterator[Living]:
    """Code server and daemon over a project. sensors: all of them are on, and look every second or two."""
    folder, port = project.home / "dagster", free_port()
    folder.mkdir(exist_ok=True)
    settings: dict[str, Any] = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    if postgres is not None:
        database = {
            "username": postgres.user,
            "password": postgres.password,
            "hostname": postgres.host,
            "port": postgres.port,
            "db_name": postgres.database,
            "scheme": "postgresql+psycopg2",
        }
        settings["storage"] = {"postgres": {"postgres_db": database}}
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    server = {"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": "groundplan"}}
    (folder / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [server]}))
    looks = {"SENSORS_ON": "1", "SENSORS_SECONDS": "2"} if sensors else {}
    environment = {
        **os.environ,
        **looks,
        **(env or {}),
        "GROUNDPLAN_HOME": str(project.home),
        "DAGSTER_HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with ExitStack() as stack:
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(folder)))
        here = Living(project=project, folder=folder, instance=instance, env=environment)
        stack.callback(here.end)
        here.start(
            "code",
            "dagster",
            "api",
            "grpc",
            "-m",
            "orchestration.definitions",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "--location-name",
            "groundplan",
        )
        here.wait("the code server", lambda: _listens(port), 60)
        if daemon:
            here.start_daemon()
        yield here


def all_made(project: Project) -> bool:
    """Every dataset of everything that was delivered. Asked often, so what is made last is looked for first."""
    delivered = delivered_partitions(project)
    pairs = ((name, one) for name in reversed(ASSETS) for one in partitions_of(project, name, delivered))
    return bool(delivered) and all(read_manifest(project.store, name, one) for name, one in pairs)


def kill_workers(here: Living) -> int:
    """SIGKILL to every process that works on a run of this project; how many there were."""
    count = 0
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                words = (path / "cmdline").read_bytes()
                mine = str(here.folder).encode() in (path / "environ").read_bytes()
            except OSError:
                continue
            if mine and b"spawn_main" in words:  # the code server starts a process for each run
                os.kill(int(path.name), signal.SIGKILL)
                count += 1
    return count


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0

"""Real servers that a test may kill and start again with what they had: PostgreSQL with PostGIS, and NATS JetStream.

Here: starting, killing, starting again on the same port and data. Not here: servers for other tests
(../kubernetes/servers.py). Both lose nothing to the end of a process: what they wrote is in the kernel's hands.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

Server = TypeVar("Server", bound="Killable")
PATIENCE = 60.0  # seconds for a server to answer


class Killable(ABC):
    """A server on 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]: ...

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            words = ["setpriv", "--pdeathsig", "KILL", *self.command()]
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        end = time.monotonic() + PATIENCE
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "log").read_text("utf-8", "replace")[-2000:]
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.05)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None


class Nats(Killable):
    """JetStream in a folder."""

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        program = str(Path(sys.executable).with_name("nats-server"))
        data = str(self.folder / "data")
        return [program, "--jetstream", "--addr", "127.0.0.1", "--port", str(self.port), "--store_dir", data]


class KillablePostgres(Killable):
    """A cluster for whoever comes from this machine under the name of who runs the tests: no name in any address."""

    @property
    def url(self) -> str:
        return f"postgresql://127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        words = [f"--pgdata={self.folder / 'data'}", f"--username={getpass.getuser()}", "--auth=trust", "--no-sync"]
        self._run("initdb", *words, "--encoding=UTF8", "--locale=C.UTF-8")

    def command(self) -> Sequence[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",  # of the disk; a killed process loses nothing by it
            "max_connections": 60,
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*_as_postgres(), _program("postgres"), "-D", str(self.folder / "data"), *words]

    def answers(self) -> bool:
        """Not yet while it recovers, though its port is open."""
        words = [_program("pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        return subprocess.run(words, check=False).returncode == 0

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """With all its children: a busy one would go on, and a next start is refused until the last has let go."""
        children = self._children() if how == signal.SIGKILL else []
        super().kill(how)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        end = time.monotonic() + PATIENCE
        while self._memory_held() and time.monotonic() < end:
            time.sleep(0.05)

    def _children(self) -> list[int]:
        """Of a server that is held still, so that none comes after."""
        if self.process is None:
            return []
        self.process.send_signal(signal.SIGSTOP)
        kept = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in kept.read_text("utf-8").split()] if kept.exists() else []

    def _memory_held(self) -> bool:
        """Whether a process still holds the cluster's shared memory: what PostgreSQL itself asks when it starts.

        The segment's id ends the last but one line of `postmaster.pid`, which stays behind where one is killed.
        """
        lock = self.folder / "data" / "postmaster.pid"
        lines = lock.read_text("utf-8").splitlines() if lock.exists() else []
        if len(lines) < 7:
            return False
        _, *segments = Path("/proc/sysvipc/shm").read_text("utf-8").splitlines()
        held = {fields[1]: int(fields[6]) for fields in map(str.split, segments)}
        return held.get(lines[6].split()[1], 0) > 0

    def new_database(self, name: str) -> str:
        """The URL of a further, empty one."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", getpass.getuser(), name)
        return f"postgresql://127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *words: str) -> None:
        command = [*_as_postgres(), _program(program), *words]
        subprocess.run(command, check=True, capture_output=True, cwd="/")


@contextmanager
def serve_nats() -> Iterator[Nats]:
    folder = Path(tempfile.mkdtemp(prefix="groundplan-nats-"))
    with _served(Nats(folder)) as server:
        server.start()
        yield server


@contextmanager
def serve_killable_postgres() -> Iterator[KillablePostgres]:
    folder = Path(tempfile.mkdtemp(prefix="groundplan-postgres-"))  # not below pytest's: others may not look in there
    with _served(KillablePostgres(folder)) as server:
        server.make()
        server.start()
        yield server


@contextmanager
def _served(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.kill(signal.SIGKILL)
        shutil.rmtree(server.folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _as_postgres() -> list[str]:
    """The server refuses root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig", "KILL"]


def _program(name: str) -> str:
    """Debian keeps the server's programs off the PATH, in a folder for each version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    found = shutil.which(name) or next((str(f / name) for f in reversed(folders) if (f / name).exists()), "")
    assert found, f"{name} is not installed: make test does so"
    return found

"""Daemons that outlive the program that started them, known by their id, and waiting for what they do.

Here: start, look, end, the log's last words, running a command to its end. Not here: which daemons there are
(control_plane.py, node.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL = 0.2  # seconds between two looks
PATIENCE = 240.0  # seconds; long, because a busy machine is not a fault, and what died ends a wait at once


class ClusterError(Exception):
    """The cluster, or a command to it, failed; the message says which part, why, and where to read on."""


@dataclass(frozen=True)
class Daemon:
    """A background process: its id in `folder/run/NAME.pid`, what it says in `folder/log/NAME.log`."""

    name: str
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log" / f"{self.name}.log"

    @property
    def _pid_file(self) -> Path:
        return self.folder / "run" / f"{self.name}.pid"

    def start(self, *command: str | Path) -> None:
        """Start it, unless it runs already. It stays when this program goes, also by a kill."""
        if self.pid():
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._pid_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        self._pid_file.write_text(f"{process.pid} {born(process.pid)}")

    def pid(self) -> int:
        """Its id while it lives, else 0. An id that now belongs to another process counts as dead."""
        with suppress(FileNotFoundError, ValueError):
            pid, birth = (int(word) for word in self._pid_file.read_text().split())
            if birth and born(pid) == birth:
                return pid
        return 0

    def was_started(self) -> bool:
        return self._pid_file.exists()

    def stop(self, seconds: float = 10.0) -> None:
        """Ask it to end; insist after `seconds` (0: at once, as a crash does)."""
        if pid := self.pid():
            end([pid], seconds)
        self._pid_file.unlink(missing_ok=True)

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return f"({self.log} is empty)"
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def must_live(self) -> None:
        """Raise ClusterError with the log's last lines when it has died."""
        if self.was_started() and not self.pid():
            raise ClusterError(f"{self.name} died; the end of {self.log}:\n{self.tail()}")


def born(pid: int) -> int:
    """The start time of a process in clock ticks since boot; 0 when it is gone or only waits to be reaped."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # our own dead children would stay as zombies
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def end(pids: Iterable[int], seconds: float = 0.0) -> None:
    """End processes by their ids and wait until they are gone: SIGTERM, and SIGKILL after `seconds`."""
    left = {pid: birth for pid in pids if (birth := born(pid))}

    def send(what: signal.Signals) -> None:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, what)

    for what, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
        if patience:
            send(what)
        until = time.monotonic() + patience
        while left and time.monotonic() < until:
            left = {pid: birth for pid, birth in left.items() if born(pid) == birth}
            time.sleep(POLL / 10)


def run(*command: str | Path, input: str | None = None, seconds: float = 120.0) -> str:
    """A command's standard output; raises ClusterError with what it said when it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, input=input, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"'{' '.join(words)}' did not end in {seconds:.0f} s") from error
    if done.returncode:
        raise ClusterError(f"'{' '.join(words)}' ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def wait_for(what: str, check: Callable[[], object], seconds: float = PATIENCE, needs: Sequence[Daemon] = ()) -> float:
    """Wait until `check` holds (a ClusterError means: not yet); seconds waited. A dead daemon ends the wait."""
    started = time.monotonic()
    reason = "no"
    while True:
        try:
            if check():
                return time.monotonic() - started
        except ClusterError as error:
            reason = str(error)
        for daemon in needs:
            daemon.must_live()
        if time.monotonic() - started > seconds:
            tails = "".join(f"\n--- {daemon.log}\n{daemon.tail(8)}" for daemon in needs)
            raise ClusterError(f"waited {seconds:.0f} s in vain for: {what} ({reason}){tails}")
        time.sleep(POLL)

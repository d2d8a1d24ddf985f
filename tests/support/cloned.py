"""A newcomer in a clone of the repository: what they type is read out of the README and run as printed.

Here: the clone, its terminals, the lines to type. Not here: what they must see (test_newcomer.py, test_own_imagery.py).
Two things are other than for them, to save a quarter of an hour: `.venv` is the one in which the tests run, and
networks learn for a few steps (settings in the environment).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from browser import ROOT, free_port
from readme import commands

START, OWN = "Start", "With your imagery"
QUICK = {"GROUNDPLAN_MODEL__STEPS": "12", "GROUNDPLAN_MODEL__ENCODER_WEIGHTS": "none", "OMP_NUM_THREADS": "1"}


@dataclass(kw_only=True)
class Newcomer:
    """A person with a terminal in a clone, who does what the README says."""

    clone: Path
    ui_port: int
    map_port: int
    said: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("GROUNDPLAN_", "DAGSTER_", "VIRTUAL_ENV"))}
        known = [part for part in ours["PATH"].split(os.pathsep) if not part.endswith(".venv/bin")]
        ports = {"UI_PORT": str(self.ui_port), "MAP_PORT": str(self.map_port)}
        ports["GROUNDPLAN_SERVING__URL"] = f"http://127.0.0.1:{self.map_port}"  # where the demo's own links lead
        return {**ours, **QUICK, **ports, "PATH": os.pathsep.join(known), "COLUMNS": "160"}

    def types(self, *lines: str, fails: bool = False) -> str:
        """Lines in one terminal, as printed; what they said. They must succeed, or fail."""
        script = "\n".join(lines)
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self.clone,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
        )
        assert (done.returncode != 0) == fails, f"{script}\n{done.stdout[-4000:]}"
        self.said[lines[-1]] = done.stdout
        return done.stdout

    @contextmanager
    def keeps_running(self, line: str) -> Iterator[Path]:
        """A line that runs until Ctrl-C, in a terminal of its own; gives its log. Nothing of it is left afterwards."""
        log = self.clone / "terminal.txt"
        with log.open("wb") as output:
            started = subprocess.Popen(
                ["bash", "-c", f"exec {line}"],
                cwd=self.clone,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield log
            finally:
                os.killpg(started.pid, signal.SIGINT)
                started.wait(60)


def cloned(folder: Path) -> Newcomer:
    """A new clone in a folder: what git has of this tree; environment and map's library where `make` puts them."""
    clone = folder / "groundplan"
    tracked = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    # older than what was installed: `make` installing again would point the environment of all tests at this clone
    for name in ("requirements.txt", "pyproject.toml", "docker/face-weights.txt"):
        os.utime(clone / name, (0, 0))
    (clone / ".venv").symlink_to(ROOT / ".venv")
    vendored = Path("serving/maps/static/vendor")
    shutil.copytree(ROOT / vendored, clone / vendored, dirs_exist_ok=True)
    return Newcomer(clone=clone, ui_port=free_port(), map_port=free_port())


def bare(line: str) -> str:
    """A line without the comment behind it."""
    return line.split("    #")[0].strip()


def activation() -> list[str]:
    """The block of the README that puts the program on the PATH."""
    return next(block for block in commands(START) if block[0].startswith(". "))

"""Bounded run: a field's inputs in a process of their own, begun again after whatever one of them did to it.

Here: naming the one input that ended, stopped or wronged the process, and keeping it. Not here: what is done to an
input (trial.py), which fields there are (field.py).
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SILENCE = 120.0  # seconds without a word: it hangs, whatever else this machine has to do
BEGINNING = 600.0  # seconds for its first word: imports alone can take minutes beside other work
MOST_FAILURES = 10  # of one field; then its other inputs are not tried


@dataclass(frozen=True, slots=True)
class Failure:
    """An input that must not do what it did."""

    field: str
    number: int
    reason: str
    kept: Path


@dataclass(frozen=True, slots=True)
class Share:
    """Which inputs of a field are tried, all of them made from `seed`: `last` excluded, and none after `end`."""

    seed: int
    first: int = 0
    last: int = sys.maxsize
    end: float = 1e300  # as time.monotonic() tells it


@dataclass(kw_only=True)
class Tally:
    """What came of a field's inputs."""

    field: str
    refused: int = 0
    read: int = 0
    seconds: float = 0.0
    peak: float = 0.0  # megabytes
    failures: list[Failure] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        return self.refused + self.read + len(self.failures)


def fuzz(name: str, share: Share, kept: Path) -> Tally:
    """Try a field's inputs. kept: folder for those that fail; each is a folder there, with the reason in it."""
    tally, first = Tally(field=name), share.first
    while first < share.last and time.monotonic() < share.end and len(tally.failures) < MOST_FAILURES:
        last = _until_it_ends(tally, Share(share.seed, first, share.last, share.end), kept)
        if last is None:
            break
        first = last + 1
    return tally


def _until_it_ends(tally: Tally, share: Share, kept: Path) -> int | None:
    """One process: the number of the input that ended it; None where all was tried."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as work:
        log, current, began = Path(work) / "log", share.first, 0.0
        with log.open("wb") as output, _Process(tally.field, share, Path(work), output.fileno()) as process:

            def fail(number: int, reason: str) -> None:
                tally.failures.append(_keep(tally.field, share.seed, number, reason, Path(work), kept))

            for told in process.lines():
                if "ready" in told:
                    began = time.monotonic()
                    tally.peak = max(tally.peak, told["ready"])
                elif "done" in told:
                    tally.seconds += time.monotonic() - began
                    return None
                elif "peak" not in told:
                    current = told["number"]
                elif "wrong" in told:
                    fail(current, told["wrong"])
                    if len(tally.failures) >= MOST_FAILURES:
                        break
                else:
                    tally.read += told["outcome"] == "read"
                    tally.refused += told["outcome"] == "refused"
                    tally.peak = max(tally.peak, told["peak"])
            else:
                if not began:
                    said = log.read_text(errors="replace")[-4000:]
                    raise RuntimeError(f"{tally.field} could not begin: {process.epitaph()}\n{said}")
                fail(current, process.epitaph())
        tally.seconds += time.monotonic() - began
        return current


class _Process:
    """The process of trials; it ends with this one, and takes those that it started with it."""

    def __init__(self, name: str, share: Share, work: Path, output: int) -> None:
        self.reading, writing = os.pipe()
        told = {"field": name, "seed": share.seed, "first": share.first, "last": share.last, "end": share.end}
        told |= {"folder": str(work), "pipe": writing}
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("GROUNDPLAN_", "DAGSTER_", "PYTEST_"))}
        environment |= {
            "PYTHONPATH": os.pathsep.join([f"{ROOT}/tests", f"{ROOT}/tests/support", str(ROOT)]),
            "PYTHONFAULTHANDLER": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self.silent, self.patience = False, BEGINNING
        self.child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "fuzz.trial", json.dumps(told)],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            start_new_session=True,
        )
        os.close(writing)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        os.close(self.reading)

    def lines(self) -> Iterator[dict[str, Any]]:
        """What it says, until it ends or has said nothing for too long."""
        rest = b""
        while True:
            if not select.select([self.reading], [], [], self.patience)[0]:
                self.silent = True
                return
            if not (data := os.read(self.reading, 65536)):
                return
            self.patience = SILENCE
            *whole, rest = (rest + data).split(b"\n")
            yield from map(json.loads, whole)

    def epitaph(self) -> str:
        """Why it said no more."""
        if self.silent:
            return f"it said nothing for {self.patience:.0f} seconds"
        code = self.child.wait()
        if code == -signal.SIGXCPU:
            return "it took more seconds of processor than an input may"
        return (
            f"the process was ended by {signal.Signals(-code).name}" if code < 0 else f"the process ended with {code}"
        )


def _keep(name: str, seed: int, number: int, reason: str, work: Path, kept: Path) -> Failure:
    target = kept / f"{name}-{seed}-{number}"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(work / str(number), target)
    log = (work / "log").read_text(errors="replace")[-8000:]
    (target / "WHY.txt").write_text(f"{reason}\n\nTry it again: {again(name, seed, number)}\n\n{log}")
    return Failure(name, number, reason, target)


def again(name: str, seed: int, number: int) -> str:
    """The command that tries one input again."""
    return f"make fuzz FUZZ='{name} --seed {seed} --number {number}'"

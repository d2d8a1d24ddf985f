"""Progress as people see it: on a real terminal, in a log, in Dagster; and nothing else that they would have to skip.

A terminal is a pseudo-terminal here: Dagster captures what a run writes, and only a real one shows what that leaves.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest
from commands import environment
from walkthrough import YEAR, Walk

from groundplan.project import open_project
from orchestration.cli.in_process import open_instance

pytestmark = pytest.mark.slow

STEPS = 40
SILENT = 5.0  # seconds: longer, and a person thinks that it hangs
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


@dataclass(frozen=True)
class Seen:
    """What a terminal was sent, when; and how long the busy machine let this process wait meanwhile."""

    frames: list[tuple[float, str]]
    late: float
    code: int


def on_a_terminal(folder: Path, *arguments: str, **more: str) -> Seen:
    """`groundplan ARGUMENTS` on a terminal of 100 columns."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        program = str(Path(sys.executable).parent / "groundplan")
        os.execve(program, [program, *arguments], environment(TERM="xterm", COLUMNS="100", LINES="40", **more))
    frames: list[tuple[float, str]] = []
    with lateness() as late:
        while data := _read(terminal):
            frames.append((time.monotonic(), CONTROL.sub("", data.decode(errors="replace"))))
    os.close(terminal)
    return Seen(frames, max(late), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side has closed it
        return b""


@contextmanager
def lateness() -> Iterator[list[float]]:
    """Seconds by which this process woke too late, as the machine had other work: so late may others be, too."""
    late, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            before = time.monotonic()
            time.sleep(0.1)
            late.append(time.monotonic() - before - 0.1)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield late
    finally:
        ended.set()
        thread.join()


def test_on_a_terminal_a_training_moves_and_says_how_far_it_is(walked: Walk, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(walked.home, home)
    seen = on_a_terminal(tmp_path, "build", "--select", "trained_model", GROUNDPLAN_MODEL__STEPS=str(STEPS))
    text = "".join(frame for _, frame in seen.frames)
    assert seen.code == 0, text
    assert f"made     trained_model        {YEAR}" in text
    assert "Warning" not in text

    times = [when for when, frame in seen.frames if f"training {YEAR}" in frame]
    moved = [when for when, _ in seen.frames if times[0] <= when <= times[-1]]
    assert max(b - a for a, b in pairwise(moved)) <= SILENT + seen.late

    words = " ".join(text.split())
    steps = {int(step) for step in re.findall(rf"training {YEAR}[^/]*?(\d+)/{STEPS}\b", words)}
    assert len(steps) > 3, "the count of steps goes up while a person looks on"
    assert re.search(rf"\d+/{STEPS}, [\d.]+/(s|min), (\d+ min )?\d+ s left, loss \d\.\d+", words)
    assert re.search(r"validation IoU 0\.\d+ at step \d+", words)


def test_in_a_log_a_training_has_a_line_at_its_start_its_validations_and_its_end(walked: Walk) -> None:
    lines = [line for line in walked.said["build"].stderr.splitlines() if line.startswith(f"training {YEAR}: ")]
    assert re.match(rf"training {YEAR}: 1/2, .* left, loss \d", lines[0])
    assert re.match(rf"training {YEAR}: 2/2, .* 0 s left, loss \d.*validation IoU 0\.\d+ at step 2", lines[-1])


def test_nothing_foreign_is_said(walked: Walk) -> None:
    walked.run("status", "status")
    for name, done in walked.said.items():
        assert "Warning" not in done.stderr, name
        assert "warn" not in done.stderr, name


def test_dagster_has_the_same_lines_and_the_curves_while_the_run_runs(
    walked: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    asset = dg.AssetKey("trained_model")
    instance = open_instance(open_project(walked.home))
    made = instance.fetch_materializations(asset, limit=1).records[0]
    metadata = made.asset_materialization.metadata
    assert "training curves" in metadata["picture"].value
    assert metadata["curves"].value.splitlines()[0].startswith("| step | loss | iou |")
    assert metadata["curves"].value.splitlines()[-1].startswith("| 2 | ")

    logs = instance.all_logs(made.run_id)
    said = [entry.user_message for entry in logs if entry.user_message.startswith(f"training {YEAR}: ")]
    assert said
    assert "2/2" in said[-1]

    observed = instance.fetch_observations(asset, limit=10).records
    first = observed[-1].asset_observation
    assert first.partition == str(YEAR)
    assert first.metadata["step"].value == 1
    assert first.metadata["loss"].value > 0
    assert 0 <= first.metadata["iou"].value <= 1
    assert observed[0].timestamp < made.timestamp, "before there is a model"

"""What each test took: kept in a file, by test file and by test, with the slowest ten of both at the end of the run.

Here: measuring and the two tables. Not here: which tests are called slow (their marker says so).
Seconds are those of the clock; CPU seconds are those of the test's process and of the processes that it waited for, and
say more on a machine that has other things to do. A shared fixture counts for the test that was the first to need it.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SHOWN = 10
Sums = dict[str, dict[str, float]]


def cpu_seconds() -> float:
    return sum(os.times()[:4])


class Durations:
    """A pytest plugin. With pytest-xdist workers measure, and the process that prints adds up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tests: Sums = defaultdict(lambda: {"seconds": 0.0, "cpu_seconds": 0.0})
        self.cpu = 0.0

    def pytest_runtest_logstart(self) -> None:
        self.cpu = cpu_seconds()  # what was before, like finding the tests, is no test's

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Iterator[Any]:
        report = yield
        before, self.cpu = self.cpu, cpu_seconds()
        report.cpu_seconds = self.cpu - before
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        sums = self.tests[report.nodeid.split("@")[0]]  # xdist adds @ and the name of a group
        sums["seconds"] += report.duration
        sums["cpu_seconds"] += getattr(report, "cpu_seconds", 0.0)  # a worker that died reported none

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.tests:
            return
        files: Sums = defaultdict(lambda: {"tests": 0, "seconds": 0.0, "cpu_seconds": 0.0})
        for name, sums in self.tests.items():
            here = files[name.split("::")[0]]
            here["tests"] += 1
            for unit, amount in sums.items():
                here[unit] += amount
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"files": by_seconds(files), "tests": by_seconds(self.tests)}
        self.path.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
        for title, sums in kept.items():
            terminalreporter.write_line(f"{'seconds':>8} {'cpu':>8}  slowest {title}")
            for name, row in list(sums.items())[:SHOWN]:
                terminalreporter.write_line(f"{row['seconds']:8.1f} {row['cpu_seconds']:8.1f}  {name}")
        terminalreporter.write_line(f"all of them: {self.path}")


def by_seconds(sums: Sums) -> Sums:
    """The slowest first, in hundredths."""
    order = sorted(sums, key=lambda name: -sums[name]["seconds"])
    return {name: {unit: round(amount, 2) for unit, amount in sums[name].items()} for name in order}

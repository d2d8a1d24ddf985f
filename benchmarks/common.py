"""What every benchmark needs: clocks, a table, a store that counts.

Not here: ground and projects to measure on (ground.py), peers (peers.py), and any figure. Nothing here gates.

Times are processor-seconds (user + system, all threads of the process) unless a column says wall: on a machine that
others use too, wall time is not about the code.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch


def arguments(parser: argparse.ArgumentParser, **small: Any) -> argparse.Namespace:
    """Parsed arguments; `--small` takes these defaults, which end in seconds and show only that all works."""
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs; no figures to quote")
    if parser.parse_known_args()[0].small:
        parser.set_defaults(**small)
    return parser.parse_args()


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one piece of work."""

    cpu: float
    wall: float


def clock(work: Callable[[], Any]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def medians(repeats: int, **works: Callable[[], Any]) -> dict[str, Cost]:
    """Each work `repeats` times, in turns, so that a busy minute falls on all of them; the median of each."""
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            costs[name].append(clock(work))
    return {name: median(all_) for name, all_ in costs.items()}


def median(costs: Sequence[Cost]) -> Cost:
    return Cost(statistics.median(one.cpu for one in costs), statistics.median(one.wall for one in costs))


def fresh(repeats: int, *words: str) -> Cost:
    """The median cost of a fresh Python process; raises RuntimeError with its output when it fails."""

    def once() -> Cost:
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, text=True, check=False)
        wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stdout[-500:]}")
        return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)

    once()  # compiled files and the page cache are there from the second time on
    return median([once() for _ in range(repeats)])


@contextmanager
def timed(module: Any, *names: str) -> Iterator[dict[str, float]]:
    """Within this context, functions of `module` add up their processor-seconds (one thread at a time)."""
    spent: dict[str, float] = dict.fromkeys(names, 0.0)

    def wrap(name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def outer(*args: Any, **options: Any) -> Any:
            begin = time.process_time()
            try:
                return inner(*args, **options)
            finally:
                spent[name] += time.process_time() - begin

        return outer

    with ExitStack() as stack:
        for name in names:
            stack.enter_context(patch.object(module, name, wrap(name, getattr(module, name))))
        yield spent


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], notes: Sequence[str] = ()) -> None:
    """Print one table, and under which circumstances it came about."""
    from rich.console import Console
    from rich.table import Table

    out = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    out.print(table)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    for note in (*notes, f"{when}; {machine()}; load {load}"):
        out.print(note, highlight=False, soft_wrap=True)


def machine() -> str:
    """Cores and kind of the processor; no names."""
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in facts.get("flags", "").split()]
    kind = f"{facts.get('vendor_id', '?')} family {facts.get('cpu family', '?')} model {facts.get('model', '?')}"
    return f"{len(os.sched_getaffinity(0))} cores, {kind}, {', '.join(flags)}"


@dataclass(frozen=True)
class Requests:
    """What a watched store was asked for: how often, by verb; and how many seconds writing took, by key."""

    count: Counter[str] = field(default_factory=Counter)
    saving: dict[str, float] = field(default_factory=dict)


def watched(project: Any) -> tuple[Any, Requests]:
    """The project with a store that counts and times its requests."""
    from groundplan.core.store import Store

    requests = Requests()

    @dataclass(frozen=True)
    class Watched(Store):
        def _try(self, thing: str, verb: str, operation: Callable[[], Any]) -> Any:
            begin = time.perf_counter()
            try:
                return super()._try(thing, verb, operation)
            finally:
                requests.count[verb] += 1
                if verb == "written":
                    requests.saving[thing] = requests.saving.get(thing, 0.0) + time.perf_counter() - begin

    store = project.store
    return replace(
        project, store=Watched(url=store.url, client=store.client, root=store.root, retries=store.retries)
    ), requests

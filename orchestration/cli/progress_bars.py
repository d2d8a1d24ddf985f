"""Progress on a terminal: a line for each piece of work in hand, with what is known of it.

Here: how it looks. Not here: who reports it (groundplan/core/progress.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from groundplan.core.progress import Advance, InHand, LogProgress, Progress, duration_in_words, reporting_to


class BarProgress:
    """Lines that vanish when their work is done; what was done is said in a line by the caller.

    They are drawn only while there is work, so that what a command prints between is not mixed with them.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._works: list[InHand] = []
        self._lock = Lock()
        self._spinner = Spinner("dots")
        self._live: Live | None = None

    @contextmanager
    def task(self, title: str, total: int, done: int, of_bytes: bool = False) -> Iterator[Advance]:
        work = InHand(title=title, total=total, done=done, of_bytes=of_bytes)

        def advance(
            size: int = 0, *, parts: int = 1, note: str = "", left: float | None = None, aloud: bool = False
        ) -> None:
            work.advance(size, parts, note, left)

        self._begin(work)
        try:
            yield advance
        finally:
            self._end(work)

    def _begin(self, work: InHand) -> None:
        with self._lock:
            self._works.append(work)
            if self._live is None:
                self._live = Live(
                    console=self._console,
                    get_renderable=self._drawn,
                    refresh_per_second=4,
                    transient=True,
                    redirect_stdout=False,  # what is printed meanwhile comes from a run that Dagster captures
                    redirect_stderr=False,
                )
                self._live.start(refresh=True)

    def _end(self, work: InHand) -> None:
        with self._lock:
            self._works.remove(work)
            ended = self._live if not self._works else None
            self._live = None if ended else self._live
        if ended:
            ended.stop()

    def _drawn(self) -> RenderableType:
        return Group(*(self._line(work) for work in list(self._works)))

    def _line(self, work: InHand) -> RenderableType:
        figures = Text(", ".join(work.figures()))  # folds where the terminal is narrow
        line = Table.grid(padding=(0, 1), expand=False)
        for _ in range(4):
            line.add_column(no_wrap=True)
        line.add_column()
        bar = ProgressBar(total=work.total, completed=work.done, width=12) if work.total > 1 else Text("")
        line.add_row(self._spinner, Text(work.title), bar, Text(duration_in_words(work.seconds), style="dim"), figures)
        return line


@contextmanager
def bars(console: Console, quiet: bool) -> Iterator[None]:
    """Progress with rate and time left: live on a terminal, a line a minute elsewhere; nothing for a program."""
    with _lasting(console) as lasting:
        if quiet:
            reporter: Progress = LogProgress(lambda _: None)
        elif console.is_terminal:
            reporter = BarProgress(lasting)
        else:
            reporter = LogProgress(lambda text: lasting.print(text, highlight=False, markup=False, soft_wrap=True))
        with reporting_to(reporter):
            yield


@contextmanager
def _lasting(console: Console) -> Iterator[Console]:
    """A console on the stream as it is now. Dagster turns the process's own into a file while a step runs, and copies
    what is written there to where it was, later: what was a terminal is none meanwhile."""
    try:
        number = os.dup(console.file.fileno())
    except (OSError, ValueError):  # a stream in memory
        yield console
        return
    with os.fdopen(number, "w", encoding="utf-8", errors="replace") as stream:
        yield Console(file=stream, force_terminal=console.is_terminal)

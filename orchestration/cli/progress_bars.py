"""Progress on a terminal: one bar for the work in hand.

Here: how it looks. Not here: who reports it (groundplan/core/progress.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from groundplan.core.progress import LogProgress, reporting_to


class BarProgress:
    """Bars that vanish when their work is done; what was done is said in a line by the caller."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> BarProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @contextmanager
    def task(self, title: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
        bar = self._progress.add_task(title, total=total, completed=done, rate="")

        def step(_bytes: int) -> None:
            self._progress.advance(bar)
            speed = self._progress.tasks[-1].speed
            self._progress.update(bar, rate=f"{speed:.1f}/s" if speed else "")

        try:
            yield step
        finally:
            self._progress.remove_task(bar)


@contextmanager
def bars(console: Console, quiet: bool) -> Iterator[None]:
    """Progress bars with rate and time left on a terminal; nothing where a program reads."""
    if quiet or not console.is_terminal:
        with reporting_to(LogProgress(lambda text: None if quiet else console.print(text, highlight=False))):
            yield
    else:
        with BarProgress(console) as shown, reporting_to(shown):
            yield

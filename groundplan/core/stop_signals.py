"""Being told to stop, also while a library that has handlers of its own is at work.

Here: SIGTERM and Ctrl-C, seen by whoever makes one thing after the other. Not here: dropping the blocks in hand
(materialize.py).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def watch_for_stop() -> Iterator[Callable[[], bool]]:
    """Watch for SIGTERM and Ctrl-C; yields whether one has come.

    While Dagster runs a job its handlers stand in place of ours: it turns the signal into a failed step, and forgets
    one that comes while it writes its own events. Python's wake-up pipe is told of all of them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    seen: set[int] = set()

    def stop_requested() -> bool:
        with suppress(BlockingIOError):
            seen.update(os.read(reader, 4096))
        return bool(seen & {signal.SIGTERM, signal.SIGINT})

    try:
        yield stop_requested
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)

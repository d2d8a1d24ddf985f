"""A worker that is told to end: whatever its main thread holds at that moment, it ends.

Not here: what a worker writes before it ends (tests/processes/serving).
"""

from __future__ import annotations

import os
import signal
import threading
import time

from serving.work.process import ended_by_signals


def test_a_signal_that_comes_while_the_main_thread_holds_the_lock_is_not_lost() -> None:
    """As where it waits for the very event that `end` sets: the worker then never ended."""
    lock, got, ended = threading.Lock(), list[bool](), threading.Event()

    def end() -> None:
        got.append(lock.acquire(timeout=3))
        ended.set()

    with ended_by_signals(end):
        with lock:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)
        assert ended.wait(10)
    assert got == [True]

"""Where the time of blocks goes: each second counts once, and nothing of it is stored."""

from __future__ import annotations

import threading
import time
from contextvars import copy_context

import pytest

from groundplan.core import stopwatch
from groundplan.core.stopwatch import Part, measuring, noted, pace, timed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that is moved by hand."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def spend(clock: list[float], part: Part, seconds: float) -> None:
    with timed(part):
        clock[0] += seconds


def fail(clock: list[float]) -> None:
    with timed("read"):
        clock[0] += 1.0
        raise ValueError("no")


def test_what_lies_within_another_part_is_taken_out_of_it(clock: list[float]) -> None:
    with measuring() as watch, timed("compute"):
        spend(clock, "read", 3.0)
        clock[0] += 5.0
        with timed("write"):
            clock[0] += 1.0
            spend(clock, "read", 2.0)
        clock[0] += 4.0
        noted("compute", 4.0)
    assert watch.seconds == {"read": 5.0, "write": 1.0, "compute": 5.0 + 4.0}
    assert sum(watch.seconds.values()) == clock[0]


def test_blocks_in_threads_count_each_and_only_while_somebody_measures(clock: list[float]) -> None:
    spend(clock, "read", 1.0)
    with measuring() as watch:
        contexts = [copy_context() for _ in range(2)]
        for context in contexts:
            thread = threading.Thread(target=context.run, args=(spend, clock, "read", 2.0))
            thread.start()
            thread.join()
    spend(clock, "read", 1.0)
    assert watch.seconds == {"read": 4.0}


def test_a_part_that_fails_is_counted_and_ends(clock: list[float]) -> None:
    with measuring() as watch:
        with pytest.raises(ValueError, match="no"):
            fail(clock)
        spend(clock, "write", 1.0)
    assert watch.seconds == {"read": 1.0, "write": 1.0}


def test_a_pace_says_what_bounds_it() -> None:
    found = pace(120.0, 10.0, {"read": 2.0, "compute": 1.0, "write": 5.0})
    assert found is not None
    assert (found.megapixels, found.bound) == (12.0, "write")
    assert sum(found.shares.values()) == pytest.approx(1)
    assert str(found) == "12 MPx/s; read 25%, compute 12%, write 62%; bound by write"
    assert pace(0.0, 10.0, {"read": 1.0}) is None, "nothing was made"
    assert pace(1.0, 10.0, {}) is None
    assert stopwatch.PARTS == ("read", "compute", "write")

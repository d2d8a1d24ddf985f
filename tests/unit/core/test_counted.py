"""Progress: who is told of long work, what of, and in which words."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from groundplan.core.manifest import Planned
from groundplan.core.materialize import Destination, Output, make_blocks
from groundplan.core.partition import Partition
from groundplan.core.progress import (
    Advance,
    InHand,
    LogProgress,
    counted,
    current_progress,
    duration_in_words,
    going_on,
    rate_in_words,
    reporting_to,
)
from groundplan.core.store import open_store


class Listener:
    """Keeps the titles of what was begun, and what is still going on."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.open: list[InHand] = []

    @contextmanager
    def task(self, title: str, total: int, done: int, of_bytes: bool = False) -> Iterator[Advance]:
        work = InHand(title=title, total=total, done=done, of_bytes=of_bytes)
        self.begun.append(title)
        self.open.append(work)

        def advance(
            size: int = 0, *, parts: int = 1, note: str = "", left: float | None = None, aloud: bool = False
        ) -> None:
            work.advance(size, parts, note, left)

        try:
            yield advance
        finally:
            self.open.remove(work)


def test_what_a_block_says_reaches_whoever_listens_to_the_partition(tmp_path: Path) -> None:
    def make(planned: Planned, _check: object) -> Output:
        with going_on(f"inside {planned.name}"):
            return Output(b"made")

    plan = [Planned(name=name, fingerprint=name, key=f"things/{name}") for name in ("a", "b", "c")]
    to = Destination(store=open_store("", tmp_path), dataset="things", partition=Partition(2024, "here"), version="1")
    listener = Listener()
    with reporting_to(listener):
        make_blocks(to, plan, make, workers=2)
    assert listener.begun[0] == "things here 2024"
    assert sorted(listener.begun[1:]) == ["inside a", "inside b", "inside c"]


def test_all_who_listen_are_told() -> None:
    outer, inner = Listener(), Listener()
    with reporting_to(outer), reporting_to(inner), going_on("work"):
        pass
    assert outer.begun == inner.begun == ["work"]


def test_work_that_fails_is_no_longer_in_hand() -> None:
    listener, kept = Listener(), []
    with reporting_to(listener):
        try:
            with counted("work", "abc", 3) as letters:
                for _ in letters:
                    raise RuntimeError
        except RuntimeError as error:
            kept.append(error)  # with its frames, and all that they hold
    assert listener.begun == ["work"]
    assert not listener.open


def test_a_log_speaks_also_while_nothing_comes_of_the_work() -> None:
    lines: queue.Queue[str] = queue.Queue()
    with reporting_to(LogProgress(lines.put, every=0.01)), going_on("waiting"):
        assert lines.get(timeout=30).startswith("waiting: ")
        assert lines.get(timeout=30).startswith("waiting: ")


def test_a_log_speaks_of_what_is_within_a_single_object() -> None:
    lines: queue.Queue[str] = queue.Queue()
    with reporting_to(LogProgress(lines.put, every=0.01)), current_progress().task("model", 1, 0):
        lines.get(timeout=30)
        with current_progress().task("training", 40, 10) as advance:
            advance(note="loss 1.2")
            while not (line := lines.get(timeout=30)).startswith("training"):
                pass
    assert line.startswith("training: 11/40, ")
    assert "loss 1.2" in line
    assert " left" in line


def test_what_is_worth_a_line_is_said_at_once() -> None:
    lines: list[str] = []
    with reporting_to(LogProgress(lines.append)), current_progress().task("training", 40, 20) as advance:
        advance(left=65.4, note="loss 1.2")
        assert not lines
        advance(left=61.4, note="loss 1.1", aloud=True)
    assert len(lines) == 1
    assert lines[0].startswith("training: 22/40, ")
    assert ", 1 min 1 s left, loss 1.1, " in lines[0]


def test_bytes_are_told_in_megabytes_and_left_follows_from_the_rate() -> None:
    work = InHand(title="upload", total=4_000_000, done=0, of_bytes=True, started=-1e9)
    work.advance(0, 1_000_000, "", None)
    assert work.figures()[0] == "1.0/4.0 MB"
    assert work.figures()[1].endswith(" MB/s")
    assert work.left == pytest.approx(3 * work.seconds, rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration_in_words(seconds) == words


@pytest.mark.parametrize(("rate", "words"), [(2.94, "2.9/s"), (0.25, "15.0/min")])
def test_rates_in_words(rate: float, words: str) -> None:
    assert rate_in_words(rate) == words


def test_a_file_on_its_way_says_how_much_of_it_has_gone(tmp_path: Path) -> None:
    file = tmp_path / "sheet.tif"
    file.write_bytes(bytes(20_000_000))
    for place in ("", "memory://progress"):
        told: list[int] = []
        store = open_store(place, tmp_path)
        store.put_file("landing/sheet.tif", file, told.append)
        assert sum(told) == 20_000_000
        assert len([size for size in told if size]) > 2, "in pieces, or nobody sees that it moves"
        assert store.head("landing/sheet.tif").size == 20_000_000

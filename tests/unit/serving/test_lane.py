"""The lane: who is let in, in which order work is done, what is dropped, and what a deadline means."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from serving.api.lane import FIRST_GUESS, Dropped, Lane, Ticket, _quota, deadline_of
from serving.api.problems import Problem


def held(lane: Lane, ticket: Ticket[None], gate: threading.Event) -> asyncio.Task[None]:
    """Work that lasts until the gate opens."""
    return asyncio.create_task(lane.do(ticket, lambda: gate.wait(10) and None))


async def begun(ticket: Ticket[None]) -> None:
    while not ticket.began:
        await asyncio.sleep(0.001)


def test_who_would_wait_longer_than_the_budget_is_told_when_to_return() -> None:
    async def scene() -> None:
        lane, gate = Lane(budget=3.5 * FIRST_GUESS), threading.Event()
        inside = [held(lane, lane.enter("m", 10), gate) for _ in range(3)]
        with pytest.raises(Problem) as refused:
            lane.enter("m", 10)
        assert (refused.value.status, refused.value.kind) == (503, "busy")
        assert refused.value.retry is not None
        assert refused.value.retry > 0
        assert lane.refused == {"busy": 1}
        gate.set()
        await asyncio.gather(*inside)
        assert lane.estimated_wait() == 0
        lane.enter("m", 10)

    asyncio.run(scene())


def test_a_slow_kind_counts_as_slow_and_another_does_not() -> None:
    async def scene() -> None:
        lane = Lane(budget=1.0)
        lane.averages = {"slow": 0.9, "quick": 0.01}
        lane.enter("slow", 10)
        for _ in range(9):
            lane.enter("quick", 10)  # 0.99 s and not more
        lane.enter("quick", 10)
        with pytest.raises(Problem, match="waits"):
            lane.enter("quick", 10)

    asyncio.run(scene())


def test_one_alone_is_let_in_however_slow() -> None:
    async def scene() -> None:
        lane = Lane(budget=0.001)
        lane.averages = {"slow": 60.0}
        lane.enter("slow", 100)

    asyncio.run(scene())


def test_work_is_done_one_after_the_other_in_the_order_of_coming() -> None:
    async def scene() -> None:
        lane, seen = Lane(budget=100), []
        await asyncio.gather(*(lane.do(lane.enter("m", 10), lambda n=n: seen.append(n)) for n in range(20)))
        assert seen == list(range(20))
        assert lane.inside == {}
        assert lane.averages["m"] < FIRST_GUESS

    asyncio.run(scene())


def test_what_the_deadline_passes_before_is_not_begun() -> None:
    async def scene() -> None:
        lane, gate, seen = Lane(budget=100), threading.Event(), []
        first = held(lane, ticket := lane.enter("m", 10), gate)
        await begun(ticket)
        with pytest.raises(Problem) as late:
            await lane.do(lane.enter("m", 0.05), lambda: seen.append(1))
        assert late.value.status == 504
        assert list(lane.inside) == [ticket]
        gate.set()
        await first
        assert await lane.do(lane.enter("m", 10), lambda: "after it") == "after it"
        assert seen == []

    asyncio.run(scene())


def test_work_of_a_client_that_is_gone_is_dropped_and_what_is_at_hand_is_told() -> None:
    async def scene() -> None:
        lane, told, seen = Lane(budget=100), threading.Event(), []
        ticket = lane.enter("m", 10)

        def work() -> None:
            try:
                while True:
                    ticket.check()
            except Dropped:
                told.set()
                raise

        at_hand = asyncio.create_task(lane.do(ticket, work))
        waiting = asyncio.create_task(lane.do(lane.enter("m", 10), lambda: seen.append(1)))
        await begun(ticket)
        waiting.cancel()
        await asyncio.sleep(0.01)
        assert list(lane.inside) == [ticket], "who waited has left at once"
        at_hand.cancel()
        assert await asyncio.to_thread(told.wait, 5)
        while lane.inside:
            await asyncio.sleep(0.001)
        assert seen == []

    asyncio.run(scene())


def test_an_error_of_the_work_reaches_who_waits_and_the_lane_goes_on() -> None:
    async def scene() -> None:
        lane = Lane(budget=100)
        with pytest.raises(ZeroDivisionError):
            await lane.do(lane.enter("m", 10), lambda: 1 / 0)
        assert await lane.do(lane.enter("m", 10), lambda: 1) == 1

    asyncio.run(scene())


def test_at_the_end_who_is_inside_is_waited_for_and_nobody_is_let_in() -> None:
    async def scene() -> None:
        lane, gate = Lane(budget=100), threading.Event()
        work = held(lane, lane.enter("m", 10), gate)
        end = asyncio.create_task(lane.close())
        await asyncio.sleep(0.05)
        with pytest.raises(Problem) as refused:
            lane.enter("m", 10)
        assert refused.value.kind == "closing"
        assert not end.done()
        gate.set()
        await work
        await end

    asyncio.run(scene())


@pytest.mark.parametrize(("stated", "seconds"), [(None, 30.0), ("1500", 1.5), ("999999999", 30.0), ("0", 0.0)])
def test_a_deadline_is_capped(stated: str | None, seconds: float) -> None:
    assert deadline_of(stated, 30.0) == seconds


@pytest.mark.parametrize("stated", ["-1", "1.5", "soon", "", "9" * 40])
def test_a_deadline_that_is_no_number_is_refused(stated: str) -> None:
    with pytest.raises(Problem):
        deadline_of(stated, 30.0)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_control_group_is_read(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert _quota(str(tmp_path)) == quota

"""Workers that die: killed fifty times, told to end under load, two of them with one lease, clocks that jump.

Each ends with: every accepted image has exactly one analysis and one event, nothing is lost.
"""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from arriving import (
    accept,
    assert_exactly_once,
    counts,
    kill_after,
    make_home,
    opened,
    picture,
    started,
    wait_until,
    worked_off,
)

from groundplan.database.tables import analysis, message, outbox
from groundplan.messages.cloud_events import ANALYSED, FAILED
from groundplan.project import open_project
from serving.metrics import Meters

pytestmark = pytest.mark.kill


@pytest.mark.slow
def test_fifty_kills_of_a_worker_lose_and_double_nothing(tmp_path: Path) -> None:
    project = make_home(tmp_path / "home")
    engine, broker = opened(project)
    accepted = accept(project, broker, map(picture, range(400)))
    chance, hits = random.Random(11), 0
    for _ in range(25):
        before = counts(engine)["analysis"]
        two = [started(project.home) for _ in range(2)]
        wait_until(lambda before=before: counts(engine)["analysis"] > before or not counts(engine)["message"], 60)
        for process in two:
            kill_after(process, chance.uniform(0.0, 0.1))
        with engine.connect() as connection:
            leased = sa.select(sa.func.count()).where(message.c.state == "leased")
            hits += bool(connection.execute(leased).scalar())
    assert hits > 10, "hardly any worker had something in hand when it was killed"
    worked_off(project)
    assert_exactly_once(project, accepted)


def test_sigterm_under_load_finishes_what_is_in_hand(tmp_path: Path) -> None:
    project = make_home(tmp_path / "home", lease=600.0)
    engine, broker = opened(project)
    accepted = accept(project, broker, map(picture, range(150)))
    command = [sys.executable, "-m", "orchestration.cli.main", "work", "--home", str(project.home)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=Path(__file__).parents[3])
    wait_until(lambda: counts(engine)["analysis"] > 10, 90)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told.decode()[-2000:]
    with engine.connect() as connection:
        states = set(connection.execute(sa.select(message.c.state).where(message.c.queue == "work")).scalars())
    assert states <= {"waits"}, "it ended with messages in hand"
    worked_off(project)
    assert_exactly_once(project, accepted)


def test_two_workers_with_one_lease_leave_what_one_leaves(tmp_path: Path) -> None:
    from resources.brokers.table import TableBroker
    from serving.work.process import process_of
    from serving.work.results import commit
    from serving.work.steps import worked

    project = make_home(tmp_path / "home")
    engine, broker = opened(project)
    accepted = accept(project, broker, [picture(1), picture(2)])
    shops = [process_of(project, Meters(), relay=False).worker for _ in range(2)]
    mine = broker.receive(2, 0.05)
    time.sleep(0.1)
    other = TableBroker(engine)
    theirs = other.receive(2, 60.0)
    assert [one.tries for one in theirs] == [2, 2], "the lease was over"
    late = [worked(shops[0].shop, one) for one in mine]
    commit(engine, other, project.settings, [worked(shops[1].shop, one) for one in theirs])
    commit(engine, broker, project.settings, late)
    broker.later(mine, 0.0)  # of a lease that was lost: nothing comes back by it
    worked_off(project)
    assert_exactly_once(project, accepted)


@pytest.mark.parametrize("hours", [3, -3])
def test_a_clock_that_jumps_neither_loses_nor_holds_messages(tmp_path: Path, hours: int) -> None:
    from resources.brokers.table import TableBroker

    project = make_home(tmp_path / "home", lease=60.0)
    engine, _ = opened(project)
    jumped = timedelta(0)
    broker = TableBroker(engine, lambda: datetime.now(UTC) + jumped)
    accepted = accept(project, broker, map(picture, range(6)))
    held = broker.receive(3, 60.0)
    broker.later(held[:1], 30.0)
    jumped = timedelta(hours=hours)
    again = TableBroker(engine, lambda: datetime.now(UTC) + jumped).receive(6, 60.0)
    assert len(again) == 6, "a lease or a delay of before the jump holds a message"
    jumped = timedelta(0)
    with engine.begin() as connection:
        connection.execute(
            message.update().where(message.c.queue == "work").values(lease=None, state="waits", due=datetime.now(UTC))
        )
    worked_off(project)
    assert_exactly_once(project, accepted)


def test_a_message_that_kills_whoever_has_it_is_set_aside(tmp_path: Path) -> None:
    project = make_home(tmp_path / "home", deliveries=3)
    engine, broker = opened(project)
    accepted = accept(project, broker, [picture(1), picture(2)])
    for _ in range(4):
        broker.receive(1, 0.01)  # taken by somebody who is never heard of again
        time.sleep(0.02)
    worked_off(project)
    with engine.connect() as connection:
        aside = connection.execute(sa.select(message.c.id, message.c.reason).where(message.c.state == "aside")).all()
        done = set(connection.execute(sa.select(analysis.c.id)).scalars())
    assert [row.id for row in aside] == [accepted[0].id]
    assert "nobody who had it" in aside[0].reason
    assert done == {accepted[1].id}


def hanging(home: str, _: bool) -> None:
    """A worker whose network never answers about the first picture; the others wait behind it."""
    from serving.work import process, steps, worker

    asked = steps.analyse

    def analyse(image: Any, *given: Any) -> Any:
        if image.digest == hashlib.sha256(picture(1)).hexdigest():
            time.sleep(600)
        return asked(image, *given)

    steps.analyse = analyse
    worker.OVERDUE = 0.4  # of 20 s
    process.run(open_project(home), Meters())


def test_an_image_that_hangs_is_set_aside_and_its_process_ends(tmp_path: Path) -> None:
    from serving.work.worker import HUNG

    project = make_home(tmp_path / "home", lanes=1)
    engine, broker = opened(project)
    accepted = accept(project, broker, map(picture, range(1, 5)))
    process = started(project.home, target=hanging)
    process.join(90)
    assert process.exitcode == HUNG
    worked_off(project)
    with engine.connect() as connection:
        aside = connection.execute(sa.select(message.c.id, message.c.reason).where(message.c.state == "aside")).all()
        done = set(connection.execute(sa.select(analysis.c.id)).scalars())
        told = connection.execute(sa.select(outbox.c.type, sa.func.count()).group_by(outbox.c.type)).tuples().all()
    assert [row.id for row in aside] == [accepted[0].id]
    assert "it took longer than" in aside[0].reason
    assert done == {event.id for event in accepted[1:]}
    assert dict(told) == {ANALYSED: 3, FAILED: 1}

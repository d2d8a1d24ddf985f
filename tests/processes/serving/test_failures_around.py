"""What is around a worker fails: brokers and databases are killed, disks fill up, stores answer 503, a relay dies.

Each ends with: every accepted image has exactly one analysis and one event, nothing is lost.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from arriving import (
    accept,
    assert_exactly_once,
    counts,
    is_empty,
    make_home,
    opened,
    picture,
    shuffled,
    started,
    wait_until,
    worked_off,
)
from faulty_s3 import BUCKET, Fault, serve_as_aws
from killable import free_port, serve_killable_postgres, serve_nats

from groundplan.database import connect
from groundplan.database.tables import analysis, message, outbox
from groundplan.errors import BrokerFailed
from groundplan.messages import CloudEvent
from groundplan.messages.cloud_events import message_id
from groundplan.project import Project, open_project
from serving.metrics import Meters

ROOT = Path(__file__).parents[3]
NOBODY = 0  # status of a request that nobody answered


def told_by(url: str) -> list[str]:
    """Ids of all events in the broker's stream, as often as they are there."""
    import nats

    async def read() -> list[str]:
        client = await nats.connect(url)
        stream = client.jetstream()
        pull = await stream.pull_subscribe("groundplan.events.>", stream="GROUNDPLAN_EVENTS")
        found: list[str] = []
        while len(found) < (await stream.stream_info("GROUNDPLAN_EVENTS")).state.messages:
            with suppress(TimeoutError):
                for one in await pull.fetch(256, timeout=5):
                    found.append(one.headers["Nats-Msg-Id"])
                    await one.ack()
        await client.close()
        return found

    return asyncio.run(read())


@contextmanager
def working(project: Project) -> Iterator[Any]:
    """A worker, in threads of this process: what fails is around it."""
    from serving.work.process import beside

    with beside(project, Meters()) as process:
        yield process


def again(attempt: Callable[[], Any]) -> Any:
    """As a client does: again, until it is accepted."""
    result: list[Any] = []

    def done() -> bool:
        try:
            result.append(attempt())
        except (BrokerFailed, sa.exc.DBAPIError):
            return False
        return True

    wait_until(done, 60)
    return result[0]


# --- servers that are killed ------------------------------------------------------------------------------------------


@pytest.mark.kill
@pytest.mark.slow
def test_a_broker_that_is_killed_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    with serve_nats() as server:
        project = make_home(tmp_path / "home", broker="nats", nats_url=server.url, lease=2.0)
        engine, broker = opened(project)
        accepted = accept(project, broker, map(picture, range(40)))
        with working(project):
            for goal in (10, 50):
                wait_until(lambda goal=goal: counts(engine)["analysis"] >= goal, 60)
                server.kill()
                server.start()
                if goal == 10:
                    accepted += again(lambda: accept(project, broker, map(picture, range(40, 90))))
            wait_until(lambda: counts(engine)["analysis"] == 90 and broker.depth().waiting == 0, 60)
            wait_until(lambda: is_empty(engine), 60)
        assert_exactly_once(project, accepted, told_by(server.url))


@pytest.mark.kill
@pytest.mark.slow
def test_postgresql_that_is_killed_under_load(tmp_path: Path) -> None:
    with serve_killable_postgres() as server:
        project = make_home(tmp_path / "home", database=server.new_database("groundplan"))
        engine, broker = opened(project)
        accepted = accept(project, broker, map(picture, range(60)))
        with working(project):
            for goal, how in ((10, signal.SIGKILL), (70, signal.SIGQUIT)):  # SIGQUIT: `pg_ctl stop -m immediate`
                wait_until(lambda goal=goal: again(lambda: counts(engine))["analysis"] >= goal, 60)
                server.kill(how)
                server.start()
                if how is signal.SIGKILL:
                    accepted += again(lambda: accept(project, broker, map(picture, range(60, 120))))
            wait_until(lambda: again(lambda: is_empty(engine)), 90)
        assert_exactly_once(project, accepted)


# --- disks and stores -------------------------------------------------------------------------------------------------


@pytest.mark.fault
def test_a_disk_that_is_full_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from groundplan.core import store

    project = make_home(tmp_path / "home")
    engine, broker = opened(project)
    accepted = accept(project, broker, map(picture, range(40)))
    full = threading.Event()
    real = store._put_file

    def put(root: Any, key: str, parts: Any) -> None:
        if full.is_set() and key.startswith(("images/", "analyses/")) and hash(key) % 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(root, key, parts)

    monkeypatch.setattr(store, "_put_file", put)
    full.set()
    with working(project) as process:
        # the database's file may not grow either: SQLite says "database or disk is full"
        limited = sa.event.listens_for(process.worker.engine, "begin")

        @limited
        def limit(connection: Any) -> None:
            most = connection.exec_driver_sql("PRAGMA page_count").scalar() if full.is_set() else 1_000_000
            connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")

        wait_until(lambda: process.worker._pause > 0, 60)
        assert counts(engine)["analysis"] < 40
        full.clear()
        wait_until(lambda: is_empty(engine), 90, lambda: counts(engine))
    assert_exactly_once(project, accepted)


@pytest.mark.fault
def test_a_store_that_answers_503_for_longer_than_anybody_retries(tmp_path: Path) -> None:
    with serve_as_aws() as faulty:
        project = make_home(tmp_path / "home", store=f"s3://{BUCKET}/single")
        engine, broker = opened(project)
        accepted = accept(project, broker, map(picture, range(20)))
        faulty.faults[:] = [Fault(kind="503", text="single/", times=10**9)]
        with working(project) as process:
            wait_until(lambda: process.worker._pause >= 1, 60)
            assert counts(engine)["analysis"] == 0
            assert not aside(engine), "an outage is nobody's fault"
            faulty.faults[:] = [Fault(kind="503", text="single/", times=30, every=3)]
            wait_until(lambda: is_empty(engine), 90, lambda: counts(engine))
        faulty.faults[:] = []
        assert_exactly_once(project, accepted)


def aside(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(message).where(message.c.state == "aside")).all())


# --- the relay --------------------------------------------------------------------------------------------------------


def relay_that_dies(home: str, _: bool) -> None:
    """Publishes one batch, and is killed before it can say so."""
    from resources.broker import open_broker
    from serving.work.relay import Relay

    project = open_project(home)
    engine = connect.open_database(project)
    broker = open_broker(project, engine)

    def publish(events: Any) -> None:
        broker.publish(events)
        os.kill(os.getpid(), signal.SIGKILL)

    Relay(engine=engine, targets={"broker": publish}, keep_days=7.0, meters=Meters()).run_once()


@pytest.mark.kill
@pytest.mark.parametrize("kind", ["table", "nats"])
def test_a_relay_that_is_killed_between_sending_and_marking(tmp_path: Path, kind: str) -> None:
    with serve_nats() as server:
        project = make_home(tmp_path / "home", broker=kind, nats_url=server.url)
        engine, broker = opened(project)
        accepted = accept(project, broker, map(picture, range(10)))
        from serving.work.process import process_of

        process_of(project, Meters(), relay=False).worker.run(until_empty=True)
        for _ in range(2):
            process = started(project.home, target=relay_that_dies)
            process.join(60)
            assert process.exitcode == -signal.SIGKILL
        with engine.connect() as connection:
            sent = sa.select(sa.func.count()).where(outbox.c.sent.is_not(None))
            assert connection.execute(sent).scalar() == 0
        worked_off(project)
        assert_exactly_once(project, accepted, told_by(server.url) if kind == "nats" else None)


# --- clients ----------------------------------------------------------------------------------------------------------


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_too_much_from_slow_clients_too_and_the_end_in_the_middle_of_it(tmp_path: Path, how: signal.Signals) -> None:
    """Sixteen clients without a pause at a service that lets two wait, and twenty that send a byte: who was answered
    with 200 finds one result and one event, whatever the end of the process came between."""
    project = make_home(tmp_path / "home", more="[api]\nbudget_seconds = 0.1\nbody_seconds = 5.0")
    port = free_port()
    command = [sys.executable, "-m", "orchestration.cli.main", "serve", "--work", "--port", str(port)]
    log = tmp_path / "log"
    process = subprocess.Popen([*command, "--home", str(project.home)], stderr=log.open("wb"), cwd=ROOT)
    address = f"127.0.0.1:{port}"
    wait_until(lambda: _status(address) == 200, 90)
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for client in slow:
        head = b"POST /v1/predict/footprints?store=true HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n"
        client.sendall(head + b"x")
    answers: list[tuple[int, str]] = []
    threads = [threading.Thread(target=_asking, args=(address, number, answers)) for number in range(16)]
    for thread in threads:
        thread.start()
    wait_until(lambda: [status for status, _ in answers].count(200) >= 20, 90)
    process.send_signal(how)
    assert process.wait(90) == (0 if how is signal.SIGTERM else -how), log.read_text()[-2000:]
    for thread in threads:
        thread.join(30)
    assert {status for status, _ in answers} - {NOBODY} == {200, 503}
    answered, unanswered = ({one for status, one in answers if status == wanted} for wanted in (200, NOBODY))
    worked_off(project)
    with connect.open_database(project).connect() as connection:
        made = set(connection.execute(sa.select(analysis.c.id)).scalars())
    if how is signal.SIGTERM:
        assert made == answered
    assert made <= answered | unanswered, "what was kept, and its answer lost, is no stranger"
    wanted = sorted(answered | made)
    assert_exactly_once(project, [CloudEvent(id=one, type="", source="", time="") for one in wanted])


def _status(address: str) -> int:
    import urllib3

    try:
        return urllib3.request("GET", f"http://{address}/readyz", retries=False).status
    except urllib3.exceptions.HTTPError:
        return 0


def _asking(address: str, number: int, answers: list[tuple[int, str]]) -> None:
    """Until nobody is there any more: statuses, and ids of what was accepted."""
    import urllib3

    pool, target = urllib3.PoolManager(), f"http://{address}/v1/predict/footprints?store=true"
    for turn in range(10_000):
        data = picture(10_000 * number + turn)
        try:
            answer = pool.request("POST", target, body=data, retries=False, timeout=30.0)
        except urllib3.exceptions.HTTPError:
            digest = hashlib.sha256(data).hexdigest()
            answers.append((NOBODY, message_id("request", digest, digest, "footprints")))
            return
        answers.append((answer.status, answer.json().get("id", "")))


# --- messages ---------------------------------------------------------------------------------------------------------


def test_a_thousand_messages_that_are_doubled_and_in_disorder(tmp_path: Path) -> None:
    """Four of each, out of order, without the ids by which a broker would see it, to two workers."""
    from resources.brokers.memory import MemoryBroker
    from serving.work.process import process_of

    project = make_home(tmp_path / "home")
    engine, table = opened(project)
    accepted = accept(project, table, map(picture, range(250)))
    with engine.begin() as connection:
        connection.execute(message.delete())
    disorder = MemoryBroker()
    for number, event in enumerate(shuffled(accepted * 4)):
        disorder._waiting[f"{number}"] = disorder._waiting.pop(event.id, None) or waiting(disorder, event)
    workers = [process_of(project, Meters(), relay=False).worker for _ in range(2)]
    for worker in workers:
        worker.broker = disorder
    threads = [threading.Thread(target=worker.run, args=(True,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    worked_off(project)
    assert disorder.depth().waiting == 0
    assert_exactly_once(project, accepted)


def waiting(broker: Any, event: Any) -> Any:
    broker.send([event])
    return broker._waiting.pop(event.id)


@pytest.mark.bad_input
def test_poison_is_set_aside_at_once_and_the_others_go_on(tmp_path: Path) -> None:
    from serving.work.process import process_of

    project = make_home(tmp_path / "home")
    engine, broker = opened(project)
    accepted = accept(project, broker, map(picture, range(60)))
    bad = accept(project, broker, poison())
    worker = process_of(project, Meters(), relay=False).worker
    worker.run(until_empty=True)
    letters = {row.id: row for row in aside(engine)}
    assert set(letters) == {event.id for event in bad}
    assert all(row.reason and row.tries == 1 for row in letters.values())
    worked_off(project)
    with engine.connect() as connection:
        failed = list(connection.execute(sa.select(outbox.c.event).where(outbox.c.type.endswith("failed"))).scalars())
        done = set(connection.execute(sa.select(analysis.c.id)).scalars())
    assert done == {event.id for event in accepted}
    assert len(failed) == len(bad)
    assert all(event["data"]["reason"] for event in failed)
    accept(project, broker, poison())  # again: it is known
    worked_off(project)
    assert counts(engine)["outbox"] == len(accepted) + len(bad)


def poison() -> list[bytes]:
    """Bombs, halves, nothing, and what is two things at once."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    def png(wide: int, high: int, pixels: bytes) -> bytes:
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")

    whole = picture(999_999)
    return [
        whole[: len(whole) // 2],
        png(65535, 65535, b"\0"),
        png(30_000, 30_000, bytes(10**6)),
        b"\xff\xd8\xff\xe0" + b"%PDF-1.7 and a picture at once" * 20,
        b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + bytes(6) + b",",
        b"RIFF\xff\xff\xff\xffWEBPVP8 ",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ]


@pytest.mark.fault
def test_a_model_that_is_broken_at_the_swap_leaves_the_old_one(tmp_path: Path) -> None:
    from groundplan.promotion.found import discover
    from groundplan.registry.aliases import PRODUCTION, set_alias
    from groundplan.registry.entries import ModelEntry, entries, register

    project = make_home(tmp_path / "home", more="[api]\nfollow_seconds = 0.1")
    engine, broker = opened(project)
    discover(project)
    good = entries(project.store, "footprints")[0]
    set_alias(project.store, "footprints", PRODUCTION, good.version, who="tests", why="tests")
    project.store.put("trained_model/broken.zip", b"no model")
    named = {name: getattr(good, name) for name in ("name", "kind", "source", "card")}
    broken = ModelEntry(
        **named, version="broken", key="trained_model/broken.zip", sha256="0" * 64, bytes=8, made="2026-01-01T00:00:00Z"
    )
    register(project.store, broken)
    accepted = accept(project, broker, map(picture, range(10)))
    with working(project):
        wait_until(lambda: counts(engine)["analysis"] >= 10, 60)
        set_alias(project.store, "footprints", PRODUCTION, "broken", who="tests", why="tests")
        accepted += accept(project, broker, map(picture, range(10, 30)))
        wait_until(lambda: is_empty(engine), 60)
    assert_exactly_once(project, accepted)
    with engine.connect() as connection:
        assert set(connection.execute(sa.select(analysis.c.version)).scalars()) == {good.version}

"""Every broker keeps the same promises: leases, delays, tries, order of events, nothing lost. On real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aws
import pytest
from killable import serve_killable_postgres, serve_nats

from groundplan.messages import Broker, CloudEvent

LEASE = 1.0  # seconds: SQS's least; of NATS it is the consumer's, for all who share it
BROKERS = ("memory", "sqlite", "postgres", "nats", "sqs")


def events(count: int, name: str = "m") -> list[CloudEvent]:
    return [
        CloudEvent(
            id=f"{name}{number:04}", type="org.groundplan.image.arrived", source="/tests", time="", data={"n": number}
        )
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Any]]:
    with serve_killable_postgres() as postgres, serve_nats() as nats, aws.serve() as url:
        yield {"postgres": postgres, "nats": nats, "sqs": url}


@pytest.fixture(params=BROKERS)
def make(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Broker]]:
    """Makes a further broker over the same queue, which is empty at first."""
    opened: list[Broker] = []

    def made() -> Broker:
        if request.param == "memory" and opened:
            return opened[0]
        opened.append(broker_of(request, request.param, tmp_path, monkeypatch))
        return opened[-1]

    yield made
    for broker in opened:
        broker.close()


def broker_of(request: pytest.FixtureRequest, kind: str, folder: Path, patch: pytest.MonkeyPatch) -> Broker:
    from groundplan.database import connect

    if kind == "memory":
        from resources.brokers.memory import MemoryBroker

        return MemoryBroker()
    servers = request.getfixturevalue("servers") if kind != "sqlite" else {}
    if kind in ("sqlite", "postgres"):
        from resources.brokers.table import TableBroker

        url = (
            f"sqlite:///{folder / 'd.sqlite'}" if kind == "sqlite" else database(servers["postgres"], request.node.name)
        )
        engine = connect.engine(url)
        connect.migrate(engine)
        return TableBroker(engine)
    if kind == "nats":
        from resources.brokers.nats import NatsBroker

        return NatsBroker([servers["nats"].url])
    for name, value in aws.environment(servers["sqs"]).items():
        patch.setenv(name, value)
    from resources.brokers.queue import SqsBroker
    from resources.sqs import client_of

    names = [f"{part}-{abs(hash(request.node.name))}" for part in ("work", "events")]
    urls = [client_of(servers["sqs"]).create_queue(QueueName=name)["QueueUrl"] for name in names]
    return SqsBroker(*urls)


def database(postgres: Any, test: str) -> str:
    name = f"d{abs(hash(test))}"
    known = postgres.__dict__.setdefault("made", {})
    if name not in known:
        known[name] = postgres.new_database(name)
    return str(known[name])


def all_of(broker: Broker, count: int, seconds: float = 10.0, lease: float = LEASE) -> list[Any]:
    found: list[Any] = []
    end = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        found += broker.receive(count - len(found), lease, 0.2)
    return found


def numbers(held: list[Any]) -> list[int]:
    from groundplan.messages import event_of

    return sorted(event_of(one.body).data["n"] for one in held)


def test_a_message_is_one_holders_until_its_lease_is_over_and_nobodys_when_it_is_done(
    make: Callable[[], Broker],
) -> None:
    one, other = make(), make()
    one.send(events(20))
    mine = all_of(one, 10)
    theirs = all_of(other, 10)
    assert numbers(mine + theirs) == list(range(20))
    other.done(theirs)
    time.sleep(LEASE)
    again = all_of(other, 10)
    assert numbers(again) == numbers(mine)
    assert {held.tries for held in again} == {2}
    other.done(again)
    assert other.receive(5, LEASE, 0.1) == []
    assert other.depth().waiting == 0


def test_what_is_given_back_comes_later(make: Callable[[], Broker]) -> None:
    broker = make()
    broker.send(events(3, "later"))
    held = all_of(broker, 3)
    broker.later(held, 1.0)
    assert broker.receive(3, LEASE) == []
    again = all_of(broker, 3)
    assert numbers(again) == [0, 1, 2]
    broker.done(again)


def test_a_lease_that_is_renewed_lasts(make: Callable[[], Broker]) -> None:
    broker = make()
    broker.send(events(1, "kept"))
    (held,) = all_of(broker, 1)
    for _ in range(4):
        time.sleep(LEASE / 2)
        broker.keep([held], LEASE)
    assert broker.receive(1, LEASE) == []
    broker.done([held])
    broker.done([held])  # twice is no fault


def test_the_age_of_the_oldest_is_known(make: Callable[[], Broker]) -> None:
    broker = make()
    assert broker.depth().oldest in (0.0, None)
    broker.send(events(2, "old"))
    time.sleep(0.3)
    depth = broker.depth()
    assert depth.waiting == 2
    assert depth.oldest is None or 0.2 < depth.oldest < 20
    broker.done(all_of(broker, 2))


def test_how_much_waits_is_known_while_others_work(make: Callable[[], Broker]) -> None:
    """What is asked of a server in two steps may be done with between them."""
    broker, other = make(), make()
    wrong: list[BaseException] = []

    def ask() -> None:
        try:
            while not over.is_set():
                broker.depth()
        except BaseException as error:
            wrong.append(error)

    over = threading.Event()
    asking = threading.Thread(target=ask)
    asking.start()
    for round_ in range(4):
        other.send(events(10, f"d{round_}-"))
        for held in all_of(other, 10, lease=20.0):
            other.done([held])
    over.set()
    asking.join(30)
    assert not wrong

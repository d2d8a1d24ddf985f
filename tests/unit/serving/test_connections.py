"""Who is let in, who gives way, and how long a connection may say nothing: over real sockets, with small bounds."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from serving.maps import hosts
from serving.maps.connections import HEALTH, Bounds, Few, counted_as, networks, server_of
from serving.maps.http import Manners

SMALL = Bounds(head_seconds=0.4, idle_seconds=5, stuck_seconds=0.4, most=12, most_each=8)
HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
LARGE = b"x" * 2**24  # more than the sockets of both ends take up


class Gate:
    """An app whose answers wait until they may go."""

    def __init__(self) -> None:
        self.open, self.inside = threading.Event(), 0

    async def slow(self, _: Request) -> Response:
        self.inside += 1
        while not self.open.is_set():
            await anyio.sleep(0.01)
        return PlainTextResponse("slow\n")


async def plain(request: Request) -> Response:
    return PlainTextResponse(request.client.host if request.client else "")


@contextmanager
def served(bounds: Bounds, gate: Gate | None = None) -> Iterator[int]:
    """A server in a thread; gives its port."""
    routes = [
        Route("/", plain),
        Route(HEALTH, plain),
        Route("/slow", (gate or Gate()).slow),
        Route("/large", lambda _: Response(LARGE)),
    ]
    server = server_of(Starlette(routes=routes, middleware=[Middleware(Manners)]), "127.0.0.1", 0, bounds)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        if gate:
            gate.open.set()
        server.should_exit = True
        thread.join(20)


def until(happened: Any) -> None:
    """Raises AssertionError when it does not happen in half a minute."""
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.005)


def connect(port: int, sent: bytes = b"", here: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(here, 0))
    connection.sendall(sent)
    return connection


def asked(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "Connection: close", "", ""]).encode()


def status(port: int, path: str = "/", *headers: str, here: str = "127.0.0.1") -> int:
    """Of one request on a connection of its own."""
    with connect(port, asked(path, *headers), here) as connection:
        return int(everything(connection).split(b" ", 2)[1])


def everything(connection: socket.socket) -> bytes:
    """What comes until the other end closes; an end by reset counts as one."""
    found = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(2**20):
            found += data
    return bytes(found)


@pytest.mark.fault
def test_a_head_that_does_not_come_is_not_waited_for() -> None:
    with served(SMALL) as port:
        for begun in (b"", b"GET", HALF):
            with connect(port, begun) as silent:
                assert everything(silent).startswith(b"HTTP/1.1 408 ")


@pytest.mark.fault
def test_a_head_that_comes_byte_by_byte_is_late_all_the_same() -> None:
    with served(SMALL) as port, connect(port, HALF) as slow:
        slow.settimeout(0.05)
        end = time.monotonic() + 30
        found = None
        while found is None and time.monotonic() < end:
            try:
                slow.sendall(b"a")
                found = slow.recv(100)
            except TimeoutError:
                continue
            except OSError:
                found = b""
        assert found is not None, "its bytes kept it open"


@pytest.mark.fault
def test_the_next_head_of_a_connection_may_be_no_later() -> None:
    with served(SMALL) as port, connect(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as again:
        assert again.recv(1000).startswith(b"HTTP/1.1 200 ")
        again.sendall(HALF)
        assert b" 408 " in everything(again)


@pytest.mark.fault
def test_a_body_that_dawdles_is_not_waited_for() -> None:
    """Nothing can be sent here: the refusal does not wait for what is refused."""
    patient = replace(SMALL, head_seconds=60, idle_seconds=60)
    with served(patient) as port:
        for said in ("Content-Length: 100", "Transfer-Encoding: chunked"):
            with connect(port, asked("/", said) + b"1") as dawdling:
                assert everything(dawdling).startswith(b"HTTP/1.1 413 ")


@pytest.mark.fault
@pytest.mark.parametrize("here", ["127.0.0.1", "127.0.0.2"])
def test_half_open_connections_keep_nobody_out(here: str) -> None:
    """Three times what the server bears, of one address; whoever asks is answered, from there and from elsewhere."""
    with served(replace(SMALL, head_seconds=60)) as port, contextlib.ExitStack() as held:
        half = [held.enter_context(connect(port, HALF)) for _ in range(36)]
        for _ in range(3):
            assert [status(port, "/", here=here), status(port, HEALTH, here=here)] == [200, 200]
        half[-1].settimeout(0.05)
        with pytest.raises(TimeoutError):  # it came last, and nobody made it go
            half[-1].recv(1)


@pytest.mark.fault
def test_a_crowd_in_requests_is_bounded_and_the_health_check_is_answered() -> None:
    gate = Gate()
    with served(SMALL, gate) as port, contextlib.ExitStack() as held:
        for _ in range(SMALL.most_each):
            held.enter_context(connect(port, asked("/slow")))
        until(lambda: gate.inside == SMALL.most_each)
        assert [status(port), status(port, HEALTH)] == [503, 200]
        assert status(port, here="127.0.0.2") == 200, "another address has room of its own"
        for _ in range(SMALL.most - SMALL.most_each):
            held.enter_context(connect(port, asked("/slow"), "127.0.0.2"))
        until(lambda: gate.inside == SMALL.most)
        assert [status(port, path, here="127.0.0.3") for path in ("/", HEALTH)] == [503, 200]
        gate.open.set()
        until(lambda: status(port) == 200)


@pytest.mark.fault
def test_an_answer_that_nobody_takes_does_not_hold_its_place() -> None:
    with served(SMALL) as port, connect(port, asked("/large")) as deaf:
        assert deaf.recv(1) == b"H"
        time.sleep(4 * SMALL.stuck_seconds)
        assert len(everything(deaf)) < len(LARGE)
    with served(replace(SMALL, stuck_seconds=30)) as port, connect(port, asked("/large")) as reader:
        assert len(everything(reader)) > len(LARGE)


def test_connections_of_a_proxy_are_not_those_of_one_client() -> None:
    """Its word for whom it asks is taken; that of others is not."""
    with served(replace(SMALL, proxies=("127.0.0.4",), most_each=2)) as port, contextlib.ExitStack() as held:
        for _ in range(6):
            held.enter_context(connect(port, HALF, "127.0.0.4"))
        for here, seen in (("127.0.0.4", b"192.0.2.7"), ("127.0.0.1", b"127.0.0.1")):
            with connect(port, asked("/", "X-Forwarded-For: 192.0.2.7"), here) as connection:
                assert everything(connection).endswith(seen)


def test_an_address_is_what_one_client_has() -> None:
    proxies = networks(["10.0.0.0/8", "fd00::1"])
    assert counted_as("192.0.2.7", proxies) == "192.0.2.7"
    assert counted_as("::ffff:192.0.2.7", proxies) == "192.0.2.7"
    assert counted_as("2001:db8::1", proxies) == counted_as("2001:db8::ffff:2", proxies) == "2001:db8::/64"
    assert {counted_as(client, proxies) for client in ("10.2.3.4", "::ffff:10.2.3.4", "fd00::1", "")} == {""}


@pytest.mark.fault
def test_bad_requests_write_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with served(replace(SMALL, said=3)) as port:
        for _ in range(12):
            with connect(port, b"\x00\r\n\r\n") as bad:
                assert everything(bad).startswith(b"HTTP/1.1 400 ")
    assert capsys.readouterr().err.count("Invalid HTTP request") == 3


def test_what_was_left_out_is_said_later() -> None:
    few, lines = Few(2, seconds=0.05), []
    for wait in (0, 0, 0, 0, 0.1, 0):
        time.sleep(wait)
        record = logging.LogRecord("a", logging.WARNING, "", 0, "bad", (), None)
        if few.filter(record):
            lines.append(record.getMessage())
    assert lines == ["bad", "bad", "bad (2 more like it in the minute before)", "bad"]


# ---------------------------------------------------------------------------------------------------- names

NAMES = hosts.names_of("https://maps.example.org/gp", ["groundplan-previews", "*.cluster.example"], "box.example")


@pytest.mark.parametrize(
    "header",
    [
        *("localhost", "LOCALHOST:3001", "a.localhost", "127.0.0.1:3001", "[::1]:3001", "192.0.2.7", "10.1.2.3:8081"),
        *("maps.example.org", "maps.example.org.:443", "groundplan-previews:8081", "a.cluster.example", "box.example"),
    ],
)
def test_names_that_are_ours(header: str) -> None:
    assert hosts.is_ours(header, NAMES)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "header",
    [
        *("evil.example", "maps.example.org.evil.example", "xmaps.example.org", "localhost.evil.example", "xlocalhost"),
        *("127.0.0.1.evil.example", "127.0.0.1@evil.example", "evil.example:80:80", "", "cluster.example", "a b"),
        *(".cluster.example", "2130706433", "[::1", "evil.example#localhost", "localhost/", "127.0.0.1:x"),
    ],
)
def test_names_that_are_not(header: str) -> None:
    assert not hosts.is_ours(header, NAMES)


def test_what_is_this_machine() -> None:
    assert all(map(hosts.is_this_machine, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(hosts.is_this_machine, ("0.0.0.0", "::", "192.0.2.7", "box.example", "")))

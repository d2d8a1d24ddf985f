"""Bounds on connections: how long a request's head may take, how many an address may hold, and who gives way.

Here: what happens before a request is one, and the server's process. Not here: bounds on a request (http.py), answers
(app.py). uvicorn's own time-out is for connections that are idle between requests, and its bound on connections turns
away whoever comes last, a health check too: so both are here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

HEALTH = "/healthz"
HEALTHS = frozenset({HEALTH, "/livez", "/readyz", "/startupz"})  # never turned away
LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
FULL = "too many requests are in hand already\n"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one server bears."""

    head_seconds: float = 10.0
    """For the head of a request, from its first byte, or from the opening of the connection."""
    idle_seconds: float = 15.0
    """Between two requests of a connection."""
    stuck_seconds: float = 30.0
    """In which a reader takes nothing of the answer that lies ready."""
    most: int = 512
    """Connections."""
    most_each: int = 256
    """Connections of an address; of IPv6, of a /64, which is what one subscriber has."""
    proxies: Sequence[str] = ()
    """Addresses and networks whose connections carry the requests of many; only `most` bounds them."""
    said: int = 10
    """Lines of one kind that a minute's log may hold."""


@dataclass
class Crowd:
    """Who is connected, in the order of their coming."""

    bounds: Bounds
    everybody: dict[Patient, None] = field(default_factory=dict)
    by_address: defaultdict[str, dict[Patient, None]] = field(default_factory=lambda: defaultdict(dict))

    def enter(self, one: Patient) -> bool:
        """Let in; where that is one too many, the oldest that is in no request gives way. False: nobody could."""
        self.everybody[one] = None
        room = self._room(self.everybody, self.bounds.most, one)
        if not one.address:
            return room
        self.by_address[one.address][one] = None
        return self._room(self.by_address[one.address], self.bounds.most_each, one) and room

    def leave(self, one: Patient) -> None:
        self.everybody.pop(one, None)
        theirs = self.by_address.get(one.address, {})
        theirs.pop(one, None)
        if not theirs:
            self.by_address.pop(one.address, None)

    def _room(self, among: dict[Patient, None], most: int, new: Patient) -> bool:
        if len(among) <= most:
            return True
        idle = next((one for one in among if one is not new and one.idle), None)
        if idle:
            self.leave(idle)
            idle.transport.abort()
        return idle is not None


class Patient(H11Protocol):
    """A connection of uvicorn's that ends when its head is late, or its answer is not taken."""

    def __init__(self, *, crowd: Crowd, **given: Any) -> None:
        super().__init__(**given)
        self.crowd, self.address = crowd, ""
        self.late: asyncio.TimerHandle | None = None
        self.stuck: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """In no request: its head has not come, or its answer is gone."""
        return (self.cycle is None or self.cycle.response_complete) and not self.transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = counted_as(self.client[0] if self.client else "", networks(self.crowd.bounds.proxies))
        if not self.crowd.enter(self):
            self.app = partial(turn_away, self.app)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self.late is None and self.idle:
            self._await_head()
        super().data_received(data)
        if not self.idle:
            self._stop("late")

    def on_response_complete(self) -> None:
        self._look(None)
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd.leave(self)
        self._stop("late")
        self._stop("stuck")
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._stop("late")
        self.late = self.loop.call_later(self.crowd.bounds.head_seconds, self._too_late)

    def _too_late(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(LATE)
        self.transport.abort()

    def _look(self, before: int | None) -> None:
        """While an answer lies ready, see now and then that some of it is taken; close() alone would wait for ever."""
        self._stop("stuck")
        left = self.transport.get_write_buffer_size()
        if before is not None and left >= before:
            self.transport.abort()
        elif left:
            self.stuck = self.loop.call_later(self.crowd.bounds.stuck_seconds, self._look, left)

    def _stop(self, name: str) -> None:
        timer: asyncio.TimerHandle | None = getattr(self, name)
        if timer:
            timer.cancel()
        setattr(self, name, None)


async def turn_away(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """503 for a connection for which there is no room; the health check is answered all the same."""
    if scope["path"] not in HEALTHS:
        app = PlainTextResponse(FULL, 503, {"retry-after": "5", "connection": "close", "cache-control": "no-store"})
    await app(scope, receive, send)


Network = IPv4Network | IPv6Network


def networks(given: Sequence[str]) -> list[Network]:
    """Raises ValueError for what is no address and no network."""
    return [ip_network(text, strict=False) for text in given]


def counted_as(client: str, proxies: Sequence[Network]) -> str:
    """The address by which a client's connections are counted; empty for those of a proxy, and of a local socket."""
    try:
        address = ip_address(client)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if any(address in network for network in proxies):
        return ""
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)


class Few(logging.Filter):
    """So many lines of one kind a minute; the next then says how many were left out. No client can fill a disk."""

    def __init__(self, most: int, seconds: float = 60.0) -> None:
        super().__init__()
        self.most, self.seconds = most, seconds
        self.since, self.count, self.left_out = time.monotonic(), Counter[str](), Counter[str]()

    def filter(self, record: logging.LogRecord) -> bool:
        if time.monotonic() - self.since > self.seconds:
            self.since, self.left_out = time.monotonic(), self.count - Counter(dict.fromkeys(self.count, self.most))
            self.count.clear()
        kind = str(record.msg)
        self.count[kind] += 1
        if self.count[kind] > self.most:
            return False
        if left_out := self.left_out.pop(kind, 0):
            record.msg = f"{kind.rstrip()} ({left_out} more like it in the minute before)"
        return True


def server_of(app: ASGIApp, host: str, port: int, bounds: Bounds) -> uvicorn.Server:
    """A server of one process. `run` serves until a signal ends it."""
    made = partial(Patient, crowd=Crowd(bounds))
    server = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=made,  # type: ignore[arg-type] # it is called, and nothing else
        ws="none",  # an upgraded connection would be in nobody's count
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(bounds.proxies),
        forwarded_allow_ips=list(bounds.proxies),
        timeout_keep_alive=int(bounds.idle_seconds),
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=32 * 1024,
    )
    logger = logging.getLogger("uvicorn.error")
    logger.filters = [Few(bounds.said)]  # of this server, not of one that was before it in the process
    return uvicorn.Server(server)

"""An S3 server on this machine that fails as it is told: moto behind a small proxy.

Here: the server, its faults, and the quirks of servers that speak S3's language less well than S3. Not here: what must
come of them (test_store_faults.py, tests/unit/stores).
"""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import unescape

import aws
import pytest

BUCKET = "groundplan"
FOREVER = 10**9
STATUS = {"500": (500, "InternalError"), "503": (503, "SlowDown"), "403": (403, "AccessDenied")}
KINDS = ("500", "503", "timeout", "reset", "lost answer", "truncated")


@dataclass(kw_only=True)
class Fault:
    """What happens to the next `times` requests of a method whose path and query contain `text`.

    kind: 500, 503 and 403 are answers; `timeout` answers too late; `reset` breaks the connection before the server
    sees the request, `lost answer` after; `truncated` sends half of an answer's body (half of what an empty one has is
    nothing: then the connection breaks before the answer).
    """

    kind: str
    method: str = ""
    text: str = ""
    times: int = 1
    every: int = 1  # of the requests that match, each how-many-th fails
    matched: int = 0
    injected: int = 0

    def strikes(self, method: str, path: str) -> bool:
        if self.method not in ("", method) or self.text not in path or self.injected >= self.times:
            return False
        self.matched += 1
        if self.matched % self.every:
            return False
        self.injected += 1
        return True


@dataclass(kw_only=True)
class FaultyS3:
    """The running server: its address, the faults in force, and the requests that it saw."""

    url: str
    behind: str
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    sums: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Of each upload by its path: the SHA-256 that its signature holds, and that of the body that came."""
    late: float = 3.0  # seconds that `timeout` waits
    conditions: str = ""  # of a PUT: "ignored", as by older MinIO and Ceph; "refused", with 501; else kept
    lag: float = 0.0  # seconds in which a listing does not show what was written
    written: dict[str, float] = field(default_factory=dict)
    regions: set[str] = field(default_factory=set)
    """That requests were signed for."""
    page: int = 0  # objects to a page of a listing; 0 leaves the client's wish
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.seen.append((method, path))
            return next((fault for fault in self.faults if fault.strikes(method, path)), None)

    def heal(self) -> None:
        self.faults.clear()
        self.seen.clear()
        self.conditions, self.lag = "", 0.0

    def late_listing(self, data: bytes) -> bytes:
        """A listing without what was written just now."""
        young = {key for key, at in list(self.written.items()) if time.monotonic() - at < self.lag}

        def shown(found: re.Match[bytes]) -> bytes:
            return b"" if unescape(found[1].decode()) in young else found[0]

        return re.sub(rb"<Contents>\s*<Key>(.*?)</Key>.*?</Contents>", shown, data, flags=re.DOTALL)


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def handle_any(self) -> None:
        state: FaultyS3 = self.server.state
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "PUT":
            stated = self.headers.get("x-amz-content-sha256", "")
            state.sums[self.path] = stated, hashlib.sha256(body).hexdigest()
            state.written[unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}/")] = time.monotonic()
        if signed := re.search(r"Credential=[^/]+/\d+/([^/]+)/s3", self.headers.get("Authorization", "")):
            state.regions.add(signed[1])
        conditional = [name for name in ("If-Match", "If-None-Match") if name in self.headers and self.command == "PUT"]
        if conditional and state.conditions == "refused":
            return self._answer(501, {"Content-Type": "application/xml"}, b"<Error><Code>NotImplemented</Code></Error>")
        if state.conditions == "ignored":
            for name in conditional:
                del self.headers[name]
        fault = state.next_fault(self.command, self.path)
        kind = fault.kind if fault else ""
        if kind in STATUS:
            status, code = STATUS[kind]
            text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>told to fail</Message></Error>'.encode()
            return self._answer(status, {"Content-Type": "application/xml"}, text)
        if kind == "reset":
            return self._break()
        if kind == "timeout":
            time.sleep(state.late)
        path = self.path
        if state.page and "list-type=2" in path:
            path += f"&max-keys={state.page}"
        connection = http.client.HTTPConnection(urlsplit(state.behind).netloc, timeout=30)
        connection.request(self.command, path, body, dict(self.headers))
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in ("connection", "transfer-encoding")}
        if state.lag and "list-type=2" in path:
            data = state.late_listing(data)
            headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
        if kind == "lost answer" or (kind == "truncated" and not data):
            return self._break()
        if kind == "truncated":
            self._answer(answer.status, {**headers, "Content-Length": str(len(data))}, data[: len(data) // 2])
            return self._break()
        return self._answer(answer.status, headers, data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815 (http.server's names)

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        try:
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
            self.wfile.flush()
        except OSError:  # the client has given up
            self.close_connection = True

    def _break(self) -> None:
        """End the connection with a reset instead of a goodbye."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()


@contextmanager
def serve() -> Iterator[FaultyS3]:
    """The server with an empty bucket, on a free port of 127.0.0.1."""
    with aws.serve() as behind:
        connection = http.client.HTTPConnection(urlsplit(behind).netloc, timeout=30)
        connection.request("PUT", f"/{BUCKET}")
        assert connection.getresponse().status == 200
        proxy = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
        proxy.daemon_threads = True
        state = FaultyS3(url=f"http://127.0.0.1:{proxy.server_address[1]}", behind=behind)
        proxy.state = state  # type: ignore[attr-defined]
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            proxy.shutdown()
            proxy.server_close()


@contextmanager
def serve_as_aws() -> Iterator[FaultyS3]:
    """The same, and for that time an environment that leads to it."""
    with serve() as state, pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment(state.url).items():
            patch.setenv(name, value)
        yield state

"""Addresses of the map server: whatever is asked, it answers, gives nothing away, and answers others meanwhile.

Here: odd paths, encodings, lengths, methods and headers, written to a socket as they are, against `groundplan serve`
over a person's project. Not here: many clients at once (tests/processes/test_serving.py).
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import numpy as np

from fuzz.field import READ, REFUSED, Input, Wrong, forget_peak_of, peak_of
from fuzz.homes import old_home
from fuzz.mutation import mutated

HOST = "127.0.0.61"
A_MOMENT = 0.3  # seconds, for a request that has no end
PATIENCE = 60.0  # seconds for an answer, on a machine that has other things to do
SECRET = b"nobody may read this"
OUTSIDE = (SECRET, b"root:x:0:", b"[grid]", b"import annotations")
REQUEST = "request"
WORDS = """
noorderveld zuiderhout 2023 2024 aerial_tiles labels predictions building_footprints trained_model sheets map static
previews partition footprints tiles healthz country.json facts.json checks footprints_quality vendor map.js 2024.png
noorderveld.jpg . .. %2e%2e ..%2f %2e%2e%2f ..%5c %00 %0a %0d%0a // \\ %252e%252e secret.png groundplan.toml etc/passwd
%ff %c0%ae%c0%ae %F0%9F%8F%A0 é 0 -1 18 134 22 1e9 99999999999999999999 NaN 4_2 ٣ a%20b ; ? # * ~ {region} : @
""".split()  # noqa: SIM905
ROUTES = (
    "/",
    "/healthz",
    "/map/",
    "/map/country.json",
    "/map/noorderveld/2024/",
    "/map/noorderveld/2024/facts.json",
    "/partition/aerial_tiles/2024/noorderveld",
    "/partition/trained_model/2024",
    "/tiles/aerial_tiles/noorderveld/2024/18/134668/86303.png",
    "/tiles/labels/zuiderhout/2023/17/67334/43151.png",
    "/footprints/noorderveld/2024.geojson",
    "/footprints/zuiderhout/2023.geojson?bbox=4,51,6,53&zoom=15",
    "/previews/aerial_tiles/2024/noorderveld.jpg",
    "/previews/trained_model/2024.png",
    "/static/map.js",
)
METHODS = ("HEAD", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get")
QUERIES = ("bbox", "zoom", "x", "year", "bbox[]", "%62box", "__proto__")
BOXES = ("", "4,51,6,53", "nan,nan,nan,nan", "1e400,0,1,1", "6,53,4,51", "1,2,3", "inf,0,1,1")
VALUES = (*BOXES, "15", "-1", "1e9", "' OR 1=1", "0x10")
LETTERS = ("a", "a", "%61", "%C3%A9", "%F0%9F%8F%A0", "é", "../")
VERSIONS = ("HTTP/1.0", "HTTP/2.0", "HTTP/9", "")
HOSTS = ("evil.example", "", "127.0.0.1:PORT", "[::1]:PORT", "a" * 300, f"{HOST}:PORT\r\nHost: evil.example")
HEADERS = (
    "If-None-Match: *",
    'If-None-Match: W/"x", "y"',
    "If-Modified-Since: yesterday",
    "Range: bytes=0-0,5-9,-1",
    "Range: bytes=99999999999999999999-",
    "Accept-Encoding: gzip;q=nan, br, \x00",
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: -1",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + "A" * 22 + "==",
    "X-Forwarded-For: 127.0.0.1, ::1",
    "X-Forwarded-Host: evil.example",
    'Forwarded: for="[::1]"',
    "Cookie: " + "a=b; " * 900,
    "A: " + "b" * 17_000,
    "Origin: null",
    "No colon",
    ": no name",
    "Folded: a\r\n b",
)
ENDED = b"\r\n\r\n"


class Addresses:
    megabytes, seconds = 500, 60

    def __init__(self, folder: Path) -> None:
        self.home = old_home(folder)
        (self.home / "secret.png").write_bytes(SECRET)
        (self.home / "store" / "secret.png").write_bytes(SECRET)
        self.log, self.told = folder / "log", 0
        self.port = _free_port()
        command = [sys.executable, "-m", "orchestration.cli.main", "serve", "--home", str(self.home)]
        with self.log.open("wb") as output:
            self.server = subprocess.Popen(
                [*command, "--host", HOST, "--port", str(self.port)], stdout=output, stderr=output, cwd=folder
            )
        self._wait()
        for path in ROUTES[1:]:  # what is kept in memory is there, and every route has something to give
            status, _ = self._ask(
                f"GET {path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nConnection: close\r\n\r\n".encode()
            )
            if status not in (200, 204, 404):
                raise AssertionError(f"{path} is answered with {status} unspoiled")

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.server.poll() is None:
            try:
                socket.create_connection((HOST, self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"the server did not begin: {self.log.read_text(errors='replace')[-2000:]}")

    def peak(self) -> float:
        return peak_of(self.server.pid) if self.server.poll() is None else 0.0

    def forget_peak(self) -> None:
        if self.server.poll() is None:
            forget_peak_of(self.server.pid)

    # ------------------------------------------------------------------------------------------------ an input

    def draw(self, random: np.random.Generator) -> Input:
        """One request as bytes; it names no port, so that it can be repeated. Mostly one thing of it is odd."""

        def odd(share: float) -> bool:
            return bool(random.random() < share)

        path = ROUTES[random.integers(len(ROUTES))]
        while odd(0.55):
            path = _spoiled(path, random)
        if odd(0.15):
            pairs = [f"{_one(QUERIES, random)}={_one(VALUES, random)}" for _ in range(random.integers(1, 4))]
            path += ("&" if "?" in path else "?") + "&".join(pairs)
        method = _one(METHODS, random) if odd(0.15) else "GET"
        lines = [f"{method} {path} {_one(VERSIONS, random) if odd(0.05) else 'HTTP/1.1'}"]
        lines += [f"Host: {_one(HOSTS, random) if odd(0.1) else f'{HOST}:PORT'}"]
        while odd(0.2):
            lines.append(_one(HEADERS, random))
        request = "\r\n".join([*lines, "Connection: close"]).encode() + ENDED
        if odd(0.1):
            request = mutated(request, random, [])
        return {REQUEST: request}

    def attempt(self, given: Input, folder: Path) -> str:
        try:
            status, body = self._ask(given[REQUEST].replace(b"PORT", str(self.port).encode()))
        finally:
            if self.server.poll() is not None:
                raise Wrong(f"the server ended with {self.server.returncode}")
        if any(text in body for text in OUTSIDE):
            raise Wrong(f"it gives away a file (status {status})")
        if status >= 500:
            raise Wrong(f"it answers {status}")
        self._check_log()
        healthy, _ = self._ask(
            f"GET /healthz HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nConnection: close\r\n\r\n".encode()
        )
        if healthy != 200:
            raise Wrong(f"then another request is answered with {healthy}")
        return READ if status < 400 and status else REFUSED

    def _plain(self, path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nConnection: close".encode() + ENDED

    def _check_log(self) -> None:
        with self.log.open("rb") as log:
            log.seek(self.told)
            new = log.read()
        self.told += len(new)
        if b"Traceback" in new:
            raise Wrong(f"the server's log holds a traceback:\n{new.decode(errors='replace')[-3000:]}")

    def _ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; 0 where the server closes the connection, or waits for the rest."""
        with socket.create_connection((HOST, self.port)) as client:
            client.settimeout(PATIENCE if _is_whole(request) else A_MOMENT)
            answer = HTTPResponse(client, method="HEAD" if request.lstrip().startswith(b"HEAD ") else None)
            try:
                client.sendall(request)
                answer.begin()
                return answer.status, answer.read()
            except TimeoutError:
                if not _is_whole(request):
                    return 0, b""
                raise Wrong(f"no answer in {PATIENCE:.0f} seconds") from None
            except (ConnectionError, HTTPException):
                return 0, b""


def _is_whole(request: bytes) -> bool:
    """Whether nothing more need come; where a body may be announced, the server may wait for it."""
    return bool(request.strip()) and request.endswith(ENDED) and not re.search(rb"(?i)ength|ncoding", request)


def _spoiled(path: str, random: np.random.Generator) -> str:
    parts = path.split("/")
    at = int(random.integers(1, len(parts)))
    change = random.integers(6)
    if change == 0:
        parts[at] = _one(WORDS, random)
    elif change == 1:
        parts.insert(at, _one(WORDS, random))
    elif change == 2:
        del parts[at]
    elif change == 3:
        parts[at] += _one(WORDS, random)
    elif change == 4:
        parts[at] = "".join(f"%{byte:02x}" if random.random() < 0.4 else chr(byte) for byte in parts[at].encode())
    else:
        long = _one(LETTERS, random) * int(random.choice([60, 86, 200, 260, 300, 700]))
        parts[at] = long + parts[at] if random.random() < 0.7 else long
    return "/".join(parts) or "/"


def _one(of: tuple[str, ...] | list[str], random: np.random.Generator) -> str:
    return of[random.integers(len(of))]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
    return port

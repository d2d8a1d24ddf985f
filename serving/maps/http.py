"""What every answer has in common: entity tags, security headers, plain errors, and bounds on what is asked.

Here: HTTP manners. Not here: what is answered (app.py, pages.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.maps import pages
from serving.maps.connections import HEALTHS
from serving.maps.hosts import is_ours

# nothing but this server: no inline script, no other host; MapLibre's worker and images come as blobs
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "worker-src 'self' blob:; font-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
# of a stored page, which somebody else may have written: it shows, and does nothing


def policy_with(basemap: str) -> str:
    """The policy of pages whose map has tiles of one other host below it: that host's images, and nothing else."""
    parts = urlsplit(basemap)
    host = f"{parts.scheme}://{parts.netloc}" if basemap else ""
    if not host:
        return POLICY
    with_images = POLICY.replace("img-src 'self'", f"img-src 'self' {host}")
    return with_images.replace("connect-src 'self'", f"connect-src 'self' {host}")  # the map fetches what it draws


STORED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox allow-popups; frame-ancestors 'none'"
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",  # but for pictures, which Dagster's pages show
}
STRANGE = "this server goes by another name; serving.url and serving.hosts say by which"
LONGEST_ADDRESS = 2000  # characters of path and query
MOST_HEADERS = 16 * 1024  # bytes


class Refused(Exception):
    """An answer that is no page: its status, and a line for the reader."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def plain_refusal(status: int, words: str) -> Response:
    """As text; where more of the request may come, the connection ends with it."""
    return PlainTextResponse(f"{words}\n", status, {"connection": "close"} if status in (413, 431) else {})


class Manners:
    """ASGI middleware: security headers on all answers, refusal of long requests, of bodies, of another's name.

    bodies: whether requests may have one. refuse: how a refusal looks.
    """

    def __init__(
        self,
        app: ASGIApp,
        names: Iterable[str] = (),
        policy: str = POLICY,
        bodies: bool = False,
        refuse: Callable[[int, str], ASGIApp] = plain_refusal,
    ) -> None:
        self.app, self.names, self.policy, self.bodies, self.refuse = app, names, policy, bodies, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("content-security-policy", self.policy)
            await send(message)

        headers = Headers(scope=scope)
        with_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_ADDRESS:
            refusal = self.refuse(414, "the address is too long")
        elif sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADERS:
            refusal = self.refuse(431, "the headers are too long")
        elif with_body and not self.bodies:
            refusal = self.refuse(413, "nothing can be sent here")
        elif not is_ours(headers.get("host", "localhost"), self.names) and scope["path"] not in HEALTHS:
            refusal = self.refuse(421, STRANGE)
        else:
            await self.app(scope, receive, with_headers)
            return
        await refusal(scope, receive, with_headers)


def tag_of(*parts: Any) -> str:
    """A strong entity tag of whatever decides an answer's bytes."""
    return f'"{hashlib.sha256(_bytes_of(parts)).hexdigest()[:32]}"'


def _bytes_of(parts: tuple[Any, ...]) -> bytes:
    return parts[0] if len(parts) == 1 and isinstance(parts[0], bytes) else repr(parts).encode()


def unchanged(request: Request, tag: str) -> bool:
    """Whether the reader has it already (If-None-Match)."""
    asked = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
    return tag in asked or "*" in asked


def answer(
    request: Request, data: bytes, kind: str, tag: str, headers: Mapping[str, str] | None = None, fresh: int = 0
) -> Response:
    """200 with the bytes, or 304. fresh: seconds for which the reader need not ask again."""
    said = {"etag": tag, "cache-control": f"private, max-age={fresh}" if fresh else "no-cache", **(headers or {})}
    if unchanged(request, tag):
        return Response(status_code=304, headers=said)
    return Response(data, media_type=kind, headers=said)


async def refused(request: Request, error: Exception) -> Response:
    """A page that says why, and leads back; also for an address of which no route knows anything."""
    if isinstance(error, HTTPException) and error.status_code != 404:
        return PlainTextResponse(error.detail, error.status_code, error.headers)
    known = error if isinstance(error, Refused) else Refused(404, "There is no such page here.")
    headers = {"retry-after": "5"} if known.status == 503 else {}
    depth = request.scope["path"].count("/") - 1
    body = pages.refusal(known.status, known.reason, "../" * depth or "./")
    return HTMLResponse(body, known.status, {"cache-control": "no-store", **headers})

"""Answers of the map server without a socket.

Here: one request to an application in this process. Not here: a server of its own (browser.py).
"""

from __future__ import annotations

import anyio
from starlette.types import ASGIApp, Message

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers with names in lower case, body."""


def asgi(site: ASGIApp, path: str, query: str = "", **headers: str) -> Answer:
    """One request without a socket."""
    told: list[Message] = []

    async def send(message: Message) -> None:
        told.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": None,
        "headers": [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()],
    }
    anyio.run(site, scope, receive, send)
    named = {name.decode(): value.decode() for name, value in told[0]["headers"]}
    return told[0]["status"], named, b"".join(part.get("body", b"") for part in told[1:])

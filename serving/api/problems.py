"""Problems: every answer that is a refusal, as RFC 9457 has it, and reading bodies within bounds.

Here: `application/problem+json`, what an exception becomes, and bodies that are counted while they are read. Not here:
when something is refused (lane.py, keys.py). No text of an exception reaches a caller, unless it is one of our own that
names what the caller sent.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

KIND = "application/problem+json"
TITLES = {
    400: "The request makes no sense",
    401: "A key is needed",
    403: "The key may not do that",
    404: "There is no such thing",
    405: "Not in this way",
    408: "The request came too slowly",
    409: "It is otherwise by now",
    413: "Too much",
    415: "It is no image that is read here",
    422: "The request says something that cannot be",
    429: "Too often",
    499: "Nobody waits any more",
    500: "Something is wrong here",
    501: "Not here",
    503: "Too much to do",
    504: "The deadline passed",
}
DRAINED = 2**20  # bytes of a refused body that are read and thrown away, so that the answer reaches who still sends
DRAIN_SECONDS = 1.0

log = logging.getLogger("groundplan.api")


class Problem(Exception):
    """A refusal. `kind` is its word for programs; retry: seconds after which to come again."""

    def __init__(self, status: int, kind: str, detail: str, *, retry: float | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.retry, self.more = status, kind, detail, retry, more


class ProblemResponse(Response):
    """A problem as an answer. What of a small body is still on its way is taken: who sends on would see no answer."""

    media_type = KIND

    def __init__(self, problem: Problem, request_id: str = "") -> None:
        content = {
            "type": f"urn:groundplan:problem:{problem.kind}",
            "title": TITLES.get(problem.status, "Refused"),
            "status": problem.status,
            "detail": problem.detail,
            **problem.more,
            **({"instance": f"urn:uuid:{request_id}"} if request_id else {}),
        }
        headers = {"cache-control": "no-store", **_further(problem)}
        super().__init__(json.dumps(content).encode(), problem.status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            await asyncio.wait_for(_drain(receive), DRAIN_SECONDS)
        await send({"type": "http.response.body", "body": b""})


def _further(problem: Problem) -> dict[str, str]:
    """Headers that a status asks for."""
    found = {}
    if problem.retry is not None:
        found["retry-after"] = str(max(1, math.ceil(problem.retry)))
    if problem.status == 401:
        found["www-authenticate"] = 'Bearer realm="groundplan"'
    return found


async def _drain(receive: Receive) -> None:
    taken = 0
    while taken < DRAINED:
        message = await receive()
        taken += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return


async def answered(request: Request, error: Exception) -> Response:
    """What an exception becomes. Of what nobody foresaw, the caller learns a number that the log has too."""
    if isinstance(error, Problem):
        if here := getattr(request.app.state, "service", None):
            here.meters.refused(error.kind)
        return ProblemResponse(error)
    if isinstance(error, HTTPException):
        told = Problem(error.status_code, "http", TITLES.get(error.status_code, "Refused"))
        response = ProblemResponse(told)
        response.headers.update(error.headers or {})
        return response
    number = str(uuid4())
    log.error("request %s failed: %s", number, type(error).__name__, exc_info=error)
    return ProblemResponse(Problem(500, "internal", "It was written down; give this number to who runs it"), number)


async def invalid(_: Request, error: Exception) -> Response:
    """What does not fit the description of a parameter: where, and why; never what was sent."""
    faults = [
        {"where": [str(part)[:80] for part in one["loc"]], "why": str(one["msg"])[:200]}
        for one in getattr(error, "errors", list)()[:20]
    ]
    return ProblemResponse(Problem(422, "invalid", "Parameters are not as the description says", faults=faults))


# --- bodies -----------------------------------------------------------------------------------------------------------


def stated_length(headers: Mapping[str, str]) -> int | None:
    """Content-Length; None where none is stated. Raises Problem for what is no number."""
    stated = headers.get("content-length")
    if stated is None:
        return None
    if not stated.isdecimal() or len(stated) > 18:
        raise Problem(400, "length", "Content-Length is no number")
    return int(stated)


def check_length(headers: Mapping[str, str], most: int) -> None:
    """Before anything of a body is read. Raises Problem."""
    if (stated_length(headers) or 0) > most:
        raise Problem(413, "too-large", f"The body may have {most:,} bytes", most_bytes=most)


def bounded(request: Request, most: int, seconds: float) -> Request:
    """The same request, whose body is counted while it is read and must have come in time.

    Reading it raises Problem: 413 beyond `most` bytes, 408 after `seconds`, 499 where the client is gone.
    """
    check_length(request.headers, most)
    taken = 0
    end = asyncio.get_running_loop().time() + seconds

    async def receive() -> Message:
        nonlocal taken
        try:
            async with asyncio.timeout_at(end):
                message = await request.receive()
        except TimeoutError as error:
            raise Problem(408, "slow", f"The body must come within {seconds:g} s") from error
        if message["type"] == "http.disconnect":
            raise Problem(499, "gone", "The client is gone")
        taken += len(message.get("body", b""))
        if taken > most:
            raise Problem(413, "too-large", f"The body may have {most:,} bytes", most_bytes=most)
        return message

    return Request(request.scope, receive)


async def gone(request: Request) -> None:
    """Returns when the client is gone; to be awaited once its body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

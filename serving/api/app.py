"""One application of all that a project answers: predictions, models, jobs, health, and behind them the maps.

Here: putting the parts together, what all answers have in common, which part a path belongs to. Not here: any route.

Whatever is no path of the service goes to the map server, whose routes and manners stay as they are.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundplan import __version__
from groundplan.project import Project
from serving.api import areas, arrivals, health, kserve, models, predict
from serving.api.problems import Problem, ProblemResponse, answered, invalid
from serving.api.service import BEARER, HEADER, Service, living, service_of
from serving.logs import tracing
from serving.maps.hosts import names_of
from serving.maps.http import POLICY, Manners, policy_with
from serving.ogc.routes import ogc_router
from serving.review import routes as review

PLACES = frozenset({"livez", "readyz", "startupz", "metrics", "openapi.json", "v1", "v2", "ogc", "review"})
"""First parts of the service's paths; `docs` alone is one too."""
ABOUT = """Buildings and classes of single images and of areas, at once or as a job.

Without a key only this machine is answered. Errors are `application/problem+json`. `Retry-After` says when to come
again. No address that a request names is ever fetched."""
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": {"application/problem+json": {"schema": {"type": "object"}}}}
    for status, words in (
        (400, "It makes no sense"),
        (401, "A key is needed"),
        (403, "The key may not do that"),
        (404, "There is no such thing"),
        (408, "The body came too slowly"),
        (409, "Not now"),
        (413, "Too much"),
        (414, "The address is too long"),
        (415, "No image that is read"),
        (421, "Another server is meant"),
        (422, "It cannot be so"),
        (429, "Too often"),
        (431, "The headers are too long"),
        (503, "Too much to do"),
        (504, "The deadline passed"),
    )
}


class Parts:
    """ASGI: each path to the part that it belongs to; the service's begin and end are those of the process."""

    def __init__(self, api: ASGIApp, maps: ASGIApp) -> None:
        self.api, self.maps = api, maps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        first, _, rest = scope.get("path", "").lstrip("/").partition("/")
        ours = scope["type"] == "lifespan" or first in PLACES or (first == "docs" and not rest)
        await (self.api if ours else self.maps)(scope, receive, send)


class Watched:
    """ASGI: a number and a trace for every request, its figures, and the time that it took."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        headers = dict(scope["headers"])
        number = str(uuid4()).encode()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", number)]
            await send(message)

        with tracing(headers.get(b"traceparent", b"").decode("latin-1") or None):
            try:
                await self.app(scope, receive, noted)
            finally:
                route = getattr(scope.get("route"), "path", "")
                self.service.meters.answered(scope["method"], route, status, time.perf_counter() - began)


def build(project: Project, host: str = "", work: bool = False) -> Parts:
    """The one application of a project; `host` is the name that it listens at. It reads nothing until it begins.

    work: messages are worked off in this process too.
    """
    from serving.maps.app import build_app

    return Parts(api_of(service_of(project), host, work), build_app(project, host))


def api_of(service: Service, host: str = "", work: bool = False) -> FastAPI:
    """The service's own part. work: messages are worked off in this process too."""
    serving = service.project.settings.serving

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with living(service, work):
            yield

    def refuse(status: int, words: str) -> ASGIApp:
        return ProblemResponse(Problem(status, "http", words))

    names = names_of(serving.url, serving.hosts, host)
    app = FastAPI(
        title="Groundplan",
        version=__version__,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        exception_handlers={
            Problem: answered,
            HTTPException: answered,
            RequestValidationError: invalid,
            Exception: answered,
        },
        middleware=[
            Middleware(Manners, names=names, policy=policy_with(serving.basemap), bodies=True, refuse=refuse),
            Middleware(Watched, service=service),
        ],
        responses=PROBLEMS,
    )
    app.state.service, app.state.remembered = service, {}
    guarded = [Depends(BEARER), Depends(HEADER)]
    app.include_router(health.router)
    for part in (predict.router, arrivals.router, areas.router, models.router, kserve.router):
        app.include_router(part, dependencies=guarded)
    app.include_router(review.router, dependencies=guarded)
    app.include_router(review.page)
    app.include_router(ogc_router(service.engine, service.project))
    app.add_api_route("/docs", documents, include_in_schema=False, response_class=HTMLResponse)
    return app


async def documents() -> HTMLResponse:
    """The description for people: Swagger UI out of its npm package, as `make vendor` puts it beside the maps'."""
    page = Path(__file__).with_name("docs.html").read_text("utf-8")
    return HTMLResponse(page, headers={"content-security-policy": POLICY, "cache-control": "no-cache"})

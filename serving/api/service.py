"""The service: what all routes share, from the project to the figures, and its beginning and end.

Here: the value that routes are given, and the tasks beside them. Not here: routes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.security import APIKeyHeader, HTTPBearer

from groundplan.config.api import ApiSettings
from groundplan.project import Project
from groundplan.single.prepare import ImageLimits
from serving.api.gallery import Gallery
from serving.api.jobs import Runner
from serving.api.keys import Caller, Keyring, list_keys
from serving.api.lane import Lane, processors
from serving.metrics import Meters, watch_store

if TYPE_CHECKING:
    from sqlalchemy import Engine

log = logging.getLogger("groundplan.api")
KEYS_SECONDS = 5.0  # after which a key that was revoked is refused


@dataclass(kw_only=True)
class Service:
    """One process's service of one project."""

    project: Project
    lane: Lane
    gallery: Gallery
    keyring: Keyring
    meters: Meters
    open_database: Callable[[], Engine]
    """Opens it where it is not open; raises GroundplanError."""
    ask_broker: Callable[[Service], None] | None = None
    """Raises where the broker does not answer; None where messages lie in the database."""
    _engine: Engine | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _beside: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        from serving.api.areas import work_of

        self.runner = Runner(
            project=self.project, engine=self.engine, work=work_of(self), busy=lambda: bool(self.lane.inside)
        )

    @property
    def settings(self) -> ApiSettings:
        return self.project.settings.api

    @property
    def limits(self) -> ImageLimits:
        """Of an image that is answered at once. A TIFF is for those that are answered later."""
        bounds = self.settings
        return ImageLimits(
            bytes=bounds.max_bytes,
            pixels=bounds.max_pixels,
            frames=1,
            seconds=bounds.deadline_seconds,
            formats=("JPEG", "PNG", "WEBP", "TIFF"),
        )

    def engine(self) -> Engine:
        """The database; to be called in a thread. Raises GroundplanError."""
        if self._engine is None:
            self._engine = self.open_database()
        return self._engine

    async def begin(self, work: bool = False) -> None:
        """work: messages are worked off in this process too."""
        if work:
            from serving.work.process import beside

            await asyncio.to_thread(self._beside.enter_context, beside(self.project, self.meters))
        self.runner.begin()
        self._tasks += [
            asyncio.create_task(self.gallery.follow(self.settings.follow_seconds)),
            asyncio.create_task(self._follow_keys()),
        ]

    async def end(self) -> None:
        await self.lane.close()
        for task in self._tasks:
            task.cancel()
        self.gallery.close()
        await asyncio.to_thread(self.runner.end)
        await asyncio.to_thread(self._beside.close)

    async def _follow_keys(self) -> None:
        while True:
            try:
                self.keyring.replace(await asyncio.to_thread(lambda: list_keys(self.engine())))
            except Exception as error:  # the keys that are known go on being known
                log.warning("keys could not be read: %s", type(error).__name__)
            await asyncio.sleep(KEYS_SECONDS)


def service_of(project: Project) -> Service:
    """A service with nothing in memory yet."""
    settings = project.settings.api

    def open_database() -> Engine:
        from groundplan.database.connect import open_database as opened

        return opened(project)

    return Service(
        project=project,
        lane=Lane(settings.budget_seconds),
        gallery=Gallery(project=project, threads=settings.threads or processors()),
        keyring=Keyring(rate=settings.rate),
        meters=watch_store(Meters(), project),
        open_database=open_database,
        ask_broker=None if project.settings.messages.broker == "table" else _ask_broker,
    )


def _ask_broker(here: Service) -> None:
    from serving.api.arrivals import broker_of

    broker_of(here).depth()


@asynccontextmanager
async def living(service: Service, work: bool = False) -> AsyncIterator[None]:
    await service.begin(work)
    try:
        yield
    finally:
        with suppress(asyncio.CancelledError):
            await service.end()


# --- what routes ask for ----------------------------------------------------------------------------------------------

BEARER = HTTPBearer(auto_error=False, scheme_name="key", description="A key: `Authorization: Bearer gp_...`")
HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="key in a header")


def service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def needs(scope: str) -> Callable[[Request], Any]:
    """A dependency: the caller, where a key or this machine allows the scope. Raises Problem 401, 403, 429."""

    async def judged(request: Request) -> Caller:
        return service(request).keyring.judge(request, scope)

    return judged


def seconds_since(began: float) -> float:
    return time.monotonic() - began

"""Health: whether this process lives, has begun, and may be sent requests; and what Prometheus reads.

Here: /livez, /startupz, /readyz with model, database and broker, /metrics. Not here: what is done about it.

No secret is in an answer, and no text of an exception: who runs it reads the log. What is asked of the database and the
broker is remembered for a second, so that asking often costs nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request, Response

from serving.api.service import Service, service
from serving.metrics import CONTENT_TYPE

REMEMBERED = 1.0  # seconds
PATIENCE = 1.5  # seconds for the database's and the broker's answer

router = APIRouter(tags=["health"])


@dataclass
class RememberedCheck:
    """What a check said the last time."""

    at: float = -1e9
    words: str = ""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@router.get("/livez", summary="Whether the process answers")
async def live() -> dict[str, str]:
    """Asks nothing of anybody."""
    return {"status": "ok"}


@router.get("/startupz", summary="Whether it has begun", responses={503: {}})
async def started(request: Request) -> Response:
    """200 once it was looked which models there are."""
    begun = service(request).gallery.looked
    return _told({"models": "ok" if begun else "being loaded"})


@router.get("/readyz", summary="Whether requests may be sent here", responses={503: {}})
async def ready(request: Request) -> Response:
    """200 where a model is loaded, the database and the broker answer, and the process is not about to end."""
    here = service(request)
    checks = {"models": _models(here), "lane": "about to end" if here.lane.closing else "ok"}
    memory: dict[str, RememberedCheck] = request.app.state.remembered
    asked = {"database": _ask_database, **({"broker": here.ask_broker} if here.ask_broker else {})}
    answers = await asyncio.gather(*(_remembered(memory, name, ask, here) for name, ask in asked.items()))
    return _told({**checks, **dict(zip(asked, answers, strict=True))})


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    here = service(request)
    here.meters.lane(len(here.lane.inside), here.lane.estimated_wait())
    alias = here.settings.alias
    serving = [
        (shown.entry.name, shown.entry.version, word.partition("@")[2] or alias)
        for word, shown in list(here.gallery.shown.items())
    ]
    here.meters.models(serving)
    text = await asyncio.to_thread(here.meters.text)
    return Response(text, headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})


def _models(here: Service) -> str:
    if not here.gallery.looked:
        return "being loaded"
    return "ok" if here.gallery.shown else "none can be used"


def _ask_database(here: Service) -> None:
    import sqlalchemy as sa

    with here.engine().connect() as connection:
        connection.execute(sa.text("SELECT 1"))


async def _remembered(
    memory: dict[str, RememberedCheck], name: str, ask: Callable[[Service], None], here: Service
) -> str:
    known = memory.setdefault(name, RememberedCheck())
    async with known.turn:
        if time.monotonic() - known.at > REMEMBERED:
            try:
                await asyncio.wait_for(asyncio.to_thread(ask, here), PATIENCE)
                known.words = "ok"
            except Exception:  # whatever it is, it cannot be used now
                known.words = "does not answer"
            known.at = time.monotonic()
        return known.words


def _told(checks: dict[str, Any]) -> Response:
    from starlette.responses import JSONResponse

    good = all(words == "ok" for words in checks.values())
    status = {"status": "ok" if good else "not ready", "checks": checks}
    return JSONResponse(status, 200 if good else 503, {"cache-control": "no-store"})

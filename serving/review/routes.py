"""Routes of reviews: the next polygon, a verdict, taking it back, how far it is; and the page.

Here: HTTP. Not here: what a verdict means (groundplan/reviews), keeping it (groundplan/database/verdicts.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from groundplan.core.partition import FIRST_YEAR, LAST_YEAR
from groundplan.errors import BadConfig, StoreFailed
from groundplan.reviews import verdicts as say
from serving.api.keys import Caller
from serving.api.problems import Problem
from serving.api.service import Service, needs, service
from serving.maps.http import POLICY

router = APIRouter(tags=["review"])
page = APIRouter()
log = logging.getLogger("groundplan.review")
Reviewer = Annotated[Caller, Depends(needs("review"))]
Name = Annotated[str | None, Query(max_length=200)]
YearOf = Annotated[int | None, Query(ge=FIRST_YEAR, le=LAST_YEAR)]
T = TypeVar("T")


class Said(BaseModel):
    """What a person says of a task."""

    model_config = ConfigDict(extra="forbid")

    task: str = Field(max_length=64, pattern=r"^[0-9a-f]+$")
    verdict: str = Field(max_length=20, description=", ".join(say.VERDICTS[:-1]))
    geometry: dict[str, Any] | None = Field(None, description="GeoJSON polygon of what was drawn, EPSG:4326")
    seconds: float | None = Field(None, ge=0, le=86_400, description="that the person took")
    person: str = Field("", max_length=100, description="of a key that several people share: who it was")


@router.get("/v1/review/next", summary="The polygon that is most worth a look")
async def next_task(
    request: Request, caller: Reviewer, region: Name = None, year: YearOf = None, person: Name = None
) -> dict[str, Any]:
    """It is yours for a while; `task` is null where nothing is left."""
    from groundplan.database.reviews import Place

    here, place = service(request), Place(region=region, year=year)
    found, done = await asyncio.to_thread(_next, here, _person(caller, person or ""), place)
    return {"task": found and _shown(found), "progress": done, "reviewer": _person(caller, person or "")}


@router.post("/v1/review/verdicts", summary="What you say of a polygon", status_code=201)
async def verdict(request: Request, caller: Reviewer, said: Said) -> dict[str, Any]:
    """Append-only. Saying the same of the same task again is told of once."""
    review = await asyncio.to_thread(_keep, service(request), _person(caller, said.person), said)
    return {"id": review.id, "task": review.task, "verdict": review.verdict}


@router.post("/v1/review/undo", summary="Take your newest verdict back", status_code=201)
async def undo(request: Request, caller: Reviewer, person: Name = None) -> dict[str, Any]:
    """A further verdict, `undo`; the polygon is asked about again."""
    taken = await asyncio.to_thread(_undo, service(request), _person(caller, person or ""))
    if taken is None:
        raise Problem(409, "nothing", "There is no verdict of yours to take back")
    return {"id": taken.id, "task": taken.task, "verdict": say.UNDO}


@page.get("/review/", response_class=HTMLResponse, include_in_schema=False)
async def review_page() -> HTMLResponse:
    text = Path(__file__).with_name("review.html").read_text("utf-8")
    return HTMLResponse(text, headers={"content-security-policy": POLICY, "cache-control": "no-cache"})


def _person(caller: Caller, given: str) -> str:
    """Who says it: the key's name, and who of those that share it. A key cannot speak for another key's people."""
    given = given.strip()[:100]
    return f"{caller.name}: {given}" if given else caller.name


def _next(here: Service, person: str, place: Any) -> tuple[dict[str, Any] | None, dict[str, int]]:
    from groundplan.database import reviews as rows

    settings, engine = here.project.settings.review, here.engine()
    now = datetime.now(UTC)
    found = rows.next_task(engine, person, place, now, settings.lease_seconds, settings.twice_share)
    return found, rows.progress(engine, place)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    told = ("id", "region", "year", "block", "reason", "priority", "geometry", "facts")
    return {name: row[name] for name in told}


def _keep(here: Service, person: str, said: Said) -> say.Review:
    """Raises Problem 404, 422."""
    from groundplan.database.reviews import task_of
    from groundplan.database.verdicts import say_of

    task = task_of(here.engine(), said.task)
    if task is None:
        raise Problem(404, "task", "There is no such task")
    if said.verdict == say.UNDO:
        raise Problem(422, "verdict", "Taking back has a path of its own: /v1/review/undo")
    try:
        geometry = say.checked_geometry(said.verdict, said.geometry)
    except BadConfig as error:
        raise Problem(422, error.thing, f"{error.reason}. {error.remedy}") from error
    return _both(lambda: say_of(here.engine(), here.project.store, task, person, said.verdict, geometry, said.seconds))


def _undo(here: Service, person: str) -> say.Review | None:
    from groundplan.database.verdicts import take_back

    return _both(lambda: take_back(here.engine(), here.project.store, person))


def _both(work: Callable[[], T]) -> T:
    """What is said, where the store takes it too. Raises Problem 503: said again, it is there twice, and means once."""
    try:
        return work()
    except StoreFailed as error:
        log.warning("a verdict is not in the store yet: %s", error.reason)
        raise Problem(503, "store", "It is noted, and the store does not take it; it will be brought there") from error

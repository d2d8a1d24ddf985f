"""`POST /v1/areas`: a region or a box is predicted as a job; its cost told before, its progress, its end.

Here: HTTP. Not here: jobs (jobs.py), the prediction (groundplan/footprints/areas.py).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated, Any, Self

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field, model_validator
from sqlalchemy.exc import DBAPIError

from groundplan.core.partition import FIRST_YEAR, LAST_YEAR
from groundplan.errors import BadConfig, GroundplanError, MissingInput
from groundplan.footprints.areas import Area, area_footprints, plan_area
from groundplan.project import Project
from groundplan.single.analyse import FootprintModel
from groundplan.single.georeference import known_crs
from serving.api import jobs
from serving.api.keys import LOCAL, Caller
from serving.api.predict import WORD
from serving.api.problems import Problem
from serving.api.service import Service, needs, service

JOB = r"^[0-9a-f]{32}$"
STREAMS = 64  # of events, at once
STREAM_SECONDS = 3600.0
router = APIRouter(tags=["areas"])
Predicting = Annotated[Caller, Depends(needs("predict"))]
Reading = Annotated[Caller, Depends(needs("read"))]
JobName = Annotated[str, Path(pattern=JOB)]


class Asked(BaseModel):
    """A region, or a box in a CRS; the imagery's year, and the model."""

    region: str = Field("", max_length=200)
    bbox: tuple[float, float, float, float] | None = Field(None, description="west, south, east, north")
    crs: str = Field("EPSG:4326", max_length=20)
    year: int = Field(ge=FIRST_YEAR, le=LAST_YEAR)
    model: str = Field("footprints", pattern=WORD, max_length=150)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.region) == (self.bbox is not None):
            raise ValueError("give either a region or a bbox")
        return self


TOLD: dict[int | str, dict[str, Any]] = {200: {"description": "With `dry`: what it would cost"}}
GEOJSON: dict[int | str, dict[str, Any]] = {200: {"content": {"application/geo+json": {}}}}


@router.post("/v1/areas", status_code=202, responses=TOLD, summary="Predict a region or a box")
async def ask(
    request: Request,
    asked: Annotated[Asked, Body()],
    dry: Annotated[bool, Query(description="tell only what it would cost")] = False,
    caller: Predicting = LOCAL,
) -> Response:
    """202 with a job. With `?dry=true` 200 with its size, time and cost, and no job."""
    here = service(request)
    shown = await here.gallery.need(asked.model)
    if not isinstance(shown.model, FootprintModel):
        raise Problem(422, "model", "That model finds no buildings")
    area = await asyncio.to_thread(_planned, here.project, asked)
    told = _cost(here.project, area)
    if area.km2 > here.settings.most_km2:
        detail = f"It has {area.km2:.2f} km2, and {here.settings.most_km2:g} may be asked for at once"
        raise Problem(413, "area", detail, **told)
    if dry:
        return JSONResponse(told)
    identity = jobs.identity_of(asked.model_dump(), area.identity, shown.entry.version, caller.digest)
    pinned = {**asked.model_dump(), "model": f"{shown.entry.name}@{shown.entry.version}"}
    await asyncio.to_thread(_entered, here, identity, pinned, caller, area, told["cost"])
    return JSONResponse(
        {"id": identity, "status": f"/v1/jobs/{identity}", **told}, 202, {"location": f"/v1/jobs/{identity}"}
    )


@router.get("/v1/jobs/{job}", summary="How a job stands")
async def state(request: Request, job: JobName, caller: Reading = LOCAL) -> dict[str, Any]:
    return _told(await _mine(service(request), job, caller))


@router.get(
    "/v1/jobs/{job}/result",
    response_class=Response,
    responses=GEOJSON,
    summary="The buildings of a job that is done",
)
async def result(request: Request, job: JobName, caller: Reading = LOCAL) -> Response:
    """GeoJSON in longitude and latitude; 409 while it is not done."""
    here = service(request)
    row = await _mine(here, job, caller)
    if row["state"] != jobs.DONE:
        raise Problem(409, "state", f"The job is not done: it {_words(row['state'])}", state=row["state"])
    try:
        data = await asyncio.to_thread(here.project.store.get, jobs.result_key(job))
    except GroundplanError as error:
        raise Problem(503, "store", "The store does not answer, or has the result no more", retry=5) from error
    return Response(data, media_type="application/geo+json")


@router.get(
    "/v1/jobs/{job}/events", summary="How a job goes on, as server-sent events", response_class=StreamingResponse
)
async def events(request: Request, job: JobName, caller: Reading = LOCAL) -> Response:
    """An event for each change, until it is over or an hour has passed; then a client asks again."""
    here, state = service(request), request.app.state
    await _mine(here, job, caller)
    if getattr(state, "streams", 0) >= STREAMS:
        raise Problem(503, "streams", "Too many look on already; ask for the state now and then", retry=10)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_changes(state, here, job, caller), media_type="text/event-stream", headers=headers)


@router.delete("/v1/jobs/{job}", summary="Cancel a job")
async def cancel(request: Request, job: JobName, caller: Predicting = LOCAL) -> dict[str, Any]:
    """A job that is over stays as it is."""
    here = service(request)
    await _mine(here, job, caller)
    await asyncio.to_thread(_asking, lambda: jobs.cancel(here.engine(), job))
    return _told(await _mine(here, job, caller))


async def _changes(state: Any, here: Service, job: str, caller: Caller) -> AsyncIterator[str]:
    state.streams = getattr(state, "streams", 0) + 1
    try:
        before, end = "", asyncio.get_running_loop().time() + STREAM_SECONDS
        while asyncio.get_running_loop().time() < end and not here.lane.closing:
            row = await _mine(here, job, caller)
            text = json.dumps(_told(row), ensure_ascii=False)
            if text != before:
                kind = row["state"] if row["state"] in jobs.OVER else "progress"
                yield f"event: {kind}\ndata: {text}\n\n"
                before = text
            if row["state"] in jobs.OVER:
                return
            await asyncio.sleep(0.5)
    finally:
        state.streams -= 1


def _planned(project: Project, asked: Asked) -> Area:
    try:
        return plan_area(project, asked.year, _box(project, asked), asked.region)
    except BadConfig as error:
        raise Problem(422, "place", f"{error.thing}: {error.reason}. {error.remedy}") from error
    except MissingInput as error:
        raise Problem(404, "imagery", f"There is no imagery of {asked.year} there") from error
    except GroundplanError as error:
        raise Problem(503, "store", "The store does not answer", retry=5) from error


def _box(project: Project, asked: Asked) -> tuple[float, float, float, float] | None:
    """In the grid's CRS."""
    import math

    from groundplan.core.datum import transformer

    if asked.bbox is None:
        return None
    west, south, east, north = asked.bbox
    if not (west < east and south < north):
        raise BadConfig("bbox", "it is not west, south, east, north with west < east and south < north", "Mend it")
    to = transformer(known_crs(asked.crs), project.grid.crs)
    found = tuple(float(side) for side in to.transform_bounds(*asked.bbox, densify_pts=21))
    if not all(math.isfinite(side) for side in found):
        raise BadConfig("bbox", f"it does not lie where {project.grid.crs} is used", "Choose another")
    return found[0], found[1], found[2], found[3]


def _cost(project: Project, area: Area) -> dict[str, Any]:
    nightly = project.settings.nightly
    return {
        "km2": round(area.km2, 4),
        "parts": len(area.parts),
        "cpu_seconds": round(area.seconds, 1),
        "measured": area.measured,
        "cost": round(area.seconds / 3600 * nightly.price_per_cpu_hour, 6),
        "currency": nightly.currency,
    }


def _entered(here: Service, identity: str, asked: Mapping[str, Any], caller: Caller, area: Area, cost: float) -> None:
    def enter() -> None:
        if jobs.in_hand(here.engine()) >= here.settings.most_jobs:
            raise Problem(429, "jobs", "As many areas wait as may", retry=60)
        jobs.enter(here.engine(), identity, asked, caller.digest, len(area.parts), cost)

    _asking(enter)


async def _mine(here: Service, job: str, caller: Caller) -> dict[str, Any]:
    """A job's row. Raises Problem 404 for another's, too: who does not own it learns nothing."""
    row = await asyncio.to_thread(_asking, lambda: jobs.look(here.engine(), job))
    if row is None or (row["owner"] != caller.digest and not caller.admin):
        raise Problem(404, "job", "There is no such job")
    return dict(row)


def _asking(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (DBAPIError, GroundplanError) as error:
        raise Problem(503, "database", "The database does not answer", retry=5) from error


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    result = {"result": f"/v1/jobs/{row['id']}/result"} if row["state"] == jobs.DONE else {}
    return {
        "id": row["id"],
        "state": row["state"],
        "done": row["done"],
        "total": row["total"],
        "asked": row["asked"],
        "cost": row["cost"],
        "reason": row["reason"],
        "made": row["made"].isoformat(timespec="seconds"),
        **result,
    }


def _words(state: str) -> str:
    return {jobs.WAITS: "waits", jobs.WORKS: "is at work", jobs.FAILED: "failed"}.get(state, "was cancelled")


# --- the work, in the runner's thread ---------------------------------------------------------------------------------


def work_of(here: Service) -> jobs.Work:
    """Predicting an area with a model of its own: the lane's models stay for those who wait."""
    from groundplan.single.registered import load_entry, resolve

    def work(asked: Mapping[str, Any], check: Callable[[], None], done: Callable[[int], None]) -> bytes:
        wanted = Asked.model_validate(asked)
        model = load_entry(here.project, resolve(here.project, wanted.model), 1)
        assert isinstance(model, FootprintModel)
        area = plan_area(here.project, wanted.year, _box(here.project, wanted), wanted.region)
        found = area_footprints(here.project, area, model.runtime, model.thresholds, check, done)
        return _as_geojson(found, model)

    return work


def _as_geojson(found: Any, model: FootprintModel) -> bytes:
    import shapely

    from groundplan.core.geographic import geographic

    shapes: Any = geographic(found.geometry.values, found.crs.to_string()) if len(found) else []
    features = [
        {
            "type": "Feature",
            "id": number,
            "geometry": json.loads(text),
            "properties": {"confidence": float(confidence), "area": float(size)},
        }
        for number, (text, confidence, size) in enumerate(
            zip(shapely.to_geojson(shapes), found["confidence"], found["area"], strict=True)
        )
    ]
    whole = {"type": "FeatureCollection", "model": model.name, "version": model.version, "features": features}
    return json.dumps(whole, separators=(",", ":")).encode()

"""`POST /v1/predict/{model}`: an image in, buildings or classes out, at once.

Here: the image as a raw body or in a form, its place, and the answer's form. Not here: admission (lane.py), models
(gallery.py), tensors (kserve.py), boxes and regions (areas.py).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.datastructures import UploadFile

from groundplan.collections.images.decode import BadImage
from groundplan.errors import BadConfig, ModelMismatch
from groundplan.messages.cloud_events import upload_id
from groundplan.single.analyse import Analysis, analyse
from groundplan.single.geojson import as_json
from groundplan.single.prepare import ImageLimits, PreparedImage, prepare
from groundplan.single.stated import Stated, place_mark, placed, stated_box, stated_world
from serving.api.gallery import Shown
from serving.api.keys import LOCAL, Caller
from serving.api.lane import Ticket, deadline_of
from serving.api.problems import Problem, bounded, check_length, gone
from serving.api.service import Service, needs, service

T = TypeVar("T")

WORD = r"^[a-z0-9][a-z0-9_-]{0,63}(@[A-Za-z0-9][A-Za-z0-9._-]{0,79})?$"
MULTIPART = "multipart/form-data"
OCTETS = {"schema": {"type": "string", "format": "binary"}}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/jpeg": OCTETS,
            "image/png": OCTETS,
            "image/webp": OCTETS,
            "image/tiff": OCTETS,
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "array", "items": OCTETS["schema"], "minItems": 1},
                        "world": {"type": "string", "description": "a world file's six lines; with `crs`"},
                    },
                }
            },
        },
    }
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Buildings as GeoJSON, or classes with probabilities; of several images `answers`",
        "content": {"application/geo+json": {}, "application/json": {}},
    },
    202: {"description": "With `respond-async`: ids, and where results will be", "content": {"application/json": {}}},
}
WORLD = 1000  # characters of a world file
KINDS = ("image/", "application/octet-stream", "application/x-www-form-urlencoded")  # the last is what curl says

router = APIRouter(tags=["single images"])


@dataclass(frozen=True, kw_only=True)
class SaidOfImage:
    """What one image was answered with. seconds: of preparing and of analysing."""

    answer: dict[str, Any]
    prepared: PreparedImage
    analysis: Analysis
    seconds: tuple[float, float]


@router.post(
    "/v1/predict/{model}",
    openapi_extra=BODY,
    response_class=Response,
    responses=ANSWERS,
    summary="Ask a model about an image",
)
async def predict(
    request: Request,
    model: Annotated[str, Path(pattern=WORD, description="name, or name@alias, or name@version")],
    bbox: Annotated[str | None, Query(max_length=200, description="west,south,east,north of the image")] = None,
    crs: Annotated[str, Query(max_length=20, description="of `bbox` or of the world file")] = "EPSG:4326",
    store: Annotated[bool, Query(description="keep the image and its result too, a little later")] = False,
    prefer: Annotated[
        str | None, Header(max_length=200, description="`respond-async`: 202, and the result later")
    ] = None,
    caller: Annotated[Caller, Depends(needs("predict"))] = LOCAL,
) -> Response:
    """Buildings as GeoJSON, or classes with probabilities. Without a place, coordinates are pixels.

    `store` and `respond-async` give the image to whoever works off messages; the result has the same id then.
    """
    began, here = time.monotonic(), service(request)
    seconds = deadline_of(request.headers.get("x-deadline-ms"), here.settings.deadline_seconds)
    place = stated(bbox, crs)
    kind = _kind(request)
    check_length(request.headers, here.settings.max_bytes)
    shown = await here.gallery.need(model)
    later = "respond-async" in (prefer or "").lower()
    if not later:
        here.lane.look(shown.entry.name)
    images, place = await _images(request, here, kind, place, crs)
    if later:
        return await _later(here, images, model, place)
    ticket = here.lane.enter(shown.entry.name, seconds - (time.monotonic() - began), len(images))
    work = _work(ticket, images, shown, here.limits, place)
    said = await attended(request, here.lane.do(ticket, work))
    for (_, data), one in zip(images, said, strict=True):
        here.meters.received(len(data), one.prepared.width * one.prepared.height if isinstance(one, SaidOfImage) else 0)
    if store:  # the answer is there; what is promised beside it must be, too, before it is given
        await _kept(
            here,
            [data for (_, data), one in zip(images, said, strict=True) if isinstance(one, SaidOfImage)],
            model,
            place,
        )
    return _response(shown, ticket, [name for name, _ in images], said)


async def _kept(here: Service, images: list[bytes], word: str, place: Stated | None) -> list[dict[str, Any]]:
    """Images with the broker, to be analysed, transformed, stored and told of. Raises Problem 503."""
    from serving.api.arrivals import accepted

    found = []
    for data in images:
        found += await asyncio.to_thread(accepted, here, data, [word], place)
    return found


async def _later(here: Service, images: list[tuple[str, bytes]], word: str, place: Stated | None) -> Response:
    """202 with an id for each image, as `POST /v1/images` gives."""
    found = await _kept(here, [data for _, data in images], word, place)
    headers = {"location": found[0]["status"], "preference-applied": "respond-async", "cache-control": "no-store"}
    return Response(dumped({"images": found}), 202, headers, "application/json")


async def attended(request: Request, work: Any) -> Any:
    """The result of a coroutine, while the client waits for it. Raises Problem 499 where it does not any more."""
    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(gone(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Problem(499, "gone", "The client is gone")
    finally:
        watch.cancel()
        task.cancel()


# --- the request ------------------------------------------------------------------------------------------------------


def _kind(request: Request) -> str:
    stated = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if stated != MULTIPART and not stated.startswith(KINDS):
        raise Problem(415, "kind", "Send the image itself, as image/jpeg or image/png, or a form")
    return stated


def stated(bbox: str | None, crs: str) -> Stated | None:
    """Where the image lies, judged before anything of it is read. Raises Problem 422."""
    return None if bbox is None else _judged(lambda: stated_box(bbox, crs))


def _judged(state: Callable[[], Stated]) -> Stated:
    try:
        return state()
    except BadConfig as error:
        raise Problem(422, "place", f"{error.thing}: {error.reason}. {error.remedy}") from error


async def _images(
    request: Request, here: Service, kind: str, place: Stated | None, crs: str
) -> tuple[list[tuple[str, bytes]], Stated | None]:
    """Names and bytes of the images that were sent, and where they lie. Raises Problem 400, 408, 413, 499."""
    settings = here.settings
    body = bounded(request, settings.max_bytes, settings.body_seconds)
    if kind != MULTIPART:
        data = b"".join([chunk async for chunk in body.stream()])
        if not data:
            raise Problem(400, "empty", "The body is empty")
        return [("", data)], place
    try:
        async with body.form(max_files=settings.most_files + 1, max_fields=8, max_part_size=65536) as form:
            files = [item for item in form.getlist("image") if isinstance(item, UploadFile)]
            if len(files) > settings.most_files:
                raise _no_form(settings.most_files)
            images = [((file.filename or "")[:200], await file.read()) for file in files]
            world = form.get("world")
            if isinstance(world, UploadFile):  # as a file, or as text
                world = (await world.read(WORLD)).decode("ascii", "replace")
    except Problem:
        raise
    except Exception as error:  # of a body that may be anything: the parser's own words are not for the caller
        raise _no_form(settings.most_files) from error
    if not images:
        raise Problem(400, "form", "The form has no field `image` with a file")
    return images, _judged(lambda: stated_world(str(world)[:WORLD], crs)) if world is not None else place


def _no_form(most: int) -> Problem:
    return Problem(400, "form", f"It is no form with at most {most} images")


# --- the work, in the lane's thread -----------------------------------------------------------------------------------


def _work(
    ticket: Ticket[Any], images: list[tuple[str, bytes]], shown: Shown, limits: ImageLimits, place: Stated | None
) -> Callable[[], list[SaidOfImage | Problem]]:
    def work() -> list[SaidOfImage | Problem]:
        found: list[SaidOfImage | Problem] = []
        for _, data in images:
            ticket.check()
            found.append(one_image(data, shown, limits, place, ticket.check))
        return found

    return work


def one_image(
    data: bytes, shown: Shown, limits: ImageLimits, place: Stated | None, check: Callable[[], None]
) -> SaidOfImage | Problem:
    began = time.perf_counter()
    try:
        prepared = prepare(data, limits, placed(place))
        ready = time.perf_counter()
        analysis = analyse(prepared, shown.model, check)
        answer = _answer(prepared, analysis, upload_id(prepared.digest, shown.word, place_mark(place)))
    except (BadImage, BadConfig, ModelMismatch) as error:
        return refusal(error, limits)
    seconds = ready - began, time.perf_counter() - ready
    return SaidOfImage(answer=answer, prepared=prepared, analysis=analysis, seconds=seconds)


def _answer(prepared: PreparedImage, analysis: Analysis, identity: str) -> dict[str, Any]:
    """identity: the same as by message."""
    high, wide = prepared.pixels.shape[:2]
    note = {"note": prepared.note} if prepared.note else {}
    return {**as_json(analysis, identity, prepared.digest), "width": wide, "height": high, **note}


def refusal(error: BadImage | BadConfig | ModelMismatch, limits: ImageLimits) -> Problem:
    """What is said of an image that cannot be used: never a decoder's own words."""
    if isinstance(error, BadConfig):
        return Problem(422, "place", f"{error.thing}: {error.reason}. {error.remedy}")
    if isinstance(error, ModelMismatch):
        return Problem(422, "model", "This model cannot be asked about such an image")
    if error.state == "too large":
        detail = f"An image may have {limits.pixels:,} pixels, {limits.bytes:,} bytes and {limits.frames} frame"
        return Problem(413, "too-large", detail, most_pixels=limits.pixels, most_bytes=limits.bytes)
    if error.state == "unreadable":
        return Problem(422, "unreadable", "It begins as an image, and cannot be decoded; send it again, whole")
    return Problem(415, "no-image", f"It is none of {', '.join(limits.formats)} of a kind that is read")


# --- the answer -------------------------------------------------------------------------------------------------------


def _response(shown: Shown, ticket: Ticket[Any], names: list[str], said: list[SaidOfImage | Problem]) -> Response:
    headers = {
        "x-model-version": shown.entry.version,
        "server-timing": timing(ticket, [one.seconds for one in said if isinstance(one, SaidOfImage)]),
        "cache-control": "no-store",
    }
    if len(said) == 1:
        only = said[0]
        if isinstance(only, Problem):
            raise only
        geo = only.analysis.kind == "footprints"
        return Response(
            dumped(only.answer), media_type="application/geo+json" if geo else "application/json", headers=headers
        )
    answers = [
        {"name": name, **({"answer": one.answer} if isinstance(one, SaidOfImage) else {"problem": told(one)})}
        for name, one in zip(names, said, strict=True)
    ]
    return Response(dumped({"answers": answers}), media_type="application/json", headers=headers)


def told(problem: Problem) -> dict[str, Any]:
    return {"type": f"urn:groundplan:problem:{problem.kind}", "status": problem.status, "detail": problem.detail}


def timing(ticket: Ticket[Any], seconds: list[tuple[float, float]]) -> str:
    """Server-Timing, in milliseconds."""
    steps = {
        "queue": ticket.queued,
        "prepare": sum(one[0] for one in seconds),
        "analyse": sum(one[1] for one in seconds),
    }
    return ", ".join(f"{name};dur={1000 * value:.1f}" for name, value in steps.items())


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()

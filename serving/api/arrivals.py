"""Images that are not waited for: uploads, and events of clouds that say where one lies.

Here: `POST /v1/images` and what became of one, the webhooks of Azure Event Grid and Google Pub/Sub. Not here: answers
at once (predict.py), what becomes a message (intake.py of the worker).

Accepted means: the bytes are stored and the message is with the broker. No address in an event is fetched: an event
names a key, and only keys below inbox/ and landing/ of the project's own store are looked at.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from groundplan.errors import BadMessage, BrokerFailed, GroundplanError, StoreFailed
from groundplan.ingest.object_events import keys_of
from groundplan.ingest.pushed_events import keep
from groundplan.messages.port import Broker
from groundplan.single.registered import resolve
from groundplan.single.stated import Stated
from serving.api.keys import LOCAL, Caller, presented
from serving.api.predict import BODY, MULTIPART, WORD, stated
from serving.api.problems import Problem, bounded, check_length
from serving.api.service import Service, needs, service

router = APIRouter(tags=["images that arrive"])
IDENTITY = r"^[0-9a-f]{64}$"
MOST_EVENT = 1 << 20  # bytes of a body with events: Event Grid's own limit
AZURE = "eventgrid.azure.net"  # who asks whether it may send
RETRY = 5.0  # seconds after which a client may try again while store or broker are away


# --- uploads ----------------------------------------------------------------------------------------------------------


@router.post("/v1/images", status_code=202, openapi_extra=BODY, summary="Leave an image, to be looked at soon")
async def leave(
    request: Request,
    model: Annotated[list[str] | None, Query(max_length=8, description="name, name@alias or name@version")] = None,
    bbox: Annotated[str | None, Query(max_length=200, description="west,south,east,north of the image")] = None,
    crs: Annotated[str, Query(max_length=20, description="of `bbox`")] = "EPSG:4326",
    caller: Annotated[Caller, Depends(needs("predict"))] = LOCAL,
) -> Response:
    """202 with an id for each model: the image is stored, and its analysis is sure to come or to be set aside."""
    here = service(request)
    single = here.project.settings.single
    words = await asyncio.to_thread(_known, here, model or list(single.models))
    place = stated(bbox, crs)
    if request.headers.get("content-type", "").startswith(MULTIPART):
        raise Problem(415, "kind", "Send the image itself, as image/jpeg or image/png")
    check_length(request.headers, single.max_bytes)
    body = bounded(request, single.max_bytes, here.settings.body_seconds)
    data = b"".join([chunk async for chunk in body.stream()])
    if not data:
        raise Problem(400, "empty", "The body is empty")
    taken = await asyncio.to_thread(accepted, here, data, words, place)
    here.meters.received(len(data), 0)
    return JSONResponse({"images": taken}, 202, {"location": taken[0]["status"]})


def _known(here: Service, words: list[str]) -> list[str]:
    """The models' names. Raises Problem 404, 503."""
    for word in words:
        if not re.fullmatch(WORD, word):
            raise Problem(422, "model", "That is no model's name")
        try:
            resolve(here.project, word)
        except StoreFailed as error:
            raise Problem(503, "store", "The store does not answer", retry=RETRY) from error
        except GroundplanError as error:
            raise Problem(404, "model", "There is no model of that name; GET /v1/models lists them") from error
    return list(dict.fromkeys(words))


def accepted(here: Service, data: bytes, words: list[str], place: Stated | None) -> list[dict[str, Any]]:
    from serving.work.intake import upload

    with _answering():
        events = upload(here.project, broker_of(here), data, words, place)
    return [{"id": one.id, "model": one.data["model"], "status": f"/v1/images/{one.id}"} for one in events]


@router.get("/v1/images/{identity}", summary="What became of an image")
async def became(
    request: Request,
    identity: Annotated[str, Path(pattern=IDENTITY, description="as it was accepted with")],
    caller: Annotated[Caller, Depends(needs("read"))] = LOCAL,
) -> Response:
    """`state` is waits, done or failed; with done comes the result, with failed the reason."""
    told = await asyncio.to_thread(_became, service(request), identity)
    if told is None:
        raise Problem(404, "image", "Nothing is known of an image with that id, or not yet")
    return JSONResponse(told)


def _became(here: Service, identity: str) -> dict[str, Any] | None:
    import sqlalchemy as sa

    from groundplan.database.tables import analysis, message, outbox
    from resources.brokers.table import ASIDE

    with _answering():
        with here.engine().connect() as connection:
            made = connection.execute(sa.select(analysis.c.key).where(analysis.c.id == identity)).first()
            event = connection.execute(sa.select(outbox.c.event).where(outbox.c.id == identity)).first()
            waits = connection.execute(
                sa.select(message.c.state, message.c.reason).where(message.c.id == identity)
            ).first()
        key = made.key if made else event.event["data"].get("result") if event else None
        if key:
            return {"id": identity, "state": "done", "result": json.loads(here.project.store.get(key))}
    if waits is None:
        return None
    aside = waits.state == ASIDE
    return {"id": identity, "state": "failed" if aside else "waits", "reason": waits.reason if aside else None}


# --- events of clouds -------------------------------------------------------------------------------------------------


async def pushed(request: Request) -> Caller:
    """Who pushes: by the token that is set for it, since clouds cannot send our keys, else as everybody."""
    here = service(request)
    name, given = here.project.settings.messages.arrivals_token_env, request.query_params.get("token", "")
    given = given or presented(request) or ""  # Event Grid can send a header, and then no address holds the token
    token = os.environ.get(name, "") if name else ""
    if token and hmac.compare_digest(token.encode(), given.encode("utf-8", "replace")):
        return Caller("arrivals")
    return here.keyring.judge(request, "predict")


@router.options("/v1/arrivals/event-grid", include_in_schema=False)
async def may_send(request: Request) -> Response:
    """The handshake of CloudEvents' webhooks: Event Grid asks before it sends, nobody else is told that it may."""
    if request.headers.get("webhook-request-origin") != AZURE:
        raise Problem(403, "origin", "Only Event Grid is told that it may send")
    return Response(headers={"webhook-allowed-origin": AZURE, "webhook-allowed-rate": "*", "allow": "POST, OPTIONS"})


TAKEN: dict[int | str, dict[str, Any]] = {
    200: {"description": "Answer to the handshake"},
    204: {"description": "Taken: the messages are with the broker"},
}


@router.post("/v1/arrivals/event-grid", responses=TAKEN, summary="Events of Azure's storage")
async def event_grid(request: Request, caller: Annotated[Caller, Depends(pushed)] = LOCAL) -> Response:
    """CloudEvents, or Event Grid's own schema with its validation."""
    body = await _text(request)
    if code := _validation(body):
        return JSONResponse({"validationResponse": code})
    return await _taken(request, body)


@router.post("/v1/arrivals/pubsub", status_code=204, summary="Events of Google's storage, pushed by Pub/Sub")
async def pubsub(request: Request, caller: Annotated[Caller, Depends(pushed)] = LOCAL) -> Response:
    """A push with an envelope, as Pub/Sub sends it."""
    return await _taken(request, await _text(request))


async def _text(request: Request) -> str:
    body = bounded(request, MOST_EVENT, service(request).settings.body_seconds)
    data = b"".join([chunk async for chunk in body.stream()])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, "event", "It is no text") from error


def _validation(body: str) -> str:
    """The code of Event Grid's own handshake; '' of all else."""
    try:
        found = json.loads(body)
        first = found[0] if isinstance(found, list) and found else {}
        is_asked = first.get("eventType") == "Microsoft.EventGrid.SubscriptionValidationEvent"
        return str(first["data"]["validationCode"])[:200] if is_asked else ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""


async def _taken(request: Request, body: str) -> Response:
    """204 when events of sheets are in the store and messages of images with the broker.

    What is no event is refused for good: a sender would repeat it.
    """
    here = service(request)

    def take() -> int:
        from serving.work.intake import INBOX, take_events

        with _answering():
            kept = keep(here.project.store, body) if here.project.settings.arrivals.pushed else 0
            if not keys_of(body, here.project.store.url, (INBOX,)):
                return kept
            return kept + take_events(here.project, broker_of(here), body)

    try:
        await asyncio.to_thread(take)
    except BadMessage as error:
        raise Problem(400, "event", error.reason[:200]) from error
    return Response(status_code=204)


# --- what both share --------------------------------------------------------------------------------------------------


def broker_of(here: Service) -> Broker:
    """The project's broker, opened once; to be called in a thread. Raises GroundplanError."""
    from resources.broker import open_broker

    found: Broker | None = here.__dict__.get("broker")
    if found is None:
        found = here.__dict__["broker"] = open_broker(here.project, here.engine())
    return found


@contextmanager
def _answering() -> Iterator[None]:
    """Raises Problem 503 in place of what a store, a database or a broker raises that is away."""
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except (StoreFailed, BrokerFailed, DBAPIError) as error:
        raise Problem(503, "away", "Store, database or broker do not answer", retry=RETRY) from error

"""Rows of results: image, analysis and events of up to `messages.batch` messages in one transaction.

Here: what is written when a message ends, and what is known already. Not here: dead letters' own table operations
(resources/brokers/aside.py), sending events (relay.py).

One transaction is one wait for the disk, whatever the number of results in it. Every row has a key that follows from
the message, so a message that was delivered twice leaves what one leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from groundplan.config import Settings
from groundplan.database.connect import writing
from groundplan.database.once import insert_once
from groundplan.database.tables import analysis, image, outbox
from groundplan.messages.cloud_events import ANALYSED, CloudEvent
from groundplan.messages.port import Broker
from groundplan.single.act import failed_event
from groundplan.single.rules import failed_course
from groundplan.single.stated import place_mark
from resources.brokers.aside import are_aside, set_aside
from serving.work.outcomes import Ended, Result


def known(engine: Engine, identities: Sequence[str]) -> set[str]:
    """Messages that need no work any more: told of already, or set aside."""
    told = sa.select(outbox.c.id).where(outbox.c.id.in_(identities), outbox.c.type == ANALYSED)
    made = sa.select(analysis.c.id).where(analysis.c.id.in_(identities))
    with engine.connect() as connection:
        found = set(connection.execute(told.union(made)).scalars())
        return found | are_aside(connection, identities)


def commit(engine: Engine, broker: Broker, settings: Settings, outcomes: Sequence[Ended]) -> None:
    """Write what came of messages, and let the broker forget them.

    A broker that is no table of this database forgets them afterwards: who is killed in between gets them again, and
    finds that they are known.
    """
    over = [one for one in outcomes if one.ending in ("done", "aside")]
    if not over:
        return
    held = [one.held for one in over]
    with writing(engine) as connection:
        _write(connection, settings, over)
        if broker.transactional:
            broker.done([one.held for one in over if one.ending == "done"], connection)
    if not broker.transactional:
        broker.done(held)


def _write(connection: Connection, settings: Settings, over: Sequence[Ended]) -> None:
    at = datetime.now(UTC)
    # in one order everywhere: who writes the same rows at the same time must not wait crosswise
    results = sorted((one for one in over if one.result), key=lambda one: one.held.id)
    pictures = {row["id"]: row for row in (_image(one, at) for one in results)}
    insert_once(connection, image, [pictures[identity] for identity in sorted(pictures)])
    insert_once(connection, analysis, [_analysis(one, at) for one in results])
    events = [
        row for one in results if one.result for row in _told(_completed(connection, one), one.result.actions.told, at)
    ]
    for one in over:
        if one.ending == "aside":
            set_aside(connection, one.held, one.reason)
            if one.arrived:
                events += _told(failed_event(one.arrived, one.reason), failed_course(settings), at)
    insert_once(connection, outbox, events)


def _image(one: Ended, at: datetime) -> dict[str, Any]:
    result, source = _parts(one)
    picture = result.actions.picture
    return {
        "id": result.image.digest,
        "key": picture.key if picture else None,
        "source": f"{source.get('bucket') or ''}/{source.get('key') or ''}"[:2000],
        "etag": str(source.get("etag") or "")[:200] or None,
        "media": result.image.media,
        "bytes": result.size,
        "width": result.image.width,
        "height": result.image.height,
        "taken": None,  # cameras say no time zone, and none is guessed
        "arrived": datetime.fromtimestamp(one.held.arrived, UTC),
        "camera": result.image.camera,
        "region": None,
        "blurred": None if picture is None or picture.faces is None else picture.faces > 0,
        "state": "analysed",
        "reason": result.image.note or None,
    }


def _analysis(one: Ended, at: datetime) -> dict[str, Any]:
    result, _ = _parts(one)
    said = result.analysis
    return {
        "id": result.actions.event.data["analysis"],
        "image": result.image.digest,
        "model": said.model,
        "version": said.version,
        "made": at,
        "kind": said.kind,
        "label": said.label,
        "key": result.actions.result_key,
        "confidence": said.confidence,
        "figures": {name: float(value) for name, value in {**result.looks, **said.figures}.items()},
        "seconds": said.seconds,
        "place": _mark(one),
    }


def _completed(connection: Connection, one: Ended) -> CloudEvent:
    """The event, which names the analysis that is there: the first of the same picture, in the same place."""
    from dataclasses import replace

    result, _ = _parts(one)
    said, event = result.analysis, result.actions.event
    same = sa.and_(
        analysis.c.image == result.image.digest,
        analysis.c.model == said.model,
        analysis.c.version == said.version,
        analysis.c.place == _mark(one),
    )
    there = connection.execute(sa.select(analysis.c.id, analysis.c.key).where(same)).first()
    if there is None or there.id == event.id:
        return event
    return replace(event, data={**event.data, "analysis": there.id, "result": there.key})


def _mark(one: Ended) -> str:
    return place_mark(one.arrived.data.get("place")) if one.arrived else ""


def _told(event: CloudEvent, targets: Sequence[str], at: datetime) -> list[dict[str, Any]]:
    fixed = {"id": event.id, "type": event.type, "event": event.as_json(), "made": at, "sent": None}
    return [{**fixed, "target": target} for target in targets]


def _parts(one: Ended) -> tuple[Result, dict[str, Any]]:
    assert one.result is not None
    return one.result, dict(one.arrived.data) if one.arrived else {}

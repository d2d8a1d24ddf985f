"""The fourth step with a single image: what is stored of it, and what others are told.

Here: keys, bytes and events that follow from a result; pure. Not here: storing and sending (serving/work).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from groundplan.messages.cloud_events import ANALYSED, FAILED, CloudEvent, now
from groundplan.single.analyse import Analysis
from groundplan.single.geojson import as_json
from groundplan.single.prepare import PreparedImage
from groundplan.single.rules import Course
from groundplan.single.transform import KeptImage

MOST_REASON = 500  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """What follows from a result. result: JSON, to be stored at `result_key`; picture: None where none is kept.

    told: the event and the names of those who are told.
    """

    result_key: str
    result: bytes
    picture: KeptImage | None
    event: CloudEvent
    told: tuple[str, ...]


def act(
    arrived: CloudEvent, image: PreparedImage, analysis: Analysis, kept: KeptImage | None, course: Course
) -> Actions:
    """What follows from a result. The event's id is the message's own: who gets it twice sees that it is one."""
    result = as_json(analysis, arrived.id, image.digest)
    high, wide = image.pixels.shape[:2]
    body = {**result, "width": wide, "height": high, "source": _source(arrived)}
    picture = kept if course.keep else None
    key = f"analyses/{arrived.id[:2]}/{arrived.id}.json"
    told: dict[str, Any] = {
        "analysis": arrived.id,
        "image": image.digest,
        "model": analysis.model,
        "version": analysis.version,
        "kind": analysis.kind,
        "label": analysis.label,
        "confidence": None if analysis.confidence is None else round(analysis.confidence, 4),
        "buildings": len(analysis.buildings) if analysis.kind == "footprints" else None,
        "result": key,
        "picture": picture.key if picture else None,
        "source": _source(arrived),
    }
    return Actions(
        result_key=key,
        result=json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
        picture=picture,
        event=_event(arrived, ANALYSED, arrived.id, image.digest, told),
        told=course.to,
    )


def failed_event(arrived: CloudEvent, reason: str) -> CloudEvent:
    """That an image could not be used, and why."""
    told = {"analysis": None, "reason": reason[:MOST_REASON], "source": _source(arrived)}
    return _event(arrived, FAILED, failed_id(arrived.id), arrived.subject, told)


def failed_id(identity: str) -> str:
    """Of the event that a message failed: one, however often it fails; another than that of its result."""
    import hashlib

    return hashlib.sha256(f"failed {identity}".encode()).hexdigest()


def _event(arrived: CloudEvent, kind: str, identity: str, subject: str, data: dict[str, Any]) -> CloudEvent:
    return CloudEvent(
        id=identity,
        type=kind,
        source=arrived.source,
        time=now(),
        subject=subject,
        traceparent=arrived.traceparent,
        data=data,
    )


def _source(arrived: CloudEvent) -> dict[str, Any]:
    """Where an image came from, as its message says."""
    return {name: arrived.data.get(name) for name in ("bucket", "key", "etag")}

"""One message through the four steps, up to what is stored before its rows are written.

Here: their order: prepare, analyse, transform, act; then the store. Not here: the steps, the rows (results.py).

Nothing of an image is stored before it was transformed. Keys follow from content or from the message's id, so a second
time stores the same bytes in the same place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from groundplan.errors import BadConfig, BadMessage
from groundplan.messages.cloud_events import ARRIVED, CloudEvent, event_of, json_object
from groundplan.messages.port import Leased
from groundplan.monitoring.figures import of_picture
from groundplan.project import Project
from groundplan.single.act import act
from groundplan.single.analyse import SingleModel, analyse
from groundplan.single.faces import FaceFinder
from groundplan.single.prepare import ImageLimits, Placed, prepare
from groundplan.single.rules import course
from groundplan.single.stated import placed
from groundplan.single.transform import transform
from serving.logs import tracing
from serving.work.outcomes import Ended, Result, judged
from serving.work.sparing import Sparing


class Models(Protocol):
    """Where a model comes from."""

    def need(self, word: str) -> SingleModel: ...


Intake = Callable[[str], int]
"""Makes messages of ours of an object event of others; how many."""


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What all lanes share. finder: makes the face finder at its first use."""

    project: Project
    models: Models
    finder: Callable[[], FaceFinder]
    intake: Intake
    check: Callable[[], None] = field(default=lambda: None)
    sparing: Sparing = field(default_factory=Sparing)


def limits_of(project: Project) -> ImageLimits:
    """What an image that arrives may cost."""
    single = project.settings.single
    return ImageLimits(
        bytes=single.max_bytes,
        pixels=single.max_pixels,
        frames=single.max_frames,
        seconds=single.max_seconds,
        side=single.side,
        crop=single.crop,
    )


def worked(shop: Workshop, held: Leased) -> Ended:
    """The end of one message, whatever happens on the way; raises nothing but Stopped and the like."""
    steps: dict[str, float] = {}
    arrived: CloudEvent | None = None
    try:
        raw = json_object(held.body)
        if raw.get("type") != ARRIVED or "specversion" not in raw:
            shop.intake(held.body)
            return Ended(held=held, ending="done")
        arrived = event_of(held.body)
        with tracing(arrived.traceparent or None):
            result = _through(shop, arrived, steps)
        return Ended(held=held, ending="done", arrived=arrived, result=result, steps=steps)
    except Exception as error:
        ending, reason = judged(error, held.tries, shop.project.settings.messages.tries)
        return Ended(held=held, ending=ending, arrived=arrived, reason=reason, steps=steps)


def _through(shop: Workshop, arrived: CloudEvent, steps: dict[str, float]) -> Result:
    key, word, place = _asked(arrived)
    project, store = shop.project, shop.project.store
    model = shop.models.need(word)
    with timed(steps, "read"):
        data = store.get(key)
    with timed(steps, "prepare"):
        image = prepare(data, limits_of(project), place)
    with timed(steps, "analyse"):
        analysis = analyse(image, model, shop.check)
    plan = course(project.settings, analysis)
    with timed(steps, "transform"):
        kept = transform(data, image, plan, shop.finder() if plan.faces else None) if plan.keep else None
    with timed(steps, "act"):
        actions = act(arrived, image, analysis, kept, plan)
        if actions.picture:
            store.put(actions.picture.key, actions.picture.data)
        store.put(actions.result_key, actions.result)
    looks: dict[str, float] = {}
    if shop.sparing.may(image.camera or ""):  # not in what is stored: a second time would say something else
        with timed(steps, "figures"):
            looks = of_picture(image.pixels)
    return Result(image=image, analysis=analysis, actions=actions, size=len(data), looks=looks)


def _asked(arrived: CloudEvent) -> tuple[str, str, Placed | None]:
    """Key, model and place that a message names. Raises BadMessage."""
    key, word, place = (arrived.data.get(name) for name in ("key", "model", "place"))
    if not isinstance(key, str) or not isinstance(word, str) or not 0 < len(key) <= 1024 or not 0 < len(word) <= 200:
        raise BadMessage("message", "it names no key or no model", "Send it by POST /v1/images or into inbox/")
    try:
        return key, word, placed(place)
    except (KeyError, TypeError, ValueError, BadConfig) as error:
        reason = "its place is no CRS with a box or six numbers"
        raise BadMessage("message", reason, "Give crs, and `bounds` or `affine`") from error


@contextmanager
def timed(steps: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        steps[name] = time.perf_counter() - began

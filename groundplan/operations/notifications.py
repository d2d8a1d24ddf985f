"""What a person is told when something is wrong: one message for one cause, what, where, why, what to do, and a link.

Here: the message and its text, and which messages are to be sent now. Not here: finding trouble
(orchestration/sensors/alerts.py), or sending (resources/notifier.py).

The state between two looks is an Outbox: what was told, what waits, by which ways it still has to go. It is plain JSON
and bounded, so that it fits a sensor's cursor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from groundplan.errors import GroundplanError
from groundplan.foreign_text import in_chat, in_line

MOST_TEXT = 1000  # characters of a reason
MOST_WAITING = 100
MOST_TOLD = 1000
AGAIN = 7 * 86400.0  # seconds after which a cause that is still there is told again
HOUR = 3600.0


class NotSent(GroundplanError):
    """A notice that could not be sent; it waits for the next try and fails nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message. Two notices with the same cause are the same trouble, seen twice."""

    cause: str
    what: str
    where: str
    why: str
    remedy: str = ""
    link: str = ""

    @property
    def mark(self) -> str:
        """The cause in 12 characters, by which it is remembered."""
        return hashlib.sha256(self.cause.encode()).hexdigest()[:12]

    @property
    def title(self) -> str:
        """One line."""
        return in_line(f"{self.what}: {self.where}")[:150]

    def text(self, shown: Callable[[str], str] = in_line) -> str:
        """Lines, of which only the last is an address. shown: makes what a delivery's text says harmless to readers."""
        lines = [shown(self.what), f"Where: {shown(self.where)}", f"Why: {shown(self.why)}"]
        lines += [f"What to do: {shown(self.remedy)}"] if self.remedy else []
        lines += [self.link] if self.link else []
        return "\n".join(lines)

    def as_json(self) -> dict[str, str]:
        """For a webhook; `text` is what chat programs show, and some are set up to show the others too."""
        told = {name: value if name == "link" else in_chat(value) for name, value in asdict(self).items()}
        return {"text": self.text(in_chat), **told}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notice and the ways by which it still has to go."""

    notice: Notice
    ways: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """What a sensor remembers. position: of what it looks at, its own business."""

    position: Any = None
    told: Mapping[str, float] = field(default_factory=dict)
    """Mark of a cause to when it was taken up, seconds since 1970."""
    waiting: tuple[Waiting, ...] = ()
    times: tuple[float, ...] = ()
    """When notices were taken up within the last hour."""
    kept_back: int = 0
    """Beyond the rate; told together when there is room."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | None) -> Outbox:
        """An empty one where there is none yet, or where it cannot be read: then a trouble may be told twice."""
        try:
            raw = json.loads(text or "{}")
            waiting = tuple(Waiting(Notice(**item["notice"]), tuple(item["ways"])) for item in raw.pop("waiting", ()))
            return cls(**{**raw, "waiting": waiting, "times": tuple(raw.get("times", ()))})
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()


def take_up(outbox: Outbox, found: Sequence[Notice], ways: tuple[str, ...], now: float, most_per_hour: int) -> Outbox:
    """The outbox with what is new in it. What was told lately is left out, what is beyond the rate is counted."""
    told = {mark: when for mark, when in outbox.told.items() if now - when < AGAIN}
    times = [when for when in outbox.times if now - when < HOUR]
    waiting, kept_back = list(outbox.waiting), outbox.kept_back
    for notice in found:
        if notice.mark in told:
            continue
        told[notice.mark] = now
        if len(times) < most_per_hour and len(waiting) < MOST_WAITING:
            times.append(now)
            waiting.append(Waiting(_bounded(notice), ways))
        else:
            kept_back += 1
    if kept_back and len(times) < most_per_hour and len(waiting) < MOST_WAITING:
        times.append(now)
        waiting.append(Waiting(_together(kept_back, now), ways))
        kept_back = 0
    newest = dict(sorted(told.items(), key=lambda item: item[1])[-MOST_TOLD:])
    return replace(outbox, told=newest, waiting=tuple(waiting), times=tuple(times), kept_back=kept_back)


def sent(outbox: Outbox, failed: Mapping[int, tuple[str, ...]]) -> Outbox:
    """After a try. failed: index of a waiting notice to the ways that did not take it."""
    left = [replace(item, ways=failed[index]) for index, item in enumerate(outbox.waiting) if failed.get(index)]
    return replace(outbox, waiting=tuple(left))


def forget_others(outbox: Outbox, found: Sequence[Notice]) -> Outbox:
    """Trouble that is not found any more is over, and is told at once when it comes back."""
    marks = {notice.mark for notice in found}
    return replace(outbox, told={mark: when for mark, when in outbox.told.items() if mark in marks})


def _bounded(notice: Notice) -> Notice:
    why = notice.why if len(notice.why) <= MOST_TEXT else notice.why[:MOST_TEXT] + " ..."
    return replace(notice, what=notice.what[:200], where=notice.where[:500], why=why, remedy=notice.remedy[:MOST_TEXT])


def _together(count: int, now: float) -> Notice:
    return Notice(
        cause=f"kept back {int(now)}",
        what=f"{count} more notices",
        where="the whole project",
        why="more was wrong than is told in an hour",
        remedy="Open Dagster's runs and country_status; raise notify.most_per_hour to be told each",
    )

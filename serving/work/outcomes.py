"""How a message ended, and which errors are final.

Here: that judgement and its value. Not here: what follows in the database (results.py).

Final: the bytes are no image, or no message; the same will never be otherwise, and one try is enough. An outage is
nobody's fault but the store's, the database's or the broker's: it is waited for, and no try counts. All else is tried
again, later and later, until `messages.tries`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from groundplan.collections.images.decode import BadImage
from groundplan.errors import BadMessage, BrokerFailed, MissingInput, StoreFailed
from groundplan.foreign_text import in_line
from groundplan.messages.cloud_events import CloudEvent
from groundplan.messages.port import Leased
from groundplan.single.act import Actions
from groundplan.single.analyse import Analysis
from groundplan.single.prepare import PreparedImage

Ending = Literal["done", "again", "aside", "outage"]
FIRST_WAIT, LONGEST_WAIT = 1.0, 600.0  # seconds of back-off


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of an image, stored already but for its rows. looks: figures of its pixels, of some images."""

    image: PreparedImage
    analysis: Analysis
    actions: Actions
    size: int
    looks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A message and its end. arrived: None where the message could not be read. steps: seconds of each step."""

    held: Leased
    ending: Ending
    arrived: CloudEvent | None = None
    result: Result | None = None
    reason: str = ""
    steps: Mapping[str, float] = field(default_factory=dict)


def judged(error: BaseException, tries: int, most: int) -> tuple[Ending, str]:
    """How a message ends that failed with an error, and the reason in one line."""
    reason = in_line(f"{error}" if isinstance(error, Exception) else type(error).__name__)[:500]
    if isinstance(error, (BadImage, BadMessage)):
        return "aside", reason
    if is_outage(error):
        return "outage", reason
    reason = reason or type(error).__name__
    return ("aside", f"{reason} ({tries} tries)") if tries >= most else ("again", reason)


def is_outage(error: BaseException) -> bool:
    """Whether store, database or broker are to blame."""
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, MissingInput):
        return False
    return isinstance(error, (StoreFailed, BrokerFailed, DBAPIError))


def wait_of(tries: int) -> float:
    """Seconds until the next try: full jitter, so that what failed together does not come back together."""
    most = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries, 20))
    return random.uniform(most / 4, most)

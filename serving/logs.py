"""Log lines for programs: a JSON object a line, with the trace that a request or a message belongs to.

Here: the formatter, and the trace in hand. Not here: what is logged. The trace is W3C's `traceparent`: it comes with a
request or a CloudEvent, goes on in every event that follows from it, and stands in every line in between.
https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
LONGEST = 4000  # characters of a message
PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_trace: ContextVar[str] = ContextVar("trace", default="")


def new_trace() -> str:
    """A `traceparent` that begins here."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def continued(given: str | None) -> str:
    """The given trace with a span of our own; a new one where none was given, or what was given is no traceparent."""
    match = TRACEPARENT.fullmatch(given or "")
    if match is None or set(match[1]) == {"0"} or set(match[2]) == {"0"}:
        return new_trace()
    return f"00-{match[1]}-{secrets.token_hex(8)}-{match[3]}"


def traceparent() -> str:
    """Of the work in hand; '' outside of any."""
    return _trace.get()


@contextmanager
def tracing(given: str | None = None) -> Iterator[str]:
    """Lines logged within have this trace: `with tracing(event.traceparent): ...`. Gives the traceparent to pass on."""
    token = _trace.set(continued(given))
    try:
        yield _trace.get()
    finally:
        _trace.reset(token)


class JsonLines(logging.Formatter):
    """time, level, logger, message, trace, and what was given as `extra`; a traceback stays within the line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:LONGEST],
        }
        if trace := _trace.get():
            line["trace"], line["span"] = trace[3:35], trace[36:52]
        line |= {name: value for name, value in record.__dict__.items() if name not in PLAIN}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)[-LONGEST:]
        return json.dumps(line, ensure_ascii=False, default=str)


def json_logs(level: int = logging.INFO) -> None:
    """All loggers of this process write JSON lines to standard error, uvicorn's too."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True

"""Text that came with a delivery, on its way into what somebody else renders: it is shown, and does nothing.

Here: names of files, classes and coordinate systems, values and messages that quote them, made harmless for Markdown,
for chat programs and for one line of plain text. Not here: HTML, which the templates escape (core/templates.py).
"""

from __future__ import annotations

import html
import re
from typing import Any

MOST_CRS = 60  # characters of the name of a coordinate system that a file states
BREAK = "\u200b"  # a space of no width: what holds it is no address to whoever looks for addresses in text
_ADDRESS = re.compile(r"(https?|ftps?|mailto|xmpp|tel|sms|data|javascript):|(www)\.", re.IGNORECASE)
_MARKS = re.compile(r"([\\`*\[\]()!|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")  # a_b is no emphasis


def in_line(text: Any) -> str:
    """One line without control signs, also those that turn the direction of writing; no program makes links of it."""
    shown = "".join(sign if sign.isprintable() else " " for sign in str(text))
    return _ADDRESS.sub(lambda found: f"{found[0][:-1]}{BREAK}{found[0][-1]}{BREAK}", " ".join(shown.split()))


def in_markdown(text: Any) -> str:
    """Text as Markdown that shows just that: no link, picture, tag, table or emphasis can begin or end in it."""
    told = html.escape(in_line(text), quote=False).replace("@", f"@{BREAK}")
    return _MARKS.sub(r"\\\1", told).replace(f":{BREAK}", f"\\:{BREAK}")


def out_of_markdown(text: str) -> str:
    """The text that `in_markdown` was given, on one line."""
    return re.sub(r"\\([\\`*_\[\]()!|~$:])", r"\1", html.unescape(text).replace(BREAK, ""))


def in_chat(text: Any) -> str:
    """Text for a chat's webhook: Slack reads <...> as links and mentions, others read Markdown's links and mentions."""
    told = html.escape(in_line(text), quote=False)
    return re.sub(r"([\]@!`*])", rf"\1{BREAK}", told)


def crs_in_words(name: str) -> str:
    """The name that a file gives its coordinate system, cut to 60 characters that are part of honest names."""
    found = re.match(r'[A-Z]\w*\["([^"]*)"', name)  # of WKT the name in it
    told = re.sub(r"[^\w :/+.-]", " ", found[1] if found else name)
    told = " ".join(re.sub(r"(?i)\b(\w+:)/+|www\.", r"\1 ", told).split())
    return (told if len(told) <= MOST_CRS else f"{told[: MOST_CRS - 3]}...") or "without a name"

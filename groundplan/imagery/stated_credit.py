"""Whom a sheet's own tags name, and under which licence it is given.

Here: which tags are believed, in which order, and their text made one plain line. Not here: what counts for a region
and year (credits.py). Tags are the words of a stranger: nothing is concluded from them but what they say.
"""

from __future__ import annotations

from collections.abc import Mapping

from groundplan.addresses import secret_in

ATTRIBUTION_TAGS = (
    "ATTRIBUTION",
    "CREDIT",
    "CREDITS",
    "COPYRIGHT",
    "TIFFTAG_COPYRIGHT",
    "EXIF_COPYRIGHT",
    "PROVIDER",
    "SOURCE",
)
LICENCE_TAGS = ("LICENCE", "LICENSE")
LONGEST = 300  # characters; longer texts are terms of use, which stay in the file


def stated_credit(tags: Mapping[str, str]) -> tuple[str, str]:
    """Attribution and licence as the tags of a file say them, each one line of plain text; '' where they do not."""
    upper = {key.upper(): str(value) for key, value in tags.items()}
    return _first(upper, ATTRIBUTION_TAGS), _first(upper, LICENCE_TAGS)


def _first(tags: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((text for name in names if (text := _line(tags.get(name, "")))), "")


def _line(text: str) -> str:
    """One line without control signs; '' where it is too long to stand at an edge, or holds what looks like a key."""
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return "" if len(shown) > LONGEST or secret_in(shown) else shown

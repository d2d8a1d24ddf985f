"""When a sheet was flown: what its name and its tags say of it.

Here: the order in which they are believed. Not here: the folder that it was delivered to, which names the year before
all of them (landing.py), or where a loose file is put (ingest/loose_files.py).

    1. a tag that states the acquisition, such as ACQUISITION_DATE
    2. the name: ortho_20190814.tif, delft_2019-08-14.tif, zanzibar_2022_E.tif
    3. TIFFTAG_DATETIME: by TIFF's rules when the file was written, which many programs take for when it was flown
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

ACQUISITION_TAGS = ("ACQUISITIONDATETIME", "ACQUISITION_DATETIME", "ACQUISITION_DATE", "ACQUISITION")
WRITTEN_TAG = "TIFFTAG_DATETIME"
NAME, DELIVERY = "name", "delivery"
GUESSED_FROM = 1950  # an earlier number in a name is more often that of a map sheet
DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)")
YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")
STATED = re.compile(r"\s*((?:19|20)\d\d)\D?(\d\d)\D?(\d\d)(?!\d)")


@dataclass(frozen=True, slots=True)
class Stated:
    """One statement of when a sheet was flown. day: None where it names the year only. source: who states it."""

    year: int
    day: date | None
    source: str


def stated_dates(name: str, tags: Mapping[str, str]) -> list[Stated]:
    """Everything that a sheet's name and tags say, the most believable first. A name may say several."""
    upper = {key.upper(): str(value) for key, value in tags.items()}
    found = [_of_tag(upper.get(tag, ""), tag) for tag in ACQUISITION_TAGS]
    return [one for one in (*found, *_of_name(name), _of_tag(upper.get(WRITTEN_TAG, ""), WRITTEN_TAG)) if one]


def acquired_on(name: str, tags: Mapping[str, str], year: int) -> tuple[str | None, str]:
    """ISO date of the flight, and what states it; None and `delivery` where only the delivery's year is known.

    A tag that says when the file was written is no date of a flight where it is not of that year.
    """
    for one in stated_dates(name, tags):
        if one.day is not None and one.year == year:
            return one.day.isoformat(), one.source
    return None, DELIVERY


def years_stated(name: str, tags: Mapping[str, str], this_year: int) -> list[Stated]:
    """What is stated of the year, plausible ones only: from GUESSED_FROM to this year."""
    return [one for one in stated_dates(name, tags) if GUESSED_FROM <= one.year <= this_year]


def without_dates(name: str) -> str:
    """A name with each date or year replaced by one separator sign that no name holds."""
    return YEAR.sub("\0", DAY.sub("\0", name))


def _of_name(name: str) -> list[Stated]:
    """Days where it names one: then other numbers like years are those of map sheets. Else years."""
    stem = name.rpartition(".")[0] or name
    days = [_day(match[1], match[3], match[4]) for match in DAY.finditer(stem)]
    if known := [Stated(day.year, day, NAME) for day in days if day]:
        return _once(known)
    return _once(Stated(int(text), None, NAME) for text in YEAR.findall(stem))


def _once(found: Iterable[Stated]) -> list[Stated]:
    return list(dict.fromkeys(found))


def _of_tag(text: str, tag: str) -> Stated | None:
    if match := STATED.match(text):
        day = _day(*match.groups())
        return Stated(int(match[1]), day, tag)
    match = YEAR.match(text.strip()[:4])
    return Stated(int(match[1]), None, tag) if match else None


def _day(year: str, month: str, day: str) -> date | None:
    with suppress(ValueError):
        return date(int(year), int(month), int(day))
    return None

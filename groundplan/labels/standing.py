"""Standing: which of a register's buildings stood when the imagery was flown.

Here: columns that say when a building was built, when it was gone and whether it stands; what they mean at a date. Not
here: reading and storing registers (registers.py).

What a register does not say stays unknown: such a building is neither a label nor ground (registers.py).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.config import RegisterSettings

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

# Names in small letters without signs, best first: the Dutch BAG, OpenStreetMap, INSPIRE, and what others call it.
BUILT = (
    "bouwjaar",
    "oorspronkelijkbouwjaar",
    "startdate",
    "yearbuilt",
    "builtyear",
    "yrbuilt",
    "yearofconstruction",
    "constructionyear",
    "constructiondate",
    "dateofconstruction",
    "yearconstructed",
    "dateconstructed",
    "constructed",
    "builtdate",
    "datebuilt",
    "built",
    "anneeconstruction",
    "anneedeconstruction",
    "dateapp",
    "baujahr",
    "byggeaar",
    "opfoerelsesaar",
    "annoconstruccion",
    "annocostruzione",
)
GONE = (
    "sloopdatum",
    "sloopjaar",
    "enddate",
    "demolitiondate",
    "demolitionyear",
    "dateofdemolition",
    "datedemolished",
    "yeardemolished",
    "demolished",
    "abbruchjahr",
    "abrissjahr",
    "eindgeldigheid",
    "einddatumtijdvakgeldigheid",
    "endlifespanversion",
    "validto",
)
BEGUN = ("begingeldigheid", "begindatumtijdvakgeldigheid", "beginlifespanversion", "validfrom")
"""When a line of the register began to hold: the end of a building whose line says that it is gone."""
STATUS = (
    "status",
    "pandstatus",
    "statuspand",
    "gebouwstatus",
    "buildingstatus",
    "conditionofconstruction",
    "constructionstatus",
    "lifecyclestatus",
    "etat",
)
LOOKS_LIKE_TIME = re.compile(
    r"year|jaar|jahr|ann[eé]e|date?(?!a)|datum|built|bouw|demol|sloop|status|valid|geldig", re.I
)

NEVER = re.compile(r"niet gerealiseerd|ten onrechte|not realised|not realized|never built|declined|cancel", re.I)
GONE_WORD = re.compile(
    r"gesloopt|demolished|razed|removed|destroyed|abgerissen|abgebrochen|d[eé]truit|d[eé]moli|nedrevet", re.I
)
PLANNED = re.compile(
    r"bouw gestart|bouwvergunning|verleend$|under ?construction|in construction|^construction$|projected|planned|"
    r"proposed|permit|im bau|geplant|en construction|en projet",
    re.I,
)
STILL_THERE = re.compile(r"sloopvergunning|demolition permit|gebruik|verbouwing", re.I)  # whatever else they say

DAY = re.compile(r"(?<!\d)(\d{4})(?:-?(0[1-9]|1[0-2])(?:-?(0[1-9]|[12]\d|3[01]))?)?(?!\d)")
DECADE = re.compile(r"(?<!\d)(\d{3})0s")
FIRST, LAST = 1200, 2199  # years; others stand for "unknown" or "never", such as 9999
YES, NO, UNKNOWN = 1, 0, -1
COLUMNS = ("built_from", "built_to", "gone_from", "gone_to", "state")
"""What is stored with each building of a register that says any of it: ISO dates, and one of the states below."""
STATES = ("stands", "planned", "gone", "never")


def bare(name: str) -> str:
    """A column's name without signs and capitals."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFC", name).casefold())


def columns_of_time(settings: RegisterSettings) -> tuple[str, ...]:
    """Names of all columns that could say when a building stood."""
    more = (*settings.built, *settings.demolished, *settings.status)
    return (*map(bare, more), *BUILT, *GONE, *BEGUN, *STATUS)


def times_of(frame: pd.DataFrame, settings: RegisterSettings) -> tuple[dict[str, list[Any]], str]:
    """COLUMNS of a register's buildings, and which of its columns say so; empty where none says anything."""
    built, gone, begun, status = (
        _column(frame, (*map(bare, more), *names))
        for more, names in (
            (settings.built, BUILT),
            (settings.demolished, GONE),
            ((), BEGUN),
            (settings.status, STATUS),
        )
    )
    size = len(frame)
    spans = _spans(frame[built]) if built else [None] * size
    ends = _spans(frame[gone]) if gone else [None] * size
    states = _states(frame[status], settings) if status else [None] * size
    if begun and status:
        starts = _spans(frame[begun])
        ends = [
            start if end is None and state == "gone" else end
            for start, end, state in zip(starts, ends, states, strict=True)
        ]
    if not any(value is not None for column in (spans, ends, states) for value in column):
        return {}, ""
    found = {
        "built_from": [_iso(span, 0) for span in spans],
        "built_to": [_iso(span, 1) for span in spans],
        "gone_from": [_iso(span, 0) for span in ends],
        "gone_to": [_iso(span, 1) for span in ends],
        "state": states,
    }
    said = {"built": built, "demolished": gone, "status": status}
    return found, ", ".join(f"{what} by {name}" for what, name in said.items() if name)


def _column(frame: pd.DataFrame, names: Sequence[str]) -> str | None:
    """The frame's column of the first of these names; Shapefiles cut theirs after ten characters."""
    there = {bare(str(column)): str(column) for column in frame.columns if column != frame.geometry.name}
    for name in names:
        if name in there:
            return there[name]
    cut = {short: column for short, column in there.items() if len(column) == 10 and len(short) >= 8}
    return next((column for name in names for short, column in cut.items() if name.startswith(short)), None)


def _spans(column: pd.Series) -> list[tuple[date, date] | None]:
    known: dict[Any, tuple[date, date] | None] = {}
    values = [None if value is None or value != value else value for value in column.tolist()]
    for value in values:
        if value not in known:
            known[value] = span_of(value)
    return [known[value] for value in values]


def span_of(value: Any) -> tuple[date, date] | None:
    """First and last day that a value can mean: a year, a month, a day, 1914..1918, 1890s; None for anything else."""
    if value is None or isinstance(value, bool):
        return None
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    if match := DECADE.search(text):
        return date(int(match[1]) * 10, 1, 1), date(int(match[1]) * 10 + 9, 12, 31)
    spans = [span for match in DAY.finditer(text[:40]) if (span := _span(*match.groups()))]
    if not spans:
        return None
    if "T" in text or (" " in text.strip() and len(spans) > 1 and ".." not in text):  # a day, and a time of it
        return spans[0]
    first, last = spans[0][0], spans[-1][1]
    if re.match(r"(before|<|vor|voor|avant|\.\.)", text, re.I):
        first = date(FIRST, 1, 1)
    return first, max(first, last)


def _span(year: str, month: str | None, day: str | None) -> tuple[date, date] | None:
    if not FIRST <= int(year) <= LAST:
        return None
    try:
        first = date(int(year), int(month or 1), int(day or 1))
    except ValueError:  # the 31st of June
        return date(int(year), int(month or 1), 1), _last_of(int(year), int(month or 12))
    return first, first if day else _last_of(int(year), int(month or 12))


def _last_of(year: int, month: int) -> date:
    following = date(year + month // 12, month % 12 + 1, 1)
    return date.fromordinal(following.toordinal() - 1)


def _iso(span: tuple[date, date] | None, side: int) -> str | None:
    return None if span is None else span[side].isoformat()


def _states(column: pd.Series, settings: RegisterSettings) -> list[str | None]:
    known = {value: state_of(value, settings) for value in set(column.dropna().tolist())}
    return [known.get(value) if value == value else None for value in column.tolist()]


def state_of(value: Any, settings: RegisterSettings = RegisterSettings()) -> str | None:  # noqa: B008
    """One of STATES that a register's word means; None for a word that says nothing of it."""
    text = str(value).strip()
    if text.casefold() in {word.casefold() for word in settings.planned_words}:
        return "planned"
    if text.casefold() in {word.casefold() for word in settings.gone_words}:
        return "gone"
    for words, state in ((NEVER, "never"), (STILL_THERE, "stands"), (GONE_WORD, "gone"), (PLANNED, "planned")):
        if words.search(text):
            return state
    return None


def stood(frame: pd.DataFrame, first: date, last: date) -> np.ndarray:
    """YES, NO or UNKNOWN for each building, int8, at imagery that was flown between two days.

    A building that was built within these days counts; of one that was gone within them nobody knows.
    """
    import pandas as pd

    start, end = first.isoformat(), last.isoformat()  # as texts, ISO dates sort as days do
    built_from, gone_from, gone_to = (frame[name].to_numpy(object) for name in ("built_from", "gone_from", "gone_to"))
    state = frame["state"].to_numpy(object)

    def holds(values: np.ndarray, test: Any) -> np.ndarray:
        return np.array([not pd.isna(value) and test(value) for value in values], bool)

    gone = state == "gone"
    open_ended = holds(gone_from, lambda day: day <= end) | (gone & pd.isna(gone_from))
    found = np.full(len(frame), YES, np.int8)
    found[open_ended | (state == "planned")] = UNKNOWN
    later, before = holds(built_from, lambda day: day > end), holds(gone_to, lambda day: day < start)
    found[later | before | (state == "never")] = NO
    return found


def split_by_time(
    frame: gpd.GeoDataFrame, days: tuple[date, date], counts: dict[str, int]
) -> tuple[gpd.GeoDataFrame, np.ndarray]:
    """The buildings that stood when imagery was flown, and mended shapes of those that nobody knows of; all counted."""
    answers = stood(frame, *days)
    known = frame[list(COLUMNS)].notna().any(axis=1)
    for name, count in (
        ("dated", int(known.sum())),
        ("not_standing", int((answers == NO).sum())),
        ("undecided", int((answers == UNKNOWN).sum())),
    ):
        counts[name] = counts.get(name, 0) + count
    return frame[answers == YES], frame.geometry[answers == UNKNOWN].make_valid().to_numpy()

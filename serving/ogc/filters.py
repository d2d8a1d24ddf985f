"""CQL2 text: the part of it that a handful of properties needs, as conditions over the table of footprints.

Here: comparisons, BETWEEN, IN, LIKE, IS NULL, AND, OR, NOT, brackets; S_INTERSECTS with a box, point or polygon. Not
here: anything that the list of conformance classes does not name (documents.py). Values are bound, never put into SQL.
https://docs.ogc.org/is/21-065r2/21-065r2.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from groundplan.database.tables import footprint

Condition = sa.ColumnElement[bool]
LONGEST, DEEPEST, MOST_TERMS = 2000, 16, 64

PROPERTIES: dict[str, tuple[sa.Column[Any], str, str]] = {
    "id": (footprint.c.id, "string", "stable for the same ground and inputs"),
    "region": (footprint.c.region, "string", "region that owns the building"),
    "confidence": (footprint.c.confidence, "number", "mean building probability, 0 to 1"),
    "area_m2": (footprint.c.area, "number", "square metres in the grid's CRS"),
    "image_date": (footprint.c.image_date, "date", "day of the imagery; null where only its year is known"),
    "sheet": (footprint.c.sheet, "string", "delivered file that shows the building"),
    "model": (footprint.c.model, "string", "year and identity of the model"),
    "block": (footprint.c.block, "string", "block that the building's anchor lies in"),
    "fingerprint": (footprint.c.fingerprint, "string", "fingerprint of that image block"),
}
"""Name as it is given on: column, JSON type, words."""

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    |(?P<text>'(?:[^']|'')*')
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*|"[A-Za-z_][A-Za-z0-9_]*")
    |(?P<sign><>|<=|>=|[=<>(),])
    )""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], Condition]] = {
    "=": lambda one, other: one == other,
    "<>": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


class BadFilter(ValueError):
    """A filter that cannot be understood; its text may be shown to who sent it."""


Place = Callable[[Any], Condition]
"""What a geometry (shapely, in the filter's CRS) becomes: whether a footprint meets it."""


def condition_of(text: str, meets: Place) -> Condition:
    """The condition of a CQL2 text. Raises BadFilter."""
    if len(text) > LONGEST:
        raise BadFilter(f"it has more than {LONGEST} characters")
    reader = _Reader(tokens=_tokens(text), meets=meets)
    found = reader.either()
    if reader.at < len(reader.tokens):
        raise BadFilter(f"what follows {reader.before()} makes no sense")
    return found


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at, text = [], 0, text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise BadFilter(f"it cannot be read from its character {at + 1} on")
        tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
        at = found.end()
    return tokens


@dataclass(kw_only=True)
class _Reader:
    """Reads tokens from left to right; a method for each level of the grammar."""

    tokens: list[tuple[str, str]]
    meets: Place
    at: int = 0
    depth: int = 0
    terms: int = 0

    def either(self) -> Condition:
        self.depth += 1
        if self.depth > DEEPEST:
            raise BadFilter(f"it has more than {DEEPEST} brackets within each other")
        parts = [self.both()]
        while self.takes("OR"):
            parts.append(self.both())
        self.depth -= 1
        return sa.or_(*parts)

    def both(self) -> Condition:
        parts = [self.single()]
        while self.takes("AND"):
            parts.append(self.single())
        return sa.and_(*parts)

    def single(self) -> Condition:
        self.terms += 1
        if self.terms > MOST_TERMS:
            raise BadFilter(f"it has more than {MOST_TERMS} terms")
        negated = False
        while self.takes("NOT"):
            negated = not negated
        if self.takes("("):
            found = self.either()
            self.needs(")")
        elif self.takes("S_INTERSECTS"):
            found = self.intersects()
        elif self.takes("TRUE") or self.takes("FALSE"):
            found = sa.true() if self.before().upper() == "TRUE" else sa.false()
        else:
            found = self.predicate()
        return sa.not_(found) if negated else found

    def predicate(self) -> Condition:
        column, kind = self.property()
        if self.takes("IS"):
            negated = self.takes("NOT")
            self.needs("NULL")
            return column.is_not(None) if negated else column.is_(None)
        negated = self.takes("NOT")
        if self.takes("BETWEEN"):
            low = self.value(kind)
            self.needs("AND")
            found: Condition = column.between(low, self.value(kind))
        elif self.takes("IN"):
            found = column.in_(self.listed(kind))
        elif self.takes("LIKE"):
            if kind == "number":
                raise BadFilter("LIKE compares texts")
            found = column.like(self.value("string"))
        elif not negated and self.peek() in _COMPARE:
            found = _COMPARE[self.next()](column, self.value(kind))
        else:
            raise BadFilter(f"after {self.before()} comes a comparison, BETWEEN, IN, LIKE or IS NULL")
        return sa.not_(found) if negated else found

    def listed(self, kind: str) -> list[Any]:
        self.needs("(")
        values = [self.value(kind)]
        while self.takes(","):
            values.append(self.value(kind))
        self.needs(")")
        return values

    def property(self) -> tuple[sa.Column[Any], str]:
        name = self.next("word").strip('"')
        if name not in PROPERTIES:
            raise BadFilter(f"there is no property {name[:60]}; there are {', '.join(PROPERTIES)}, and S_INTERSECTS")
        column, kind, _ = PROPERTIES[name]
        return column, kind

    def value(self, kind: str) -> Any:
        if kind == "number":
            return float(self.next("number"))
        if kind == "date" and self.takes("DATE"):
            self.needs("(")
            text = self.text()
            self.needs(")")
            return text
        return self.text()

    def text(self) -> str:
        text = self.next("text")[1:-1].replace("''", "'")
        if "\0" in text:
            raise BadFilter("a text holds a character that is none")
        return text

    def intersects(self) -> Condition:
        self.needs("(")
        if self.next("word").strip('"') not in ("geometry", "geom"):
            raise BadFilter("S_INTERSECTS takes the property geometry first")
        self.needs(",")
        shape = self.shape()
        self.needs(")")
        return self.meets(shape)

    def shape(self) -> Any:
        import shapely

        kind = self.next("word").upper()
        if kind == "BBOX":
            values = self.listed("number")
            if len(values) != 4:
                raise BadFilter("BBOX has four numbers")
            return shapely.box(*values)
        if kind not in ("POINT", "POLYGON"):
            raise BadFilter("S_INTERSECTS takes BBOX, POINT or POLYGON")
        words = [kind]
        while True:
            words.append(self.next())
            if words.count("(") and words.count("(") == words.count(")"):
                break
        try:
            shape = shapely.from_wkt(" ".join(words))
        except shapely.errors.GEOSException as error:
            raise BadFilter(f"the {kind} cannot be read") from error
        if not shape.is_valid or shape.is_empty:
            raise BadFilter(f"the {kind} is not valid")
        return shape

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def before(self) -> str:
        return self.tokens[self.at - 1][1][:60] if self.at else "the beginning"

    def takes(self, word: str) -> bool:
        found = self.peek().upper() == word and self.tokens[self.at][0] != "text" if self.peek() else False
        self.at += found
        return found

    def needs(self, word: str) -> None:
        if not self.takes(word):
            raise BadFilter(f"after {self.before()} comes {word}")

    def next(self, kind: str = "") -> str:
        if self.at >= len(self.tokens):
            raise BadFilter(f"it ends after {self.before()}")
        found, text = self.tokens[self.at]
        if kind and found != kind:
            raise BadFilter(f"after {self.before()} comes a {kind}, not {text[:60]}")
        self.at += 1
        return text

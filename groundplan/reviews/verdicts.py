"""What people said of polygons: append-only verdicts, and what holds of several about the same one.

Here: the words, what holds, agreement of two people, and the mirror in the store. Not here: rows of the database
(groundplan/database/reviews.py), labels that are made of them (register.py).

Every verdict is an object of its own, `reviews/YEAR/REGION/ID.json`, and is never written again: what is taken back is
a further one. A verdict holds its task, so that the store alone says what was asked and answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from groundplan.core.records import read_record, write_record
from groundplan.core.store import Store
from groundplan.errors import BadConfig, Damaged

ACCEPT, REJECT, REDRAW, MISSING, UNSURE, UNDO = "accept", "reject", "redraw", "missing", "not sure", "undo"
VERDICTS = (ACCEPT, REJECT, REDRAW, MISSING, UNSURE, UNDO)
DRAWN = (REDRAW, MISSING)  # a polygon comes with these
MOST_CORNERS = 2000
MOST_AREA = 1e6  # m2, of a drawn building


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What one person said of one task. geometry: GeoJSON polygon in EPSG:4326, of what was drawn."""

    id: str
    task: str
    person: str
    verdict: str
    geometry: dict[str, Any] | None
    seconds: float | None
    at: datetime
    about: Mapping[str, Any]
    """The task: region, year, block, geometry, facts, reason."""


def checked_geometry(verdict: str, geometry: Any) -> dict[str, Any] | None:
    """The polygon that belongs to a verdict; None where none does. Raises BadConfig, saying what is wrong with it."""
    import shapely
    from shapely.geometry import shape

    if verdict not in VERDICTS:
        raise BadConfig("verdict", f"{str(verdict)[:40]!r} is none", f"Give one of {', '.join(VERDICTS)}")
    if verdict not in DRAWN:
        return None
    remedy = "Give a GeoJSON polygon in longitude and latitude, without holes that cross"
    try:
        polygon = shape(geometry)
        corners = shapely.get_num_coordinates(polygon)
    except Exception as error:  # shapely raises what it finds, KeyError to GEOSException, and all mean the same
        raise BadConfig("geometry", "it is no polygon", remedy) from error
    west, south, east, north = polygon.bounds if not polygon.is_empty else (999.0,) * 4
    if polygon.geom_type != "Polygon" or not polygon.is_valid or corners > MOST_CORNERS:
        raise BadConfig("geometry", "it is no plain polygon", remedy)
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise BadConfig("geometry", "it lies outside the earth", remedy)
    if (east - west) * (north - south) * 1.2e10 > MOST_AREA:
        raise BadConfig("geometry", "it is larger than any building", remedy)
    return json.loads(json.dumps(polygon.__geo_interface__))  # type: ignore[no-any-return]


def standing(reviews: Iterable[Review]) -> dict[tuple[str, str], list[Review]]:
    """Task and person to what that person said and did not take back, in order."""
    found: dict[tuple[str, str], list[Review]] = {}
    for review in sorted(reviews, key=lambda one: (one.at, one.id)):
        said = found.setdefault((review.task, review.person), [])
        if review.verdict == UNDO:
            del said[-1:]
        else:
            said.append(review)
    return found


def holding(reviews: Iterable[Review]) -> dict[tuple[str, str], Review]:
    """Task and person to the last verdict on the task's own polygon."""
    own = {key: [one for one in said if one.verdict != MISSING] for key, said in standing(reviews).items()}
    return {key: said[-1] for key, said in own.items() if said}


def missing_of(reviews: Iterable[Review]) -> list[Review]:
    """Buildings that people added."""
    return [one for said in standing(reviews).values() for one in said if one.verdict == MISSING]


def settled(reviews: Sequence[Review]) -> dict[str, Review]:
    """Task to what holds of it: the newest verdict; of two people who differ, that nobody is sure."""
    of: dict[str, list[Review]] = {}
    for (task, _), review in holding(reviews).items():
        of.setdefault(task, []).append(review)
    found = {}
    for task, said in of.items():
        newest = max(said, key=lambda one: one.at)
        words = {ACCEPT if one.verdict == REDRAW else one.verdict for one in said}
        found[task] = newest if len(words) == 1 else replace(newest, verdict=UNSURE, geometry=None)
        if len(words) == 1:
            found[task] = next((one for one in said if one.verdict == REDRAW), newest)
    return found


def agreement(reviews: Sequence[Review]) -> tuple[int, float | None]:
    """Tasks that two people judged, and Cohen's kappa of whether it is a building; None where it is not defined."""
    of: dict[str, list[bool]] = {}
    for (task, _), review in sorted(holding(reviews).items()):
        if review.verdict != UNSURE:
            of.setdefault(task, []).append(review.verdict != REJECT)
    pairs = [said[:2] for said in of.values() if len(said) > 1]
    if not pairs:
        return 0, None
    same = sum(a == b for a, b in pairs) / len(pairs)
    first, second = (sum(pair[i] for pair in pairs) / len(pairs) for i in (0, 1))
    chance = first * second + (1 - first) * (1 - second)
    return len(pairs), None if chance == 1 else round((same - chance) / (1 - chance), 3)


def precision(reviews: Sequence[Review]) -> tuple[int, float | None]:
    """Of tasks drawn by chance that were judged: how many, and the share that are buildings."""
    judged = [one for one in settled(reviews).values() if one.about.get("reason") == "random" and one.verdict != UNSURE]
    return len(judged), sum(one.verdict != REJECT for one in judged) / len(judged) if judged else None


# ---------------------------------------------------------------------------------------------------- the mirror


def key_of(review: Review) -> str:
    return f"reviews/{review.about['year']}/{review.about['region']}/{review.id}.json"


def keep(store: Store, review: Review) -> None:
    """Write a verdict to the store; the same one twice is one."""
    raw = asdict(review) | {"at": review.at.astimezone(UTC).isoformat(), "about": dict(review.about)}
    write_record(store, key_of(review), raw)


def read_reviews(store: Store, year: int) -> list[Review]:
    """All of a year, by when. Raises Damaged: labels made without one would be wrong."""
    found = []
    for item in store.list(f"reviews/{year}"):
        raw = read_record(store, item.key, "Take it out of the store, or restore it")
        raw.pop("format", None)
        try:
            found.append(Review(**{**raw, "at": datetime.fromisoformat(raw["at"])}))
        except (TypeError, KeyError, ValueError) as error:
            raise Damaged(store.uri(item.key), f"it is no verdict ({error})", "Restore it, or remove it") from error
    return sorted(found, key=lambda one: (one.at, one.id))

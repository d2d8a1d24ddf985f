"""Rooms of a store: what lies where, folder by folder, so that all of a country's store can be gone through.

Here: going through folders with one listing in memory, which keys are of a year and region, which are for others to see
last, which are of no use elsewhere. Not here: what is done with them (store_copy.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from groundplan.core.manifest import MARK
from groundplan.core.partition import year_of
from groundplan.core.store import INCOMING, Found, Store
from groundplan.imagery.regions import KEY as REGIONS

DEPTH = 3  # folders as `aerial_tiles/2024/delft`, below which all is listed at once
DATA, RECORDS, MANIFESTS = 0, 1, 2
"""In which order what lies in a store may appear in another: what names objects comes after them."""
COPIES = "copies"  # notes of what was copied
NOT_MOVED = (INCOMING, COPIES, "claims", "doctor", "damaged", "journal", "arrivals", "inbox", "stretches")
"""Rooms of what goes on in one store: claims, notes of damage, events, images that wait. A new store begins anew."""
_RECORD = re.compile(r"registers/[^/]+/[^/]+\.json|models/.+|regions/.+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which keys are meant: those that are of the year and the region and begin with one of the prefixes."""

    year: int | None = None
    region: str | None = None
    prefixes: tuple[str, ...] = ()

    def takes(self, key: str) -> bool:
        if key.split("/", 1)[0] in NOT_MOVED or key.endswith(MARK):
            return False
        if self.prefixes and not key.startswith(self.prefixes):
            return False
        if self.year is None and self.region is None:
            return True
        year, region = place_of(key)
        if year is None:  # of no year: the polygons of regions are needed by every part, the rest is not of it
            return key == REGIONS
        return self.year in (None, year) and (not region or self.region in (None, region))

    def may_hold(self, folder: str) -> bool:
        """Whether a folder may hold keys that are meant; asked so that the others are not listed."""
        if folder.split("/", 1)[0] in NOT_MOVED:
            return False
        inside = f"{folder}/"
        return not self.prefixes or any(one.startswith(inside) or inside.startswith(one) for one in self.prefixes)


def place_of(key: str) -> tuple[int | None, str]:
    """Year and region of a key; None for what is of no year, '' for what is of a whole year.

    `landing/REGION/YEAR/...`, everywhere else `.../YEAR/REGION/...` or `.../YEAR/REGION.json`. Files beside a region's
    folder, as `registers/2024/NAME.json`, are of the whole year, except where a dataset's records lie.
    """
    parts = key.split("/")
    for place, part in enumerate(parts):
        year = year_of(part) or year_of(part.rpartition(".")[0])
        if year is None:
            continue
        if parts[0] == "landing":
            return year, parts[place - 1] if place == 2 else ""
        rest = parts[place + 1 :]
        if parts[0] in ("registers", "logs") or not rest:
            return year, ""
        if len(rest) == 1:  # a record that is named after its region, or an object of the whole year
            return year, rest[0].rpartition(".")[0] if place >= 2 or parts[0] == "digests" else ""
        return year, rest[0]
    return None, ""


def stage_of(key: str) -> int:
    """DATA, RECORDS or MANIFESTS."""
    if key.startswith("manifests/"):
        return MANIFESTS
    return RECORDS if _RECORD.fullmatch(key) else DATA


def folders(store: Store, chosen: Chosen, at: str = "", depth: int = 0) -> Iterator[tuple[str, list[Found]]]:
    """Each folder of a store with the objects that are meant: memory holds one folder's. Raises StoreFailed."""
    names, files = ([], store.list(at)) if depth == DEPTH else store.below(at)
    found = [item for item in files if chosen.takes(item.key)]
    if found:
        yield at, found
    for name in names:
        inner = f"{at}/{name}" if at else name
        if chosen.may_hold(inner):
            yield from folders(store, chosen, inner, depth + 1)

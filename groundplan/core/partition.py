"""Partition: what a dataset is cut by: region and year, or the class of a collection.

Here: the two kinds as values, and how each is written as a path. Not here: what exists (imagery/landing.py,
collections/files.py), or Dagster's keys (assets/partitions.py).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from groundplan.commands import quoted


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One region in one year; a dataset that is not cut by region has region ''."""

    year: int
    region: str = ""

    @property
    def path(self) -> str:
        return f"{self.year}/{self.region}" if self.region else f"{self.year}"

    @property
    def options(self) -> str:
        """How the command line names it."""
        return f"--region {quoted(self.region)} --year {self.year}" if self.region else f"--year {self.year}"

    def __str__(self) -> str:
        return f"{self.region} {self.year}" if self.region else f"{self.year}"


@dataclass(frozen=True, slots=True, order=True)
class ClassPartition:
    """One class of a collection; what belongs to the collection as a whole has label ''."""

    collection: str
    label: str = ""

    @property
    def slug(self) -> str:
        """Of the class: 'apple-braeburn-1f0c9a2b'; letters a-z, digits and '-', at most 49; '' without a class."""
        if not self.label:
            return ""
        plain = unicodedata.normalize("NFKD", self.label).encode("ascii", "ignore").decode().lower()
        words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].rstrip("-")
        mark = hashlib.sha256(self.label.encode()).hexdigest()[:8]
        return f"{words}-{mark}" if words else mark

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.slug}" if self.label else self.collection

    @property
    def options(self) -> str:
        """How the command line names it."""
        return f"--collection {self.collection}"

    def __str__(self) -> str:
        return f"{self.label} of {self.collection}" if self.label else self.collection


FIRST_YEAR, LAST_YEAR = 1900, 2099
"""Years that imagery may be of: the one rule for folders, events, options and addresses."""


def year_of(text: str) -> int | None:
    """The year that a folder's name or an option states; None where it states none that imagery may be of."""
    if len(text) != 4 or not (text.isascii() and text.isdigit()):
        return None
    return int(text) if FIRST_YEAR <= int(text) <= LAST_YEAR else None


def year_before(partition: Partition, delivered: Iterable[Partition]) -> int | None:
    """The newest earlier year of a region, None in its first; flights are not flown every year."""
    earlier = [other.year for other in delivered if other.region == partition.region and other.year < partition.year]
    return max(earlier, default=None)


AnyPartition: TypeAlias = Partition | ClassPartition
P = TypeVar("P", bound=AnyPartition)
T = TypeVar("T")


def partition_of_json(raw: Mapping[str, Any]) -> AnyPartition:
    """A manifest's partition, of either kind. Raises TypeError, KeyError for what is none."""
    if "collection" in raw:
        return ClassPartition(_of(str, raw["collection"]), _of(str, raw.get("label", "")))
    return Partition(_of(int, raw["year"]), _of(str, raw.get("region", "")))


def _of(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value

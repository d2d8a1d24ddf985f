"""The partition of a collection's datasets: one class of one collection, and where its images lie.

Here: names of classes as parts of keys. Not here: what lies there (catalog.py).

A class has the name of its delivered folder: any case, spaces, accents. Its slug is safe in a path, also on file
systems that do not tell case apart, and unique, since it ends in a hash of the exact name.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from groundplan.blocks import Partition, Place
from groundplan.errors import BadConfig

ROOM = "collections"  # delivered images lie below it: collections/<collection>/<class folder>/<file>
MARKER = ".class"  # an empty object that keeps an empty class visible in a bucket, which knows no folders
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


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


def place(**raw: Any) -> Place:
    """A manifest's partition, of either kind."""
    return ClassPartition(**raw) if "collection" in raw else Partition(**raw)


def images_prefix(partition: ClassPartition) -> str:
    """Where a class's delivered images lie, or a collection's."""
    whole = f"{ROOM}/{partition.collection}"
    return f"{whole}/{partition.label}" if partition.label else whole


def partition_of(key: str) -> ClassPartition:
    """Of a delivered image's key. Raises ValueError for a key of something else."""
    parts = key.split("/")
    if len(parts) < 4 or parts[0] != ROOM:
        raise ValueError(f"{key} is no image of a collection")
    return ClassPartition(parts[1], parts[2])


def check_collection_name(name: str) -> str:
    """A collection's name is part of object keys and of Dagster partition keys. Raises BadConfig."""
    if not _NAME.fullmatch(name):
        raise BadConfig(
            f"collection name {name!r}",
            "it cannot be part of a path and of a partition key",
            "Use small letters, digits, _ and -, beginning with a letter or digit, at most 40",
        )
    return name

"""How collections are cut: by image class; what belongs to a collection as a whole, by collection.

Here: the partitions definitions, keys to and from the library's ClassPartition, ranges of keys, and the sensor that
finds new class folders. Not here: which classes there are (groundplan/collections/catalog.py).
https://docs.dagster.io/guides/build/partitions-and-backfills/partitioning-assets
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote, unquote

import dagster as dg

from groundplan.collections import catalog
from groundplan.core.partition import ClassPartition
from groundplan.project import Project

image_classes = dg.DynamicPartitionsDefinition(name="image_classes")
collections = dg.DynamicPartitionsDefinition(name="collections")

# components come from all classes, and so do a classifier and a report; a mapping by the collection's part of the key
# would be a class of our own, which Dagster's daemon cannot load
all_classes = dg.AllPartitionMapping()


def key_of(partition: ClassPartition) -> str:
    """Dagster's key: `fruits/Apple Braeburn`, or `fruits` for the collection.

    Letters and digits of any script, spaces and .()&'-_ stay; all else is percent-encoded: `|`, `,` and brackets have a
    meaning in Dagster's keys and its backfill page, and `...` is a range.
    """
    if not partition.label:
        return partition.collection
    label = re.sub(r"[^\w .()&'-]|\.(?=\.)|^ | $", lambda found: _encoded(found[0]), partition.label)
    return f"{partition.collection}/{label}"


def _encoded(text: str) -> str:
    return "%2E" if text == "." else quote(text, safe="")


def partition_of(key: str) -> ClassPartition:
    """The library's partition of a key. Raises ValueError for what is none."""
    collection, _, label = str(key).partition("/")
    found = ClassPartition(collection, unquote(label, errors="strict"))
    if not collection or key_of(found) != key:
        raise ValueError(f"{key!r} is no key of a class of a collection")
    return found


def ranges(known: Sequence[str], wanted: Iterable[str]) -> list[tuple[str, str]]:
    """First and last key of each unbroken stretch of `wanted` in the order of `known`, which holds all of them.

    One run makes a stretch: a run of its own for each class costs more than the class itself.
    """
    asked = set(wanted)
    found: list[tuple[str, str]] = []
    before = False
    for key in known:
        if key in asked:
            found.append((found.pop()[0] if before else key, key))
        before = key in asked
    return found


def add_partitions(instance: dg.DagsterInstance, project: Project, collection: str) -> list[str]:
    """Dagster's keys of a collection's classes, all of them known to the instance afterwards."""
    keys = [key_of(each) for each in catalog.classes(project, collection)]
    for definition, wanted in ((image_classes, keys), (collections, [collection])):
        known = set(instance.get_dynamic_partitions(definition.name or ""))
        if new := [key for key in wanted if key not in known]:
            instance.add_dynamic_partitions(definition.name or "", new)
    return keys

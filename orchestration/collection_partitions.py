"""How collections are cut: by image class; what belongs to a collection as a whole, by collection.

Here: the partitions definitions, keys to and from the library's ClassPartition, ranges of keys, and the sensor that
finds new class folders. Not here: which classes there are (groundplan/collections/catalog.py).
https://docs.dagster.io/guides/build/partitions-and-backfills/partitioning-assets
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote, unquote

import dagster as dg

from groundplan.collections import catalog
from groundplan.collections.partition import ClassPartition
from groundplan.project import Project
from resources.project import ProjectResource

image_classes = dg.DynamicPartitionsDefinition(name="image_classes")
collections = dg.DynamicPartitionsDefinition(name="collections")

# components come from all classes, and so do a classifier and a report; a mapping by the collection's part of the key
# would be a class of our own, which Dagster's daemon cannot load
all_classes = dg.AllPartitionMapping()

NEW = 200  # classes that one tick of the sensor adds and asks for: the next tick finds the rest


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


def new_classes(present: Iterable[ClassPartition], known: Iterable[str]) -> list[str]:
    """Keys of classes that Dagster does not know yet, sorted. A class that is gone stays: its runs may not be over."""
    before = set(known)
    return sorted({key_of(each) for each in present} - before)


@dg.sensor(
    name="new_image_classes",
    asset_selection=["image_catalog", "image_features"],
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING
    if os.environ.get("SENSORS_ON") == "1"
    else dg.DefaultSensorStatus.STOPPED,
    description="A new class folder below collections/ is a new partition; its images are catalogued and described. "
    "Components, classifier and report wait to be asked for: they change when the last of many folders has come.",
)
def new_image_classes(context: dg.SensorEvaluationContext, project: ProjectResource) -> dg.SensorResult | dg.SkipReason:
    opened = project.open()
    # a listing that fails raises and fails the tick: it must not look like no new folder
    names = catalog.collections(opened)
    present = [each for name in names for each in catalog.classes(opened, name)]
    keys = new_classes(present, context.instance.get_dynamic_partitions(image_classes.name or ""))[:NEW]
    if not keys:
        return dg.SkipReason(f"{len(present)} classes in {len(names)} collections, none of them new")
    requests = [image_classes.build_add_request(keys)]
    known = set(context.instance.get_dynamic_partitions(collections.name or ""))
    if new := sorted({partition_of(key).collection for key in keys} - known):
        requests.append(collections.build_add_request(new))
    runs = [dg.RunRequest(run_key=f"new {key}", partition_key=key) for key in keys]
    return dg.SensorResult(run_requests=runs, dynamic_partitions_requests=requests)

"""The sensor of new image classes: a partition is added when its folder appears.

Here: the sensor. Not here: the partitions (assets/collection_partitions.py).
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from assets.collection_partitions import collections, image_classes, key_of, partition_of
from groundplan.collections import catalog
from groundplan.collections.files import links
from groundplan.core.partition import ClassPartition
from groundplan.foreign_text import in_line
from orchestration import jobs
from orchestration.environment import sensor_environment
from resources.project import ProjectResource

NEW = 200  # classes that one tick of the sensor adds and asks for: the next tick finds the rest


def new_classes(present: Iterable[ClassPartition], known: Iterable[str]) -> list[str]:
    """Keys of classes that Dagster does not know yet, sorted. A class that is gone stays: its runs may not be over."""
    before = set(known)
    return sorted({key_of(each) for each in present} - before)


@dg.sensor(
    name="new_image_classes",
    job=jobs.NEW_CLASSES,
    minimum_interval_seconds=60,
    default_status=sensor_environment().sensor_status,
    description="A new class folder below collections/ is a new partition; its images are catalogued and described. "
    "Components, classifier and report wait to be asked for: they change when the last of many folders has come.",
)
def new_image_classes(context: dg.SensorEvaluationContext, project: ProjectResource) -> dg.SensorResult | dg.SkipReason:
    opened = project.open()
    # a listing that fails raises and fails the tick: it must not look like no new folder
    names = catalog.collections(opened)
    present = [each for name in names for each in catalog.classes(opened, name)]
    if linked := links(opened):
        context.log.warning(f"{len(linked)} links or devices are left alone, such as {in_line(linked[0])}")
    keys = new_classes(present, context.instance.get_dynamic_partitions(image_classes.name or ""))[:NEW]
    if not keys:
        return dg.SkipReason(f"{len(present)} classes in {len(names)} collections, none of them new")
    requests = [image_classes.build_add_request(keys)]
    known = set(context.instance.get_dynamic_partitions(collections.name or ""))
    if new := sorted({partition_of(key).collection for key in keys} - known):
        requests.append(collections.build_add_request(new))
    runs = [dg.RunRequest(run_key=f"new {key}", partition_key=key) for key in keys]
    return dg.SensorResult(run_requests=runs, dynamic_partitions_requests=requests)

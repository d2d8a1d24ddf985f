"""What each asset is, for Dagster: a step's declaration turned into arguments of `dg.asset`.

Here: dependencies, partitions, code version, columns with units, documents, how fresh it should be: all that follows
from a declaration and does not change from run to run. Not here: the declarations (STEP in groundplan/), or what a run
says of its partition (report.py).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dagster as dg

from assets.collection_partitions import all_classes, collections, image_classes
from assets.conditions import condition_of
from assets.partitions import all_years, by_year, region_years, years
from groundplan import pipeline
from groundplan.collections import pipeline as collection_pipeline
from groundplan.step import About, Scope, Step, Table

OWNERS = ["team:groundplan"]

PROFILE_TAG = "groundplan/profile"
DEFAULT = "io"  # of what says nothing
PARTITIONS: dict[Scope, dg.PartitionsDefinition[Any]] = {
    Scope.REGION: region_years,
    Scope.YEAR: years,
    Scope.CLASS: image_classes,
    Scope.COLLECTION: collections,
}

# imagery comes once a year: a dataset in which nothing was made for longer than that has missed a flight
YEARLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=460), warn_window=timedelta(days=400))
# what tells of the whole country is out of date sooner; weekly care makes it anew
WEEKLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=15), warn_window=timedelta(days=8))


def declared(step: Step[Any]) -> dict[str, Any]:
    """Arguments of `dg.asset` for a step: all but the function."""
    of_collection = step.scope in (Scope.CLASS, Scope.COLLECTION)
    table: Table[Any] = collection_pipeline.STEPS if of_collection else pipeline.STEPS
    made_along = [each.version for each in table.values() if _made_along(each, step)]
    return {
        "name": str(step.name),
        "deps": [dep for name in _read(step) if (dep := _dep(table, step, name))],
        "partitions_def": PARTITIONS[step.scope],
        "group_name": step.about.group,
        "kinds": set(step.about.kinds),
        "owners": OWNERS,
        "tags": {PROFILE_TAG: step.profile},
        "pool": "accelerator" if step.accelerator else None,
        "code_version": ".".join(made_along),
        "description": step.about.description,
        "metadata": about(step.about),
        "automation_condition": None if of_collection else condition_of(step),
        "freshness_policy": None if of_collection else YEARLY,
    }


def _read(step: Step[Any]) -> list[str]:
    """What it reads, of its own partition or of the year before; not itself, which Dagster allows with time windows."""
    return [name for name in dict.fromkeys((*step.reads, *step.reads_before)) if name != step.name]


def _made_along(each: Step[Any], step: Step[Any]) -> bool:
    """Whether it is the step, or always made in its run."""
    return each is step or (each.comes_with == step.name and each.wanted is None)


def _dep(table: Table[Any], step: Step[Any], name: str) -> dg.AssetDep | None:
    """How partitions of a step depend on those of a dataset that it reads; None for what is no asset."""
    if name not in table or table[name].comes_with:
        return None
    if name in step.reads_before:
        return dg.AssetDep(name, partition_mapping=all_years)
    other = table[name].scope
    if {other, step.scope} == {Scope.REGION, Scope.YEAR}:
        return dg.AssetDep(name, partition_mapping=by_year)
    if other is Scope.CLASS and (step.scope is Scope.COLLECTION or name in step.reads_around):
        return dg.AssetDep(name, partition_mapping=all_classes)
    return dg.AssetDep(name)


def about(what: About) -> dict[str, Any]:
    """Metadata of an asset's definition: columns or bands, the format's specification, the page of our documents."""
    metadata: dict[str, Any] = {}
    if what.title:
        metadata["title"] = what.title
    if what.page:
        metadata["documents"] = dg.MetadataValue.path(what.page)
    if what.format:
        metadata["format"] = dg.MetadataValue.url(what.format)
    if what.columns:
        columns = [dg.TableColumn(name, kind, text) for name, kind, text in what.columns]
        metadata["dagster/column_schema"] = dg.TableSchema(columns)
    if what.bands:
        lines = ["| band | type | holds |", "|---|---|---|", *(f"| {' | '.join(band)} |" for band in what.bands)]
        metadata["bands"] = dg.MetadataValue.md("\n".join(lines))
    return metadata

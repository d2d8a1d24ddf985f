"""Jobs: what a person or a sensor starts together, under a name that a run list can be filtered by.

Here: which assets belong together, and run requests for them. Not here: when they are started (sensors/sources.py).
https://docs.dagster.io/guides/build/jobs

A run always names its assets: pods and the rule of one writer per partition follow from the selection
(launch/coordinator.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import dagster as dg

from assets.partitions import REGION, YEAR, key_of
from groundplan.core.partition import Partition
from groundplan.ingest.decide import SHEETS, Ask
from groundplan.pipeline import ALWAYS, STEPS
from groundplan.step import Scope
from orchestration.backfills import CAUSE, PRIORITY

WHY = "groundplan/why"
FIRST, SOON = "10", "5"  # places in the queue of runs; automation and what a person starts in the UI have 0
"""A delivery that somebody may be waiting for; what is looked at again because of it, or of a register or model."""
COUNTRY_ASSETS = ("country_map", "country_status", "change_readiness", "automation_overview", "store_audit")

_NAMED: dict[str, tuple[tuple[str, ...], str]] = {
    "imagery": (
        ("sheets", "aerial_tiles"),
        "Catalogue the delivered sheets of a region and year, and cut them into blocks. What follows is started by "
        "the automation sensor.",
    ),
    "imagery_to_footprints": (
        tuple(name for name in ALWAYS if STEPS[name].scope is Scope.REGION),
        "From the delivered sheets of a region and year to its footprints, in one run, with the model that is there.",
    ),
    "register_labels": (
        ("register_buildings", "labels"),
        "Take the year's building register for a region, and draw its labels.",
    ),
    "training": (
        ("training_windows", "trained_model"),
        "Choose windows from a year's labels, and learn a model from them where there is none.",
    ),
    "predict": (
        ("predictions", "building_footprints"),
        "Find buildings in a region and year with the model that is there, and outline them.",
    ),
    "country_pages": (
        COUNTRY_ASSETS,
        "The pages that tell of the whole country, made anew.",
    ),
}
"""Name to assets and description. A run is named by the least of these that holds all its assets."""

_JOBS = {
    name: dg.define_asset_job(name, selection=dg.AssetSelection.assets(*assets), description=description)
    for name, (assets, description) in _NAMED.items()
}
JOBS = list(_JOBS.values())
NEW_CLASSES = dg.define_asset_job(
    "image_classes",
    selection=dg.AssetSelection.assets("image_catalog", "image_features"),
    description="Catalogue the images of a class, and describe each by numbers.",
)
"""Apart from the others: it is there where there are collections."""
IMAGERY = [_JOBS["imagery"], _JOBS["imagery_to_footprints"]]
REGISTER_LABELS, PREDICT, COUNTRY_PAGES = (_JOBS[name] for name in ("register_labels", "predict", "country_pages"))


def job_of(assets: Collection[str]) -> str | None:
    """The job that runs of these assets belong to; None where they are of no one job."""
    holding = {name: len(held) for name, (held, _) in _NAMED.items() if set(assets) <= set(held)}
    return min(holding, key=lambda name: holding[name], default=None)


def tags_of(cause: str, partition: Partition, why: str = "") -> dict[str, str]:
    """What runs can be filtered by in the UI: cause, region and year."""
    return {CAUSE: cause, REGION: partition.region, YEAR: str(partition.year), **({WHY: why} if why else {})}


def requests_of(asks: Iterable[Ask], cause: str) -> list[dg.RunRequest]:
    """One run for each partition that is asked for. What was just delivered goes before all that waits."""
    return [
        dg.RunRequest(
            run_key=f"{cause}:{ask.key}",
            partition_key=key_of(ask.partition),
            job_name=job_of(ask.assets),
            asset_selection=[dg.AssetKey(name) for name in ask.assets],
            tags=tags_of(cause, ask.partition, ask.reason) | {PRIORITY: FIRST if SHEETS in ask.assets else SOON},
        )
        for ask in asks
    ]

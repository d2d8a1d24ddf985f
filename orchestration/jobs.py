"""Jobs: what a person or a sensor starts together, under a name that a run list can be filtered by.

Here: which assets belong together, and run requests for them. Not here: when they are started (sensors/sources.py).
https://docs.dagster.io/guides/build/jobs

A run always names its assets: pods and the rule of one writer per partition follow from the selection
(launch/coordinator.py).
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from assets.partitions import key_of
from groundplan.core.partition import Partition
from groundplan.ingest.decide import Ask
from orchestration.backfills import CAUSE

REGION, YEAR, WHY = "groundplan/region", "groundplan/year", "groundplan/why"

imagery = dg.define_asset_job(
    "imagery",
    selection=dg.AssetSelection.assets("sheets", "aerial_tiles"),
    description="Catalogue the delivered sheets of a region and year, and cut them into blocks. "
    "What follows is started by the automation sensor.",
)
register_labels = dg.define_asset_job(
    "register_labels",
    selection=dg.AssetSelection.assets("register_buildings", "labels"),
    description="Take the year's building register for a region, and draw its labels.",
)
predict = dg.define_asset_job(
    "predict",
    selection=dg.AssetSelection.assets("predictions"),
    description="Find buildings in a region and year with the model that is there.",
)

JOBS = [imagery, register_labels, predict]


def tags_of(cause: str, partition: Partition, why: str = "") -> dict[str, str]:
    """What runs can be filtered by in the UI: cause, region and year."""
    return {CAUSE: cause, REGION: partition.region, YEAR: str(partition.year), **({WHY: why} if why else {})}


def requests_of(asks: Iterable[Ask], cause: str) -> list[dg.RunRequest]:
    """One run for each partition that is asked for."""
    return [
        dg.RunRequest(
            run_key=f"{cause}:{ask.key}",
            partition_key=key_of(ask.partition),
            asset_selection=[dg.AssetKey(name) for name in ask.assets],
            tags=tags_of(cause, ask.partition, ask.reason),
        )
        for ask in asks
    ]

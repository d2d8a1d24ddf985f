"""Automation: what one evaluation of the conditions costs at 1,350 regions x 12 years, with a full history behind it.

    python -m benchmarks.automation [--regions 1350] [--years 12] [--repeats 5] [--small]

A real SQLite instance in which every partition of every dataset was materialized, and the project's own conditions.
Measured: evaluating the conditions when nothing happened, when one region's tiles were made, and when 100 regions'
were; choosing a night out of 16,200 regions and years; reading what is in progress while a backfill of 1,350 runs.
Against: the limit of a second per tick. Bound by: Dagster's sets of partitions; ours are asked of what is left only.
"""

from __future__ import annotations

import argparse
import os
import random
import time
import warnings
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.backfill_planning import materialized
from benchmarks.common import Cost, arguments, clock, median, show
from benchmarks.ground import new_project, scratch

LIMIT = 1.0  # seconds of a tick
LAST_YEAR = 2025


def history(instance: Any, keys: list[str], years: list[str]) -> None:
    """A row as of a materialization for every partition of every dataset."""
    from benchmarks import backfill_planning
    from groundplan.pipeline import ASSETS, STEPS

    for name in ASSETS:
        backfill_planning.ASSET = name
        materialized(instance, keys if (not STEPS[name].scope.wide) else years)


def happens(instance: Any, names: list[str], keys: list[str]) -> None:
    import dagster as dg

    for name in names:
        for key in keys:
            instance.report_runless_asset_event(dg.AssetMaterialization(name, partition=key))


class Clock:
    """Evaluations one after the other, each with the cursor of the last."""

    def __init__(self, instance: Any) -> None:
        from orchestration.definitions import build_definitions

        self.instance, self.definitions = instance, build_definitions()
        self.cursor: Any = None
        self.asked = 0

    def tick(self) -> None:
        import dagster as dg

        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor, self.asked = result.cursor, result.total_requested


def night(keys: list[str]) -> Any:
    """Choosing among all datasets of all partitions, a tenth of them missing."""
    from assets.partitions import partition_of
    from groundplan.config import NightlySettings
    from groundplan.operations.backlog import Night, choose
    from groundplan.operations.status import MADE, MISSING, Entry
    from groundplan.pipeline import ASSETS, STEPS

    chance = random.Random(7)
    entries = [
        Entry(name, partition_of(key), MISSING if chance.random() < 0.1 else MADE)
        for name in ASSETS
        if (not STEPS[name].scope.wide)
        for key in keys
    ]
    years = range(1990, LAST_YEAR + 1)
    return clock(
        lambda: choose(Night(date=date(2026, 1, 1), entries=entries, busy=(), registers=years), NightlySettings())
    )


def measure(folder: Path, given: argparse.Namespace) -> list[tuple[str, Cost, Any]]:
    import dagster as dg

    from groundplan.core.manifest import manifest_key
    from groundplan.core.partition import Partition
    from groundplan.project import open_project
    from orchestration.backfills import in_progress, request_backfill

    project = open_project(os.environ["GROUNDPLAN_HOME"])
    names = [f"region-{number:04d}" for number in range(given.regions)]
    years = [str(year) for year in range(LAST_YEAR - given.years + 1, LAST_YEAR + 1)]
    keys = [f"{name}|{year}" for name in names for year in years]
    for name in names:  # what a condition of ours asks the store for
        for year in (2024, 2025):
            for dataset in ("aerial_tiles", "register_buildings"):
                project.store.put(manifest_key(dataset, Partition(year, name)), b"{}")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        instance.add_dynamic_partitions("regions", names)
        instance.add_dynamic_partitions("years", [str(year) for year in years])
        history(instance, keys, years)
        ticks = Clock(instance)
        found = [("first evaluation", clock(ticks.tick), ticks.asked)]
        found.append(("nothing happened", median([clock(ticks.tick) for _ in range(given.repeats)]), ticks.asked))
        for count in (1, 100):
            some: list[Cost] = []
            for repeat in range(given.repeats):
                part = [f"{name}|2025" for name in names[repeat * count : (repeat + 1) * count]]
                happens(instance, ["aerial_tiles"], part)
                some.append(clock(ticks.tick))
            found.append((f"tiles of {count} region{'s' if count > 1 else ''} made", median(some), ticks.asked))
        graph = ticks.definitions.resolve_asset_graph()
        places = [Partition(2025, name) for name in names]
        record = clock(lambda: request_backfill(instance, graph, ["predictions"], places, "all", {}, "benchmark"))
        found.append((f"asking for a backfill of {len(places)}", record, 1))
        found.append(("nothing happened, during a backfill", clock(ticks.tick), ticks.asked))
        found.append(("what is in progress", clock(lambda: in_progress(instance)), len(in_progress(instance))))
    found.append(("choosing a night", night(keys), 6 * len(keys)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=1350)
    parser.add_argument("--years", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    given = arguments(parser, regions=60, years=3, repeats=2)
    warnings.simplefilter("ignore")
    with scratch() as folder:
        home = folder / "home"
        new_project(home, 8192)
        os.environ["GROUNDPLAN_HOME"] = str(home)
        began = time.perf_counter()
        (folder / "instance").mkdir()
        rows = [
            (what, f"{cost.cpu:.2f}", f"{cost.wall:.2f}", f"{cost.wall / LIMIT:.2f}", count)
            for what, cost, count in measure(folder / "instance", given)
        ]
        show(
            f"One tick at {given.regions} regions x {given.years} years, everything materialized once",
            ("work", "cpu-s", "wall s", "of a second", "asked for, or looked at"),
            rows,
            [f"prepared and measured in {time.perf_counter() - began:.0f} s; SQLite; median of {given.repeats}"],
        )


if __name__ == "__main__":
    main()

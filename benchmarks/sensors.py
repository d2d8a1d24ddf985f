"""Sensors: how long a tick takes in a country of 1,350 regions and 12 years.

    python -m benchmarks.sensors [--regions 1350] [--years 12] [--sheets 4] [--repeats 5] [--latency 0.02] [--small]

Every partition has been asked for before, as after a year of use. Measured: a whole evaluation of each sensor by
Dagster, with the regions in an SQLite instance, when nothing is new and when one delivery of five files is over; on a
folder, and on a store in memory whose every request takes as long as a bucket's answer. Against: one second.
Bound by: `watch.LOOK_SECONDS`, after which a tick lists no further regions; the rest is reading what was asked for
before. The last column says how many ticks it takes to see every region once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.common import arguments, show
from benchmarks.ground import new_project, scratch
from groundplan.core.manifest import manifest_key
from groundplan.core.partition import Partition
from groundplan.core.store import Store
from groundplan.ingest.decide import KnownDelivery, state_of
from groundplan.ingest.deliveries import list_region, remember

FIRST = 2013
LIMIT = 1.0  # seconds
FAR = 10_000.0  # metres between regions: none touches another


@dataclass(frozen=True)
class Slow(Store):
    """A store whose every request takes `latency` seconds longer."""

    latency: float = 0.0

    def _try(self, thing: str, verb: str, operation: Callable[[], Any]) -> Any:
        time.sleep(self.latency)
        return super()._try(thing, verb, operation)


def sheet(col: int, row: int, version: int) -> bytes:
    """A sheet of 40 x 40 m somewhere in the country."""
    import rasterio

    from benchmarks.ground import CRS, ORIGIN

    place = rasterio.Affine(10.0, 0, ORIGIN[0] + col * FAR / 100, 0, -10.0, ORIGIN[1] - row * FAR / 100)
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", width=4, height=4, count=3, dtype="uint8", crs=CRS, transform=place) as file:
            file.write(np.full((3, 4, 4), version, np.uint8))
        return bytes(memory.read())


def lay(store: Store, key: str, data: bytes) -> None:
    """Put an object, without the fsync of a real store: it only has to be there."""
    if store.root is None:
        store.put(key, data)
    else:
        path = store.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def deliver(store: Store, regions: int, years: int, sheets: int) -> dict[Partition, KnownDelivery]:
    """Stand-ins for sheets of the whole country, and what is known of them. Bytes do not matter: none is opened."""
    for region in range(regions):
        for year in range(FIRST, FIRST + years):
            for number in range(sheets):
                lay(store, f"landing/r{region:04d}/{year}/sheet_{number}.tif", b"II*\0")
    known = {}
    for region in range(regions):
        box = (region * FAR, 0.0, region * FAR + 1000.0, 1000.0)
        for part, found in list_region(store, f"r{region:04d}").by_year.items():
            known[part] = KnownDelivery(1, state_of(found), box)
    return known


def prepared(home: Path, given: argparse.Namespace, slow: bool) -> Any:
    """A project whose country was asked for, catalogued and cut."""
    from obstore.store import MemoryStore

    project = new_project(home, 256)
    quiet = project.settings.arrivals.model_copy(update={"quiet_seconds": 0.0})
    project = replace(project, settings=project.settings.model_copy(update={"arrivals": quiet}))
    if slow:
        project = replace(project, store=Slow(url="s3://as-if", client=MemoryStore()))
    known = deliver(project.store, given.regions, given.years, given.sheets)
    remember(project.store, known)
    for part in known:
        lay(project.store, manifest_key("aerial_tiles", part), b"{}")
    return replace(project, store=replace(project.store, latency=given.latency)) if slow else project


class Desk:
    """An instance and the sensors' cursors."""

    def __init__(self, project: Any, folder: Path) -> None:
        import dagster as dg

        from orchestration.definitions import build_definitions
        from resources.project import ProjectResource

        folder.mkdir()
        self.project, self.instance = project, dg.DagsterInstance.local_temp(str(folder))
        names = sorted(project.store.below("landing")[0])
        self.instance.add_dynamic_partitions("regions", names)
        self.resource = ProjectResource(home=str(project.home))
        self.repository = build_definitions({"project": self.resource}).get_repository_def()
        self.cursors: dict[str, str | None] = {}

    def tick(self, name: str) -> tuple[float, int]:
        """Seconds of one evaluation, and runs that it asked for."""
        import dagster as dg

        from orchestration.sensors import sources

        sensor = next(one for one in sources.SENSORS if one.name == name)
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            repository_def=self.repository,
            resources={"project": self.resource},
        )
        context.caching_dynamic_partitions_loader = self.instance  # type: ignore[assignment]
        begin = time.perf_counter()
        with patch("resources.project.ProjectResource.open", lambda _: self.project):
            data = sensor.evaluate_tick(context)
        seconds = time.perf_counter() - begin
        self.cursors[name] = data.cursor
        return seconds, len(data.run_requests or ())


def sweep(desk: Desk) -> int:
    """Ticks until every region was listed once."""
    from groundplan.ingest.cursor import Cursor

    ticks, last, regions = 0, "", len(desk.project.store.below("landing")[0])
    desk.cursors["new_imagery"] = None
    for _ in range(regions):
        desk.tick("new_imagery")
        ticks += 1
        at = Cursor.from_text(desk.cursors["new_imagery"]).at
        if at <= last or at == f"r{regions - 1:04d}":
            break
        last = at
    return ticks


def rows_of(title: str, desk: Desk, repeats: int) -> list[tuple[Any, ...]]:
    for name in ("new_imagery", "changed_register", "new_model"):
        desk.tick(name)  # the first also imports what a code server has loaded by then
    rows: list[tuple[Any, ...]] = []
    for name in ("new_imagery", "changed_register", "new_model"):
        times = [desk.tick(name)[0] for _ in range(repeats)]
        around = sweep(desk) if name == "new_imagery" else ""
        label = f"{title}: {name}, nothing new"
        rows.append((label, median(times), max(times), f"{median(times) / LIMIT:.2f}", around))
    times = []
    for number in range(repeats):
        lay(desk.project.store, f"landing/r0000/{FIRST}/late_{number}.tif", sheet(0, 0, number))
        desk.cursors["new_imagery"] = None
        seconds, runs = desk.tick("new_imagery")
        if runs != 1:
            raise RuntimeError(f"{runs} runs were asked for")
        times.append(seconds)
        desk.tick("new_imagery")
    label = f"{title}: new_imagery, one delivery is over"
    rows.append((label, median(times), max(times), f"{median(times) / LIMIT:.2f}", ""))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regions", type=int, default=1350)
    parser.add_argument("--years", type=int, default=12)
    parser.add_argument("--sheets", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds of a request to the slow store")
    given = arguments(parser, regions=20, years=2, repeats=1)
    rows: list[tuple[Any, ...]] = []
    with scratch() as home:
        for title, slow in (("folder", False), (f"{1000 * given.latency:.0f} ms a request", True)):
            project = prepared(home / f"gp-{slow}", given, slow)
            rows += rows_of(title, Desk(project, home / f"dagster-{slow}"), given.repeats)
    columns = ("tick", "wall s", "worst", "x 1 s limit", "ticks for all regions")
    country = f"{given.regions * given.years:,} partitions of {given.sheets} sheets, all asked for before"
    note = f"median and worst of {given.repeats}; {country}"
    show(f"Sensors: {given.regions:,} regions, {given.years} years", columns, rows, [note])


if __name__ == "__main__":
    main()

"""Backfill planning: what Dagster itself costs at 1,350 regions x 12 years, before and beside the work.

    python -m benchmarks.backfill_planning [--regions 1350] [--years 12] [--runs 300] [--storage sqlite] [--small]

The project's own definitions, a real instance, the real daemon and web server as processes on this machine. Measured:
loading definitions; adding the regions; a backfill's record for all partitions of `aerial_tiles`; how fast the daemon
turns it into queued runs (stopped after `--runs` of them; none is launched), its memory; the queries that the asset's
pages ask, once every partition of the 12 years has been materialized.
Against: nothing; the storages against each other. PostgreSQL needs its programs on the PATH, and a user `postgres` when
this runs as root; without them only SQLite is measured, and the table says so.
Bound by: rows. Each run and each planned partition writes several events, one transaction each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, clock, fresh, show
from benchmarks.ground import new_project, scratch

ASSET = "aerial_tiles"
LAST_YEAR = 2025
WORKSPACE = Path(__file__).parent.parent / "workspace.yaml"
PATIENCE = 900  # seconds without a new run; a machine with other work may need minutes
QUERIES = {
    "asset page: counts of partitions": "partitionStats { numPartitions numMaterialized numFailed numMaterializing }",
    "asset page: keys of both dimensions": "partitionKeysByDimension { name partitionKeys }",
    "asset page: which are materialized": "assetPartitionStatuses { ... on MultiPartitionStatuses { ranges { "
    "primaryDimStartKey primaryDimEndKey secondaryDim { ... on DefaultPartitionStatuses { materializedPartitions } "
    "... on TimePartitionStatuses { ranges { startKey endKey status } } } } } }",
    "launch dialog: all partition keys": "partitionKeys",
}
NODE = 'query { assetNodeOrError(assetKey: {path: ["%s"]}) { __typename ... on AssetNode { %s } } }'
OTHERS = {
    "backfill list": "query { partitionBackfillsOrError(limit: 10) { ... on PartitionBackfills { results { id status "
    "numPartitions } } } }",
    "run list": "query { runsOrError(limit: 25) { ... on Runs { results { id status tags { key value } } } } }",
    "graph of assets": "query { assetNodes { id assetKey { path } isPartitioned dependencyKeys { path } } }",
}


# ------------------------------------------------------------------------------------------------ processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(log: Path, *words: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended, with its children, when the context ends."""
    with log.open("wb") as file:
        running = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, **options)
        try:
            yield running
        finally:
            family_ids = family(running.pid)
            running.terminate()
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
            for one in family_ids[1:]:  # code servers end by themselves; those that did not are ended by id
                if Path(f"/proc/{one}").exists():
                    os.kill(one, 15)


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int(entry.joinpath("stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident MiB of a process, and of it and its descendants."""

    def resident(one: int) -> float:
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except OSError:
            return 0.0
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)

    return resident(pid), sum(resident(one) for one in family(pid))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A fresh PostgreSQL with its defaults on 127.0.0.1: its URL."""
    who: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    data, port = folder / "postgres", free_port()
    data.mkdir()
    if who:
        folder.chmod(0o755)
        shutil.chown(data, "postgres", "postgres")
    command = ["initdb", "-D", str(data), "-U", "dagster", "-A", "trust", "-E", "UTF8"]
    subprocess.run(command, check=True, capture_output=True, cwd="/", **who)
    server = ("postgres", "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", str(data))
    with process(folder / "postgres.log", *server, cwd="/", **who):
        url = f"postgresql://dagster@127.0.0.1:{port}/postgres"
        wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), 60)
        time.sleep(1)
        yield url


def wait_for(work: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while True:
        try:
            return work()
        except (OSError, ValueError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


# ------------------------------------------------------------------------------------------------ measurements


def instance_folder(folder: Path, url: str | None) -> Path:
    """A DAGSTER_HOME whose daemon queues runs and launches none."""
    folder.mkdir()
    storage = f"storage:\n  postgres:\n    postgres_url: {url}\n" if url else ""
    settings = "telemetry:\n  enabled: false\nconcurrency:\n  runs:\n    max_concurrent_runs: 0\n"
    (folder / "dagster.yaml").write_text(settings + storage)
    return folder


def definitions(repeats: int) -> list[tuple[str, float, float]]:
    """Seconds of a fresh process that imports Dagster, and of one that loads the definitions and their graph."""
    load = "from orchestration.definitions import defs; defs.resolve_asset_graph()"
    cases = {"import dagster": "import dagster", "the same, definitions and graph": load}
    costs = {name: fresh(repeats, "-W", "ignore", "-c", code) for name, code in cases.items()}
    return [(name, cost.cpu, cost.wall) for name, cost in costs.items()]


def record(instance: Any, keys: list[str]) -> None:
    import dagster as dg
    from dagster._core.execution.backfill import PartitionBackfill

    from orchestration.definitions import defs

    instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id="benchmark",
            asset_graph=defs.resolve_asset_graph(),
            partition_names=keys,
            asset_selection=[dg.AssetKey(ASSET)],
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )


def plan(instance: Any, environment: dict[str, str], log: Path, runs: int) -> dict[str, float]:
    """The daemon at work on the record, until it has queued so many runs."""
    words = (sys.executable, "-W", "ignore", "-m", "dagster._daemon", "run", "-w", str(WORKSPACE))
    with process(log, *words, env=environment, cwd=WORKSPACE.parent) as daemon:
        begin = changed = time.monotonic()
        first, count, most, all_ = 0.0, 0, 0.0, 0.0
        before = after = 0.0
        while count < runs and time.monotonic() - changed < PATIENCE:
            if daemon.poll() is not None:
                raise RuntimeError(f"the daemon ended: {log.read_text()[-800:]}")
            own, together = memory_mib(daemon.pid)
            most, all_ = max(most, own), max(all_, together)
            now = instance.get_runs_count()
            if now != count:
                changed = time.monotonic()
            if now and not first:
                first, before, begun = changed - begin, cpu_seconds(daemon.pid), (changed, now)
            count = now
            time.sleep(0.5)
        if count < 2:
            raise RuntimeError(f"the daemon planned {count} runs: {log.read_text()[-800:]}")
        after = cpu_seconds(daemon.pid)
        planned = max(1, count - begun[1])
        return {
            "runs": count,
            "first": first,
            "per_1000": (changed - begun[0]) / planned * 1000,
            "cpu_per_1000": (after - before) / planned * 1000,
            "rss": most,
            "rss_all": all_,
        }


def ask(url: str, query: str) -> tuple[float, int]:
    """Wall seconds and bytes of one answer. Raises RuntimeError when it holds errors."""
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    begin = time.perf_counter()
    with urllib.request.urlopen(request, timeout=300) as answer:
        data = answer.read()
    wall = time.perf_counter() - begin
    said = json.loads(data)
    if said.get("errors"):
        raise RuntimeError(f"{query}: {str(said['errors'])[:500]}")
    return wall, len(data)


def pages(environment: dict[str, str], log: Path, repeats: int) -> tuple[dict[str, tuple[float, ...]], float]:
    """Of each query: first and median later wall seconds, the web server's own processor seconds (mean), bytes.

    And the web server's MiB afterwards.
    """
    port = free_port()
    words = (
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "dagster_webserver",
        "-w",
        str(WORKSPACE),
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    )
    queries = {**{name: NODE % (ASSET, fields) for name, fields in QUERIES.items()}, **OTHERS}
    with process(log, *words, env=environment, cwd=WORKSPACE.parent) as server:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: ask(url, "query { version }"), PATIENCE)
        said = {}
        for name, query in queries.items():
            first, size = ask(url, query)
            before = cpu_seconds(server.pid)
            later = statistics.median(ask(url, query)[0] for _ in range(repeats))
            said[name] = (first, later, (cpu_seconds(server.pid) - before) / repeats, size)
        return said, memory_mib(server.pid)[0]


def materialized(instance: Any, keys: list[str]) -> None:
    """One event as an asset reports it, and its row again for every other key: what pages read is the row's key."""
    import dagster as dg
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Table

    instance.report_runless_asset_event(dg.AssetMaterialization(asset_key=ASSET, partition=keys[0]))
    with instance.event_log_storage.index_connection() as connection:
        like = db.select(Table).where(Table.c.partition == str(keys[0]), Table.c.dagster_event_type.like("%MATERIAL%"))
        row = dict(connection.execute(like.order_by(Table.c.id.desc())).mappings().first())
        row.pop("id")
        connection.execute(Table.insert(), [{**row, "partition": str(key)} for key in keys[1:]])


def seen(instance: Any) -> int:
    import dagster as dg

    return len(instance.get_materialized_partitions(dg.AssetKey(ASSET)))


def measure(folder: Path, home: Path, given: argparse.Namespace, url: str | None) -> list[tuple[str, Any, str]]:
    import dagster as dg

    from assets.partitions import regions as dimension

    dagster_home = instance_folder(folder / ("on-postgres" if url else "on-sqlite"), url)
    names = [f"region-{index:04d}" for index in range(given.regions)]
    span = range(LAST_YEAR + 1 - given.years, LAST_YEAR + 1)
    keys = [dg.MultiPartitionKey({"region": name, "year": str(year)}) for name in names for year in span]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "DAGSTER_HOME": str(dagster_home), "GROUNDPLAN_HOME": str(home), "PATH": path}
    rows: list[tuple[str, Any, str]] = []
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        added = clock(lambda: instance.add_dynamic_partitions(str(dimension.name), names))
        instance.add_dynamic_partitions("years", [str(year) for year in span])
        rows.append((f"add {given.regions:,} regions", added.wall, f"s; {added.cpu:.2f} cpu-s"))
        told = clock(lambda: record(instance, keys))
        rows.append((f"record of a backfill of {len(keys):,} partitions", told.wall, f"s; {told.cpu:.2f} cpu-s"))
        planned = plan(instance, environment, dagster_home / "daemon.log", given.runs)
        instance.update_backfill(instance.get_backfill("benchmark").with_status(_canceled()))
        rows += [
            ("daemon: from its start to the first run", planned["first"], "s"),
            ("daemon: planning 1,000 partitions", planned["per_1000"], f"s, from {planned['runs']} runs"),
            ("  of which its processor", planned["cpu_per_1000"], "cpu-s"),
            ("daemon: most memory", planned["rss"], "MiB"),
            ("  with its code server", planned["rss_all"], "MiB"),
        ]
        materialized(instance, keys)
        rows.append(("partitions that the pages see as materialized", seen(instance), ""))
    said, memory = pages(environment, dagster_home / "webserver.log", given.repeats)
    for name, (first, later, cpu, size) in said.items():
        rows.append((f"web: {name}", later, f"s; {cpu:.2f} cpu-s; at first {first:.2f} s; {size / 1000:,.0f} kB"))
    rows.append(("web server: memory", memory, "MiB"))
    return rows


def _canceled() -> Any:
    from dagster._core.execution.backfill import BulkActionStatus

    return BulkActionStatus.CANCELED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regions", type=int, default=1350)
    parser.add_argument("--years", type=int, default=12)
    parser.add_argument("--runs", type=int, default=300, help="of the backfill that the daemon plans")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--storage", nargs="+", choices=("sqlite", "postgres"), default=("sqlite", "postgres"))
    given = arguments(parser, regions=20, years=2, runs=20, repeats=1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends with this
    note = f"{given.regions:,} regions x {given.years} years"
    columns = ("work", "cpu-s", "wall s")
    show("Definitions, fresh processes", columns, definitions(given.repeats), [note])
    for storage in given.storage:
        with scratch() as folder:
            home = new_project(folder / "gp", 256).home
            if storage == "sqlite":
                rows = measure(folder, home, given, None)
            elif shutil.which("initdb") and shutil.which("postgres"):
                with postgres(folder) as url:
                    rows = measure(folder, home, given, url)
            else:
                rows = [("not measured: initdb and postgres are not on the PATH", "", "")]
            show(f"Backfill planning on {storage}", ("work", "value", "unit"), rows, [note])


if __name__ == "__main__":
    main()

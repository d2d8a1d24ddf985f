"""Blocks are made once: plan, skip, make, commit.

Here: fingerprints, manifests and the loop that makes what is missing. Not here: what a block contains; every step
(tiles, labels, predictions ...) gives this module a plan and a function.

A partition's work is a list of planned objects. An object's key contains the fingerprint of all that decides its
bytes, so one listing tells what is done, two writers of one key write the same bytes, and a killed run loses at most
the blocks in hand. The manifest is written last; readers read manifests only.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from groundplan.core.progress import current_progress
from groundplan.core.store import Store
from groundplan.errors import BlocksFailed, GroundplanError, MissingInput, Stopped, StoreFailed

if TYPE_CHECKING:
    pass
from groundplan.core.manifest import Made, Manifest, Planned, failure_key, manifest_key, plan_fingerprint, read_manifest
from groundplan.core.partition import Place

GIVE_UP_AFTER = 5  # failed blocks in one run: by then the cause is not the block


@dataclass(frozen=True, slots=True)
class Output:
    """What a step's `make` returns for one object."""

    data: bytes
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """What one call of `make_blocks` did."""

    manifest: Manifest
    made: tuple[str, ...]
    skipped: int
    seconds: float


class Check:
    """Asked by long work between pieces; raises Stopped once somebody wants the run to end."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> None:
        if self._event.is_set():
            raise Stopped("the run was told to stop")

    def stop(self) -> None:
        self._event.set()


Make = Callable[[Planned, Check], Output]


def make_blocks(
    store: Store,
    dataset: str,
    partition: Place,
    version: str,
    plan: Sequence[Planned],
    make: Make,
    *,
    describe: Callable[[bytes], dict[str, Any]] | None = None,
    workers: int = 1,
    run: str = "",
) -> Report:
    """Make the planned objects that do not exist yet, then commit the manifest.

    Workers are threads: rasterio, numpy, shapely and the model runtime release the interpreter's lock, nothing is
    forked after GDAL, and no orphan goes on after SIGKILL. At most `workers` results are held in memory.

    Raises BlocksFailed when objects could not be made (the others are kept, nothing is committed), Stopped when the
    run was ended from outside; then the blocks in hand are dropped and everything finished stays.
    """
    started = time.monotonic()
    plan = sorted(plan, key=lambda planned: planned.name)
    before = read_manifest(store, dataset, partition)
    known = dict(before.objects) if before else {}
    present = {found.key: found.size for found in store.list(f"{dataset}/{partition.path}")}
    missing = [planned for planned in plan if planned.key not in present]
    named = {made.key for made in known.values()}
    unnamed = [planned for planned in plan if planned.key in present and planned.key not in named]
    planned_names = {planned.name for planned in plan if planned.key in present}
    objects = {p.name: _skipped(p, present[p.key], known.get(p.name)) for p in plan if p.key in present}
    journal = _Journal(store, dataset, partition, run)
    objects.update({name: made for name, made in journal.read().items() if objects.get(name, made).key == made.key})
    objects = {name: _described(store, made, describe) for name, made in objects.items() if name in planned_names}
    with current_progress().task(f"{dataset} {partition}", len(plan), len(plan) - len(missing)) as step:
        _make_missing(store, missing, make, workers, run, objects, step, journal)
        if missing and unnamed:  # `groundplan gc` may have taken some away since
            there = {found.key for found in store.list(f"{dataset}/{partition.path}")}
            swept = [planned for planned in unnamed if planned.key not in there]
            _make_missing(store, swept, make, workers, run, objects, step, journal)
    manifest = Manifest(
        dataset,
        partition,
        version,
        plan_fingerprint(version, plan),
        dict(sorted(objects.items())),
        datetime.now(UTC).isoformat(timespec="seconds"),
        round(time.monotonic() - started, 3),
        run,
    )
    if missing or before is None or before.fingerprint != manifest.fingerprint:
        store.put(manifest_key(dataset, partition), manifest.to_json())
    journal.close()
    return Report(manifest, tuple(p.name for p in missing), len(plan) - len(missing), time.monotonic() - started)


def _skipped(planned: Planned, size: int, before: Made | None) -> Made:
    """The line of an object that another run made: its cost is what that run wrote down, if it lived to do so."""
    if before and before.key == planned.key:
        return before
    return Made(planned.name, planned.key, planned.fingerprint, size, 0.0, 0.0, planned.inputs)


def _described(store: Store, made: Made, describe: Callable[[bytes], dict[str, Any]] | None) -> Made:
    """A run that was killed before it wrote down what it made: read it from the object. Fingerprints need facts."""
    if made.facts or describe is None:
        return made
    return replace(made, facts=describe(store.get(made.key)))


def _make_missing(
    store: Store,
    missing: Sequence[Planned],
    make: Make,
    workers: int,
    run: str,
    objects: dict[str, Made],
    step: Callable[[int], None],
    journal: _Journal,
) -> None:
    check = Check()
    failures: dict[str, str] = {}
    waiting = iter(missing)
    running: dict[Future[Made], Planned] = {}
    first: BaseException | None = None

    def work(planned: Planned) -> Made:
        check()
        clock, cpu = time.perf_counter(), time.thread_time()
        output = make(planned, check)
        check()
        store.put(planned.key, output.data)
        seconds, cpu_seconds = time.perf_counter() - clock, time.thread_time() - cpu
        cpu_seconds = output.facts.pop("cpu_seconds", cpu_seconds)
        return Made(
            planned.name,
            planned.key,
            planned.fingerprint,
            len(output.data),
            round(seconds, 4),
            round(cpu_seconds, 4),
            planned.inputs,
            output.facts,
            run,
        )

    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="block")
    try:
        while True:
            # submit no more than there are hands: what waits in a queue cannot be dropped by name
            while len(running) < max(1, workers) and len(failures) < GIVE_UP_AFTER:
                planned = next(waiting, None)
                if planned is None:
                    break
                running[pool.submit(work, planned)] = planned
            if not running:
                break
            done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                planned = running.pop(future)
                error = future.exception()
                if error is None:
                    made = future.result()
                    objects[made.name] = made
                    journal.add(made)
                    step(made.bytes)
                elif isinstance(error, Exception):
                    failures[planned.name] = str(error)
                    first = first or error
                else:
                    raise error
    finally:
        # also on SIGTERM, which arrives here as an exception: threads drop their block at its next check
        check.stop()
        pool.shutdown(wait=True, cancel_futures=True)
        journal.flush()
    if failures:
        journal.fail(failures, len(missing))
        raise _failed(journal.dataset, journal.partition, failures, len(missing), first) from first


def _failed(
    dataset: str, partition: Place, failures: dict[str, str], missing: int, first: BaseException | None
) -> BlocksFailed:
    name, reason = next(iter(failures.items()))
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    remedy = first.remedy if isinstance(first, GroundplanError) else "The finished blocks are kept; mend it, run again"
    return BlocksFailed(
        f"{dataset} of {partition}", f"{len(failures)} of {missing} blocks failed: {name}: {reason}{more}", remedy
    )


class _Journal:
    """What finished blocks cost, kept while the partition is not committed, so that a killed run's costs are known.

    Advisory: it decides nothing, a lost line loses only a time. One object per run, rewritten now and then.
    """

    def __init__(self, store: Store, dataset: str, partition: Place, run: str) -> None:
        self.store, self.dataset, self.partition = store, dataset, partition
        self.prefix = f"journal/{dataset}/{partition.path}"
        self.key = f"{self.prefix}/{run or 'run'}-{os.getpid()}-{time.time_ns()}.json"
        self.lines: dict[str, Made] = {}
        self.written = time.monotonic()
        self.dirty = False

    def read(self) -> dict[str, Made]:
        found: dict[str, Made] = {}
        for item in self.store.list(self.prefix):
            with suppress(MissingInput, ValueError):
                for raw in json.loads(self.store.get(item.key)):
                    made = Made(**{**raw, "inputs": tuple(raw["inputs"])})
                    found[made.name] = made
        return found

    def add(self, made: Made) -> None:
        self.lines[made.name] = made
        self.dirty = True
        if time.monotonic() - self.written > 5:
            self.flush()

    def flush(self) -> None:
        if self.dirty:
            lines = [asdict(made) for made in self.lines.values()]
            with suppress(StoreFailed):  # what is worth an error is the block that cannot be written, not this
                self.store.put(self.key, json.dumps(lines, ensure_ascii=False).encode())
            self.written, self.dirty = time.monotonic(), False

    def fail(self, failures: dict[str, str], missing: int) -> None:
        record = {"failed": failures, "missing": missing, "when": datetime.now(UTC).isoformat(timespec="seconds")}
        key = failure_key(self.dataset, self.partition)
        with suppress(StoreFailed):
            self.store.put(key, json.dumps(record, indent=1, ensure_ascii=False).encode())

    def close(self) -> None:
        """After the commit: forget what the manifest now says."""
        stale = [item.key for item in self.store.list(self.prefix)]
        failure = failure_key(self.dataset, self.partition)
        if self.store.exists(failure):
            stale.append(failure)
        if stale:
            with suppress(MissingInput):
                self.store.delete(stale)

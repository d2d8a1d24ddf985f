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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Generic

from groundplan.core.manifest import (
    MARK,
    Made,
    Manifest,
    Planned,
    damage_key,
    disagreement,
    failure_key,
    manifest_key,
    plan_fingerprint,
    readable_manifest,
    sha256_of,
    sizes_of,
)
from groundplan.core.partition import P
from groundplan.core.progress import current_progress
from groundplan.core.records import write_record
from groundplan.core.stopwatch import measuring, timed
from groundplan.core.store import Store
from groundplan.errors import BlocksFailed, GroundplanError, MissingInput, Stopped, StoreFailed

GIVE_UP_AFTER = 5  # failed blocks in one run: by then the cause is not the block


@dataclass(frozen=True, slots=True)
class Output:
    """What a step's `make` returns for one object. described: its facts are all that `describe` would find in it."""

    data: bytes | memoryview
    facts: dict[str, Any] = field(default_factory=dict)
    described: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination(Generic[P]):
    """The partition of a dataset that is made, by which code version, where, and in which run."""

    store: Store
    dataset: str
    partition: P
    version: str
    run: str = ""

    def __str__(self) -> str:
        return f"{self.dataset} of {self.partition}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one call of `make_blocks` did. spent: seconds of its blocks in each part (stopwatch.py).

    told: what the run's page says beside that; of the run, not of what it made.
    """

    manifest: Manifest[Any, Any]
    made: tuple[str, ...]
    skipped: int
    seconds: float
    spent: Mapping[str, float]
    told: Mapping[str, Any] = field(default_factory=dict)


class Cancellation:
    """Asked by long work between pieces; raises Stopped once somebody wants the run to end."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> None:
        if self._event.is_set():
            raise Stopped("the run was told to stop")

    def stop(self) -> None:
        self._event.set()


Make = Callable[[Planned[Any], Cancellation], Output]
Describe = Callable[[bytes], Any]


def make_blocks(
    to: Destination[Any],
    plan: Sequence[Planned[Any]],
    make: Make,
    *,
    describe: Describe | None = None,
    workers: int = 1,
) -> Report:
    """Make the planned objects that do not exist yet, then commit the manifest.

    Workers are threads: rasterio, numpy, shapely and the model runtime release the interpreter's lock, nothing is
    forked after GDAL, and no orphan goes on after SIGKILL. At most `workers` results are held in memory.

    Raises BlocksFailed when objects could not be made (the others are kept, nothing is committed), Stopped when the
    run was ended from outside; then the blocks in hand are dropped and everything finished stays.
    """
    started = time.monotonic()
    plan = sorted(plan, key=lambda planned: planned.name)
    before = readable_manifest(to.store, to.dataset, to.partition)  # a broken one is as none: the commit replaces it
    journal = _Journal(to)
    sizes = sizes_of(to.store, to.dataset, to.partition)
    kept = _kept(to, plan, sizes, before, journal, describe)
    missing = [planned for planned in plan if planned.name not in kept]
    named = {made.key for made in before.objects.values()} if before else set()
    unnamed = [planned for planned in plan if planned.name in kept and planned.key not in named]
    task = current_progress().task(f"{to.dataset} {to.partition}", len(plan), len(plan) - len(missing))
    with measuring() as watch, task as step:
        done = _Done(objects=kept, journal=journal, step=step, listed=sizes, describe=describe)
        _make_missing(to, missing, make, workers, done)
        if missing and unnamed:  # `groundplan gc` may have taken some away since
            there = sizes_of(to.store, to.dataset, to.partition)
            _make_missing(to, [planned for planned in unnamed if planned.key not in there], make, workers, done)
    manifest = _manifest(to, plan, done.objects, time.monotonic() - started)
    if before is None or (before.fingerprint, before.objects) != (manifest.fingerprint, manifest.objects):
        to.store.put(manifest_key(to.dataset, to.partition), manifest.to_json())
    _unmark(to, [planned.key for planned in missing if planned.key + MARK in sizes])
    journal.close()
    return Report(
        manifest=manifest,
        made=tuple(planned.name for planned in missing),
        skipped=len(plan) - len(missing),
        seconds=time.monotonic() - started,
        spent=watch.seconds,
    )


def _kept(
    to: Destination[Any],
    plan: Sequence[Planned[Any]],
    sizes: Mapping[str, int],
    before: Manifest[Any, Any] | None,
    journal: _Journal,
    describe: Describe | None,
) -> dict[str, Made[Any]]:
    """The lines of planned objects that are there as they were made, by name.

    An object of another size than was written down, or that is marked, is made again, and so is one that nobody wrote
    down and that cannot be read.
    """
    known = {made.key: made for made in before.objects.values()} if before else {}
    known |= {made.key: made for made in journal.read().values() if made.bytes == sizes.get(made.key)}
    lines = {p.name: known.get(p.key) or _skipped(p, sizes.get(p.key, 0)) for p in plan if p.key in sizes}
    whole = {name: made for name, made in lines.items() if not disagreement(made, sizes)}
    described = ((name, _described(to.store, made, describe)) for name, made in whole.items())
    return {name: made for name, made in described if made is not None}


def _skipped(planned: Planned[Any], size: int) -> Made[Any]:
    """The line of an object that another run made, and did not live to write down: nobody knows what it cost."""
    return Made(
        name=planned.name,
        key=planned.key,
        fingerprint=planned.fingerprint,
        bytes=size,
        seconds=0.0,
        cpu_seconds=0.0,
        inputs=planned.inputs,
    )


def _described(store: Store, made: Made[Any], describe: Describe | None) -> Made[Any] | None:
    """A run that was killed before it wrote down what it made: read it from the object. Fingerprints need facts.

    None for what is no such object: nobody wrote down what its bytes should be.
    """
    if made.facts or describe is None:
        return made
    try:
        data = store.get(made.key)
    except MissingInput:  # taken away since the listing
        return None
    try:
        return replace(made, facts=describe(data), sha256=sha256_of(data), bytes=len(data))
    except Exception:  # of bytes that may be anything a library can raise anything
        return None


def _unmark(to: Destination[Any], keys: Sequence[str]) -> None:
    """After the commit: what was made again is no longer damaged. A run killed before makes it once more."""
    note = damage_key(to.dataset, to.partition.path)
    gone = [*(key + MARK for key in keys), *([note] if to.store.exists(note) else [])]
    if gone:
        with suppress(MissingInput):
            to.store.delete(gone)


def _manifest(
    to: Destination[P], plan: Sequence[Planned[Any]], objects: dict[str, Made[Any]], seconds: float
) -> Manifest[P, Any]:
    return Manifest(
        dataset=to.dataset,
        partition=to.partition,
        version=to.version,
        fingerprint=plan_fingerprint(to.version, plan),
        objects=dict(sorted(objects.items())),
        committed=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        run=to.run,
    )


@dataclass(kw_only=True)
class _Done:
    """What is there, and where each finished object is written down."""

    objects: dict[str, Made[Any]]
    journal: _Journal
    step: Callable[[int], None]
    listed: Mapping[str, int]
    """What was there when the run began: what is made all the same is damaged, and is replaced."""
    describe: Describe | None

    def add(self, made: Made[Any]) -> None:
        self.objects[made.name] = made
        self.journal.add(made)
        self.step(made.bytes)


def _make_missing(to: Destination[Any], missing: Sequence[Planned[Any]], make: Make, workers: int, done: _Done) -> None:
    check = Cancellation()
    failures: dict[str, Exception] = {}
    waiting = iter(missing)
    running: dict[Future[Made[Any]], Planned[Any]] = {}
    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="block")
    try:
        while True:
            # submit no more than there are threads: what waits in a queue cannot be dropped by name
            while len(running) < max(1, workers) and len(failures) < GIVE_UP_AFTER:
                planned = next(waiting, None)
                if planned is None:
                    break
                # each in a context of its own: what a block says of its progress is for whoever listens here
                running[pool.submit(copy_context().run, _make_one, to, planned, make, check, done)] = planned
            if not running:
                break
            for future in wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done:
                planned = running.pop(future)
                error = future.exception()
                if error is None:
                    done.add(future.result())
                elif isinstance(error, Exception):
                    failures[planned.name] = error
                else:
                    raise error
    finally:
        # also on SIGTERM, which arrives here as an exception: threads drop their block at its next check
        check.stop()
        pool.shutdown(wait=True, cancel_futures=True)
        done.journal.flush()
    if failures:
        first = next(iter(failures.values()))
        done.journal.fail({name: str(error) for name, error in failures.items()}, len(missing))
        raise _failed(to, failures, len(missing)) from first


def _make_one(to: Destination[Any], planned: Planned[Any], make: Make, check: Cancellation, done: _Done) -> Made[Any]:
    check()
    clock, cpu = time.perf_counter(), time.thread_time()
    with timed("compute"):  # but for what it says itself to be reading or writing
        output = make(planned, check)
    check()
    with timed("write"):
        if (others := _of_another_run(to.store, planned, output, done)) is not None:
            output = others
        else:
            to.store.put(planned.key, output.data)
    seconds, cpu_seconds = time.perf_counter() - clock, time.thread_time() - cpu
    cpu_seconds = output.facts.pop("cpu_seconds", cpu_seconds)
    return Made(
        name=planned.name,
        key=planned.key,
        fingerprint=planned.fingerprint,
        bytes=len(output.data),
        seconds=round(seconds, 4),
        cpu_seconds=round(cpu_seconds, 4),
        inputs=planned.inputs,
        facts=output.facts,
        run=to.run,
        sha256=sha256_of(output.data),
    )


def _of_another_run(store: Store, planned: Planned[Any], output: Output, done: _Done) -> Output | None:
    """What another run stored while this one computed; None where nobody did, or its bytes are ours or no such object.

    It stays, and both name it: on another kind of processor a network's last digits differ, and a late writer that put
    its own bytes would make the other's manifest wrong.
    """
    if planned.key in done.listed or not store.exists(planned.key):
        return None
    try:
        data = store.get(planned.key)
        if data == output.data:
            return None
        cost = {"cpu_seconds": output.facts["cpu_seconds"]} if "cpu_seconds" in output.facts else {}
        return Output(data, {**(done.describe(data) if done.describe else output.facts), **cost})
    except Exception:  # taken away again, or bytes that may be anything a library can raise anything
        return None


def _failed(to: Destination[Any], failures: dict[str, Exception], missing: int) -> BlocksFailed:
    name, first = next(iter(failures.items()))
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    remedy = first.remedy if isinstance(first, GroundplanError) else "The finished blocks are kept; mend it, run again"
    # the remedy comes at the end, and once
    said = f"{first.thing}: {first.reason}" if isinstance(first, GroundplanError) else str(first)
    return BlocksFailed(str(to), f"{len(failures)} of {missing} blocks failed: {name}: {said}{more}", remedy)


class _Journal:
    """What finished blocks cost, kept while the partition is not committed, so that a killed run's costs are known.

    Advisory: it decides nothing, a lost line loses only a time. One object per run, rewritten now and then.
    """

    def __init__(self, to: Destination[Any]) -> None:
        self.store, self.failure = to.store, failure_key(to.dataset, to.partition)
        self.prefix = f"journal/{to.dataset}/{to.partition.path}"
        self.key = f"{self.prefix}/{to.run or 'run'}-{os.getpid()}-{time.time_ns()}.json"
        self.lines: dict[str, Made[Any]] = {}
        self.written = time.monotonic()
        self.dirty = False

    def read(self) -> dict[str, Made[Any]]:
        found: dict[str, Made[Any]] = {}
        for item in self.store.list(self.prefix):
            with suppress(MissingInput, ValueError, TypeError, KeyError, AttributeError, RecursionError):
                for raw in json.loads(self.store.get(item.key)):
                    made = Made.from_raw(raw)
                    found[made.name] = made
        return found

    def add(self, made: Made[Any]) -> None:
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
        with suppress(StoreFailed):
            write_record(self.store, self.failure, record, indent=1)

    def close(self) -> None:
        """After the commit: forget what the manifest now says."""
        stale = [item.key for item in self.store.list(self.prefix)]
        if self.store.exists(self.failure):
            stale.append(self.failure)
        if stale:
            with suppress(MissingInput):
                self.store.delete(stale)

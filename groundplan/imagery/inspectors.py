"""Inspectors: processes that look at the many small sheets of a catalogue, side by side.

Here: sharing sheets out to processes, and what each answers, in the order that was asked for. Not here: looking at one
(validation.py), or what a catalogue makes of it (catalog.py).

Processes, because threads gain nothing: what a small sheet costs is half Python's. They are started, never forked (GDAL
does not survive that), and end with their input, so that nothing goes on after a killed run. What they answer is JSON.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from groundplan import errors
from groundplan.core.materialize import Cancellation
from groundplan.core.partition import Partition
from groundplan.errors import BadSheet, GroundplanError
from groundplan.imagery.sheet import Sheet
from groundplan.project import Project, open_project

BATCH = 50  # sheets that a process is asked for at a time
MOST = 4  # processes: each holds the libraries, some 150 MB, and a pod's affinity names all processors of its node
LEAST = 500  # sheets for each process: its start costs what some hundreds of them do

Job: TypeAlias = "tuple[str, tuple[str, int], list[tuple[str, str]]]"
"""Key of a delivered file, its SHA-256 and bytes, and name and digest of what lies beside it."""
Look: TypeAlias = "Callable[[Job], Sheet]"
"""Raises BadSheet for whatever is wrong with the file."""
Looked: TypeAlias = "Sheet | BadSheet"

_FACTS = [one.name for one in fields(Sheet)]  # asdict copies every number of an outline, which costs more than JSON


def facts_of(sheet: Sheet) -> dict[str, Any]:
    """What is known of a sheet, for JSON; a credit only where there is one: most catalogues stay as they were."""
    return {name: getattr(sheet, name) for name in _FACTS if name != "credit" or any(sheet.credit)}


def sheet_of(facts: dict[str, Any]) -> Sheet:
    """The sheet of which JSON holds the facts."""
    pairs = {name: tuple(tuple(one) for one in facts.get(name, ())) for name in ("outline", "beside", "fill")}
    rows = {name: tuple(facts.get(name, ())) for name in ("transform", "reading", "colors", "notes")}
    return Sheet(**{**facts, **pairs, **rows, "credit": tuple(facts.get("credit", ("", "")))})


@dataclass
class Spent:
    """Processor seconds of other processes, which no clock of this one counts."""

    seconds: float = 0.0


def looked_at(
    project: Project, partition: Partition, jobs: Sequence[Job], look: Look, check: Cancellation, spent: Spent
) -> Iterator[Looked]:
    """What comes of each sheet, in order: of few, in this process. Raises StoreFailed, Stopped."""
    count = min(project.workers, MOST, len(jobs) // LEAST) if project.store.url.partition(":")[0] != "memory" else 0
    if count < 2:
        for job in jobs:
            check()
            yield _looked(look, job)
        return
    with ExitStack() as stack:
        idle: queue.SimpleQueue[_Inspector] = queue.SimpleQueue()
        for _ in range(count):
            idle.put(stack.enter_context(_Inspector(project, partition)))
        pool = stack.enter_context(ThreadPoolExecutor(count, thread_name_prefix="inspector"))

        def ask(batch: Sequence[Job]) -> list[Looked]:
            check()
            inspector = idle.get()
            try:
                answers = inspector.ask(batch, spent)
            finally:
                idle.put(inspector)
            # of one that has ended, by a decoder's fault or for want of memory: this process finds out which it was
            return answers if answers is not None else [_looked(look, job) for job in batch]

        for answers in pool.map(ask, [jobs[at : at + BATCH] for at in range(0, len(jobs), BATCH)]):
            yield from answers


def _looked(look: Look, job: Job) -> Looked:
    try:
        return look(job)
    except BadSheet as error:
        return error


class _Inspector:
    """A process that looks at sheets; it ends when this one closes its input, or is gone."""

    def __init__(self, project: Project, partition: Partition) -> None:
        command = [sys.executable, "-m", "groundplan.imagery.inspectors", str(project.home)]
        place = json.dumps([partition.year, partition.region])
        self._process = subprocess.Popen([*command, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> _Inspector:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, batch: Sequence[Job], spent: Spent) -> list[Looked] | None:
        """Raises what the other process met and no sheet is to blame for. None where that process has ended."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps(batch).encode() + b"\n")
            self._process.stdin.flush()
            said = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            return None
        if "error" in said:
            raise _told(*said["error"])
        spent.seconds += said["cpu"]
        return [BadSheet(*one) if isinstance(one, list) else sheet_of(one) for one in said["looked"]]


def _told(kind: str, thing: str, reason: str, remedy: str) -> Exception:
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, GroundplanError):
        return known(thing, reason, remedy)
    return MemoryError(reason) if kind == "MemoryError" else RuntimeError(f"{thing}: {kind}: {reason}")


# ----------------------------------------------------------------------------------------------- the other process


def main(home: str, place: str) -> None:
    """Answer each line of the input with one, until it ends."""
    from groundplan.imagery.catalog import looker

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    look = looker(open_project(home), Partition(*json.loads(place)))
    for line in sys.stdin:
        print(json.dumps(_answer(look, json.loads(line))), file=answers, flush=True)


def _answer(look: Look, batch: list[Any]) -> dict[str, Any]:
    began = time.process_time()
    try:
        found = [_looked(look, (key, tuple(digest), [tuple(one) for one in beside])) for key, digest, beside in batch]
    except GroundplanError as error:
        return {"error": [type(error).__name__, error.thing, error.reason, error.remedy]}
    except Exception as error:
        return {"error": [type(error).__name__, str(batch[0][0]), str(error)[:200], ""]}
    told = [[one.thing, one.reason, one.remedy] if isinstance(one, BadSheet) else facts_of(one) for one in found]
    return {"looked": told, "cpu": time.process_time() - began}


if __name__ == "__main__":
    main(*sys.argv[1:])

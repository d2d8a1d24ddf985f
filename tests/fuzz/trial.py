"""Trial: the process in which inputs are tried, one after the other, under bounds of memory and processor time.

Here: what happens to each input, told to the parent line by line through a pipe. Not here: the parent, which notices
that this process died or fell silent (bounded.py).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from fuzz.field import Field, Input, Wrong, field_of, randomness

MEGABYTE = 2**20
LEAST = 5  # inputs that are tried however late a process begins: a field that tries none would look clean


def main() -> None:
    """Arguments, as JSON: field, seed, first and last number, when to end (time.monotonic), folder, and the pipe."""
    told = json.loads(sys.argv[1])
    pipe = os.fdopen(told["pipe"], "w", buffering=1)

    def say(**what: Any) -> None:
        pipe.write(json.dumps(what) + "\n")

    folder = Path(told["folder"])
    (folder / "field").mkdir(parents=True)
    field = field_of(told["field"], folder / "field")
    say(ready=round(field.peak()))
    _bound_memory(field.megabytes)
    for number in range(told["first"], told["last"]):
        if number >= told["first"] + LEAST and time.monotonic() > told["end"]:
            break
        given = field.draw(randomness(told["seed"], told["field"], number))
        lay(given, folder / str(number))
        say(number=number)
        came = _tried(field, given, folder / str(number))
        if "wrong" not in came:  # else the parent copies it
            shutil.rmtree(folder / str(number))
        say(**came)
    say(done=True)
    os._exit(0)  # threads of a field's readers need not end first


def _tried(field: Field, given: Input, folder: Path) -> dict[str, Any]:
    field.forget_peak()
    resting = field.peak()
    _bound_seconds(field.seconds)
    told: dict[str, Any] = {}
    try:
        told["outcome"] = field.attempt(given, folder)
    except Wrong as wrong:
        told["wrong"] = str(wrong)
    except BaseException as error:
        told["wrong"] = f"{type(error).__name__} escaped: {str(error)[:300]}"
        traceback.print_exc()
    peak = field.peak()
    if "wrong" not in told and peak - resting > field.megabytes:
        told["wrong"] = f"it took {peak - resting:.0f} MB, more than {field.megabytes}"
    return told | {"peak": round(peak)}


def lay(given: Input, folder: Path) -> None:
    folder.mkdir()
    for name, data in given.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _bound_memory(megabytes: int) -> None:
    """What is reserved and never touched counts, too."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    reserved = pages * resource.getpagesize() + megabytes * MEGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (reserved, resource.RLIM_INFINITY))


def _bound_seconds(seconds: int) -> None:
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + 1 + seconds, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()

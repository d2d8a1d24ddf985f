"""A look at the header of a delivered file: its ground and its tags. On a cluster in a process without the database.

Here: looking, here or in processes of their own, which have of this one's environment what the store needs and no more.
Not here: what is made of it (deliveries.py, loose_files.py), what a header must say (imagery/validation.py).

The code location looks at files that strangers delivered, and its environment holds the password of Dagster's database.
A file that gets the better of GDAL there would have it. So the chart sets LOOK_APART, and then neither the
environment of whoever opens the file nor, by /proc, that of its parent says it.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import re
import resource
import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from groundplan import errors
from groundplan.errors import BadSheet, GroundplanError
from groundplan.imagery.ownership import Outline
from groundplan.imagery.sheet import opened
from groundplan.imagery.validation import outline_of
from groundplan.project import Project, open_project

APART = "LOOK_APART"
AT_ONCE = 4  # processes that look
SECONDS = 120.0  # for one file; most take a hundredth
MEMORY = 4 * 2**30  # bytes of addresses
ROOM = re.compile(r"AWS_.+|AZURE_.+|GOOGLE_.+|GROUNDPLAN_.+|GDAL_.+|PROJ_.+|SSL_CERT_.+|LC_.+|XDG_.+|OMP_.+")
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "KUBERNETES_SERVICE_HOST")
TOLD = ("BadSheet", "BadConfig", "MissingInput", "StoreFailed")  # errors that such a process may answer with
NOT_DUMPABLE = 4  # of prctl: who has this user's rights may neither trace this process nor read its environment


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says. outline: in the grid's CRS."""

    outline: Outline
    tags: Mapping[str, str]


def look_at(project: Project, key: str, beside: Sequence[str]) -> Header:
    """A look at a file, by its header alone. Raises what `opened` and `outline_of` raise, BadSheet above all."""
    if os.environ.get(APART):
        return _apart(project, key, beside)
    with opened(project, key, list(beside)) as source:
        return Header(outline_of(project, source, key, list(beside)), dict(source.tags()))


# ------------------------------------------------------------------------------------------------ in other processes


@dataclass
class _Lookers:
    """Processes that look: those that are idle, and how many more there may be."""

    idle: queue.LifoQueue[subprocess.Popen[bytes]] = field(default_factory=queue.LifoQueue)
    places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(AT_ONCE))


LOOKERS = _Lookers()


def _apart(project: Project, key: str, beside: Sequence[str]) -> Header:
    with LOOKERS.places:
        try:
            looker = LOOKERS.idle.get_nowait()
        except queue.Empty:
            looker = _start()
        said = _ask(looker, {"home": str(project.home), "key": key, "beside": list(beside)})
        if said is None:
            looker.kill()
            looker.communicate()
            raise BadSheet(
                key, "it cannot be looked at (whoever opens it ends, or does not)", "Write it again as a GeoTIFF"
            )
        LOOKERS.idle.put(looker)
    if error := said.get("error"):
        raise _told(error, key)
    outline = tuple((float(x), float(y)) for x, y in said["outline"])
    return Header(outline, {str(name): str(value) for name, value in said["tags"].items()})


def _start() -> subprocess.Popen[bytes]:
    with suppress(AttributeError, OSError):  # Linux only
        ctypes.CDLL(None).prctl(NOT_DUMPABLE, 0, 0, 0, 0)
    command = [sys.executable, "-m", "groundplan.ingest.looking"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=cleaned(os.environ))


def cleaned(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment the store and the libraries need: no database, no mail server, nobody else's secret."""
    return {
        name: value
        for name, value in environment.items()
        if "PASSWORD" not in name.upper() and (name in KEPT or ROOM.fullmatch(name))
    }


def _ask(looker: subprocess.Popen[bytes], request: dict[str, Any]) -> dict[str, Any] | None:
    """Its answer; None where it ended or took too long. It is not trusted: JSON, and nothing that is run."""
    assert looker.stdin
    assert looker.stdout
    try:
        looker.stdin.write(json.dumps(request).encode() + b"\n")
        looker.stdin.flush()
        if not select.select([looker.stdout], [], [], SECONDS)[0]:
            return None
        said = json.loads(looker.stdout.readline(2**20))
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def _told(error: Any, key: str) -> GroundplanError:
    kind, thing, reason, remedy = (str(part) for part in error)
    if kind not in TOLD:
        return BadSheet(key, f"it cannot be looked at ({kind[:60]})", "Write it again as a GeoTIFF")
    made: GroundplanError = getattr(errors, kind)(thing, reason, remedy)
    return made


def main() -> None:
    """Answer each line of the input with one, until it ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    projects: dict[str, Project] = {}
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(_answer(projects, **request)), file=answers, flush=True)


def _answer(projects: dict[str, Project], home: str, key: str, beside: list[str]) -> dict[str, Any]:
    try:
        if home not in projects:
            projects[home] = open_project(home)
        look = look_at(projects[home], key, beside)
    except GroundplanError as error:
        return {"error": [type(error).__name__, error.thing, error.reason, error.remedy]}
    except Exception as error:  # a file can trip a library in any way
        return {"error": [type(error).__name__, key, "", ""]}
    return {"outline": look.outline, "tags": look.tags}


if __name__ == "__main__":
    main()

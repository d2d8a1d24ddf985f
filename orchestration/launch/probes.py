"""What Kubernetes asks Dagster's web server and daemon, and what `helm test` asks their settings.

    python -P -m orchestration.launch.probes web URL        # does it answer
    python -P -m orchestration.launch.probes daemon SECONDS # has each of its loops been round since
    python -P -m orchestration.launch.probes instance       # is a log kept and read again, as dagster.yaml says

Here: the three questions; an answer "no" is exit code 1. The first two say no as well where the container was started
with another environment than the chart's ConfigMap has now: the container that is then started in its place has it.
Not here: whom they are asked of, and how often (helm/groundplan/values.yaml).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

ENVIRONMENT = "environment.json"
SECONDS = 10.0
TESTED = ("groundplan-helm-test", "instance")


def outdated(home: Path, environ: Mapping[str, str]) -> list[str]:
    """Variables that the ConfigMap, mounted at `home`, has another value for; none where it is not mounted."""
    file = home / ENVIRONMENT
    wanted: dict[str, str] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return sorted(name for name, value in wanted.items() if environ.get(name) != value)


def web(url: str) -> str:
    """Whether somebody answers there, whatever they say: that it is the right answer is asked by readiness."""
    try:
        urlopen(url, timeout=SECONDS).close()
    except HTTPError:
        return ""
    except OSError as error:
        return f"{url} does not answer: {error}"
    return ""


def daemon(seconds: int) -> str:
    """Whether every loop of the daemon was round within that time. Who cannot be asked is not dead: the database may be
    away, and a daemon that is started anew cannot reach it either.
    """
    from dagster import DagsterInstance
    from dagster._daemon.controller import all_daemons_live

    try:
        with DagsterInstance.get() as instance:
            alive = all_daemons_live(instance, heartbeat_tolerance_seconds=seconds)
    except Exception as error:
        print(f"not asked: {error}")
        return ""
    return "" if alive else f"a loop of the daemon has not been round for {seconds} s"


def instance() -> str:
    """Whether what a run prints can be kept and read again, with the database and the log manager of dagster.yaml."""
    from dagster import DagsterInstance
    from dagster._core.storage.compute_log_manager import ComputeIOType

    with DagsterInstance.get() as instance:
        kept, said = instance.compute_log_manager, f"{time.time_ns()}\n"
        with kept.open_log_stream(TESTED, ComputeIOType.STDOUT) as stream:
            if stream is None:
                print(f"{type(kept).__name__} keeps nothing")
                return ""
            text: Any = stream  # Dagster's types say bytes, its files are of text
            text.write(said)
        found = kept.get_log_data(TESTED).stdout or b""
    return "" if found.endswith(said.encode()) else f"{type(kept).__name__} gave {found[-80:]!r} for {said!r}"


def main(question: str = "", about: str = "") -> None:
    names = [] if question == "instance" else outdated(Path(os.environ.get("GROUNDPLAN_HOME", "/")), os.environ)
    if names:
        sys.exit(f"started with another environment than it should have now: {', '.join(names)}")
    if question == "web":
        sys.exit(web(about) or None)
    if question == "daemon":
        sys.exit(daemon(int(about)) or None)
    if question == "instance":
        sys.exit(instance() or None)
    sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])

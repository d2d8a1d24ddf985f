"""The real command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "orchestration.cli.main"]
ROOT = Path(__file__).parents[2]
PATIENCE = 180.0  # seconds for one command on a machine that has other things to do


def run(folder: Path, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def environment(**more: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("GROUNDPLAN_", "DAGSTER_"))}
    quick = {"FEATURES": "orb", "WORDS": "16", "SIZE": "64", "SHARD": "6"}
    return {
        **clean,
        **{f"GROUNDPLAN_COLLECTIONS__{key}": value for key, value in quick.items()},
        "PYTHONPATH": str(ROOT),
        **more,
    }

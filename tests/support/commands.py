"""The real command line in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from test_collections_cli import environment

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

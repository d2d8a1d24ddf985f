"""Dagster's daemon with shorter pauses between its looks at backfills: python -P hasty_daemon.py run -w workspace.yaml

A backfill goes from one step of the chain to the next when the daemon looks, every 30 s, and that is no setting of
Dagster's: a test of the whole chain waited minutes for nothing. All else is `dagster-daemon`.
"""

from __future__ import annotations

import sys

from dagster._daemon import controller
from dagster._daemon.cli import main

PAUSE = 3  # seconds
COMMAND = (sys.executable, "-P", __file__)

if __name__ == "__main__":
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = PAUSE  # the loop reads it when it begins
    sys.argv[0] = "dagster-daemon"
    main()

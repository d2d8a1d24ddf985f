"""Jobs of runs that ended before they began: who ends a run that is only "starting", or gives it up, leaves its Job.

Here: finding such runs. Not here: deleting their Jobs (launcher.py).

Dagster asks the launcher to end a run that has started, and no other: a forced termination of a starting run, or one
that took longer than `start_timeout_seconds`, is noted in the database alone. The Job stays with a pod that waits for
an image or a node, and a scaler may buy the node.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

ENDED = [dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE]


def never_began(instance: dg.DagsterInstance, since: float) -> Iterator[dg.DagsterRun]:
    """Runs that were launched and ended without having begun. since: seconds since 1970 after which they ended."""
    after = datetime.fromtimestamp(since, UTC)
    for record in instance.get_run_records(dg.RunsFilter(statuses=ENDED, updated_after=after)):
        run = record.dagster_run
        if record.start_time is None and instance.get_run_stats(run.run_id).launch_time is not None:
            yield run

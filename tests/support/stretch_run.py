"""A run of a stretch of regions, as a launched run has it: a process whose definitions were loaded from their module.

    python tests/support/stretch_run.py HOME KEY [RUN]     # RUN: the run that this one tries again

Here: launching it in the process or apart. Not here: what is asked of it (dagster/test_stretches.py).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository

from assets.stretches import ASSET


def run_stretch(home: Path, instance: dg.DagsterInstance, key: str, tries: str = "") -> dg.ExecuteJobResult:
    """The result of a run of this stretch. tries: the run that is tried again."""
    os.environ["GROUNDPLAN_HOME"] = str(home)
    repository = ReconstructableRepository.for_module("orchestration.definitions", "defs")
    job = repository.get_reconstructable_job("__ASSET_JOB")
    again = dg.ReexecutionOptions(parent_run_id=tries, step_selection=[ASSET]) if tries else None
    return dg.execute_job(
        job,
        instance,
        asset_selection=[dg.AssetKey(ASSET)],
        tags={"dagster/partition": key},
        raise_on_error=False,
        reexecution_options=again,
    )


if __name__ == "__main__":
    home, key, *more = sys.argv[1:]
    with (
        dg.DagsterInstance.from_config(f"{home}/dagster") as instance,
        run_stretch(Path(home), instance, key, *more) as result,
    ):
        sys.exit(not result.success)

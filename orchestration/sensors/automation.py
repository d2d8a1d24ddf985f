"""The sensor that evaluates the assets' automation conditions.

Here: the sensor. Not here: the conditions (assets/conditions.py).
"""

from __future__ import annotations

import os

import dagster as dg

from assets.conditions import AUTOMATED
from orchestration.backfills import CAUSE

SECONDS = int(os.environ.get("SENSORS_SECONDS", "15"))  # between evaluations; docs/benchmarks.md says what one costs


def sensor() -> dg.AutomationConditionSensorDefinition:
    """Off until switched on in the UI, or by SENSORS_ON=1."""
    running = os.environ.get("SENSORS_ON") == "1"
    return dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.assets(*AUTOMATED),
        run_tags={CAUSE: "automation"},
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=SECONDS,
        use_user_code_server=True,  # the conditions above are ours: the store decides
        description="What is made from something that changed is made anew: labels, windows, the first model, "
        "predictions, footprints. Not what failed or was missed: that is the nightly schedule's.",
    )

"""The sensor that evaluates the assets' automation conditions.

Here: the sensor. Not here: the conditions (assets/conditions.py).
"""

from __future__ import annotations

import dagster as dg

from assets.beta import known_beta
from assets.conditions import AUTOMATED, COPIED
from orchestration.backfills import CAUSE
from orchestration.environment import sensor_environment


def sensor() -> dg.AutomationConditionSensorDefinition:
    """Off until switched on in the UI, or by SENSORS_ON=1."""
    environment = sensor_environment()
    with known_beta("Parameter `use_user_code_server`"):
        return dg.AutomationConditionSensorDefinition(
            "automation",
            target=dg.AssetSelection.assets(*AUTOMATED, *COPIED),
            run_tags={CAUSE: "automation"},
            default_status=environment.sensor_status,
            minimum_interval_seconds=environment.sensors_seconds,
            use_user_code_server=True,  # the conditions above are ours: the store decides
            description="What is made from something that changed is made anew: labels, windows, the first model, "
            "predictions, footprints. Not what failed or was missed: that is the nightly schedule's.",
        )

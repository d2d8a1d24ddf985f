"""Everything that Dagster loads: assets, checks, resources.

Here: putting them together. Not here: what they do. https://docs.dagster.io/guides/build/projects-and-components
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets import buildings, collections, operations
from assets.buildings.checks import checks
from orchestration import jobs
from orchestration.schedules import schedules
from orchestration.sensors import sources
from orchestration.sensors.alerts import alarms
from orchestration.sensors.automation import sensor
from orchestration.sensors.image_classes import new_image_classes
from resources.notifier import Notifier
from resources.project import ProjectResource

ASSETS: list[dg.AssetsDefinition] = [
    found
    for room in (buildings, operations, collections)
    for found in dg.load_assets_from_package_module(room)
    if isinstance(found, dg.AssetsDefinition)
]
"""Every asset that a module of these rooms declares."""


def build_definitions(overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Fresh definitions; tests and the command line give their own resources."""
    ours = {"project": ProjectResource(home=dg.EnvVar("GROUNDPLAN_HOME")), "notifier": Notifier()}
    resources = {**ours, **(overrides or {})}
    return dg.Definitions(
        assets=ASSETS,
        asset_checks=checks,
        resources=resources,
        executor=dg.in_process_executor,
        sensors=[sensor(), *alarms(), *sources.SENSORS, new_image_classes],
        schedules=schedules(),
        jobs=jobs.JOBS,
    )


defs = build_definitions()

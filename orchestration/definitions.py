"""Everything that Dagster loads: assets, checks, resources.

Here: putting them together. Not here: what they do. https://docs.dagster.io/guides/build/projects-and-components
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import dagster as dg

from assets import buildings, collections, operations
from assets.buildings.checks import checks
from groundplan.errors import GroundplanError
from groundplan.project import open_project
from orchestration import jobs
from orchestration.schedules import schedules
from orchestration.sensors import sources
from orchestration.sensors.alerts import alarms
from orchestration.sensors.automation import sensor
from orchestration.sensors.image_classes import new_image_classes
from resources.notifier import Notifier
from resources.project import ProjectResource


def _assets_of(*rooms: ModuleType) -> list[dg.AssetsDefinition]:
    """Every asset that a module of these rooms declares."""
    found = [one for room in rooms for one in dg.load_assets_from_package_module(room)]
    return [one for one in found if isinstance(one, dg.AssetsDefinition)]


IMAGERY, OF_COLLECTIONS = _assets_of(buildings, operations), _assets_of(collections)
ASSETS = [*IMAGERY, *OF_COLLECTIONS]


def build_definitions(overrides: Mapping[str, Any] | None = None, with_collections: bool = True) -> dg.Definitions:
    """Fresh definitions; tests and the command line give their own resources."""
    ours = {"project": ProjectResource(home=dg.EnvVar("GROUNDPLAN_HOME")), "notifier": Notifier()}
    resources = {**ours, **(overrides or {})}
    return dg.Definitions(
        assets=ASSETS if with_collections else IMAGERY,
        asset_checks=checks,
        resources=resources,
        executor=dg.in_process_executor,
        sensors=[sensor(), *alarms(), *sources.SENSORS, *([new_image_classes] if with_collections else [])],
        schedules=schedules(),
        jobs=[*jobs.JOBS, *([jobs.NEW_CLASSES] if with_collections else [])],
    )


def may_have_collections(home: str | None) -> bool:
    """Whether the project has image collections, or could without this machine's knowing: in a bucket, or nowhere.

    Of a folder it is known at once. Nobody is asked over a network while definitions load, and whoever made the project
    for collections (`[collections]` in its settings) sees them before the first is added.
    """
    try:
        project = open_project(home or "")
    except GroundplanError:
        return True  # runs and sensors say what is wrong, each in its own place
    root = project.store.root
    return root is None or (root / "collections").is_dir() or "collections" in project.settings.model_fields_set


defs = build_definitions(with_collections=may_have_collections(os.environ.get("GROUNDPLAN_HOME")))

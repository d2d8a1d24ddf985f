"""Everything that Dagster loads: assets, checks, resources.

Here: putting them together. Not here: what they do. https://docs.dagster.io/guides/build/projects-and-components
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.buildings.aerial_tiles import aerial_tiles
from assets.buildings.building_footprints import building_footprints
from assets.buildings.checks import checks
from assets.buildings.labels import labels
from assets.buildings.predictions import predictions
from assets.buildings.register_buildings import register_buildings
from assets.buildings.sheets import sheets
from assets.buildings.trained_model import trained_model
from assets.buildings.training_windows import training_windows
from assets.collections.collection_report import collection_report
from assets.collections.image_catalog import image_catalog
from assets.collections.image_classifier import image_classifier
from assets.collections.image_features import image_features
from assets.collections.reduced_features import reduced_features
from assets.operations.changes_ready import changes_ready
from assets.operations.country_map import country_map
from assets.operations.country_status import country_status
from assets.operations.operations_catalogue import operations_catalogue
from assets.operations.store_health import store_health
from orchestration import jobs
from orchestration.schedules import schedules
from orchestration.sensors import sources
from orchestration.sensors.alerts import alarms
from orchestration.sensors.automation import sensor
from orchestration.sensors.image_classes import new_image_classes
from resources.notifier import Notifier
from resources.project import ProjectResource

ASSETS: list[dg.AssetsDefinition] = [
    sheets,
    aerial_tiles,
    register_buildings,
    labels,
    training_windows,
    trained_model,
    predictions,
    building_footprints,
    country_status,
    country_map,
    operations_catalogue,
    changes_ready,
    store_health,
    image_catalog,
    image_features,
    reduced_features,
    image_classifier,
    collection_report,
]


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

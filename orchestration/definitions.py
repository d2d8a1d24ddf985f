"""Everything that Dagster loads: assets, checks, resources.

Here: putting them together. Not here: what they do. https://docs.dagster.io/guides/build/projects-and-components
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.aerial_tiles import aerial_tiles
from assets.building_footprints import building_footprints
from assets.changes_ready import changes_ready
from assets.checks import checks
from assets.collection_report import collection_report
from assets.country_map import country_map
from assets.country_status import country_status
from assets.image_catalog import image_catalog
from assets.image_classifier import image_classifier
from assets.image_features import image_features
from assets.labels import labels
from assets.operations_catalogue import operations_catalogue
from assets.predictions import predictions
from assets.reduced_features import reduced_features
from assets.register_buildings import register_buildings
from assets.sheets import sheets
from assets.store_health import store_health
from assets.trained_model import trained_model
from assets.training_windows import training_windows
from orchestration import automation, jobs, sensors
from orchestration.alarms import alarms
from orchestration.collection_partitions import new_image_classes
from orchestration.schedules import schedules
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
        sensors=[automation.sensor(), *alarms(), *sensors.SENSORS, new_image_classes],
        schedules=schedules(),
        jobs=jobs.JOBS,
    )


defs = build_definitions()

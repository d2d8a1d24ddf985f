"""Everything that Dagster loads: assets, checks, resources.

Here: putting them together. Not here: what they do. https://docs.dagster.io/guides/build/projects-and-components
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.aerial_tiles import aerial_tiles
from assets.building_footprints import building_footprints
from assets.checks import checks
from assets.country_status import country_status
from assets.labels import labels
from assets.predictions import predictions
from assets.register_buildings import register_buildings
from assets.sheets import sheets
from assets.trained_model import trained_model
from assets.training_windows import training_windows
from resources.project import ProjectResource

ASSETS: list[dg.AssetsDefinition] = [
    sheets, aerial_tiles, register_buildings, labels, training_windows, trained_model, predictions, building_footprints,
    country_status,
]  # fmt: skip


def build_definitions(overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Fresh definitions; tests and the command line give their own resources."""
    resources = {"project": ProjectResource(home=dg.EnvVar("GROUNDPLAN_HOME")), **(overrides or {})}
    return dg.Definitions(assets=ASSETS, asset_checks=checks, resources=resources, executor=dg.in_process_executor)


defs = build_definitions()

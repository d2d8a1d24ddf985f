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
from groundplan.project import Project, open_project
from orchestration import jobs
from orchestration.schedules import schedules
from orchestration.sensors import sources
from orchestration.sensors.alerts import alarms
from orchestration.sensors.automation import sensor
from orchestration.sensors.image_classes import new_image_classes
from orchestration.sensors.piling import image_inbox_sensor
from resources.database import DatabaseResource
from resources.notifier import Notifier
from resources.project import ProjectResource


def _assets_of(*rooms: ModuleType) -> list[dg.AssetsDefinition]:
    """Every asset that a module of these rooms declares."""
    found = [one for room in rooms for one in dg.load_assets_from_package_module(room)]
    return [one for one in found if isinstance(one, dg.AssetsDefinition)]


IMAGERY, OF_COLLECTIONS = _assets_of(buildings, operations), _assets_of(collections)
ASSETS = [*IMAGERY, *OF_COLLECTIONS]


def build_definitions(
    overrides: Mapping[str, Any] | None = None, with_collections: bool = True, documents: str = ""
) -> dg.Definitions:
    """Fresh definitions; tests and the command line give their own resources. documents: the address above docs/."""
    ours = {
        "project": ProjectResource(home=dg.EnvVar("GROUNDPLAN_HOME")),
        "notifier": Notifier(),
        "database": DatabaseResource(),
    }
    resources = {**ours, **(overrides or {})}
    return dg.Definitions(
        assets=_linked(ASSETS if with_collections else IMAGERY, documents),
        asset_checks=checks,
        resources=resources,
        executor=dg.in_process_executor,
        sensors=[
            sensor(),
            *alarms(),
            *sources.SENSORS,
            image_inbox_sensor,
            *([new_image_classes] if with_collections else []),
        ],
        schedules=schedules(),
        jobs=[*jobs.JOBS, *([jobs.NEW_CLASSES] if with_collections else [])],
    )


def _sensors() -> list[dg.SensorDefinition]:
    return [sensor(), *alarms(), *sources.SENSORS, image_inbox_sensor]


def _linked(assets: list[dg.AssetsDefinition], root: str) -> list[dg.AssetsDefinition]:
    """The assets, with links to their pages of our documents in place of the pages' paths."""

    def linked(spec: dg.AssetSpec) -> dg.AssetSpec:
        page = spec.metadata.get("documents")
        if page is None:
            return spec
        return spec.merge_attributes(metadata={"documents": dg.MetadataValue.url(f"{root}/{page.value}")})

    return [asset.map_asset_specs(linked) for asset in assets] if root else assets


def of_project(home: str | None) -> dg.Definitions:
    """The definitions as they fit a project, which no network is asked for; of one that cannot be opened, all of them:
    runs and sensors say what is wrong, each in its own place.
    """
    try:
        project = open_project(home or "")
    except GroundplanError:
        return build_definitions()
    serving = project.settings.serving
    return build_definitions(with_collections=may_have_collections(project), documents=serving.docs_url or serving.url)


def may_have_collections(project: Project) -> bool:
    """Whether there are image collections, or may be: nobody looks into a bucket while definitions load.

    A project that was made for collections (`[collections]` in its settings) shows them before the first is added.
    """
    root = project.store.root
    return root is None or (root / "collections").is_dir() or "collections" in project.settings.model_fields_set


defs = of_project(os.environ.get("GROUNDPLAN_HOME"))

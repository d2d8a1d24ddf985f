"""What the maps' pages are told besides places: credits, versions of what is drawn, what lies below the map.

Here: these facts, for the country and for a region in a year. Not here: the places themselves
(groundplan/operations/country_map.py), HTTP (app.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from groundplan.changes import changes
from groundplan.changes.states import CHANGED, GONE, NEW, STATES
from groundplan.core.manifest import Manifest
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput
from groundplan.footprints import export, footprints, predictions
from groundplan.imagery import credits, tiles
from groundplan.labels import masks, registers
from groundplan.project import Project

DRAWN = (tiles.DATASET, predictions.DATASET, masks.DATASET, registers.DATASET, footprints.DATASET)
DOWNLOADS = (".gpkg", ".parquet", ".geojson", ".csv")
"""Formats of one file, of those that are exported."""


def of_all(project: Project) -> dict[str, Any]:
    """Of the country's map. Credits are those of the settings: files are asked region by region."""
    return {
        **_outside(project),
        "credits": credits.credits_by(project, Partition(0), ()).line,
    }


def of_one(project: Project, partition: Partition, manifest: Callable[..., Manifest]) -> dict[str, Any]:
    """Of a region's map in a year. `made` names what is drawn by its content: another name is a change to be shown."""
    made = {name: found for name in DRAWN if (found := _found(manifest, name, partition))}
    register, ours = made.get(registers.DATASET), footprints.DATASET in made
    known = credits.credits_of(project, partition)
    return {
        **_outside(project),
        "made": {name: found.identity() for name, found in made.items()},
        "changed": max((found.committed for found in made.values()), default=""),
        "compared": bool(
            footprints.DATASET in made and register and register.objects["buildings"].facts["complete_m2"]
        ),
        "changes": _changes(project, partition, manifest),
        "downloads": [kind for kind in DOWNLOADS if kind in export.FORMATS] if ours else [],
        "credits": known.line,
        "uncredited": None if known.line else credits.UNKNOWN,
    }


def _changes(project: Project, partition: Partition, manifest: Callable[..., Manifest]) -> dict[str, Any] | None:
    """How many buildings changed since the year before, and the picture of some; None where they were not compared."""
    found = _found(manifest, changes.DATASET, partition)
    if found is None:
        return None
    picture = f"previews/{changes.DATASET}/{partition.path}.jpg"
    counts = {state: found.objects["changes"].facts[state] for state in STATES}
    shown = any(counts[state] for state in (NEW, GONE, CHANGED)) and project.store.exists(picture)
    return {"counts": counts, "picture": f"{quote(picture)}?of={found.identity()}" if shown else None}


def _outside(project: Project) -> dict[str, Any]:
    """Addresses that the page may lead to, or draw from."""
    serving = project.settings.serving
    basemap = {"url": serving.basemap, "attribution": serving.basemap_attribution} if serving.basemap else None
    return {"dagster": serving.dagster_url, "basemap": basemap}


def _found(manifest: Callable[..., Manifest], name: str, partition: Partition) -> Manifest | None:
    try:
        return manifest(name, partition)
    except MissingInput:
        return None

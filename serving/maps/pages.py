"""The pages of the preview server: the two maps' frames, what was made of a partition, and why there is no page.

Here: what the templates show; they lie in templates/, and escape all of it. Not here: what the maps do in the browser
(static/*.js).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from groundplan import pipeline
from groundplan.core.manifest import Manifest
from groundplan.core.partition import Partition
from groundplan.core.templates import templates
from groundplan.errors import MissingInput
from groundplan.imagery import credits
from groundplan.project import Project
from groundplan.quality.checks import GUARDS
from groundplan.quality.verdict import verdict_key
from groundplan.step import Scope

MOST_OBJECTS = 300  # lines of a partition's page
UNREADABLE = "the last verdict cannot be read; run the check again"
Link = tuple[str, str]
"""Words, and an address below the server's root."""


def _page(template: str, **shown: Any) -> str:
    return templates(__package__).get_template(f"{template}.html.j2").render(shown)


def country() -> str:
    """The frame of the country's map; /map/."""
    return _page("country", title="All regions", root="../", script="country.js")


def region(partition: Partition) -> str:
    """The frame of a region's map in a year; /map/REGION/YEAR/."""
    return _page("region", title=f"{partition.region} {partition.year}", root="../../../", script="region.js")


def refusal(status: int, reason: str, root: str = "./") -> str:
    """Why there is no page, with the way back to the map; root: the way from the page to the server's root."""
    return _page("refused", status=status, reason=reason, root=root)


def partition(project: Project, manifest: Manifest) -> str:
    """What was made of a partition of a dataset: its picture, verdicts, figures and objects."""
    scope = Scope.REGION if manifest.partition.region else Scope.YEAR
    objects = list(_objects(project, manifest))
    return _page(
        "partition",
        root="../../../" if scope is Scope.REGION else "../../",
        manifest=manifest,
        others=[_other(manifest, name) for name in pipeline.ASSETS if pipeline.STEPS[name].scope is scope],
        links=_links(project, manifest),
        picture=_picture(project, manifest),
        credits=_credits(project, manifest),
        verdicts=list(_verdicts(project, manifest)),
        figures=_figures(manifest),
        facts=[(name, placeless(project, value)) for name, value in _facts(manifest)],
        objects=objects,
        more=len(manifest.objects) - len(objects),
    )


def _figures(manifest: Manifest) -> list[tuple[str, Any]]:
    return [
        ("objects", len(manifest.objects)),
        ("size", f"{manifest.total_bytes / 1e6:,.2f} MB"),
        ("last run took", f"{manifest.seconds:,.1f} s"),
        ("processor time", f"{manifest.cpu_seconds:,.1f} s"),
        ("committed", manifest.committed.replace("T", " ")),
        ("code version", manifest.version),
        ("fingerprint of the plan", manifest.fingerprint),
    ]


def _links(project: Project, manifest: Manifest) -> list[Link]:
    """To the map, and to Dagster where its address is known."""
    part, dagster = manifest.partition, project.settings.serving.dagster_url
    links = [("map", f"map/{quote(part.region)}/{part.year}/" if part.region else "map/")]
    if dagster:
        key = f"{part.region}|{part.year}" if part.region else str(part.year)
        links.append(("Dagster", f"{dagster}/assets/{manifest.dataset}?view=partitions&partition={quote(key)}"))
        if manifest.run:
            links.append(("run", f"{dagster}/runs/{quote(manifest.run)}"))
    return links


def _other(manifest: Manifest, name: str) -> Link:
    part = manifest.partition
    return name, f"partition/{name}/{part.year}" + (f"/{quote(part.region)}" if part.region else "")


def _credits(project: Project, manifest: Manifest) -> list[tuple[str, str]]:
    """Who is to be named for a region's data, and the licences; the first line is all of it."""
    if not manifest.partition.region:
        return []
    known = credits.credits_of(project, manifest.partition)
    kinds = (("imagery", known.imagery), ("register", known.register), ("footprints", known.footprints))
    return [("all", known.line or credits.UNKNOWN), *((name, credit.line or "not stated") for name, credit in kinds)]


def _picture(project: Project, manifest: Manifest) -> str:
    """Its address; empty where there is none."""
    for ending in ("jpg", "png"):
        key = f"previews/{manifest.dataset}/{manifest.partition.path}.{ending}"
        if project.store.exists(key):
            return quote(key)
    return ""


def _verdicts(project: Project, manifest: Manifest) -> Iterator[dict[str, str]]:
    """The last verdict of each check of the dataset, with the address of its picture."""
    for check in (guard.name for guard in GUARDS if guard.dataset == manifest.dataset):
        try:
            raw = json.loads(project.store.get(verdict_key(check, manifest.partition)))
            mark = "passed" if raw["passed"] else "failed" if raw["serious"] else "warning"
            picture = quote(raw["picture"]) if raw.get("picture") else ""
            yield {"check": check, "mark": mark, "message": placeless(project, raw["message"]), "picture": picture}
        except MissingInput:
            continue
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            yield {"check": check, "mark": "warning", "message": UNREADABLE, "picture": ""}


def _facts(manifest: Manifest) -> list[tuple[str, Any]]:
    """What the step says of a partition that is one object."""
    if len(manifest.objects) != 1:
        return []
    facts = next(iter(manifest.objects.values())).facts
    return [(name, value) for name, value in facts.items() if name != "edges"]


def _objects(project: Project, manifest: Manifest) -> Iterator[tuple[str, ...]]:
    for name, made in list(manifest.objects.items())[:MOST_OBJECTS]:
        yield name, f"{made.bytes / 1e6:,.3f} MB", f"{made.cpu_seconds:,.2f} s", made.fingerprint, made.key


def placeless(project: Project, value: Any) -> Any:
    """A text without this machine's folders: who reads a page learns keys of the store, not where it lies."""
    if not isinstance(value, str):
        return value
    store, home = project.store, str(project.home)
    places = [store.url, str(store.root or store.url), Path(home).as_uri(), home]
    for place in sorted((place for place in places if len(place) > 1), key=len, reverse=True):
        value = value.replace(place.rstrip("/") + "/", "").replace(place, "the store")
    return re.sub(r"file:///\S*/", "", value)

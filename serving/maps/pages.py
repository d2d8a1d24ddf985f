"""The HTML of the preview server: the two maps' frames, and what was made of a partition.

Here: text into HTML, everything escaped. Not here: what the maps do in the browser (static/*.js).
"""

from __future__ import annotations

import html
import json
from typing import Any
from urllib.parse import quote

from groundplan import pipeline
from groundplan.core.manifest import Manifest
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput
from groundplan.project import Project
from groundplan.quality.checks import GUARDS
from groundplan.quality.verdict import verdict_key
from groundplan.step import Scope

MOST_OBJECTS = 300  # lines of a partition's page


def country() -> str:
    """The frame of the country's map; /map/."""
    return _frame(
        "The country by year",
        "../",
        "country.js",
        """
<div id="map" aria-label="map of the country"></div>
<section id="head"><h1>Groundplan</h1><p id="sum"></p></section>
<section id="years"><button id="play" title="run through the years">&#9654;</button>
<input id="year" type="range" step="1" aria-label="year"><output id="shown"></output></section>
<section id="legend"></section><section id="details" hidden></section>""",
    )


def region(partition: Partition) -> str:
    """The frame of a region's map in a year; /map/REGION/YEAR/."""
    title = html.escape(f"{partition.region} {partition.year}")
    return _frame(
        title,
        "../../../",
        "region.js",
        f"""
<div id="map" aria-label="map of {title}"></div>
<section id="head"><p><a href="map/">&larr; country</a></p><h1>{title}</h1><p id="sum"></p></section>
<section id="layers"></section><section id="details" hidden></section>""",
    )


def _frame(title: str, root: str, script: str, body: str) -> str:
    """root: the way from the page to the server's root, so that it also works below a path of a larger site."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><base href="{root}"><title>{title} - Groundplan</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="static/vendor/maplibre-gl.css"><link rel="stylesheet" href="static/site.css">
<link rel="icon" href="data:,"></head>
<body class="map">{body}
<script type="module" src="static/{script}"></script></body></html>
"""


def partition(project: Project, manifest: Manifest) -> str:
    """What was made of a partition of a dataset: its picture, verdicts, figures and objects."""
    part, dagster = manifest.partition, project.settings.serving.dagster_url
    root = "../../../" if part.region else "../../"
    figures = {
        "objects": len(manifest.objects),
        "size": f"{manifest.total_bytes / 1e6:,.2f} MB",
        "last run took": f"{manifest.seconds:,.1f} s",
        "processor time": f"{manifest.cpu_seconds:,.1f} s",
        "committed": manifest.committed.replace("T", " "),
        "code version": manifest.version,
        "fingerprint of the plan": manifest.fingerprint,
    }
    links = [_link(f"map/{quote(part.region)}/{part.year}/", "map")] if part.region else [_link("map/", "map")]
    if dagster:
        key = f"{part.region}|{part.year}" if part.region else str(part.year)
        links += [_link(f"{dagster}/assets/{manifest.dataset}?view=partitions&partition={quote(key)}", "Dagster")]
        if manifest.run:
            links += [_link(f"{dagster}/runs/{quote(manifest.run)}", "run")]
    others = [
        _other(manifest, name)
        for name in pipeline.ASSETS
        if bool(part.region) == (pipeline.STEPS[name].scope is Scope.REGION)
    ]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><base href="{root}"><title>{_text(manifest.dataset)} {_text(part)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="static/site.css">
<link rel="icon" href="data:,"></head>
<body class="page"><nav>{" ".join(others)}</nav>
<h1>{_text(manifest.dataset)} <small>{_text(part)}</small></h1><p>{" &middot; ".join(links)}</p>
{_picture(project, manifest)}{_verdicts(project, manifest)}
<h2>Figures</h2>{_table(figures.items())}{_facts(manifest)}
<h2>Objects</h2>{_objects(project, manifest)}</body></html>
"""


def _text(value: Any) -> str:
    return html.escape(str(value))


def _link(target: str, text: str) -> str:
    return f'<a href="{html.escape(target, quote=True)}">{_text(text)}</a>'


def _other(manifest: Manifest, name: str) -> str:
    part = manifest.partition
    if name == manifest.dataset:
        return f"<b>{_text(name)}</b>"
    return _link(f"partition/{name}/{part.year}" + (f"/{quote(part.region)}" if part.region else ""), name)


def _picture(project: Project, manifest: Manifest) -> str:
    for ending in ("jpg", "png"):
        key = f"previews/{manifest.dataset}/{manifest.partition.path}.{ending}"
        if project.store.exists(key):
            return f'<p><img src="{quote(key)}" alt="{_text(manifest.dataset)}"></p>'
    return ""


def _verdicts(project: Project, manifest: Manifest) -> str:
    """The last verdict of each check of the dataset, its picture beside it."""
    found = []
    for check in (guard.name for guard in GUARDS if guard.dataset == manifest.dataset):
        try:
            raw = json.loads(project.store.get(verdict_key(check, manifest.partition)))
        except (MissingInput, ValueError):
            continue
        mark = "passed" if raw["passed"] else "failed" if raw["serious"] else "warning"
        shown = f'<p><img src="{quote(raw["picture"])}" alt="where"></p>' if raw.get("picture") else ""
        found.append(f'<li class="{mark}"><b>{_text(check)}</b> {mark}: {_text(raw["message"])}{shown}</li>')
    return f"<h2>Checks</h2><ul>{''.join(found)}</ul>" if found else ""


def _facts(manifest: Manifest) -> str:
    """What the step says of a partition that is one object."""
    if len(manifest.objects) != 1:
        return ""
    facts = next(iter(manifest.objects.values())).facts
    return _table((name, value) for name, value in facts.items() if name != "edges")


def _objects(project: Project, manifest: Manifest) -> str:
    lines = []
    for name, made in list(manifest.objects.items())[:MOST_OBJECTS]:
        cells = (name, f"{made.bytes / 1e6:,.3f} MB", f"{made.cpu_seconds:,.2f} s", made.fingerprint)
        address = f"<code>{_text(project.store.uri(made.key))}</code>"
        lines.append(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}<td>{address}</td></tr>")
    more = len(manifest.objects) - len(lines)
    said = f"<p>and {more:,} more</p>" if more > 0 else ""
    heads = "".join(f"<th>{head}</th>" for head in ("object", "size", "processor", "fingerprint", "address"))
    return f'<div class="wide"><table><tr>{heads}</tr>{"".join(lines)}</table></div>{said}'


def _table(rows: Any) -> str:
    lines = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
    return f'<div class="wide"><table>{lines}</table></div>'

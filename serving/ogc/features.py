"""Footprints as GeoJSON, a page at a time.

Here: rows of the database as features, and the links around them. Not here: what is asked (asked.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import numpy as np

from groundplan.core.geographic import geographic
from groundplan.database import queries
from serving.ogc import asked
from serving.ogc.results import CRS84, EPSG, Collection, Results

KIND = "application/geo+json"


def items(results: Results, collection: Collection, query: asked.Query, root: str) -> tuple[bytes, str]:
    """A page of a collection as a FeatureCollection, and the URI of its CRS. Raises Problem."""
    asked.check_names(query, asked.SELECTING | asked.PAGING)
    limit, uri, key = asked.limit_of(query), asked.crs_of(results, query), asked.after_of(query)
    selection = asked.selection_of(results, collection, query)
    page = queries.Page([], False, 0)
    if selection is not None:
        with results.reading() as connection:
            page = queries.page(connection, selection, limit, key)
    here = f"{root}/ogc/collections/{collection.id}"
    links = [_link(f"{here}/items?{urlencode(query)}", "self", KIND), _link(here, "collection", "application/json")]
    if page.more:
        last = page.rows[-1]
        more = urlencode({**query, "limit": limit, "after": asked.after((last.region, last.id))})
        links.append(_link(f"{here}/items?{more}", "next", KIND))
    members: dict[str, Any] = {
        "links": links,
        "timeStamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "numberReturned": len(page.rows),
    }
    if page.matched is not None:
        members["numberMatched"] = page.matched
    members |= {"attribution": collection.attribution, "licence": collection.licence}
    body = ",".join(features(results, page.rows, uri))
    return f'{{"type":"FeatureCollection",{json.dumps(members)[1:-1]},"features":[{body}]}}'.encode(), uri


def single(results: Results, collection: Collection, row: Any, query: asked.Query, root: str) -> tuple[bytes, str]:
    """One footprint as a Feature, and the URI of its CRS."""
    uri = asked.crs_of(results, query)
    here = f"{root}/ogc/collections/{collection.id}"
    links = [_link(f"{here}/items/{row.id}", "self", KIND), _link(here, "collection", "application/json")]
    (feature,) = features(results, [row], uri)
    return f'{feature[:-1]},"links":{json.dumps(links)}}}'.encode(), uri


def features(results: Results, rows: Sequence[Any], uri: str) -> list[str]:
    """GeoJSON texts of footprints, coordinates in a CRS that a URI names."""
    import shapely

    shapes = shapely.from_wkb(np.array([bytes(row.geom) for row in rows], object))
    if uri in (CRS84, f"{EPSG}4326"):
        shapes = geographic(shapes, results.project.grid.crs)
        if uri != CRS84:
            shapes = shapely.transform(shapes, lambda points: points[:, ::-1])
    texts = shapely.to_geojson(shapes) if len(shapes) else []
    return [
        f'{{"type":"Feature","id":{json.dumps(row.id)},"geometry":{text},"properties":{_properties(row)}}}'
        for row, text in zip(rows, texts, strict=True)
    ]


def _properties(row: Any) -> str:
    return json.dumps(
        {
            "id": row.id,
            "region": row.region,
            "year": row.year,
            "confidence": round(row.confidence, 4),
            "area_m2": round(row.area, 2),
            "image_date": row.image_date,
            "sheet": row.sheet,
            "model": row.model,
            "block": row.block,
            "fingerprint": row.fingerprint,
        },
        ensure_ascii=False,
    )


def _link(href: str, rel: str, kind: str) -> dict[str, str]:
    return {"href": href, "rel": rel, "type": kind}

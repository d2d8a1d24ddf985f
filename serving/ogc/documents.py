"""What the API says of itself: landing page, conformance, collections, queryables, tile sets.

Here: JSON documents. Conformance names what tests ask, and nothing else. Not here: features and tiles themselves.
"""

from __future__ import annotations

from typing import Any

from serving.ogc.filters import PROPERTIES
from serving.ogc.results import CRS84, Collection, Results

JSON = "application/json"
MVT = "application/vnd.mapbox-vector-tile"
SCHEMA = "application/schema+json"
DOWNLOADS = {
    "gpkg": "application/geopackage+sqlite3",
    "parquet": "application/vnd.apache.parquet",
    "csv": "application/zip",  # the table, and who is to be named beside it
}
CONFORMS = (
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/collections",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
    "http://www.opengis.net/spec/ogcapi-features-2/1.0/conf/crs",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/queryables",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/features-filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-text",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2",
    "http://www.opengis.net/spec/cql2/1.0/conf/advanced-comparison-operators",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-spatial-functions",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/tileset",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/mvt",
)
MATRIX_SET = "WebMercatorQuad"
MATRIX_SET_URI = f"http://www.opengis.net/def/tilematrixset/OGC/1.0/{MATRIX_SET}"
LEAST_ZOOM, MOST_ZOOM = 13, 16
"""Of vector tiles: further out a building is less than a pixel; closer, a map stretches those of the last."""


def landing(root: str) -> dict[str, Any]:
    links = [
        link(f"{root}/ogc/", "self"),
        link(f"{root}/openapi.json", "service-desc", "application/vnd.oai.openapi+json;version=3.1"),
        link(f"{root}/docs", "service-doc", "text/html"),
        link(f"{root}/ogc/conformance", "conformance"),
        link(f"{root}/ogc/collections", "data"),
        link(f"{root}/ogc/imagery", "http://www.opengis.net/def/rel/ogc/1.0/tilesets-map"),
        link(f"{root}/ogc/wmts", "alternate", "application/xml", "WMTS capabilities of the imagery"),
    ]
    return {
        "title": "Building footprints",
        "description": "Buildings found in aerial imagery by Groundplan: a collection a year.",
        "links": links,
    }


def conformance() -> dict[str, Any]:
    return {"conformsTo": list(CONFORMS)}


def listed(results: Results, found: list[Collection], root: str) -> dict[str, Any]:
    links = [link(f"{root}/ogc/collections", "self")]
    return {"links": links, "crs": list(results.crss), "collections": [collection(results, one, root) for one in found]}


def collection(results: Results, one: Collection, root: str) -> dict[str, Any]:
    here = f"{root}/ogc/collections/{one.id}"
    links = [
        link(here, "self"),
        link(f"{here}/items", "items", "application/geo+json"),
        link(f"{here}/queryables", "http://www.opengis.net/def/rel/ogc/1.0/queryables", SCHEMA),
        link(f"{here}/tiles", "http://www.opengis.net/def/rel/ogc/1.0/tilesets-vector"),
        *(link(f"{here}/download.{kind}", "enclosure", media) for kind, media in DOWNLOADS.items()),
    ]
    told: dict[str, Any] = {
        "id": one.id,
        "title": f"Building footprints, {one.year}",
        "description": f"{one.rows} buildings of {len(one.regions)} regions. Licence: {one.licence or 'not stated'}.",
        "itemType": "feature",
        "links": links,
        "crs": list(results.crss),
        "storageCrs": results.crs or CRS84,
        "attribution": one.attribution,
        "license": one.licence,
    }
    if one.box:
        told["extent"] = {
            "spatial": {"bbox": [list(one.box)], "crs": CRS84},
            "temporal": {"interval": [[_moment(one.days[0]), _moment(one.days[1])]]},
        }
    return told


def queryables(one: Collection, root: str) -> dict[str, Any]:
    here = f"{root}/ogc/collections/{one.id}"
    properties: dict[str, Any] = {
        name: {"title": name, "description": words, **_typed(kind)} for name, (_, kind, words) in PROPERTIES.items()
    }
    properties["geometry"] = {"title": "geometry", "format": "geometry-polygon"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{here}/queryables",
        "type": "object",
        "title": f"Building footprints, {one.year}",
        "properties": properties,
        "additionalProperties": False,
    }


def tilesets(one: Collection, root: str) -> dict[str, Any]:
    return {"tilesets": [tileset(one, root)], "links": [link(f"{root}/ogc/collections/{one.id}/tiles", "self")]}


def tileset(one: Collection, root: str) -> dict[str, Any]:
    here = f"{root}/ogc/collections/{one.id}/tiles/{MATRIX_SET}"
    return {
        "title": f"Building footprints, {one.year}",
        "dataType": "vector",
        "crs": "http://www.opengis.net/def/crs/EPSG/0/3857",
        "tileMatrixSetURI": MATRIX_SET_URI,
        "links": [
            link(here, "self"),
            link(MATRIX_SET_URI, "http://www.opengis.net/def/rel/ogc/1.0/tiling-scheme"),
            {**link(f"{here}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}", "item", MVT), "templated": True},
            link(f"{here}/tilejson.json", "alternate"),
        ],
    }


def tilejson(one: Collection, root: str, query: str = "") -> dict[str, Any]:
    """TileJSON 3 of a collection's vector tiles."""
    here = f"{root}/ogc/collections/{one.id}/tiles/{MATRIX_SET}"
    fields = {"id": "String", "region": "String", "confidence": "Number", "area": "Number", "image_date": "String"}
    return {
        "tilejson": "3.0.0",
        "name": one.id,
        "attribution": one.attribution or "",
        "tiles": [f"{here}/{{z}}/{{y}}/{{x}}{query}"],
        "minzoom": LEAST_ZOOM,
        "maxzoom": MOST_ZOOM,
        "bounds": list(one.box) if one.box else [-180, -85.05, 180, 85.05],
        "vector_layers": [{"id": "footprints", "fields": fields}],
    }


def link(href: str, rel: str, kind: str = JSON, title: str = "") -> dict[str, Any]:
    return {"href": href, "rel": rel, "type": kind, **({"title": title} if title else {})}


def _typed(kind: str) -> dict[str, str]:
    return {"type": "string", "format": "date"} if kind == "date" else {"type": kind}


def _moment(day: str | None) -> str | None:
    return f"{day}T00:00:00Z" if day else None

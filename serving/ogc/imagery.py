"""Where imagery's tiles are, in the words of others: TileJSON, OGC tile sets, WMTS capabilities.

Here: documents. The tiles are the map server's (serving/maps), at one address for all. Not here: drawing them.
https://docs.ogc.org/is/17-057r2/17-057r2.html https://www.ogc.org/standard/wmts (1.0.0, RESTful)
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from groundplan.core.geographic import box_of
from groundplan.core.grid import Bounds
from groundplan.core.manifest import committed
from groundplan.core.partition import Partition
from groundplan.imagery import tiles
from groundplan.imagery.landing import check_region_name
from groundplan.project import Project
from serving.maps.cache import Reading, zooms
from serving.ogc.documents import MATRIX_SET, MATRIX_SET_URI, link

HALF = 20_037_508.342789244
SCALE = 559_082_264.0287178  # denominator of the first level, of 256 pixels of 0.28 mm around the equator
MOST_LAYERS = 5000  # of one document; a whole country is asked for year by year

OPEN = """<?xml version="1.0" encoding="UTF-8"?>
<Capabilities xmlns="http://www.opengis.net/wmts/1.0" xmlns:ows="http://www.opengis.net/ows/1.1"
 xmlns:xlink="http://www.w3.org/1999/xlink" version="1.0.0">
<ows:ServiceIdentification><ows:Title>Aerial imagery</ows:Title><ows:ServiceType>OGC WMTS</ows:ServiceType>
<ows:ServiceTypeVersion>1.0.0</ows:ServiceTypeVersion></ows:ServiceIdentification>
<Contents>"""


def partitions(project: Project, year: int | None = None) -> list[Partition]:
    """Regions and years with imagery, as many as a document holds: one listing of the store."""
    return sorted(one.partition for one in committed(project.store, tiles.DATASET, year))[:MOST_LAYERS]


def listed(project: Project, root: str, year: int | None) -> dict[str, Any]:
    found = [
        {
            "title": f"Aerial imagery of {one.region}, {one.year}",
            "dataType": "map",
            "crs": "http://www.opengis.net/def/crs/EPSG/0/3857",
            "tileMatrixSetURI": MATRIX_SET_URI,
            "links": [
                {
                    **link(template(root, one, "{tileMatrix}", "{tileCol}", "{tileRow}"), "item", "image/png"),
                    "templated": True,
                },
                link(tilejson_at(root, one), "alternate"),
            ],
        }
        for one in partitions(project, year)
    ]
    return {"tilesets": found, "links": [link(f"{root}/ogc/imagery", "self")]}


def template(root: str, one: Partition, z: str, x: str, y: str) -> str:
    return f"{root}/tiles/{tiles.DATASET}/{quote(one.region)}/{one.year}/{z}/{x}/{y}.png"


def tilejson_at(root: str, one: Partition) -> str:
    return f"{root}/ogc/imagery/{quote(one.region)}/{one.year}/tilejson.json"


def tilejson(reading: Reading, root: str, region: str, year: int) -> dict[str, Any]:
    """TileJSON 3 of a region's imagery. Raises BadConfig, MissingInput."""
    one = Partition(year, check_region_name(region))
    facts = json.loads(reading.region(one).data)
    return {
        "tilejson": "3.0.0",
        "name": f"Aerial imagery of {region}, {year}",
        "attribution": facts["credits"] or "",
        "tiles": [template(root, one, "{z}", "{x}", "{y}")],
        "minzoom": facts["least_zoom"],
        "maxzoom": facts["most_zoom"],
        "bounds": facts["bounds"],
    }


def capabilities(reading: Reading, root: str, year: int | None) -> str:
    """WMTS capabilities: a layer for each region and year, and levels down to the imagery's own pixels.

    Who made the imagery is in each layer's TileJSON: to say it here would read every region's catalogue.
    """
    boxes, grid = _boxes(reading), reading.project.grid
    found = partitions(reading.project, year)
    layers = "".join(_layer(root, one, boxes.get(one.region)) for one in found)
    latitudes = [(box[1] + box[3]) / 2 for box in boxes.values()] or [0.0]
    deepest = max(zooms(grid, latitude)[1] for latitude in latitudes)
    end = f"<ServiceMetadataURL xlink:href={quoteattr(f'{root}/ogc/wmts')}/></Capabilities>"
    return f"{OPEN}{layers}{_matrices(deepest)}</Contents>{end}"


def _boxes(reading: Reading) -> dict[str, Bounds]:
    """West, south, east, north of each region, as the country's map knows them."""
    import shapely

    shapes = {
        each["properties"]["name"]: shapely.geometry.shape(each["geometry"])
        for each in json.loads(reading.country().data)["regions"]["features"]
    }
    return {name: box for name, shape in shapes.items() if (box := box_of([shape]))}


def _layer(root: str, one: Partition, box: Bounds | None) -> str:
    address = template(root, one, "{TileMatrix}", "{TileCol}", "{TileRow}")
    return (
        f"<Layer><ows:Title>{escape(f'{one.region} {one.year}')}</ows:Title>"
        f"{_corners(box)}<ows:Identifier>{escape(f'{one.region}_{one.year}')}</ows:Identifier>"
        f"<ows:Metadata xlink:href={quoteattr(tilejson_at(root, one))}/>"
        '<Style isDefault="true"><ows:Identifier>default</ows:Identifier></Style><Format>image/png</Format>'
        f"<TileMatrixSetLink><TileMatrixSet>{MATRIX_SET}</TileMatrixSet></TileMatrixSetLink>"
        f'<ResourceURL format="image/png" resourceType="tile" template={quoteattr(address)}/></Layer>'
    )


def _corners(box: Bounds | None) -> str:
    if box is None:
        return ""
    west, south, east, north = box if box[0] <= box[2] else (-180.0, box[1], 180.0, box[3])  # across the 180th meridian
    return (
        f"<ows:WGS84BoundingBox><ows:LowerCorner>{west!r} {south!r}</ows:LowerCorner>"
        f"<ows:UpperCorner>{east!r} {north!r}</ows:UpperCorner></ows:WGS84BoundingBox>"
    )


def _matrices(deepest: int) -> str:
    one = (
        "<TileMatrix><ows:Identifier>{z}</ows:Identifier><ScaleDenominator>{scale!r}</ScaleDenominator>"
        f"<TopLeftCorner>{-HALF!r} {HALF!r}</TopLeftCorner><TileWidth>256</TileWidth><TileHeight>256</TileHeight>"
        "<MatrixWidth>{side}</MatrixWidth><MatrixHeight>{side}</MatrixHeight></TileMatrix>"
    )
    levels = "".join(one.format(z=z, scale=SCALE / 2**z, side=2**z) for z in range(deepest + 1))
    return (
        f"<TileMatrixSet><ows:Identifier>{MATRIX_SET}</ows:Identifier>"
        f"<ows:SupportedCRS>urn:ogc:def:crs:EPSG::3857</ows:SupportedCRS>{levels}</TileMatrixSet>"
    )

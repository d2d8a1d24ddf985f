"""What a region's map asks of its buildings one by one, and files of them to keep.

Here: the register beside the footprints, one building, downloads. Not here: footprints in view, tiles and pages
(app.py); formats (groundplan/footprints/export.py).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from groundplan.core.geographic import box_of as box_around
from groundplan.core.geographic import geographic
from groundplan.core.manifest import Made, Manifest
from groundplan.core.partition import Partition
from groundplan.footprints import export, footprints
from groundplan.labels import registers
from serving.maps.asked import box_of, place, zoom_of
from serving.maps.cache import Box, Reading, whole
from serving.maps.http import Refused, answer, tag_of, unchanged
from serving.maps.region_facts import DOWNLOADS

if TYPE_CHECKING:
    import geopandas as gpd

    from serving.maps.app import Site

MOST_BYTES = 32 * 2**20  # of a stored file of footprints of which a browser is given another format
MOST_WAITING = 8  # downloads; they are made one after the other
TELLING = ("id", "confidence", "area", "image_date", "sheet", "model", "block", "fingerprint")
KINDS = {
    ".gpkg": "application/geopackage+sqlite3",
    ".parquet": "application/vnd.apache.parquet",
    ".geojson": "application/geo+json",
    ".csv": "text/csv; charset=utf-8",
}
Least = tuple[float, float]
"""Confidence, and area in m2, from which on a building is taken."""


def routes(site: Site) -> list[Route]:
    buildings = Buildings(site)
    return [
        Route("/agreement/{region}/{year:int}.geojson", buildings.agreement),
        Route("/building/{region}/{year:int}/{id}.json", buildings.building),
        Route("/download/{region}/{year:int}/footprints.{ending}", buildings.download),
    ]


class Buildings:
    """The routes of single buildings and of files, over what the site keeps."""

    def __init__(self, site: Site) -> None:
        self.site, self.reading = site, site.reading
        self.waiting = 0
        self.turn: anyio.CapacityLimiter | None = None

    async def agreement(self, request: Request) -> Response:
        """GeoJSON of what was found, missed and invented, where the register is complete."""
        partition = place(request)
        box, zoom = box_of(request.query_params.get("bbox", "")), zoom_of(request.query_params.get("zoom", "18"))
        made, register = [
            (await self._manifest(request, dataset, partition)).objects[name]
            for dataset, name in ((footprints.DATASET, "footprints"), (registers.DATASET, "buildings"))
        ]
        body = await self.site.look(request, self.reading.agreement, made, register, partition, box, zoom)
        return whole(request, body, "application/geo+json")

    async def building(self, request: Request) -> Response:
        """All that the file says of a building, and the box around it; null where no building is called so."""
        partition = place(request)
        made = (await self._manifest(request, footprints.DATASET, partition)).objects["footprints"]
        name: str = request.path_params["id"]
        told = await self.site.do(request, building, self.reading, made, name)
        data = json.dumps({"building": told}, ensure_ascii=False).encode()
        return answer(request, data, "application/json", tag_of(data))

    async def download(self, request: Request) -> Response:
        """The partition's footprints, or those of a box and above a confidence and area, as a file to keep."""
        partition, ending = place(request), f".{request.path_params['ending']}"
        if ending not in DOWNLOADS or ending not in export.FORMATS:
            raise Refused(404, f"There are files of {', '.join(kind for kind in DOWNLOADS if kind in export.FORMATS)}")
        box, least = box_of(request.query_params.get("bbox", "")), least_of(request)
        manifest = await self._manifest(request, footprints.DATASET, partition)
        made = manifest.objects["footprints"]
        if made.bytes > MOST_BYTES:
            told = f"It has {made.bytes / 2**20:.0f} MiB, more than is given here. Run `groundplan export`."
            raise Refused(413, told)
        name = f"{partition.region}-{partition.year}{'-part' if box or any(least) else ''}{ending}"
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
        tag = tag_of(made.key, ending, box, least)
        if request.method == "HEAD" or unchanged(request, tag):
            return answer(request, b"", KINDS[ending], tag, headers)
        data = await self._in_turn(request, partition, made, ending, box, least)
        return answer(request, data, KINDS[ending], tag, headers)

    async def _in_turn(self, request: Request, *asked: Any) -> bytes:
        """One file at a time: a whole region of buildings in a format of its own is much memory."""
        self.turn = self.turn or anyio.CapacityLimiter(1)
        if self.waiting >= MOST_WAITING:
            raise Refused(503, "too many files are asked for already")
        self.waiting += 1
        try:
            async with self.turn:
                return await self.site.do(request, file_of, self.reading, *asked)
        finally:
            self.waiting -= 1

    async def _manifest(self, request: Request, dataset: str, partition: Partition) -> Manifest:
        manifest: Manifest = await self.site.look(request, self.reading.manifest, dataset, partition)
        return manifest


def building(reading: Reading, made: Made, name: str) -> dict[str, Any] | None:
    """A building's columns as JSON has them, and `box`: west, south, east, north in degrees."""
    _, frame = reading.frame(made)
    rows = frame[frame["id"] == name]
    if rows.empty:
        return None
    row = rows.iloc[0]
    told = {column: _plain(row[column]) for column in TELLING if column in rows}
    return told | {"box": box_around(geographic(rows.geometry.to_numpy(), reading.project.grid.crs))}


def _plain(value: Any) -> Any:
    if value is None or value != value:
        return None
    return round(float(value), 4) if isinstance(value, (int, float)) or hasattr(value, "dtype") else str(value)


def file_of(reading: Reading, partition: Partition, made: Made, ending: str, box: Box | None, least: Least) -> bytes:
    """The bytes of a file of buildings, as `groundplan export` writes it."""
    frame: gpd.GeoDataFrame = reading.within(reading.frame(made)[1], box)
    frame = frame[(frame["confidence"] >= least[0]) & (frame["area"] >= least[1])].reset_index(drop=True)
    with TemporaryDirectory() as folder:
        target = Path(folder) / f"{partition.region}-{partition.year}{ending}"
        export.write(export.layer(frame, partition), target, export.layer_words(reading.project, [partition]))
        return target.read_bytes()


def least_of(request: Request) -> Least:
    """Raises Refused."""
    try:
        confidence, area = (float(request.query_params.get(name, "0")) for name in ("confidence", "area"))
    except ValueError as error:
        raise Refused(400, "confidence and area are numbers") from error
    if not (math.isfinite(confidence) and math.isfinite(area) and 0 <= confidence <= 1 and area >= 0):
        raise Refused(400, "confidence is 0 to 1, area 0 or more square metres")
    return confidence, area

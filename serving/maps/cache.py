"""What the preview server reads of a project, with a bounded memory of what it read before.

Here: manifests, tiles, footprints and the country as bytes. Not here: HTTP (app.py).
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from cachetools import LRUCache, TTLCache, cachedmethod
from starlette.requests import Request
from starlette.responses import Response

from groundplan.core.datum import transformer
from groundplan.core.geographic import WGS84, geographic, unwrapped
from groundplan.core.grid import Block, Grid
from groundplan.core.manifest import (
    Made,
    Manifest,
    load_object,
    need_manifest,
)
from groundplan.core.partition import Partition
from groundplan.errors import MissingInput
from groundplan.footprints import footprints
from groundplan.imagery import tiles
from groundplan.imagery.landing import delivered_partitions
from groundplan.operations import country_map
from groundplan.polygons.geoparquet import read
from groundplan.previews import web_tiles
from groundplan.project import Project
from groundplan.quality.agreement import agreement
from serving.maps import pages, region_facts
from serving.maps.http import answer, tag_of

if TYPE_CHECKING:
    import geopandas as gpd


MANIFEST_SECONDS = 5.0  # for which a manifest is believed
COUNTRY_SECONDS = 10.0
TILE_BYTES = 64 * 2**20  # of encoded tiles kept
FRAME_BYTES = 96 * 2**20  # of footprint files kept, as they lie in the store
GEOJSON_BYTES = 32 * 2**20  # of answers made of them kept, packed ones too
PAGE_BYTES = 16 * 2**20  # of pages and facts, each for MANIFEST_SECONDS
SMALLEST_PACKED = 2000  # bytes
MOST_FEATURES = 4000  # buildings in one answer
COLUMNS = ("id", "confidence", "area", "image_date")  # of each building on the map
WORLD = 40_075_016.7  # metres around the equator

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Body:
    """An answer that is kept, with what is dear to compute of it."""

    data: bytes
    packed: bytes
    """By gzip; empty where it is not worth it."""
    tag: str

    @classmethod
    def of(cls, data: bytes) -> Body:
        packed = gzip.compress(data, 5, mtime=0) if len(data) >= SMALLEST_PACKED else b""
        return cls(data, packed, tag_of(data))

    @property
    def weight(self) -> int:
        return len(self.data) + len(self.packed) + 300


def whole(request: Request, body: Body, kind: str) -> Response:
    """A body that is kept, packed for whoever takes it so."""
    packed = body.packed and "gzip" in request.headers.get("accept-encoding", "")
    headers = {"content-encoding": "gzip", "vary": "accept-encoding"} if packed else {}
    return answer(request, body.packed if packed else body.data, kind, body.tag, headers)


def load_libraries() -> None:
    """What the first answers need, before anybody waits for them: a second in which no other answer is given."""
    for name in ("cv2", "geopandas", "PIL.Image", "pyarrow.parquet", "pyproj", "rasterio.windows", "shapely"):
        import_module(name)


def _tile_key(_: Reading, manifest: Manifest, *place: int) -> Hashable:
    return manifest.dataset, manifest.partition, manifest.identity(), *place


class Reading:
    """Reads of one project, as the routes ask for them."""

    def __init__(self, project: Project) -> None:
        self.project, self.lock = project, threading.Lock()
        self.known: country_map.Known | None = None
        # of whoever looks into what is kept; reading goes on meanwhile, and what is being read is waited for
        self.turn = threading.Condition()
        self.manifests: TTLCache[Any, Manifest] = TTLCache(32, MANIFEST_SECONDS)
        self.tiles: LRUCache[Any, bytes | None] = LRUCache(TILE_BYTES, lambda tile: len(tile or b"") + 200)
        self.frames: LRUCache[Any, tuple[int, gpd.GeoDataFrame]] = LRUCache(FRAME_BYTES, itemgetter(0))
        self.geojson: LRUCache[Any, Body] = LRUCache(GEOJSON_BYTES, attrgetter("weight"))
        self.pages: TTLCache[Any, Body] = TTLCache(PAGE_BYTES, MANIFEST_SECONDS, getsizeof=attrgetter("weight"))
        self.last: tuple[float, Body] | None = None

    @cachedmethod(attrgetter("manifests"), condition=attrgetter("turn"))
    def manifest(self, dataset: str, partition: Partition) -> Manifest:
        """Raises MissingInput."""
        return need_manifest(self.project.store, dataset, partition)

    @cachedmethod(attrgetter("tiles"), key=_tile_key, condition=attrgetter("turn"))
    def tile(self, manifest: Manifest, z: int, x: int, y: int) -> bytes | None:
        """PNG, or None where there are no pixels."""
        return web_tiles.render(self.project, manifest, z, x, y)

    @cachedmethod(attrgetter("frames"), key=lambda _, made: made.key, condition=attrgetter("turn"))
    def frame(self, made: Made) -> tuple[int, gpd.GeoDataFrame]:
        """A file of footprints, after its bytes in the store: by them it is weighed."""
        return made.bytes, load_object(self.project.store, made, read)

    def recent_country(self) -> Body | None:
        """The map page's data as gathered last, where that was a moment ago or somebody gathers it just now."""
        last = self.last
        return last[1] if last and (time.monotonic() - last[0] < COUNTRY_SECONDS or self.lock.locked()) else None

    def country(self) -> Body:
        """The map page's data as JSON; one request gathers it, the others meanwhile get what was gathered last."""
        if recent := self.recent_country():
            return recent
        with self.lock:
            if not self.last or time.monotonic() - self.last[0] >= COUNTRY_SECONDS:
                if self.known is None:
                    self.known = country_map.remembered(self.project.store)
                data = country_map.page_data(self.project, self.known)
                data |= region_facts.of_all(self.project)
                text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
                self.last = time.monotonic(), Body.of(text.encode(errors="replace"))
            return self.last[1]

    @cachedmethod(attrgetter("pages"), key=lambda _, *asked: ("page", *asked), condition=attrgetter("turn"))
    def page(self, dataset: str, partition: Partition) -> Body:
        """The page of what was made of a partition. Raises MissingInput."""
        return Body.of(pages.partition(self.project, self.manifest(dataset, partition)).encode(errors="replace"))

    @cachedmethod(attrgetter("pages"), key=lambda _, *asked: ("region", *asked), condition=attrgetter("turn"))
    def region(self, partition: Partition) -> Body:
        """The facts of a partition's map as JSON. Raises MissingInput."""
        facts = self._facts(partition) | region_facts.of_one(self.project, partition, self.manifest)
        return Body.of(json.dumps(facts, ensure_ascii=False).encode(errors="replace"))

    def _facts(self, partition: Partition) -> dict[str, Any]:
        """What the partition's map needs: its ground in degrees, which layers there are, the region's other years."""
        manifest, grid = self.manifest(tiles.DATASET, partition), self.project.grid
        bounds = np.array([grid.bounds(Block.parse(name)) for name in manifest.objects])
        (left, bottom), (right, top) = bounds.min(axis=0)[:2], bounds.max(axis=0)[2:]
        box = unwrapped(transformer(grid.crs, WGS84).transform_bounds(left, bottom, right, top, densify_pts=11))
        layers = [name for name in web_tiles.DATASETS if self._has(name, partition)]
        own = [item for item in delivered_partitions(self.project) if item.region == partition.region]
        years = sorted(item.year for item in own if self._has(tiles.DATASET, item))
        least, most = zooms(grid, (box[1] + box[3]) / 2)
        return {
            "region": partition.region,
            "year": partition.year,
            "bounds": box,
            "layers": layers,
            "years": years,
            "least_zoom": least,
            "most_zoom": most,
            "footprints": self._has(footprints.DATASET, partition),
            "resolution": grid.resolution,
            "crs": grid.crs,
        }

    def _has(self, dataset: str, partition: Partition) -> bool:
        try:
            self.manifest(dataset, partition)
        except MissingInput:
            return False
        return True

    @cachedmethod(attrgetter("geojson"), key=lambda _, made, *asked: (made.key, *asked), condition=attrgetter("turn"))
    def footprints(self, made: Made, box: Box | None, zoom: float) -> Body:
        """GeoJSON in EPSG:4326 of the buildings that touch `box` (degrees); of more than MOST_FEATURES the largest."""
        return Body.of(self._seen(self.frame(made)[1], COLUMNS, box, zoom))

    @cachedmethod(attrgetter("frames"), key=lambda _, *made: _keys("agreement", made), condition=attrgetter("turn"))
    def compared(self, made: Made, register: Made, partition: Partition) -> tuple[int, gpd.GeoDataFrame]:
        """Footprints beside the register, weighed as both files."""
        return made.bytes + register.bytes, agreement(self.project, partition)

    @cachedmethod(attrgetter("geojson"), key=lambda _, *asked: _keys("agreement", asked), condition=attrgetter("turn"))
    def agreement(self, made: Made, register: Made, partition: Partition, box: Box | None, zoom: float) -> Body:
        """GeoJSON as of `footprints`: found, missed and false buildings where the register is complete."""
        frame = self.compared(made, register, partition)[1]
        return Body.of(self._seen(frame, ("verdict", "id", "area"), box, zoom))

    def within(self, frame: gpd.GeoDataFrame, box: Box | None) -> gpd.GeoDataFrame:
        """The buildings that touch a box in degrees."""
        if box is None:
            return frame
        left, bottom, right, top = transformer(WGS84, self.project.grid.crs).transform_bounds(*box, densify_pts=9)
        return frame.cx[left:right, bottom:top]

    def _seen(self, frame: gpd.GeoDataFrame, names: tuple[str, ...], box: Box | None, zoom: float) -> bytes:
        frame = self.within(frame, box)
        total = len(frame)
        if total > MOST_FEATURES:
            frame = frame.nlargest(MOST_FEATURES, "area")
        middle = np.radians(box[1] if box else 0.0)
        pixel = WORLD * float(np.cos(middle)) / 256 / 2**zoom
        columns = frame[list(names)].astype(object)
        columns = columns.where(columns.notna(), None)  # JSON knows null only
        return _geojson(columns, frame.geometry.simplify(max(pixel / 2, 0.01)), self.project.grid.crs, total)


def zooms(grid: Grid, latitude: float) -> tuple[int, int]:
    """The first level at which a tile shows imagery, and the first as fine as the imagery is."""
    around = WORLD * np.cos(np.radians(latitude))
    least = np.floor(np.log2(around / (np.sqrt(web_tiles.MOST_BLOCKS) * grid.span)))
    return max(0, int(least)), min(web_tiles.DEEPEST, int(np.ceil(np.log2(around / 256 / grid.resolution))))


def _keys(name: str, asked: tuple[Any, ...]) -> Hashable:
    return name, *(one.key if isinstance(one, Made) else one for one in asked)


def _geojson(columns: Any, shapes: Any, crs: str, total: int) -> bytes:
    import shapely

    there = geographic(shapes.to_numpy(), crs)
    texts = shapely.to_geojson(shapely.set_precision(there, 1e-7, mode="pointwise"))
    features = [
        f'{{"type":"Feature","properties":{json.dumps(row)},"geometry":{text}}}'
        for row, text in zip(columns.to_dict("records"), texts, strict=True)
    ]
    body = f'{{"type":"FeatureCollection","total":{total},"shown":{len(features)},"features":[{",".join(features)}]}}'
    return body.encode()

"""The OGC routes: a router over an engine and a project, for the service's application to include.

    app.include_router(ogc_router(engine, project))

Here: addresses, statuses, headers. Not here: documents, queries, encodings (the modules beside this one).
Work is done in threads, a few at once; who waits for one longer than the others is told to come back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import anyio
from fastapi import APIRouter, Request
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse, Response

from groundplan.database import queries
from groundplan.errors import GroundplanError, MissingInput, StoreFailed
from groundplan.project import Project
from serving.api.problems import Problem
from serving.maps.cache import Reading
from serving.maps.http import answer, tag_of
from serving.ogc import asked, documents, downloads, features, imagery, vector_tiles
from serving.ogc.results import Collection, Results, collection_of, collections_of

AT_ONCE, WAITING = 4, 200
XML = "application/xml"
OPEN = {
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
}  # other sites' maps may read
T = TypeVar("T")


def ogc_router(engine: Engine | Callable[[], Engine], project: Project) -> APIRouter:
    """All below /ogc. Nothing is read until it is asked; errors are Problems, which the application answers.

    engine: or what opens it, when it is first needed. As the maps, it asks nobody for a key: it gives what they show.
    """
    site = ResultsSite(Results(engine if callable(engine) else lambda: engine, project))
    router = APIRouter(prefix="/ogc", tags=["results"])
    here = "/collections/{name}"
    tiles = f"{here}/tiles/{documents.MATRIX_SET}"
    json, selecting = (documents.JSON,), asked.described(asked.SELECTING)
    for path, endpoint, kinds, parameters in (
        ("", site.landing, json, []),
        ("/", site.landing, json, []),
        ("/conformance", site.conformance, json, []),
        ("/collections", site.collections, json, []),
        (here, site.collection, json, []),
        (here + "/queryables", site.queryables, (documents.SCHEMA,), []),
        (here + "/items", site.items, (features.KIND,), asked.described(asked.SELECTING | asked.PAGING)),
        (here + "/items/{building}", site.item, (features.KIND,), asked.described(frozenset({"crs", "f"}))),
        (here + "/tiles", site.tilesets, json, []),
        (tiles, site.tileset, json, []),
        (tiles + "/tilejson.json", site.tilejson, json, selecting),
        (tiles + "/{z}/{y}/{x}", site.tile, (documents.MVT,), selecting),
        (here + "/download.{kind}", site.download, tuple(documents.DOWNLOADS.values()), selecting),
        ("/imagery", site.imagery, json, []),
        ("/imagery/{region}/{year}/tilejson.json", site.imagery_tilejson, json, []),
        ("/wmts", site.wmts, (XML,), []),
    ):
        router.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            response_class=Response,
            response_model=None,
            responses=_answers(kinds),
            openapi_extra={"parameters": parameters},
            name=endpoint.__name__,
        )
    return router


def _answers(kinds: tuple[str, ...]) -> dict[int | str, dict[str, Any]]:
    """What the API's description says of answers, by status; a tile without footprints has no content."""
    there: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for kind in kinds}}}
    return there | ({204: {"description": "There is nothing here"}} if documents.MVT in kinds else {})


class ResultsSite:
    """A project's results, a method a route."""

    def __init__(self, results: Results) -> None:
        self.results, self.reading = results, Reading(results.project)
        self.limiter: anyio.CapacityLimiter | None = None

    async def landing(self, request: Request) -> Response:
        """What there is: links to collections, imagery, and what this API conforms to."""
        return _json(documents.landing(self.results.root(request)))

    async def conformance(self) -> Response:
        """The classes of the standards that this API conforms to."""
        return _json(documents.conformance())

    async def collections(self, request: Request) -> Response:
        """A collection of footprints a year."""
        found = await self.do(partial(self._asked, collections_of))
        return _json(documents.listed(self.results, found, self.results.root(request)))

    async def collection(self, request: Request, name: str) -> Response:
        """What a collection holds, where, of when, by whom."""
        return _json(documents.collection(self.results, await self.found(name), self.results.root(request)))

    async def queryables(self, request: Request, name: str) -> Response:
        """The properties that a filter may name."""
        told = documents.queryables(await self.found(name), self.results.root(request))
        return _json(told, documents.SCHEMA)

    async def items(self, request: Request, name: str) -> Response:
        """A page of footprints as GeoJSON: bbox, datetime, limit, crs, filter (CQL2 text), region; `next` leads on."""
        query, root = _query(request), self.results.root(request)
        found = await self.found(name)
        body, crs = await self.do(partial(features.items, self.results, found, query, root))
        return Response(body, media_type=features.KIND, headers={"content-crs": f"<{crs}>", **OPEN})

    async def item(self, request: Request, name: str, building: str) -> Response:
        """One footprint."""
        query, root = _query(request), self.results.root(request)
        asked.check_names(query, frozenset({"crs", "f"}))
        found = await self.found(name)
        row = await self.do(partial(self._asked, partial(_one, year=found.year, building=building)))
        if row is None:
            raise Problem(404, "no-feature", "There is no such building")
        body, crs = await self.do(partial(features.single, self.results, found, row, query, root))
        return Response(body, media_type=features.KIND, headers={"content-crs": f"<{crs}>", **OPEN})

    async def tilesets(self, request: Request, name: str) -> Response:
        """The tile sets of a collection."""
        return _json(documents.tilesets(await self.found(name), self.results.root(request)))

    async def tileset(self, request: Request, name: str) -> Response:
        """The vector tiles of a collection in WebMercatorQuad."""
        return _json(documents.tileset(await self.found(name), self.results.root(request)))

    async def tilejson(self, request: Request, name: str) -> Response:
        """TileJSON of a collection's vector tiles; `region` and `filter` are passed on to the tiles."""
        query = _query(request)
        asked.check_names(query, asked.SELECTING)
        found = await self.found(name, query.get("region"))
        more = f"?{request.url.query}" if request.url.query else ""
        return _json(documents.tilejson(found, self.results.root(request), more))

    async def tile(self, request: Request, name: str, z: int, y: int, x: int) -> Response:
        """A vector tile: layer `footprints` with id, region, confidence, area and image_date."""
        query = _query(request)
        asked.check_names(query, asked.SELECTING)
        found = await self.found(name)
        try:
            body = await self.do(partial(vector_tiles.tile, self.results, found, query, (z, x, y)))
        except ValueError as error:
            raise Problem(404, "no-tile", "There is no such tile") from error
        if not body:
            return Response(status_code=204, headers=OPEN)
        return answer(request, body, documents.MVT, tag_of(body), OPEN, fresh=60)

    async def download(self, request: Request, name: str, kind: str) -> Response:
        """Footprints as a file: gpkg, parquet, or csv within a zip; bbox, datetime, filter and region choose."""
        if kind not in documents.DOWNLOADS:
            raise Problem(404, "no-format", f"There are {', '.join(documents.DOWNLOADS)}")
        found = await self.found(name)
        body = await self.do(partial(downloads.file_of, self.results, found, _query(request), kind))
        file = f"{found.id}.{'csv.zip' if kind == 'csv' else kind}"
        headers = {"content-disposition": f'attachment; filename="{file}"', **OPEN}
        return Response(body, media_type=documents.DOWNLOADS[kind], headers=headers)

    async def imagery(self, request: Request, year: int | None = None) -> Response:
        """The tile sets of imagery, one for each region and year."""
        return _json(await self.do(partial(imagery.listed, self.results.project, self.results.root(request), year)))

    async def imagery_tilejson(self, request: Request, region: str, year: int) -> Response:
        """TileJSON of a region's imagery in a year."""
        root = self.results.root(request)
        return _json(await self.do(partial(imagery.tilejson, self.reading, root, region, year)))

    async def wmts(self, request: Request, year: int | None = None) -> Response:
        """WMTS capabilities of the imagery, for QGIS, ArcGIS and GDAL."""
        text = await self.do(partial(imagery.capabilities, self.reading, self.results.root(request), year))
        return Response(text, media_type=XML, headers=OPEN)

    # ----------------------------------------------------------------------------------------------------------------

    async def found(self, name: str, region: str | None = None) -> Collection:
        """Raises Problem 404."""
        return await self.do(partial(self._asked, partial(collection_of, name=name, region=region)))

    def _asked(self, ask: Callable[..., T]) -> T:
        self.results.refresh()
        with self.results.reading() as connection:
            return ask(connection)

    async def do(self, work: Callable[[], T]) -> T:
        """In a thread, when one is free. What the library says of bad input becomes a Problem."""
        self.limiter = self.limiter or anyio.CapacityLimiter(AT_ONCE)
        if self.limiter.statistics().tasks_waiting >= WAITING:
            raise Problem(503, "busy", "Too many requests wait already", retry=2)
        try:
            return await anyio.to_thread.run_sync(work, limiter=self.limiter)
        except SQLAlchemyError as error:
            raise Problem(503, "database", "The database does not answer", retry=5) from error
        except StoreFailed as error:
            raise Problem(503, "store", "The object store does not answer", retry=5) from error
        except (MissingInput, GroundplanError) as error:
            raise Problem(404, "missing", f"{error.reason}. {error.remedy}") from error


def _one(connection: Any, year: int, building: str) -> Any:
    return queries.one(connection, year, building)


def _query(request: Request) -> asked.Query:
    """Parameters, each once. Raises Problem."""
    pairs = request.query_params.multi_items()
    if len({name for name, _ in pairs}) < len(pairs) or any("\0" in name + value for name, value in pairs):
        raise asked.bad("A parameter is given once, as text")
    return dict(pairs)


def _json(content: Any, kind: str = documents.JSON) -> Response:
    return JSONResponse(content, media_type=kind, headers=OPEN)

"""The preview server: pictures, maps, tiles and footprints of a project for a browser. Read-only, GET and HEAD only.

Here: routes, what may be asked, and bounded caches. Not here: HTML (pages.py), pixels
(groundplan/previews/web_tiles.py). There is no log-in: it binds to this machine only, unless told otherwise; in a
cluster a network policy protects it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from groundplan.core.manifest import Manifest
from groundplan.errors import BadConfig, MissingInput, StoreFailed
from groundplan.previews import web_tiles
from groundplan.project import Project
from serving.maps import pages, vectors
from serving.maps.asked import box_of, clean, named, place, zoom_of
from serving.maps.cache import Body, Reading, whole
from serving.maps.connections import HEALTH
from serving.maps.documents import document
from serving.maps.hosts import names_of
from serving.maps.http import STORED, Manners, Refused, answer, policy_with, refused, tag_of, unchanged

STATIC = Path(__file__).parent / "static"
LARGEST = 16 * 2**20  # bytes of a stored picture or page
HTML = "text/html; charset=utf-8"
KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".html": HTML}
WORKERS = 4  # requests that read pixels or polygons at once: bounds memory
WORKERS_EACH = 3  # of them for one address: another's request is begun at once
WAITING = 256  # requests that may wait for one of them; more are told to come back
PICTURES = {"cross-origin-resource-policy": "cross-origin"}  # Dagster's pages, on another port or host, show them
NO_PAGE: dict[Any, Any] = {Refused: refused, HTTPException: refused}

T = TypeVar("T")


def build_app(project: Project, host: str = "") -> Starlette:
    """The server of one project; `host` is the name that it listens at. It reads nothing until it is asked.

    A request to the store is made once: whoever waits for the answer can ask again, and others wait behind it.
    """
    site = Site(replace(project, store=replace(project.store, retries=0)))
    serving = project.settings.serving
    routes = [
        Route("/", lambda _: RedirectResponse("map/")),
        Route(HEALTH, healthy),
        Route("/previews/{path:path}", site.preview),
        Route("/docs/{name}", document),
        Mount("/static", Static(directory=STATIC)),
        # to places beside what was asked for: the address of a proxy before this server stays its own
        Route("/map", lambda _: RedirectResponse("map/")),
        Route("/map/{region}/{year:int}", lambda request: RedirectResponse(f"{request.path_params['year']}/")),
        Route("/map/", site.country_page),
        Route("/map/country.json", site.country),
        Route("/map/{region}/{year:int}/", site.region_page),
        Route("/map/{region}/{year:int}/facts.json", site.region_facts),
        Route("/partition/{dataset}/{year:int}", site.partition_page),
        Route("/partition/{dataset}/{year:int}/{region}", site.partition_page),
        Route("/tiles/{dataset}/{region}/{year:int}/{z:int}/{x:int}/{y:int}.png", site.tile),
        Route("/footprints/{region}/{year:int}.geojson", site.footprints),
        *vectors.routes(site),
    ]
    middleware = [
        Middleware(Manners, names=names_of(serving.url, serving.hosts, host), policy=policy_with(serving.basemap)),
        Middleware(GZipMiddleware, minimum_size=2000, compresslevel=4),
    ]
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=NO_PAGE)
    app.router.redirect_slashes = False  # it would redirect to whatever host the request names
    return app


async def healthy(_: Request) -> Response:
    """That requests are answered. It asks nothing of the store, and no thread."""
    return PlainTextResponse("ok\n")


class Static(StaticFiles):
    """Scripts and styles that come with the program; a browser asks each time whether they changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            response = await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code == 405:
                raise
            missing = "run `make vendor`" if path.startswith("vendor/") else "there is no such file"
            raise Refused(404, missing) from error
        response.headers["cache-control"] = "no-cache"
        return response


class Site:
    """A project and what of it is kept in memory; a method per route."""

    def __init__(self, project: Project) -> None:
        self.project, self.reading = project, Reading(project)
        self.waiting, self.lock = 0, threading.Lock()
        self.limiter: anyio.CapacityLimiter | None = None
        self.shares: WeakValueDictionary[str, anyio.CapacityLimiter] = WeakValueDictionary()
        self.begun: dict[Hashable, asyncio.Task[Any]] = {}

    async def look(self, request: Request, method: Any, *arguments: Any) -> Any:
        """What a method of Reading gives: at once where it is kept, else by one reader for all who ask for the same.

        It is asked for once for each address too: what waits behind another address's crowd is not waited for.
        """
        key = method.cache_key(*arguments)
        with self.reading.turn:
            if key in method.cache:
                return method.cache[key]
        asked = method.__name__, key
        read = partial(self.once, asked, partial(self.read, method, *arguments))
        return await self.once((address_of(request), *asked), partial(self.admitted, request, read))

    async def do(self, request: Request, work: Callable[..., T], *arguments: Any) -> T:
        """Reading in a thread, a few at once, of each address fewer. What is said of bad input becomes a status."""
        return await self.admitted(request, partial(self.read, work, *arguments))

    async def once(self, asked: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """What others who ask for the same wait for already. It goes on when one of them goes away."""
        if asked not in self.begun:
            self.begun[asked] = asyncio.ensure_future(work())
            self.begun[asked].add_done_callback(partial(self._ended, asked))
        return await asyncio.shield(self.begun[asked])

    def _ended(self, asked: Hashable, task: asyncio.Task[Any]) -> None:
        del self.begun[asked]
        if not task.cancelled():
            task.exception()  # where all who waited are gone, nobody else looks at it

    async def admitted(self, request: Request, work: Callable[[], Awaitable[T]]) -> T:
        """Work in its address's turn. Raises Refused where too much waits, and for what is said of bad input."""
        if self.waiting >= WAITING:
            raise Refused(503, "too many requests wait already")
        share = self.shares.setdefault(address_of(request), anyio.CapacityLimiter(WORKERS_EACH))
        self.waiting += 1
        try:
            async with share:
                return await work()
        except (MissingInput, BadConfig) as error:
            raise Refused(404, pages.placeless(self.project, f"{error.reason}. {error.remedy}")) from error
        except StoreFailed as error:
            raise Refused(503, "the object store does not answer") from error
        finally:
            self.waiting -= 1

    async def read(self, work: Callable[..., T], *arguments: Any) -> T:
        """By a thread, when one is free."""
        self.limiter = self.limiter or anyio.CapacityLimiter(WORKERS)
        return await anyio.to_thread.run_sync(partial(work, *arguments), limiter=self.limiter)

    # -------------------------------------------------------------------------------------------- files

    async def preview(self, request: Request) -> Response:
        """A picture or page below `previews/` of the store."""
        key = f"previews/{clean(request.path_params['path'])}"
        kind = KINDS.get(Path(key).suffix)
        if kind is None:
            raise Refused(404, "there is no such picture")
        found = await self.do(request, self.project.store.head, key)
        if found.size > LARGEST:
            raise Refused(413, f"it has {found.size:,} bytes, more than a picture may have")
        headers = {"content-security-policy": STORED, **(PICTURES if kind.startswith("image/") else {})}
        tag = tag_of(found.tag, found.size)
        if request.method == "HEAD" and not unchanged(request, tag):
            said = {"etag": tag, "cache-control": "no-cache", "content-length": str(found.size), **headers}
            return Response(media_type=kind, headers=said)
        data = b"" if unchanged(request, tag) else await self.do(request, self.project.store.get, key)
        return answer(request, data, kind, tag, headers)

    # -------------------------------------------------------------------------------------------- pages

    async def country_page(self, request: Request) -> Response:
        return self.page(request, pages.country())

    async def country(self, request: Request) -> Response:
        recent = self.reading.recent_country()
        body: Body = recent if recent else await self.do(request, self.reading.country)
        return whole(request, body, "application/json")

    async def region_page(self, request: Request) -> Response:
        partition = place(request)
        await self.look(request, self.reading.manifest, "aerial_tiles", partition)
        return self.page(request, pages.region(partition))

    async def region_facts(self, request: Request) -> Response:
        body: Body = await self.look(request, self.reading.region, place(request))
        return whole(request, body, "application/json")

    async def partition_page(self, request: Request) -> Response:
        """What was made of a partition of a dataset: figures, pictures, objects, verdicts."""
        body: Body = await self.look(request, self.reading.page, named(request), place(request))
        return whole(request, body, HTML)

    def page(self, request: Request, text: str) -> Response:
        return answer(request, text.encode(), HTML, tag_of(text))

    # -------------------------------------------------------------------------------------------- data of maps

    async def tile(self, request: Request) -> Response:
        partition, dataset = place(request), named(request)
        z, x, y = (request.path_params[name] for name in "zxy")
        if dataset not in web_tiles.DATASETS:
            raise Refused(404, f"there are tiles of {', '.join(web_tiles.DATASETS)}")
        try:
            web_tiles.tile_bounds(z, x, y)
        except ValueError as error:
            raise Refused(404, str(error)) from error
        manifest: Manifest = await self.look(request, self.reading.manifest, dataset, partition)
        tag = tag_of(manifest.identity(), z, x, y)
        if unchanged(request, tag):
            return answer(request, b"", "image/png", tag, fresh=60)
        data = await self.look(request, self.reading.tile, manifest, z, x, y)
        if data is None:
            return Response(status_code=204, headers={"etag": tag, "cache-control": "private, max-age=60"})
        return answer(request, data, "image/png", tag, fresh=60)

    async def footprints(self, request: Request) -> Response:
        """GeoJSON in EPSG:4326 of the footprints in `bbox`, simplified for `zoom`; of many, the largest."""
        partition = place(request)
        box, zoom = box_of(request.query_params.get("bbox", "")), zoom_of(request.query_params.get("zoom", "18"))
        manifest: Manifest = await self.look(request, self.reading.manifest, "building_footprints", partition)
        body: Body = await self.look(request, self.reading.footprints, manifest.objects["footprints"], box, zoom)
        return whole(request, body, "application/geo+json")


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""

"""The preview server, asked by plain HTTP over a socket: what it gives, and what it refuses."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import anyio
import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rasterio
from answers import Answer, asgi
from browser import preview_server
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore
from PIL import Image
from rasterio.enums import Resampling
from rasterio.transform import from_bounds
from rasterio.vrt import WarpedVRT
from starlette.requests import Request

from groundplan.config import ServingSettings
from groundplan.core.grid import Block
from groundplan.core.manifest import Manifest, need_manifest
from groundplan.core.partition import Partition
from groundplan.core.store import Store
from groundplan.errors import MissingInput
from groundplan.footprints import footprints
from groundplan.imagery import tiles
from groundplan.previews import web_tiles
from groundplan.project import Project, open_project
from groundplan.quality.verdict import verdict_key
from serving.maps import app, cache, pages
from serving.maps.http import Refused

HERE = Partition(2024, "noorderveld")
SECRET = b"\x89PNG\r\n\x1a\n not to be seen"


@pytest.fixture(scope="module")
def project(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    home = tmp_path_factory.mktemp("served") / "home"
    shutil.copytree(built_home, home)
    opened = open_project(home)
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "green").save(buffer, "PNG")
    opened.store.put("previews/aerial_tiles/2024/old town.png", buffer.getvalue())
    opened.store.put("previews/report.html", b"<script>alert(1)</script>")
    opened.store.put("previews/notes.txt", b"no picture")
    opened.store.put("secret.png", SECRET)
    (home / "secret.png").write_bytes(SECRET)
    return opened


@pytest.fixture(scope="module")
def port(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with preview_server(project.home, tmp_path_factory.mktemp("log") / "serve.log") as url:
        yield int(url.rsplit(":", 1)[1])


def ask(port: int, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    """One request as it is written: nothing tidies the path on its way. Header names in lower case."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=named)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def request_of(address: str) -> Request:
    return Request({"type": "http", "client": (address, 1)})


# ---------------------------------------------------------------------------------------------------- pictures


def test_a_picture_comes_whole_and_is_not_sent_twice(port: int, project: Project) -> None:
    path = "/previews/aerial_tiles/2024/" + quote("old town.png")
    stored = project.store.get("previews/aerial_tiles/2024/old town.png")
    status, headers, data = ask(port, path)
    assert (status, data, headers["content-type"]) == (200, stored, "image/png")
    assert headers["x-content-type-options"] == "nosniff"
    assert "script-src" not in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert ask(port, path, "HEAD")[::2] == (200, b"")
    assert ask(port, path, "HEAD")[1]["content-length"] == str(len(stored))
    assert ask(port, path, If_None_Match=headers["etag"])[::2] == (304, b"")
    assert ask(port, path, If_None_Match='"another"')[::2] == (200, stored)
    project.store.put("previews/aerial_tiles/2024/old town.png", stored + b"newer")
    assert ask(port, path, If_None_Match=headers["etag"])[::2] == (200, stored + b"newer")
    project.store.put("previews/aerial_tiles/2024/old town.png", stored)


def test_a_stored_page_can_do_nothing(port: int) -> None:
    status, headers, _ = ask(port, "/previews/report.html")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "sandbox" in headers["content-security-policy"]
    assert "script-src" not in headers["content-security-policy"]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "path",
    [
        "/previews/../secret.png",
        "/previews/%2e%2e/secret.png",
        "/previews/..%2fsecret.png",
        "/previews/%2e%2e%2fsecret.png",
        "/previews/../../secret.png",
        "/previews/a/../../secret.png",
        "/previews//secret.png",
        "/previews/./secret.png",
        "/previews/..%5csecret.png",
        "/previews/a%00.png",
        "/previews/",
        "/secret.png",
        "//secret.png",
        "/previews/%252e%252e/secret.png",
        "/previews/notes.txt",
        "/previews/absent.png",
        "/static/../secret.png",
        "/static/%2e%2e/previews.py",
        "/static/vendor/../../previews.py",
        "/static/",
    ],
)
def test_nothing_beside_the_previews_can_be_read(port: int, path: str) -> None:
    status, _, data = ask(port, path)
    assert status == 404
    assert SECRET not in data
    assert b"import" not in data


@pytest.mark.bad_input
def test_a_page_of_another_name_is_given_nothing(port: int) -> None:
    """A name that a stranger points at this machine; the health check asks by whatever name a probe has."""
    for path in ("/map/country.json", "/map/", "/previews/report.html", "/static/site.css", "/"):
        assert ask(port, path, Host=f"evil.example:{port}")[0] == 421
        assert ask(port, path, Host=f"localhost:{port}")[0] in (200, 307)
    assert ask(port, "/healthz", Host="evil.example")[::2] == (200, b"ok\n")


def test_further_names_are_those_of_the_settings(project: Project) -> None:
    chosen = ServingSettings(url="https://maps.example.org/gp", hosts=("groundplan-previews",))
    site = app.build_app(replace(project, settings=project.settings.model_copy(update={"serving": chosen})))
    for host in ("maps.example.org", "groundplan-previews:8081", "10.1.2.3:8081"):
        assert asgi(site, "/map/", Host=host)[0] == 200
    assert asgi(site, "/map/", Host="example.org")[0] == 421


def test_a_redirect_names_no_host(port: int) -> None:
    """Below a proxy's address it stays there."""
    for path, there in (("/", "map/"), ("/map", "map/"), ("/map/noorderveld/2024", "2024/")):
        status, headers, _ = ask(port, path)
        assert (status, headers["location"]) == (307, there)


def test_only_pictures_are_for_pages_of_others(port: int) -> None:
    for path, whose in (
        ("/previews/aerial_tiles/2024/" + quote("old town.png"), "cross-origin"),
        *((path, "same-origin") for path in ("/previews/report.html", "/map/", "/map/country.json", "/previews/a.png")),
    ):
        assert ask(port, path)[1]["cross-origin-resource-policy"] == whose


@pytest.mark.bad_input
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_written(port: int, method: str) -> None:
    for path in ("/previews/report.html", "/map/", "/healthz"):
        status, headers, _ = ask(port, path, method)
        assert status == 405
        assert "GET" in headers["allow"]


@pytest.mark.bad_input
def test_what_is_too_large_is_refused(port: int, project: Project) -> None:
    assert ask(port, "/map/" + "a" * 5000)[0] == 414
    assert ask(port, "/map/", body=b"x" * 100)[0] == 413
    assert ask(port, "/map/", X_Long="a" * 20_000)[0] == 431
    with suppress(ConnectionError):  # the refusal may overtake what is still being sent
        assert ask(port, "/map/", X_Long="a" * 500_000)[0] in (400, 431)
    large = project.home / "store/previews/large.png"
    with large.open("wb") as file:
        file.truncate(app.LARGEST + 1)
    assert ask(port, "/previews/large.png")[0] == 413
    large.unlink()
    assert ask(port, "/healthz")[::2] == (200, b"ok\n")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "path",
    [
        f"/previews/{'a' * 300}.png",
        f"/previews/{quote('é' * 130)}.png",
        f"/previews/{'a' * 200}/{quote('画' * 90)}/b.png",
        "/previews/" + "/".join(["a" * 240] * 4) + ".png",
        f"/map/{quote('𐐷' * 70)}/2024/",
        f"/map/{quote('画' * 80)}/2024/facts.json",
        f"/footprints/{quote('𐐷' * 70)}/2024.geojson",
        f"/tiles/aerial_tiles/{quote('𐐷' * 70)}/2024/18/1/1.png",
        f"/partition/aerial_tiles/2024/{quote('𐐷' * 70)}",
        "/previews/report.html/under-a-file.png",
    ],
)
def test_what_no_disk_can_hold_is_not_there(port: int, path: str) -> None:
    """A file system counts bytes of UTF-8. Each was a fault of the store, tried again for seconds: a crowd of them
    kept everybody else waiting."""
    assert ask(port, path)[0] == 404


@pytest.mark.fault
def test_a_store_that_fails_is_asked_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits can ask again; meanwhile the reader is free for others."""
    tried: list[str] = []

    def fails(_: object, key: str) -> None:
        tried.append(key)
        raise OSError("the disk is gone")

    monkeypatch.setattr("obstore.head", fails)
    assert asgi(app.build_app(project), "/previews/report.html")[0] == 503
    assert tried == ["previews/report.html"]


def test_one_address_leaves_a_reader_to_others(project: Project) -> None:
    """While it has all that it may have, and more that wait, another's request is begun."""
    site, let_go = app.Site(project), threading.Event()

    async def ask_all() -> str:
        async with anyio.create_task_group() as group:
            for _ in range(3 * app.WORKERS):
                group.start_soon(site.do, request_of("192.0.2.1"), let_go.wait)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(60):
                done = await site.do(request_of("192.0.2.2"), str, "done")
            let_go.set()
        return done

    assert anyio.run(ask_all) == "done"


def cold(project: Project, monkeypatch: pytest.MonkeyPatch) -> tuple[app.Site, threading.Event, list[int]]:
    """A site whose tiles are not read before they may; the columns of those that were begun."""
    let_go, begun = threading.Event(), []

    def render(_: Project, __: Manifest, z: int, x: int, y: int) -> bytes:
        begun.append(x)
        let_go.wait(120)
        if x < 0:
            raise MissingInput("a block", "it is gone", "Build again")
        return bytes([x])

    monkeypatch.setattr(web_tiles, "render", render)
    return app.Site(project), let_go, begun


async def until_begun(x: int, begun: list[int], let_go: threading.Event) -> None:
    """Raises TimeoutError where it waits for what was begun before."""
    try:
        with anyio.fail_after(30):
            while x not in begun:
                await anyio.sleep(0.01)
    finally:
        let_go.set()


@pytest.mark.parametrize("addresses", [1, 60])
def test_one_cold_tile_is_read_once_for_all_who_ask(
    project: Project, monkeypatch: pytest.MonkeyPatch, addresses: int
) -> None:
    """And it takes one reader: another tile is read meanwhile."""
    site, let_go, begun = cold(project, monkeypatch)
    manifest, given = manifest_of(project), []

    async def one(number: int, x: int) -> None:
        asked = request_of(f"192.0.2.{number % addresses}")
        given.append(await site.look(asked, site.reading.tile, manifest, 18, x, 0))

    async def ask_all() -> None:
        async with anyio.create_task_group() as group:
            for number in range(60):
                group.start_soon(one, number, 1)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(one, 0, 2)
            await until_begun(2, begun, let_go)

    anyio.run(ask_all)
    assert (begun, sorted(given)) == ([1, 2], [b"\1"] * 60 + [b"\2"])
    assert not site.begun


def test_who_goes_away_takes_nobody_s_tile_along(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    site, let_go, begun = cold(project, monkeypatch)
    manifest, given = manifest_of(project), []

    async def one() -> None:
        given.append(await site.look(request_of("192.0.2.1"), site.reading.tile, manifest, 18, 1, 0))

    async def ask_all() -> None:
        async with anyio.create_task_group() as group, anyio.create_task_group() as first:
            first.start_soon(one)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(one)
            await anyio.wait_all_tasks_blocked()
            first.cancel_scope.cancel()
            let_go.set()

    anyio.run(ask_all)
    assert (begun, given) == ([1], [b"\1"])


def test_a_tile_in_another_s_queue_is_not_waited_for(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """One address asks for many; of those that lie behind them, another address's is begun at once."""
    site, let_go, begun = cold(project, monkeypatch)
    manifest = manifest_of(project)

    async def ask_all() -> None:
        async with anyio.create_task_group() as group:
            for x in range(20):
                group.start_soon(site.look, request_of("192.0.2.1"), site.reading.tile, manifest, 18, x, 0)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(site.look, request_of("192.0.2.2"), site.reading.tile, manifest, 18, 19, 0)
            await until_begun(19, begun, let_go)

    anyio.run(ask_all)
    assert sorted(begun) == list(range(20))


@pytest.mark.fault
def test_a_tile_that_cannot_be_read_is_refused_to_all_and_asked_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, let_go, begun = cold(project, monkeypatch)
    manifest, refusals = manifest_of(project), []

    async def one() -> None:
        try:
            await site.look(request_of("192.0.2.1"), site.reading.tile, manifest, 18, -1, 0)
        except Refused as refusal:
            refusals.append(refusal.status)

    async def ask_all() -> None:
        for times in (5, 1):
            async with anyio.create_task_group() as group:
                for _ in range(times):
                    group.start_soon(one)
                await anyio.wait_all_tasks_blocked()
                let_go.set()

    anyio.run(ask_all)
    assert (refusals, begun) == ([404] * 6, [-1, -1])


@pytest.mark.fault
def test_a_crowd_is_told_to_come_back(project: Project) -> None:
    site = app.Site(project)
    site.waiting = app.WAITING
    with pytest.raises(Refused) as refusal:
        anyio.run(site.do, request_of("192.0.2.1"), int)
    assert refusal.value.status == 503


@given(asked=st.lists(st.integers(0, 9), max_size=60))
@settings(max_examples=60, deadline=None)
def test_what_is_kept_is_bounded_and_right(project: Project, asked: list[int]) -> None:
    """Tiles of 200 to 1100 bytes where 2500 are kept; each is its place's own, also after another took its room."""
    manifest, drawn = manifest_of(project), []

    def render(_: Project, __: Manifest, z: int, x: int, y: int) -> bytes | None:
        drawn.append(x)
        return bytes([x]) * 100 * x or None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "TILE_BYTES", 2500)
        patch.setattr(web_tiles, "render", render)
        reading = cache.Reading(project)
        for before, x in zip([None, *asked], asked, strict=False):
            count = len(drawn)
            assert reading.tile(manifest, 18, x, 0) == (bytes([x]) * 100 * x or None)
            assert reading.tiles.currsize <= 2500
            assert len(drawn) == count or x != before, "the last one was not kept"
    if sum(200 + 100 * x for x in set(asked)) <= 2500:
        assert len(drawn) == len(set(asked))


def test_a_picture_larger_than_all_that_is_kept_is_given_and_forgotten(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "TILE_BYTES", 300)
    monkeypatch.setattr(web_tiles, "render", lambda *_: b"x" * 200)
    reading = cache.Reading(project)
    assert reading.tile(manifest_of(project), 18, 0, 0) == b"x" * 200
    assert reading.tiles.currsize == 0


def test_a_manifest_is_believed_for_seconds(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(cache, "MANIFEST_SECONDS", 0.2)
    monkeypatch.setattr(cache, "need_manifest", lambda _, dataset, __: (read.append(dataset), dataset)[1])
    reading = cache.Reading(project)
    assert [reading.manifest("labels", HERE), reading.manifest("labels", HERE)] == ["labels", "labels"]
    assert read == ["labels"]
    time.sleep(0.25)
    reading.manifest("labels", HERE)
    assert read == ["labels", "labels"]


# -------------------------------------------------------------------------------------------- files of the program


def test_styles_come_with_their_kind_and_are_not_sent_twice(port: int) -> None:
    status, headers, data = ask(port, "/static/site.css")
    assert (status, data) == (200, (app.STATIC / "site.css").read_bytes())
    assert headers["content-type"] == "text/css; charset=utf-8"
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-cache", "nosniff")
    assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
    status, again, data = ask(port, "/static/site.css", If_None_Match=headers["etag"])
    assert (status, data, again["cache-control"]) == (304, b"", "no-cache")
    assert ask(port, "/static/site.css", "HEAD")[::2] == (200, b"")
    assert ask(port, "/static/country.js")[1]["content-type"].split("/")[1].startswith("javascript")


@pytest.mark.bad_input
def test_a_file_that_is_not_there_says_what_to_do(port: int) -> None:
    assert b"run `make vendor`" in ask(port, "/static/vendor/absent.mjs")[2]
    status, headers, data = ask(port, "/static/absent.js")
    assert (status, headers["cache-control"]) == (404, "no-store")
    assert b"there is no such file" in data
    for method in ("POST", "PUT", "DELETE"):
        status, headers, _ = ask(port, "/static/site.css", method)
        assert status == 405
        assert "GET" in headers["allow"]


# ---------------------------------------------------------------------------------------------------- tiles


def manifest_of(project: Project, dataset: str = tiles.DATASET) -> Manifest:
    return need_manifest(project.store, dataset, HERE)


def fullest(project: Project) -> Block:
    objects = manifest_of(project).objects
    return Block.parse(max(objects, key=lambda name: objects[name].facts["covered"]))


def tile_at(project: Project, z: int) -> tuple[int, int, int]:
    """The tile in the middle of the fullest block, by morecantile's arithmetic."""
    import morecantile

    left, bottom, right, top = project.grid.bounds(fullest(project))
    to = pyproj.Transformer.from_crs(project.grid.crs, "EPSG:4326", always_xy=True)
    tile = morecantile.tms.get("WebMercatorQuad").tile(*to.transform((left + right) / 2, (bottom + top) / 2), z)
    return tile.z, tile.x, tile.y


def path_of(dataset: str, z: int, x: int, y: int) -> str:
    return f"/tiles/{dataset}/{HERE.region}/{HERE.year}/{z}/{x}/{y}.png"


def test_tiles_lie_where_web_maps_expect_them() -> None:
    import morecantile

    quad = morecantile.tms.get("WebMercatorQuad")
    for z, x, y in ((0, 0, 0), (3, 5, 2), (18, 135287, 86565)):
        assert web_tiles.tile_bounds(z, x, y) == pytest.approx(tuple(quad.xy_bounds(x, y, z)), abs=1e-5)


@pytest.mark.parametrize("z", [19, 20])
def test_a_tile_shows_the_ground_of_its_place(port: int, project: Project, z: int) -> None:
    """Oracle: each pixel's centre carried to the grid by PROJ, and rasterio's own reading of the block there."""
    place = tile_at(project, z)
    status, headers, data = ask(port, path_of(tiles.DATASET, *place))
    assert (status, headers["content-type"]) == (200, "image/png")
    seen = np.asarray(Image.open(io.BytesIO(data)))
    assert seen.shape == (256, 256, 4)
    left, _, right, top = web_tiles.tile_bounds(*place)
    step = (right - left) / 256
    x, y = np.meshgrid(left + (np.arange(256) + 0.5) * step, top - (np.arange(256) + 0.5) * step)
    x, y = pyproj.Transformer.from_crs("EPSG:3857", project.grid.crs, always_xy=True).transform(x, y)
    expected, known = np.zeros((256, 256, 3), float), np.zeros((256, 256), bool)
    for made in manifest_of(project).objects.values():
        with rasterio.open(project.home / "store" / made.key) as source:
            cols, rows = (np.floor(axis).astype(int) for axis in ~source.transform @ (x, y))
            inside = (rows >= 0) & (cols >= 0) & (rows < source.height) & (cols < source.width)
            there = source.dataset_mask()[rows.clip(0, source.height - 1), cols.clip(0, source.width - 1)] > 0
            pixels = source.read()[:, rows.clip(0, source.height - 1), cols.clip(0, source.width - 1)]
            expected[inside] = pixels.transpose(1, 2, 0)[inside]
            known |= inside & there
    assert known.mean() > 0.5, "the tile shows nothing to compare"
    assert ((seen[..., 3] > 0) == known).mean() > 0.97
    both = known & (seen[..., 3] > 0)
    right_place = np.abs(seen[..., :3].astype(float) - expected)[both].mean()
    wrong_place = np.abs(np.roll(seen[..., :3], 8, axis=1).astype(float) - expected)[both].mean()
    assert right_place < 12 < 2 * right_place + 12
    assert right_place < wrong_place / 2


@pytest.mark.parametrize(
    ("dataset", "z", "apart"), [(tiles.DATASET, 18, 8), (tiles.DATASET, 15, 12), ("labels", 19, 3)]
)
def test_a_tile_is_what_gdal_warps(project: Project, dataset: str, z: int, apart: float) -> None:
    """Oracle: GDAL's warper, which averages what lies below a pixel, and takes one class of labels."""
    place, manifest = tile_at(project, z), manifest_of(project, dataset)
    left, bottom, right, top = web_tiles.tile_bounds(*place)
    onto = {
        "crs": "EPSG:3857",
        "transform": from_bounds(left, bottom, right, top, 256, 256),
        "width": 256,
        "height": 256,
    }
    kind = Resampling.nearest if dataset == "labels" else Resampling.average
    expected = np.zeros((4, 256, 256), np.uint8)
    for made in manifest.objects.values():
        with (
            rasterio.open(project.home / "store" / made.key) as source,
            WarpedVRT(source, add_alpha=True, resampling=kind, **onto) as warped,
        ):
            pixels = warped.read()
            valid = pixels[-1] > 127
            expected[:, valid] = web_tiles._colored(dataset, pixels[:-1], valid)[:, valid]
    seen = np.asarray(Image.open(io.BytesIO(web_tiles.render(project, manifest, *place) or b""))).transpose(2, 0, 1)
    assert ((seen[3] > 0) == (expected[3] > 0)).mean() > 0.98
    both = (seen[3] > 0) & (expected[3] > 0)
    assert both.any()
    differing = seen[:3, both].astype(float) - expected[:3, both]
    assert np.abs(differing).mean() < apart
    assert abs(differing.mean()) < 1, "darker or brighter than the ground"


def test_what_is_not_known_darkens_no_neighbor() -> None:
    """A white field on unknown, black ground stays white to its edge."""
    known = np.zeros((40, 40), bool)
    known[:, :20] = True
    across, down = np.meshgrid(np.linspace(5, 30, 256), np.linspace(5, 30, 256))
    white = np.where(known, 255, 0).astype(np.uint8)[None]
    pixels, valid = web_tiles._sampled(white, known, across, down, np.ones((256, 256), bool), False)
    assert (valid == (np.round(across) < 20)).mean() > 0.99
    assert (pixels[0, valid] == 255).all()


def test_places_between_those_that_proj_computes(project: Project) -> None:
    """Oracle: PROJ at every pixel; to a hundredth of one, far out too."""
    for z in (20, 12, 8):
        bounds = web_tiles.tile_bounds(*tile_at(project, z))
        step = (bounds[2] - bounds[0]) / 256
        x, y = np.meshgrid(
            *(start + sign * (np.arange(256) + 0.5) * step for start, sign in ((bounds[0], 1), (bounds[3], -1)))
        )
        right = pyproj.Transformer.from_crs("EPSG:3857", project.grid.crs, always_xy=True).transform(x, y)
        for found, there in zip(web_tiles._places(project.grid, bounds), right, strict=True):
            assert np.abs(found - there).max() < 0.01 * step


def test_tiles_out_of_a_bucket_are_the_same(project: Project) -> None:
    """Another way to the bytes, by ranges: the same picture. A block that is gone is named."""
    store = Store(url="memory://tiles", client=MemoryStore())
    manifest = manifest_of(project)
    for made in manifest.objects.values():
        store.put(made.key, project.store.get(made.key))
    there = Project(project.home, project.settings, project.grid, store)
    for z in (16, 18, 20):
        tile = web_tiles.render(there, manifest, *tile_at(project, z))
        assert tile is not None
        assert tile == web_tiles.render(project, manifest, *tile_at(project, z))
    store.delete([made.key for made in manifest.objects.values()])
    with pytest.raises(MissingInput, match="there is no such object"):
        web_tiles.render(there, manifest, *tile_at(project, 18))


def test_probabilities_and_labels_are_layers_that_can_be_seen_through(port: int, project: Project) -> None:
    for dataset in ("predictions", "labels"):
        status, _, data = ask(port, path_of(dataset, *tile_at(project, 18)))
        assert status == 200
        assert len(np.unique(np.asarray(Image.open(io.BytesIO(data)))[..., 3])) > 1


def test_a_tile_is_not_sent_twice(port: int, project: Project) -> None:
    path = path_of(tiles.DATASET, *tile_at(project, 18))
    status, headers, data = ask(port, path)
    assert (status, headers["cache-control"]) == (200, "private, max-age=60")
    assert ask(port, path, If_None_Match=headers["etag"])[::2] == (304, b"")
    assert ask(port, path)[2] == data


@pytest.mark.bad_input
def test_tiles_that_show_nothing_or_are_none(port: int, project: Project) -> None:
    z, x, y = tile_at(project, 18)
    assert ask(port, path_of(tiles.DATASET, z, x + 50, y))[::2] == (204, b"")
    assert ask(port, path_of(tiles.DATASET, 3, 4, 2))[0] == 204, "so far out, a tile would read every block"
    for place in ((2, 4, 0), (3, 0, 8), (24, 0, 0), (60, 1, 1)):
        assert ask(port, path_of(tiles.DATASET, *place))[0] == 404
    assert ask(port, path_of("building_footprints", z, x, y))[0] == 404
    assert ask(port, path_of("aerial_tiles", z, x, y).replace("noorderveld", "nowhere"))[0] == 404
    assert ask(port, path_of("aerial_tiles", z, x, y).replace("2024", "2023"))[0] == 404
    assert ask(port, path_of("aerial_tiles", z, x, y).replace("noorderveld", "..%2f..%2fx"))[0] == 404
    assert ask(port, path_of("aerial_tiles", z, x, -1))[0] == 404


# ---------------------------------------------------------------------------------------------------- footprints


def test_footprints_are_where_they_are(port: int, project: Project) -> None:
    truth = footprints.load(project, HERE).to_crs(4326)
    status, headers, data = ask(port, "/footprints/noorderveld/2024.geojson?zoom=22")
    answer = json.loads(data)
    assert (status, headers["content-type"]) == (200, "application/geo+json")
    assert answer["total"] == answer["shown"] == len(truth)
    if len(truth) == 0:
        pytest.skip("the model of the tests found no building here")
    found = gpd.GeoDataFrame.from_features(answer["features"], crs=4326).set_index("id").sort_index()
    there = truth.set_index("id").sort_index()
    assert list(found.index) == list(there.index)
    apart = found.geometry.to_crs(28992).symmetric_difference(there.geometry.to_crs(28992)).area
    assert (apart < 0.03 * there.geometry.to_crs(28992).length).all(), "more than 3 cm of its outline apart"
    west, south, east, north = there.geometry.iloc[0].bounds
    few = json.loads(ask(port, f"/footprints/noorderveld/2024.geojson?bbox={west},{south},{east},{north}&zoom=22")[2])
    assert there.index[0] in {feature["properties"]["id"] for feature in few["features"]}
    assert few["total"] <= answer["total"]
    far = json.loads(ask(port, "/footprints/noorderveld/2024.geojson?bbox=0,0,1,1")[2])
    assert far["features"] == []


def test_of_many_footprints_the_largest_are_sent(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import shapely

    frame = gpd.GeoDataFrame(
        {"id": [f"b{n}" for n in range(9)], "confidence": 0.5, "area": [float(n) for n in range(9)], "image_date": ""},
        geometry=[shapely.box(182400 + 9 * n, 447700, 182405 + 9 * n, 447705) for n in range(9)],
        crs=28992,
    )
    monkeypatch.setattr(cache, "MOST_FEATURES", 3)
    monkeypatch.setattr(cache, "read", lambda data: frame)
    made = manifest_of(project, footprints.DATASET).objects["footprints"]
    answer = json.loads(cache.Reading(project).footprints(made, None, 20).data)
    assert (answer["total"], answer["shown"]) == (9, 3)
    assert {feature["properties"]["id"] for feature in answer["features"]} == {"b6", "b7", "b8"}


def test_geojson_is_made_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each file, box and zoom; what is kept is bounded in bytes, and another file is another answer."""
    made = manifest_of(project, footprints.DATASET).objects["footprints"]
    boxes = [None, (5.0, 52.0, 6.0, 53.0), (0.0, 0.0, 1.0, 1.0)]
    drawn, geojson = [], cache._geojson
    monkeypatch.setattr(cache, "_geojson", lambda *given: (drawn.append(1), geojson(*given))[1])
    reading = cache.Reading(project)
    first = [reading.footprints(made, box, 18.0) for box in boxes]
    assert [reading.footprints(made, box, 18.0) for box in boxes] == first
    assert len(drawn) == len(boxes)
    assert all(gzip.decompress(body.packed) == body.data for body in first if body.packed)
    other = replace(made, key=f"{made.key}.newer")
    project.store.put(other.key, project.store.get(made.key))
    reading.footprints(other, None, 18.0)
    assert len(drawn) == len(boxes) + 1
    monkeypatch.setattr(cache, "GEOJSON_BYTES", first[-1].weight + 10)
    small = cache.Reading(project)
    for box in boxes * 2:
        small.footprints(made, box, 18.0)
        assert small.geojson.currsize <= cache.GEOJSON_BYTES


def test_what_is_kept_comes_packed_for_those_who_take_it(port: int) -> None:
    for path in (
        "/map/country.json",
        "/footprints/noorderveld/2024.geojson",
        "/partition/aerial_tiles/2024/noorderveld",
    ):
        plain, packed = ask(port, path), ask(port, path, Accept_Encoding="gzip")
        assert "content-encoding" not in plain[1]
        assert "content-encoding" not in packed[1] or packed[1]["vary"].lower() == "accept-encoding"
        unpacked = gzip.decompress(packed[2]) if packed[1].get("content-encoding") == "gzip" else packed[2]
        assert (unpacked, packed[1]["etag"]) == (plain[2], plain[1]["etag"])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "query",
    [
        "bbox=1,2,3",
        "bbox=a,b,c,d",
        "bbox=3,0,1,1",
        "bbox=nan,0,1,1",
        "bbox=0,0,999,1",
        "bbox=0,0,inf,1",
        "zoom=x",
        "zoom=99",
        "zoom=nan",
    ],
)
def test_a_box_that_is_none_is_refused(port: int, query: str) -> None:
    assert ask(port, f"/footprints/noorderveld/2024.geojson?{query}")[0] == 400


# ---------------------------------------------------------------------------------------------------- pages


def test_the_page_of_a_partition_tells_what_was_made(port: int, project: Project) -> None:
    manifest = manifest_of(project)
    page = ask(port, "/partition/aerial_tiles/2024/noorderveld")[2].decode()
    for name, made in manifest.objects.items():
        assert name in page
        assert made.fingerprint in page
        assert made.key in page
    assert ask(port, "/partition/trained_model/2024")[0] == 200
    assert ask(port, "/partition/trained_model/2023")[0] == 404
    assert ask(port, "/partition/no%3Cb%3E/2024/noorderveld")[0] == 404


@pytest.mark.bad_input
def test_names_and_facts_are_never_markup(project: Project) -> None:
    """A region cannot be called so; a page does not rely on it."""
    nasty = """<script>alert("1")</script> it's"""
    manifest = manifest_of(project)
    made = replace(next(iter(manifest.objects.values())), facts={nasty: nasty}, key=nasty, fingerprint=nasty)
    odd = replace(manifest, partition=Partition(2024, nasty), objects={nasty: made}, run=nasty, version=nasty)
    for page in (pages.region(odd.partition), pages.partition(project, odd), pages.refusal(404, nasty)):
        assert "<script>" not in page
        assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; it&#x27;s" in page


@pytest.mark.bad_input
def test_words_of_a_file_are_never_markup(project: Project) -> None:
    verdict = {"passed": False, "serious": True, "message": "<script>alert(1)</script>", "facts": {}, "picture": None}
    project.store.put(verdict_key("tiles_complete", HERE), json.dumps(verdict).encode())
    page = pages.partition(project, manifest_of(project))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.slow
def test_many_readers_at_once_get_the_same(port: int, project: Project) -> None:
    path, answers = path_of(tiles.DATASET, *tile_at(project, 17)), []
    readers = [threading.Thread(target=lambda: answers.append(ask(port, path)[::2])) for _ in range(24)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert len(answers) == 24
    assert len(set(answers)) == 1
    assert answers[0][0] == 200

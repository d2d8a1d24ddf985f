"""The map server: 200 clients at once, and one client beside a crowd that says nothing or asks for long names.

    python -m benchmarks.maps [--clients 200] [--seconds 30] [--half-open 420] [--small]

A region of 2 x 2 blocks of 2048 px with 4,000 buildings, served by `groundplan serve` in a process of its own; the
clients are one more process, whose work counts against the same processors. Mixed: pages, facts, tiles, GeoJSON,
styles, each client on a connection that it keeps, one request after the other.
Against: bars, wall seconds on 2 cores that do nothing else: p99 of the mixed clients under 2, of the innocent client
under 1, and every answer what it should be. The server's processor-seconds say the same on a busy machine.
Bound by: Python, about a millisecond an answer; the first look at each tile reads pixels.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import arguments, show
from benchmarks.ground import (
    CRS,
    ORIGIN,
    PARTITION,
    RESOLUTION,
    YEAR,
    commit,
    lay_sheets,
    new_project,
    picture,
    scratch,
)
from groundplan.core.manifest import Planned
from groundplan.pipeline import run_step

SIDE = 2048
MIXED, INNOCENT = 2.0, 1.0  # seconds, the bars
PORT = 38017
PLACE = f"{PARTITION.region}/{PARTITION.year}"


def buildings(count: int, side: int) -> bytes:
    """Footprints of houses of eight corners, all over the ground."""
    import geopandas as gpd
    import shapely

    from groundplan.polygons.geoparquet import to_parquet

    random = np.random.default_rng(7)
    x, y = ORIGIN[0] + random.uniform(0, side, count), ORIGIN[1] - random.uniform(0, side, count)
    shapes = shapely.buffer(shapely.points(x, y), random.uniform(3, 9, count), quad_segs=2)
    columns = {"id": [f"b{n}" for n in range(count)], "confidence": 0.9, "area": shapely.area(shapes), "image_date": ""}
    return to_parquet(gpd.GeoDataFrame(columns, geometry=shapes, crs=CRS))


def project_of(home: Path, block: int, count: int) -> Any:
    project = new_project(home, block)
    lay_sheets(project, picture(), (0, 0, 2 * block, 2 * block))
    for dataset in ("sheets", "aerial_tiles"):
        run_step(project, dataset, PARTITION)
    data = buildings(count, 2 * block * RESOLUTION)
    key = f"building_footprints/{PARTITION.path}/footprints-stand-in.parquet"
    planned = Planned(name="footprints", fingerprint="stand-in", key=key)
    commit(project, "building_footprints", [planned], lambda _: (data, {"count": count}))
    return project


def addresses(project: Any, block: int) -> list[str]:
    """What people at a map ask for: mostly tiles and buildings of a few places."""
    import pyproj

    to = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    middle = block * RESOLUTION
    lon, lat = to.transform(ORIGIN[0] + middle, ORIGIN[1] - middle)
    tiles = []
    for z in (16, 17, 18):
        x = int((lon + 180) / 360 * 2**z)
        y = int((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * 2**z)
        tiles += [f"/tiles/aerial_tiles/{PLACE}/{z}/{x + i}/{y + j}.png" for i in (-1, 0, 1) for j in (-1, 0, 1)]
    step = 0.002
    boxes = [f"{lon + i * step:.4f},{lat:.4f},{lon + (i + 1) * step:.4f},{lat + step:.4f}" for i in range(4)]
    found = [f"/footprints/{PARTITION.region}/{YEAR}.geojson?bbox={box}&zoom=17" for box in boxes]
    pages = [f"/map/{PLACE}/", f"/map/{PLACE}/facts.json", f"/partition/aerial_tiles/{YEAR}/{PARTITION.region}"]
    return [*tiles, *found, *pages, "/map/", "/map/country.json", "/static/site.css", "/healthz"]


@contextmanager
def served(home: Path) -> Iterator[None]:
    program = Path(sys.executable).with_name("groundplan")
    with subprocess.Popen([program, "serve", "--home", home, "--port", str(PORT)], stdout=subprocess.DEVNULL) as server:
        try:
            asyncio.run(_ready())
            yield
        finally:
            server.terminate()


async def _ready() -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if (await _Client().ask("/healthz"))[0] == 200:
                return
        except OSError:
            await asyncio.sleep(0.1)
    raise RuntimeError("the server does not answer")


class _Client:
    """One connection, opened again where the server ended it."""

    def __init__(self) -> None:
        self.reader: asyncio.StreamReader | None = None

    async def ask(self, path: str) -> tuple[int, float]:
        """Status and seconds of one request."""
        began = time.perf_counter()
        if self.reader is None or self.reader.at_eof():
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", PORT)
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n".encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        if b"content-length:" in head:
            await self.reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        return int(head.split(b" ")[1]), time.perf_counter() - began


Answers = list[tuple[int, float]]


async def _mixed(paths: Sequence[str], clients: int, seconds: float) -> Answers:
    end, answers = time.monotonic() + seconds, []

    async def one(number: int) -> None:
        client, random = _Client(), np.random.default_rng(number)
        while time.monotonic() < end:
            answers.append(await client.ask(paths[random.integers(len(paths))]))

    await asyncio.gather(*(one(number) for number in range(clients)))
    return answers


async def _beside_a_crowd(paths: Sequence[str], half_open: int, names: int, seconds: float) -> Answers:
    """One client's answers while others hold connections open and ask for what no disk can hold."""
    held = [await asyncio.open_connection("127.0.0.1", PORT) for _ in range(half_open)]
    for _, writer in held:
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    end, answers = time.monotonic() + seconds, []

    async def long_names() -> None:
        for _ in range(max(1, names // 40)):
            await _Client().ask(f"/previews/{'a' * 300}.png")

    async def innocent() -> None:
        random = np.random.default_rng(0)
        while time.monotonic() < end:
            answers.append(await _Client().ask(paths[random.integers(len(paths))]))
            await asyncio.sleep(0.02)

    await asyncio.gather(innocent(), *(long_names() for _ in range(40)))
    for _, writer in held:
        writer.transport.abort()
    return answers


def spent(who: int) -> float:
    """Processor-seconds of this process, or of the children that have ended."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def row(name: str, answers: Answers, seconds: float, bar: float) -> tuple[Any, ...]:
    seconds_each = np.array([one for _, one in answers])
    shed = sum(status == 503 for status, _ in answers)
    wrong = sum(status not in (200, 204, 503) for status, _ in answers)
    p50, p99 = np.percentile(seconds_each, [50, 99])
    good = "met" if p99 < bar and not wrong and not shed else "NOT MET"
    return (
        name,
        len(answers),
        len(answers) / seconds,
        float(p50),
        float(p99),
        float(seconds_each.max()),
        shed,
        wrong,
        f"{bar:g} s, {good}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--half-open", type=int, default=420)
    parser.add_argument("--long-names", type=int, default=120)
    parser.add_argument("--block", type=int, default=SIDE)
    given = arguments(parser, clients=8, seconds=2, half_open=20, long_names=40, block=512)
    with scratch() as home:
        project = project_of(home / "gp", given.block, 4000)
        paths = addresses(project, given.block)
        before = {who: spent(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)}
        with served(home / "gp"):
            mixed = asyncio.run(_mixed(paths, given.clients, given.seconds))
            beside = asyncio.run(_beside_a_crowd(paths, given.half_open, given.long_names, given.seconds))
    rows = [
        row(f"{given.clients} clients, mixed", mixed, given.seconds, MIXED),
        row(f"one beside {given.half_open} half-open", beside, given.seconds, INNOCENT),
    ]
    columns = ["who", "answers", "a second", "p50 s", "p99 s", "longest s", "shed", "wrong", "bar of p99"]
    server, clients = (1000 * (spent(who) - began) / (len(mixed) + len(beside)) for who, began in before.items())
    notes = [
        f"processor, an answer: {server:.2f} ms of the server, its start included; {clients:.2f} ms of its clients"
    ]
    show("Map server, wall seconds", columns, rows, notes)


if __name__ == "__main__":
    main()

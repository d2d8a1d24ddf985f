"""The results' database: loading beside to_postgis, pages and tiles beside tipg.

    python -m benchmarks.database --peer FOLDER [--rows 1000000] [--small]

Houses of six corners in PostGIS on this machine (fsync off, as in tests). Loading: a year's first region as `sync` does
it, and one more of 12,000 into the table with its indexes; `geopandas.to_postgis` of the same kind of buildings. Pages
and tiles: this project's routes and tipg, each a process of its own, asked in turns over the same rows.
Against: the bars below, and tipg 1.6 in the virtual environment FOLDER, without which those bars are not judged
(`pip install tipg uvicorn geopandas geoalchemy2 psycopg2-binary pyarrow`).
Bound by: PostgreSQL, which writes rows and two indexes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from benchmarks.common import arguments, show
from benchmarks.ground import scratch
from groundplan.core.partition import Partition
from groundplan.database import connect, load

YEAR = 2024
BOX = (150000.0, 450000.0, 182000.0, 482000.0)  # 32 x 32 km: a thousand houses on a km2 at a million
REGION = 12_000
BAR_RATE, BAR_TIMES, BAR_REGION, BAR_NOOP = 100_000.0, 10.0, 1.5, 0.050
BAR_FIRST, BAR_BOX, BAR_TILE = 0.1, 1.2, 1.0
TO_POSTGIS = """
import sys, time, geopandas, sqlalchemy
frame = geopandas.read_parquet(sys.argv[1])
engine = sqlalchemy.create_engine(sys.argv[2])
begin = time.perf_counter()
frame.to_postgis("by_geopandas", engine, if_exists="replace")
print(time.perf_counter() - begin)
"""
PEERS_TABLE = (  # the same rows with the type that tipg learns the CRS from, and the same indexes
    f"CREATE TABLE peer AS SELECT year, region, id, block, confidence, area, image_date, sheet, model, fingerprint, "
    f"geom::geometry(Polygon, 28992) AS geom FROM footprint_{YEAR}",
    "ALTER TABLE peer ADD PRIMARY KEY (id)",
    "CREATE INDEX ON peer USING gist (geom)",
)
SERVER = """
import sys
from groundplan.database import connect
from groundplan.project import open_project
from fastapi import FastAPI
import uvicorn
from serving.ogc.routes import ogc_router
app = FastAPI()
app.include_router(ogc_router(connect.engine(sys.argv[2]), open_project(sys.argv[1])))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[3]), log_level="error")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--compared", type=int, default=100_000, help="rows of to_postgis: it takes a minute a million")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--peer", type=Path, help="virtual environment with tipg")
    chosen = arguments(parser, rows=5000, compared=2000, repeats=3)
    sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / name) for name in ("", "support", "kubernetes")]
    from conftest import new_project
    from databases import serve_postgis

    with scratch() as folder, serve_postgis() as server:
        project, url = new_project(folder / "home"), server.migrated()
        engine = connect.engine(url)
        rows = loading(folder, project, engine, url, chosen)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in PEERS_TABLE if chosen.peer else ():
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql("VACUUM ANALYZE")
        rows += asking(project, url, chosen)
        engine.dispose()
    show(f"results' database, {chosen.rows:,} buildings", ("what", "ours", "peer", "ratio", "bar", ""), rows)


def verdict(met: bool) -> str:
    return "met" if met else "not met"


# ------------------------------------------------------------------------------- loading


def loading(folder: Path, project: Any, engine: Any, url: str, chosen: argparse.Namespace) -> list[tuple[Any, ...]]:
    from made_footprints import commit_houses, houses

    first, more = Partition(YEAR, "first"), Partition(YEAR, "more")
    commit_houses(project, first, houses(chosen.rows, BOX))
    seconds = timed(lambda: load.sync(engine, project))
    rate = chosen.rows / seconds
    commit_houses(project, more, houses(REGION, BOX, seed=8))
    begun = timed(lambda: load.load_partition(engine, project, more))
    commit_houses(project, more, houses(REGION, BOX, seed=9))
    again = timed(lambda: load.load_partition(engine, project, more))
    nothing = statistics.median(timed(lambda: load.load_partition(engine, project, more)) for _ in range(5))
    rows: list[tuple[Any, ...]] = [
        ("first region of a year, rows/s", rate, "", "", f">= {BAR_RATE:,.0f}", verdict(rate >= BAR_RATE)),
        (f"one more region of {REGION:,}, s", begun, "", "", f"<= {BAR_REGION}", verdict(begun <= BAR_REGION)),
        (f"a region of {REGION:,} made anew, s", again, "", "", f"<= {BAR_REGION}", verdict(again <= BAR_REGION)),
        ("a region that is loaded, ms", nothing * 1e3, "", "", f"<= {BAR_NOOP * 1e3:g}", verdict(nothing <= BAR_NOOP)),
    ]
    times = f">= {BAR_TIMES:g}"
    if chosen.peer is None:
        return [*rows, ("... beside to_postgis, rows/s", rate, "", "", times, "no peer given")]
    peer = to_postgis(folder, url, chosen)
    return [*rows, ("... beside to_postgis, rows/s", rate, peer, rate / peer, times, verdict(rate / peer >= BAR_TIMES))]


def to_postgis(folder: Path, url: str, chosen: argparse.Namespace) -> float:
    """Rows a second of geopandas' own way, in the peer's environment."""
    from made_footprints import houses

    file = folder / "compared.parquet"
    houses(chosen.compared, BOX).to_parquet(file)
    words = [str(chosen.peer / "bin/python"), "-c", TO_POSTGIS, str(file)]
    done = subprocess.run([*words, url.replace("postgresql:", "postgresql+psycopg2:")], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-800:])
    return float(chosen.compared / float(done.stdout))


def timed(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


# ------------------------------------------------------------------------------- asking


def asking(project: Any, url: str, chosen: argparse.Namespace) -> list[tuple[Any, ...]]:
    import morecantile
    import pyproj

    to = pyproj.Transformer.from_crs("EPSG:28992", "EPSG:4326", always_xy=True)
    side = 1000.0 * (1_000_000 / chosen.rows) ** 0.5  # a km2 at a million: about a thousand buildings
    middle = ((BOX[0] + BOX[2]) / 2, (BOX[1] + BOX[3]) / 2)
    west, south, east, north = to.transform_bounds(*middle, middle[0] + side, middle[1] + side)
    box = f"{west},{south},{east},{north}"
    tile = morecantile.tms.get("WebMercatorQuad").tile((west + east) / 2, (south + north) / 2, 15)
    ours, peers = f"/ogc/collections/footprints-{YEAR}", "/collections/public.peer"
    asked = {
        "first page of 10": (f"{ours}/items?limit=10", f"{peers}/items?limit=10", BAR_FIRST),
        "a km2, page of 1,000": (
            f"{ours}/items?{urlencode({'bbox': box, 'limit': 1000})}",
            f"{peers}/items?{urlencode({'bbox': box, 'limit': 1000})}",
            BAR_BOX,
        ),
        "vector tile at z15, 0.5 km2": (
            f"{ours}/tiles/WebMercatorQuad/15/{tile.y}/{tile.x}",
            f"{peers}/tiles/WebMercatorQuad/15/{tile.x}/{tile.y}",
            BAR_TILE,
        ),
    }
    rows: list[tuple[Any, ...]] = []
    with own_server(project, url) as here, peer_server(url, chosen.peer) as there:
        for name, (mine, other, bar) in asked.items():
            spent: dict[str, list[float]] = {}
            for turn in range(chosen.repeats + 2):
                for address in filter(None, (here and here + mine, there and there + other)):
                    seconds = timed(lambda address=address: urlopen(address, timeout=120).read())
                    if turn > 1:  # both are warm by then
                        spent.setdefault(address, []).append(seconds * 1e3)
            medians = [statistics.median(each) for each in spent.values()]
            ratio = medians[0] / medians[1] if there else 0.0
            told = (medians[1], ratio, f"<= {bar:g}") if there else ("", "", f"<= {bar:g}")
            rows.append((f"{name}, ms", medians[0], *told, verdict(ratio <= bar) if there else "no peer given"))
        if there:
            rows.append(
                (
                    "same buildings as tipg's in that km2",
                    *_same(here + asked["a km2, page of 1,000"][0], there + asked["a km2, page of 1,000"][1]),
                )
            )
    return rows


def _same(ours: str, peers: str) -> tuple[Any, ...]:
    """Whether both answers hold the same ids."""
    mine, other = (json.load(urlopen(address, timeout=120))["features"] for address in (ours, peers))
    one, two = {each["id"] for each in mine}, {each["properties"]["id"] for each in other}
    same = one == two or (len(one) == len(two) == 1000)  # of more than a page each may show its own thousand
    return len(one), len(two), "", "equal", verdict(same)


@contextmanager
def own_server(project: Any, url: str) -> Iterator[str]:
    with _process(
        [sys.executable, "-c", SERVER, str(project.home), url, "38071"], "http://127.0.0.1:38071/ogc/conformance"
    ):
        yield "http://127.0.0.1:38071"


@contextmanager
def peer_server(url: str, peer: Path | None) -> Iterator[str]:
    """tipg over the table of the year, without its cache of answers; '' where it is not given."""
    if peer is None:
        yield ""
        return
    environment = os.environ | {
        "DATABASE_URL": url,
        "TIPG_DB_SCHEMAS": '["public"]',
        "TIPG_MAX_FEATURES_PER_QUERY": "10000",
    }
    words = [str(peer / "bin/python"), "-m", "uvicorn", "tipg.main:app", "--port", "38072", "--log-level", "error"]
    with _process(words, "http://127.0.0.1:38072/collections", environment):
        yield "http://127.0.0.1:38072"


@contextmanager
def _process(words: list[str], address: str, environment: Any = None) -> Iterator[None]:
    process = subprocess.Popen(words, env=environment)
    try:
        for _ in range(600):
            try:
                urlopen(address, timeout=5).read()
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(f"{words[0]} ended with {process.returncode}") from None
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


if __name__ == "__main__":
    main()

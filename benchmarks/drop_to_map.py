"""Drop to map: the seconds from two sheets in the landing folder to their footprints on the map.

    python -m benchmarks.drop_to_map [--home demo] [--side 1024] [--small]

A copy of the demo's project (`make demo` makes it) lives as `make dev` runs it: code server, daemon, web server and map
server as processes of their own, all sensors on. First it must stay quiet: nothing of what the demo made may be run
again. Then two sheets of `side` x `side` pixels are copied into the landing folder (as much ground as the README's two
of Zanzibar, 2048 pixels of 15 cm), and the map is asked twice a second until it has their footprints and a tile. The
rows say where the time went, by Dagster's own records.

Against: 45 s, on a quiet machine of two processors; all times are wall. Bound by: the daemon's look at sensors, which
comes every 5 s, the quiet time of a delivery (5 s in the demo), and the start of one process that loads Dagster.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from benchmarks.common import arguments, show
from benchmarks.ground import part, scratch

BAR = 45.0  # seconds
REGION, YEAR = "zanzibar", 2022  # neither is in the demo
AWAY = 10_000  # pixels, 3 km
ROOT = Path(__file__).parents[1]
PATIENCE = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("demo"), help="a project that `groundplan demo` made")
    parser.add_argument("--side", type=int, default=1024, help="pixels of a sheet's side, at the demo's 0.3 m")
    parser.add_argument("--quiet", type=float, default=40.0, help="seconds in which nothing may be started")
    options = arguments(parser, side=400, quiet=20.0)
    if not (options.home / "groundplan.toml").is_file():
        parser.error(f"{options.home} is no project: run `make demo`, or give --home")
    with scratch() as folder:
        home = folder / "home"
        shutil.copytree(options.home, home)
        sheets = draw(folder, options.side)
        with living(home) as (instance, maps):
            again = quiet_runs(instance, options.quiet)
            began = time.time()
            drop(sheets, home / "store" / "landing")
            shown = wait_for(lambda: on_the_map(maps))
            rows = phases(instance, began, shown)
    report(rows, shown - began, again, options)


def report(rows: list[tuple[str, float]], took: float, again: int, options: argparse.Namespace) -> None:
    verdict = "met" if took <= BAR else "not met"
    show(
        "From two sheets in the landing folder to their footprints on the map",
        ("what", "seconds"),
        [*rows, ("in all", took), ("bar", BAR)],
        (
            f"bar of {BAR:.0f} s: {verdict}; sheets of {options.side} x {options.side} pixels",
            f"runs that the demo's project started by itself before: {again} (bar 0: {'not ' * bool(again)}met)",
        ),
    )


# ------------------------------------------------------------------------------------------------------- the project


def draw(folder: Path, side: int) -> list[Path]:
    """Two sheets beside each other of an invented town, some way from the demo's regions."""
    import rasterio

    from groundplan.synthetic import country
    from groundplan.synthetic.place import ZANZIBAR

    town = country.draw(folder / "town", 11, 300.0, years=(YEAR,), location=ZANZIBAR)
    with rasterio.open(town.sheets[town.names[0], YEAR][0]) as source:
        pixels, place, crs = source.read(), source.transform, source.crs
    made = []
    for number in (0, 1):
        path = folder / f"{REGION}_{YEAR}_{number}.tif"
        left = number * side
        profile = {"width": side, "height": side, "count": pixels.shape[0], "dtype": pixels.dtype, "crs": crs}
        with rasterio.open(
            path, "w", driver="GTiff", transform=place * place.translation(left + AWAY, 0), tiled=True, **profile
        ) as file:
            file.write(part(pixels, left, 0, side, side))  # mirrored until it fills that size
        made.append(path)
    return made


def drop(sheets: list[Path], landing: Path) -> None:
    for sheet in sheets:
        shutil.copy(sheet, landing)


@contextmanager
def living(home: Path) -> Iterator[tuple[Any, str]]:
    """The processes of `make dev` over a project, on ports that are free; gives Dagster's instance and the map."""
    import dagster as dg

    ui, maps = free_port(), free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith(("GROUNDPLAN_", "DAGSTER_"))}
    env |= {"SENSORS_ON": "1", "SENSORS_SECONDS": looks()}
    shutil.copy(ROOT / "dagster.yaml", home / "dagster" / "dagster.yaml")
    command = [str(Path(sys.executable).with_name("groundplan")), "dev", "--home", str(home)]
    with ExitStack() as stack, (home / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(maps), "--ui-port", str(ui)],
            cwd=ROOT,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        stack.callback(end, process)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(home / "dagster")))
        address = f"http://127.0.0.1:{maps}"
        wait_for(lambda: asked(f"{address}/healthz") is not None)
        wait_for(lambda: looked(instance))
        yield instance, address


def looks() -> str:
    """Seconds between the sensors' looks, as `make dev` has them."""
    found = re.search(r"^SENSORS_SECONDS \?= (\d+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert found, "the Makefile says no SENSORS_SECONDS"
    return found[1]


def end(process: subprocess.Popen[bytes]) -> None:
    """It ends all that it started."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def looked(instance: Any) -> bool:
    """Whether the sensor of new imagery has looked, and the automation too."""
    states = {state.instigator_name: state for state in instance.all_instigator_state()}
    return all(
        states[name].instigator_data.cursor if name in states else False for name in ("new_imagery", "automation")
    )


def quiet_runs(instance: Any, seconds: float) -> int:
    """How many runs were started in that time: nothing new lies there."""
    before = instance.get_runs_count()
    time.sleep(seconds)
    return int(instance.get_runs_count() - before)


# ---------------------------------------------------------------------------------------------------------- the map


def on_the_map(maps: str) -> bool:
    """Whether the map shows footprints of the region, and the tile where they lie."""
    body = asked(f"{maps}/footprints/{REGION}/{YEAR}.geojson?zoom=17")
    features = json.loads(body)["features"] if body else []
    if not features:
        return False
    ring = features[0]["geometry"]["coordinates"][0]
    z, x, y = tile_of(*(ring[0] if isinstance(ring[0][0], float) else ring[0][0]))
    return bool(asked(f"{maps}/tiles/aerial_tiles/{REGION}/{YEAR}/{z}/{x}/{y}.png"))


def tile_of(lon: float, lat: float, zoom: int = 17) -> tuple[int, int, int]:
    import math

    count = 2**zoom
    y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2
    return zoom, int((lon + 180) / 360 * count), int(y * count)


def asked(address: str) -> bytes | None:
    try:
        with urlopen(address, timeout=30) as answer:
            return bytes(answer.read())
    except (HTTPError, URLError, OSError):
        return None


def wait_for(is_so: Callable[[], Any]) -> float:
    """The time at which it is so. Raises TimeoutError."""
    until = time.time() + PATIENCE
    while not is_so():
        if time.time() > until:
            raise TimeoutError(f"not in {PATIENCE:.0f} s")
        time.sleep(0.5)
    return time.time()


# --------------------------------------------------------------------------------------------------- where it went


def phases(instance: Any, began: float, shown: float) -> list[tuple[str, float]]:
    """Of the runs that the drop started, in the order of time: waiting, starting, and each step."""
    records = [one for one in instance.get_run_records() if one.create_timestamp.timestamp() > began - 1]
    rows, last = [], began
    for record in sorted(records, key=lambda one: one.create_timestamp):
        run, name = record.dagster_run, record.dagster_run.job_name.strip("_")
        if (record.start_time or shown) > shown:
            continue
        asked_at = record.create_timestamp.timestamp()
        rows.append((f"until {name} is asked for", max(0.0, asked_at - last)))
        rows.append(
            (f"  queue, and start of a process, for {run.tags.get('dagster/partition')}", record.start_time - asked_at)
        )
        stats = instance.get_run_step_stats(run.run_id)
        for step in sorted((one for one in stats if one.start_time), key=lambda one: one.start_time):
            if step.end_time:
                rows.append((f"  {step.step_key}", step.end_time - step.start_time))
        last = min(shown, record.end_time or shown)
    rows.append(("until the map has it", max(0.0, shown - last)))
    return rows


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()

"""Make home-3205019.tar.xz: a small project as commit 3205019 left it, for test_old_home.py.

    git worktree add /tmp/old 3205019 && cd /tmp/old
    PYTHONPATH=/tmp/old:/tmp/old/tests python PATH/OF/make_old_home.py PATH/OF/home-3205019.tar.xz

It runs that commit's own commands: two regions in two years, and a collection of three classes. Only the two models are
not what was trained: each keeps its manifest and card, but its graph is one of a few hundred bytes that calls red roofs
buildings. Two networks of random numbers would be 60 MB and find nothing.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

from collection_shards import draw as draw_images
from groundplan.blocks import Partition, manifest_key, need_manifest
from groundplan.packing import packed
from groundplan.steps import ASSETS
from walkthrough import SETTINGS, colour_graph

from groundplan import models
from groundplan.project import open_project
from groundplan.synthetic import draw

PLACE = Path("/tmp/groundplan-3205019")  # a report names the store that it is of
HOME = PLACE / "home"
COLLECTION = """
[collections]
features = "orb"
words = 16
size = 64
shard = 6
"""


def groundplan(*arguments: object) -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("GROUNDPLAN_", "DAGSTER_"))}
    command = [sys.executable, "-m", "orchestration.cli", *map(str, arguments)]
    subprocess.run(command, cwd=PLACE, env=clean, check=True)


def make() -> None:
    country = draw(PLACE / "country", size_m=90.0, years=(2023, 2024))
    grid = ("--crs", country.crs, "--resolution", country.resolution, "--block-size", 256)
    groundplan("init", HOME, *grid, "--regions", country.regions)
    settings = HOME / "groundplan.toml"
    settings.write_text(settings.read_text("utf-8").replace("[model]\n", SETTINGS) + COLLECTION, "utf-8")
    for (region, year), sheets in country.sheets.items():
        groundplan("add-imagery", *sheets, "--region", region, "--year", year, "--home", HOME)
    for year, (register, extent) in country.registers.items():
        groundplan("add-register", register, "--year", year, "--extent", extent, "--home", HOME)
    for asset in ASSETS[: ASSETS.index(models.DATASET) + 1]:
        groundplan("build", "--select", asset, "--home", HOME)
    for year in country.years:
        shrink(year)
    groundplan("build", "--home", HOME)
    groundplan("status", "--home", HOME)
    groundplan("add-collection", draw_images(PLACE / "images", count=10), "--name", "fruits", "--home", HOME)
    groundplan("build", "--collection", "fruits", "--home", HOME)


def shrink(year: int) -> None:
    """Put a small graph in place of the trained network; what the model was made from stays true."""
    project = open_project(HOME)
    manifest = need_manifest(project.store, models.DATASET, Partition(year))
    made = manifest.objects["model"]
    card = models.unpack(project.store.get(made.key)).card
    graph = colour_graph(project.grid.resolution)
    data = packed({"card.json": json.dumps(card, indent=1, sort_keys=True).encode(), "model.onnx": graph})
    project.store.put(made.key, data)
    made = replace(made, bytes=len(data), facts={**made.facts, **models.describe(data)})
    manifest = replace(manifest, objects={"model": made})
    project.store.put(manifest_key(models.DATASET, Partition(year)), manifest.to_json())


def archive(target: Path) -> None:
    """The home without its locks, and without who packed it and when."""
    with tarfile.open(target, "w:xz", preset=9) as tar:
        for path in sorted(HOME.rglob("*")):
            name = path.relative_to(PLACE)
            if path.is_file() and not re.search(r"/(\.opening|\.incoming/.*|.*\.lock)$", str(name)):
                data = path.read_bytes()
                entry = tarfile.TarInfo(str(name))
                entry.size, entry.mtime = len(data), int(path.stat().st_mtime)
                tar.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    shutil.rmtree(PLACE, ignore_errors=True)
    make()
    archive(Path(sys.argv[1]))

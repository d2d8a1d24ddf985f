"""A person's way through a project, by the real command: from `init` to footprints, once, for the tests that look on.

Here: the walk, and a stand-in for a model that has learned long enough. Not here: what is expected (test_cli.py and
test_ui.py).
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely

from groundplan.core.manifest import Made, Manifest, Planned, manifest_key, need_manifest, plan_fingerprint
from groundplan.core.partition import Partition
from groundplan.project import Project, open_project
from groundplan.synthetic.country import Country
from groundplan.training import models

YEAR = 2024
TOWN, EAST = "old town", "east"  # a name with a space; a region that no register covers
SETTINGS = """
[model]
encoder_weights = "none"
steps = 2
batch = 2
crop = 64
resolution = 0.3

[split]
cell = 16.0
window = 128
overlap = 32
max_windows = 8
"""

Said = subprocess.CompletedProcess[str]


@dataclass
class Walk:
    """The project that came of it, and what each command said."""

    home: Path
    country: Country
    folder: Path
    said: dict[str, Said] = field(default_factory=dict)

    def run(self, name: str, *arguments: object) -> Said:
        """`groundplan ARGUMENTS` in a process of its own, without GROUNDPLAN_ settings from outside."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("GROUNDPLAN_", "DAGSTER_"))}
        command = [str(Path(sys.executable).parent / "groundplan"), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=600)
        self.said[name] = done
        return done


def walk(folder: Path, country: Country) -> Walk:
    """Two regions, the register of one, a short training, a better model, and twice more `build`."""
    here = Walk(folder / "gp", country, folder)
    north, south = (country.sheets[region, YEAR] for region in country.names)
    register, _ = country.registers[YEAR]
    here.run("init", "init", "gp", "--crs", country.crs, "--resolution", country.resolution, "--block-size", 256)
    configure(here)
    here.run("add-imagery", "add-imagery", *north, "--region", TOWN, "--year", YEAR)
    here.run("add-imagery east", "add-imagery", *south, "--region", EAST, "--year", YEAR, "--home", here.home)
    here.run("add-register", "add-register", register, "--year", YEAR, "--extent", extent_of_town(here))
    here.run("build", "build")
    learn_colors(open_project(here.home))
    here.run("build with a better model", "build", "--json")
    here.run("build again", "build")
    return here


def configure(here: Walk) -> None:
    """Small settings; and a grid on which no block shows much of both regions."""
    settings = here.home / "groundplan.toml"
    text = settings.read_text("utf-8")
    assert 'start = "starter"' in text, "a new project starts from the model that ships"
    text = "".join(line for line in text.splitlines(True) if not line.startswith("start ="))
    text = text.replace("[model]\n", SETTINGS).replace("[footprints]\n", "[footprints]\nhalo = 32\n")
    text = re.sub(r"^core = .*$", "core = 256\nmargin = 32", text, flags=re.M)
    text = text[: text.index("[serving]")]  # no map server runs beside the tests: pictures are in the metadata
    step = here.country.resolution
    left, top = areas(here).bounds.iloc[1][["minx", "maxy"]]  # sheets show 3 m more
    origin = [round((round(left / step) - 300) * step, 1), round((round(top / step) + 15 + 2 * 256) * step, 1)]
    settings.write_text(re.sub(r"origin = \[.*?\]", f"origin = {origin}", text), "utf-8")


def areas(here: Walk) -> gpd.GeoDataFrame:
    """The country's regions, north to south, in its CRS."""
    return gpd.read_file(here.country.regions).to_crs(here.country.crs).set_index("name").loc[list(here.country.names)]


def extent_of_town(here: Walk) -> Path:
    """The register's extent less the ground of the southern region's blocks: that one has imagery only."""
    extent = gpd.read_file(here.country.registers[YEAR][1]).to_crs(here.country.crs)
    west, south, east, north = areas(here).total_bounds
    south = areas(here).iloc[1].geometry.bounds[3] + 8
    town = gpd.GeoDataFrame(geometry=[shapely.box(west, south, east, north)], crs=here.country.crs)
    path = here.folder / "extent.geojson"
    gpd.overlay(extent[["geometry"]], town).to_crs(4326).to_file(path, driver="GeoJSON")
    return path


def learn_colors(project: Project) -> None:
    """Commit a model that calls red and brown buildings: tests need footprints, and two steps teach nothing."""
    partition = Partition(YEAR)
    old = need_manifest(project.store, models.DATASET, partition).objects["model"]
    card = {**models.unpack(project.store.get(old.key)).card, "thresholds": old.facts["thresholds"]}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("card.json", json.dumps(card))
        archive.writestr("model.onnx", color_graph(project.grid.resolution))
    data = buffer.getvalue()
    key = f"{models.DATASET}/{partition.path}/model-colours.zip"
    made = Made(
        name="model",
        key=key,
        fingerprint="colours",
        bytes=len(data),
        seconds=0.0,
        cpu_seconds=0.0,
        inputs=(),
        facts=models.describe(data),
    )
    project.store.put(made.key, data)
    plan = plan_fingerprint(models.VERSION, [Planned(name="model", fingerprint=made.fingerprint, key=made.key)])
    manifest = Manifest(
        dataset=models.DATASET, partition=partition, version=models.VERSION, fingerprint=plan, objects={"model": made}
    )
    project.store.put(manifest_key(models.DATASET, partition), manifest.to_json())


def color_graph(resolution: float) -> bytes:
    """uint8 (1, 3, H, W) to uint8 (1, 2, H, W) as `network.export` makes it: red over green, smoothed; no edges."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((2, 3, 5, 5), np.float32)
    weights[0, 0], weights[0, 1] = 0.25 / 25, -0.25 / 25  # a roof's red is 20 to 60 above its green, grass's below
    arrays = {"weights": weights, "bias": np.array([-4.0, -9.0], np.float32), "most": np.float32(255)}
    nodes = [
        helper.make_node("Cast", ["window"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["float", "weights", "bias"], ["logits"], pads=[2, 2, 2, 2]),
        helper.make_node("Sigmoid", ["logits"], ["share"]),
        helper.make_node("Mul", ["share", "most"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], ["probability"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("window", TensorProto.UINT8, [1, 3, "H", "W"])],
        [helper.make_tensor_value_info("probability", TensorProto.UINT8, [1, 2, "H", "W"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"bands": "3", "step": "32", "grid_resolution": str(resolution)})
    data: bytes = model.SerializeToString()
    return data

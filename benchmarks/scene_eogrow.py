"""eo-grow's way with a scene and a network, for benchmarks/scene.py: a pipeline over a grid of patches with buffers.

Here: the grid, the task of eo-learn that predicts a patch, the pipeline. Not here: other peers (scene_peers.py).
"""

from __future__ import annotations

import importlib
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scene_peers import STRIDE, WINDOW, Network, read_band, stored

AROUND = (WINDOW - STRIDE) // 2  # pixels


def eogrow_patches(scene: Path, network: Network, folder: Path) -> np.ndarray:
    """Tasks of eo-learn read a patch, one of ours predicts it, theirs write it; the middles are put together here."""
    import rasterio

    modules = _eogrow()
    home = folder / "eogrow"
    for name in ("input-data", "maps"):
        (home / name).mkdir(parents=True, exist_ok=True)
    with rasterio.open(scene) as source:
        side, place, crs = source.width, source.transform, source.crs
    corners = list(product(range(0, side, STRIDE), range(0, side, STRIDE)))
    _write_grid(home / "input-data" / "grid.gpkg", corners, place, crs)
    root = "eogrow.core"
    settings = {
        "storage": {"manager": f"{root}.storage.StorageManager", "project_folder": str(home)},
        "area": {"manager": f"{root}.area.CustomGridAreaManager", "grid_filename": "grid.gpkg", "name_column": "name"},
        "logging": {"manager": f"{root}.logging.LoggingManager", "capture_warnings": False},
        "debug": True,  # in this process, not on a ray cluster
    }
    _pipeline(modules, scene, network, home / "maps").from_raw_config(settings).run()
    whole = np.zeros((side, side), np.uint8)
    for number, (top, left) in enumerate(corners):
        room = whole[top : top + STRIDE, left : left + STRIDE]
        middle = read_band(home / "maps" / f"{number}.tif")[AROUND:-AROUND, AROUND:-AROUND]
        room[:] = middle[: room.shape[0], : room.shape[1]]
    return whole


def _write_grid(file: Path, corners: list[tuple[int, int]], place: Any, crs: Any) -> None:
    """Patches with their buffers, as eo-grow reads a grid that was made elsewhere."""
    import geopandas
    import shapely

    boxes = [
        shapely.box(
            *(place * (left - AROUND, top - AROUND + WINDOW)), *(place * (left - AROUND + WINDOW, top - AROUND))
        )
        for top, left in corners
    ]
    names = {"name": [str(number) for number in range(len(boxes))]}
    geopandas.GeoDataFrame(names, geometry=boxes, crs=crs).to_file(file, driver="GPKG")


def _pipeline(modules: Any, scene: Path, network: Network, target: Path) -> Any:
    """A class of pipeline, as eo-grow wants it: its workflow, and which patch each of its tasks is for."""
    from eolearn.core import CreateEOPatchTask, EONode, EOTask, EOWorkflow, FeatureType, linearly_connect_tasks
    from eolearn.io import ExportToTiffTask, ImportFromTiffTask

    pixels, found = (FeatureType.DATA_TIMELESS, "pixels"), (FeatureType.DATA_TIMELESS, "found")

    class Predict(EOTask):  # type: ignore[misc]
        def execute(self, patch: Any) -> Any:
            image = np.ascontiguousarray(patch[pixels].transpose(2, 0, 1))
            patch[found] = stored(network(image)[0])[:, :, None]
            return patch

    class OverPatches(modules.Pipeline):  # type: ignore[misc]
        def build_workflow(self) -> Any:
            read = ImportFromTiffTask(pixels, str(scene), no_data_value=0, image_dtype=np.uint8)
            write = ExportToTiffTask(found, str(target), image_dtype=np.uint8)
            return EOWorkflow(linearly_connect_tasks(CreateEOPatchTask(), read, Predict(), write))

        def get_execution_arguments(self, workflow: Any, patches: Any) -> Any:
            given = super().get_execution_arguments(workflow, patches)
            last: list[EONode] = [node for node in workflow.get_nodes() if isinstance(node.task, ExportToTiffTask)]
            for name, arguments in given.items():
                arguments[last[0]] = {"filename": f"{name}.tif"}
            return given

    return OverPatches


def _eogrow() -> Any:
    """eo-grow's module of pipelines; it asks for pydantic 1, which pydantic 2 carries along as pydantic.v1."""
    name = "eogrow.core.pipeline"
    if name in sys.modules:
        return sys.modules[name]
    for other in ("eolearn.io", "ray", "pydantic.v1.fields"):  # these get the pydantic that they know
        importlib.import_module(other)
    new = {key: module for key, module in sys.modules.items() if key.partition(".")[0] == "pydantic"}
    old = {key.replace(".v1", "", 1): module for key, module in new.items() if key.startswith("pydantic.v1")}
    for key in new:
        if not key.startswith("pydantic.v1"):
            del sys.modules[key]
    sys.modules.update(old)
    try:
        for room in ("area", "logging", "storage"):
            importlib.import_module(f"eogrow.core.{room}")
        return importlib.import_module(name)
    finally:
        for key in old:
            del sys.modules[key]
        sys.modules.update(new)

"""`groundplan doctor`: what this machine and this project have of what is needed, and what to do about the rest.

Here: looking, in seconds, and a table. Not here: mending anything. Looked for is what a build, the map and Dagster use.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from groundplan.errors import BadConfig, GroundplanError
from orchestration.cli.terminal import AsJson, Home, as_dict, hints, open_home, out

if TYPE_CHECKING:
    from groundplan.project import Project

OK, NOTE, LACKS = "ok", "note", "lacks"
COLORS = {OK: "green", NOTE: "yellow", LACKS: "bold red"}
PACKAGES = ("dagster", "rasterio", "geopandas", "shapely", "pyproj", "openvino")
LEARNING = ("torch", "segmentation-models-pytorch")
DRIVERS = ("GTiff", "COG", "JP2OpenJPEG", "PNG", "JPEG")
LEAST_GB, FEW_GB = 1.0, 20.0
PROBE = "doctor/probe"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at. verdict: ok; note: can be done without; lacks: something needed is missing."""

    what: str
    verdict: str
    found: str
    remedy: str = ""


def doctor(home: Home = None, as_json: AsJson = False) -> None:
    """Say what this machine and project have of what is needed, and what to do about what lacks."""
    found = list(_machine())
    try:
        project = open_home(home)
    except BadConfig as error:
        asked = home is not None or "GROUNDPLAN_HOME" in os.environ
        found.append(Diagnosis("project", LACKS if asked else NOTE, f"{error.thing}: {error.reason}", error.remedy))
    else:
        found += [_safely(what, look, project) for what, look in OF_A_PROJECT.items()]
    if as_json:
        out.print_json(json.dumps([as_dict(one) for one in found]))
    else:
        _print(found)
    if any(one.verdict == LACKS for one in found):
        raise typer.Exit(1)


def _print(found: list[Diagnosis]) -> None:
    table = Table("what", "verdict", "found")
    for one in found:
        table.add_row(one.what, f"[{COLORS[one.verdict]}]{one.verdict}[/]", hints(one.found))
    out.print(table)
    for one in found:
        if one.remedy and one.verdict != OK:
            out.print(f"{one.what}: {hints(one.remedy)}", highlight=False, soft_wrap=True)


def _safely(what: str, look: Callable[[Project], Diagnosis], project: Project) -> Diagnosis:
    """A diagnosis; where looking fails, that is one."""
    try:
        return look(project)
    except GroundplanError as error:
        return Diagnosis(what, LACKS, f"{error.thing}: {error.reason}", error.remedy)
    except Exception as error:
        return Diagnosis(what, LACKS, f"{type(error).__name__}: {str(error)[:200]}", "See what it names")


# ------------------------------------------------------------------------------------------- the machine


def _machine() -> Iterator[Diagnosis]:
    yield Diagnosis("groundplan", OK, f"{version('groundplan')}, Python {sys.version.split()[0]}")
    yield _packages("packages", PACKAGES, LACKS, "Install Groundplan again, as README says")
    yield _packages("training", LEARNING, NOTE, "Install the extra 'train' where models are trained")
    yield _gdal()
    yield _gpu()
    yield _map_library()


def _packages(what: str, names: tuple[str, ...], verdict: str, remedy: str) -> Diagnosis:
    there = {name: _version(name) for name in names}
    lacking = [name for name, found in there.items() if not found]
    told = ", ".join(f"{name} {found or 'is not installed'}" for name, found in there.items())
    return Diagnosis(what, verdict if lacking else OK, told, remedy if lacking else "")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _gdal() -> Diagnosis:
    import rasterio
    from rasterio.drivers import raster_driver_extensions
    from rasterio.env import Env

    with Env() as env:
        there = {*env.drivers(), *raster_driver_extensions().values()}
    lacking = [name for name in DRIVERS if name not in there]
    found = f"{rasterio.__gdal_version__}, PROJ {rasterio.__proj_version__}"
    if lacking:
        return Diagnosis("GDAL", LACKS, f"{found}, without {', '.join(lacking)}", "Install rasterio's own wheel")
    return Diagnosis("GDAL", OK, f"{found}; reads {', '.join(DRIVERS)}")


def _gpu() -> Diagnosis:
    """torch is asked only where a device is there: loading it takes seconds."""
    if not Path("/dev/nvidiactl").exists() and shutil.which("nvidia-smi") is None:
        return Diagnosis("GPU", OK, "none; training and prediction run on the processors")
    if find_spec("torch") is None:
        return Diagnosis("GPU", NOTE, "a device is there, and no torch to use it", "Install the extra 'train'")
    import torch

    if torch.cuda.is_available():
        return Diagnosis("GPU", OK, f"{torch.cuda.get_device_name()}; training and prediction use it")
    return Diagnosis("GPU", NOTE, "a device is there, and this torch does not see it", "Install a torch for its CUDA")


def _map_library() -> Diagnosis:
    import serving.maps

    folder = Path(serving.maps.__file__).parent / "static" / "vendor"
    if (folder / "maplibre-gl.mjs").is_file():
        return Diagnosis("map", OK, "its library is there")
    return Diagnosis("map", NOTE, "its library is not there: map pages stay empty", "Run `make vendor` in the checkout")


# ------------------------------------------------------------------------------------------- the project


def _home(project: Project) -> Diagnosis:
    known = "with image collections" if project.store.below("collections")[0] else project.settings.grid.crs
    return Diagnosis("project", OK, f"{project.home}, {known}")


def _grids(project: Project) -> Diagnosis:
    from groundplan.core.datum import grids_in, lacking_grid

    there = f"{len(grids_in(project.grids))} in {project.grids}"
    lacking = lacking_grid(project.grid.crs, "EPSG:4326", tolerance=project.datum_tolerance)
    if lacking is None:
        return Diagnosis("PROJ grids", OK, f"none lacks for {project.grid.crs}; {there}")
    return Diagnosis("PROJ grids", NOTE, str(lacking), f"Put it into {project.grids} (docs/configuration.md)")


def _store(project: Project) -> Diagnosis:
    from dataclasses import replace

    from groundplan.core.capabilities import probe

    quick = replace(project.store, retries=1, retry_seconds=5.0)
    quick.below("landing")
    try:
        quick.put(PROBE, b"written by groundplan doctor")
        quick.delete([PROBE])
    except GroundplanError as error:
        return Diagnosis("store", LACKS, f"{project.store.url} can be read, not written: {error.reason}", error.remedy)
    found = probe(quick)
    lacking = "; ".join(f"does not {text}" for text in found.lacking)
    if lacking:
        remedy = "It can be used; docs/stores.md says what follows" if found.usable else "Use another"
        return Diagnosis("store", NOTE if found.usable else LACKS, f"{project.store.url}: {lacking}", remedy)
    return Diagnosis("store", OK, f"{project.store.url}, read and written")


def _disk(project: Project) -> Diagnosis:
    place = project.store.root or project.home
    free = shutil.disk_usage(place if place.is_dir() else project.home).free / 1e9
    found = f"{free:.1f} GB free at {place}"
    if free < FEW_GB:
        return Diagnosis(
            "disk", LACKS if free < LEAST_GB else NOTE, found, "Make room: a build stops where none is left"
        )
    return Diagnosis("disk", OK, found)


def _dagster(project: Project) -> Diagnosis:
    folder = Path(os.environ.get("DAGSTER_HOME") or project.home / "dagster")
    if not (folder / "dagster.yaml").is_file():
        if "DAGSTER_HOME" in os.environ:
            return Diagnosis("Dagster", LACKS, f"no dagster.yaml in {folder}", "Mend or unset DAGSTER_HOME")
        return Diagnosis("Dagster", OK, f"{folder} is made by the first build")
    from orchestration.cli.in_process import open_instance

    instance = open_instance(project)
    kind = type(instance.run_storage).__name__.removesuffix("RunStorage")
    return Diagnosis("Dagster", OK, f"{folder}, {instance.get_runs_count()} runs in {kind}")


def _weights(project: Project) -> Diagnosis:
    from groundplan.training.starting_weights import look_for_weights
    from orchestration.cli.preflight import years_to_train

    given = project.settings.model.start or project.settings.model.encoder_weights
    years = sorted(years_to_train(project, None, None, None, retrain=False))
    need = f"needed for {', '.join(map(str, years))}" if years else "not needed: no model is to be trained"
    try:
        look_for_weights(project)
    except GroundplanError as error:
        verdict = LACKS if years else NOTE
        return Diagnosis("weights", verdict, f"{error.thing}: {error.reason} ({need})", error.remedy)
    return Diagnosis("weights", OK, f"{given} ({need})")


OF_A_PROJECT: dict[str, Callable[[Project], Diagnosis]] = {
    "project": _home,
    "PROJ grids": _grids,
    "store": _store,
    "disk": _disk,
    "Dagster": _dagster,
    "weights": _weights,
}

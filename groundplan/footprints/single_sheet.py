"""A single sheet to footprints: a project of one image, made in a folder that is gone afterwards.

Here: the settings and the grid of that project, and going through its steps. Not here: any step. They are those of
every project, so the result is what a project with these settings, model and sheet would hold.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundplan import config
from groundplan.core.datum import transformer
from groundplan.core.grid import Grid
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import FIRST_YEAR, LAST_YEAR, Partition
from groundplan.core.store import open_store
from groundplan.errors import BadConfig, BadSheet
from groundplan.footprints import footprints, outlines, predictions
from groundplan.imagery import catalog, tiles
from groundplan.imagery.dates import WRITTEN_TAG, stated_dates
from groundplan.imagery.landing import REFERENCE, landing_prefix
from groundplan.imagery.sheet import crs_name, opened, referred_beside
from groundplan.imagery.validation import inspect
from groundplan.project import Project
from groundplan.step import Step, run_step_of
from groundplan.training.model_files import commit_model
from groundplan.training.models import check_fits, unpack

if TYPE_CHECKING:
    import geopandas as gpd
    import rasterio

REGION = "sheet"
BLOCK = 4096  # pixels: what is held at once follows from it, whatever the size of the sheet
STEPS: tuple[Step[Partition], ...] = (catalog.STEP, tiles.STEP, predictions.STEP, outlines.STEP, footprints.STEP)
SAME = (
    0.01  # share by which a sheet's pixels may differ from those that a model was trained on, and be taken as they are
)
OF_A_STORE = ["block", "fingerprint"]  # columns that name objects of the folder that is gone
ELSEWHERE = "EPSG:3857"  # of the grid while the sheet's own CRS is not known yet


def footprints_of(
    address: str, model: bytes, like: Project | None = None, year: int | None = None, crs: str | None = None
) -> gpd.GeoDataFrame:
    """Buildings in a sheet.

    address: URL of the sheet. model: a model's file. like: a project whose grid and settings are taken; else they
    follow from the sheet, the model and `crs`. year: of the imagery; else the one that the sheet states. Memory is that
    of a block, a folder for temporary files holds up to about the sheet's size.

    Raises BadSheet, ModelMismatch, BadConfig, StoreFailed.
    """
    with tempfile.TemporaryDirectory(prefix="groundplan-") as folder:
        project = _project(Path(folder), address, _settings(model, like, crs))
        year = year or _stated_year(project, address)
        partition = Partition(year, REGION)
        key = _refer(project, address, partition)
        if like is None:
            with opened(project, key) as source:
                project = replace(project, grid=_grid(source, unpack(model).card["resolution"], crs, address))
        check_fits(project, unpack(model))
        notes = _looked_at(project, partition, key, address)
        commit_model(project, model, year)
        frame = _through(project, partition, address)
    frame.attrs["notes"] = notes
    return frame


def _looked_at(project: Project, partition: Partition, key: str, address: str) -> list[str]:
    """What a person should know of the sheet. Raises BadSheet, by the sheet's own name, where it cannot be used."""
    try:
        return list(inspect(project, partition, key, "", 1, referred_beside(project, key)).notes)
    except BadSheet as error:
        raise BadSheet(_name(address), error.reason, error.remedy) from error


def _through(project: Project, partition: Partition, address: str) -> gpd.GeoDataFrame:
    """The steps in order, and what came of them without what only this folder knew."""
    for step in STEPS:
        run_step_of(project, step, partition)
        if step is tiles.STEP:
            made = need_manifest(project.store, tiles.DATASET, partition).objects
            if any(one.facts.get("unreadable") for one in made.values()):
                raise BadSheet(_name(address), "some of its pixels cannot be decoded", "Write or fetch it again")
    frame = footprints.load(project, partition)
    frame["sheet"] = frame["sheet"].str.removesuffix(REFERENCE)
    return frame.drop(columns=OF_A_STORE)


# --- a project of one sheet -------------------------------------------------------------------------------------------


def _settings(model: bytes, like: Project | None, crs: str | None) -> config.Settings:
    if like is not None:
        imagery = like.settings.imagery if crs is None else like.settings.imagery.model_copy(update={"assume_crs": crs})
        own = {"proj": str(like.grids) if like.grids.is_dir() else "", "imagery": imagery}
        return like.settings.model_copy(update={"store": "", **own, "predict": _own_year(like.settings)})
    bands = unpack(model).card["bands"]
    compress = "jpeg" if len(bands) in (1, 3) else "deflate"
    given = {"bands": bands, "assume_crs": crs, "compress": compress, "reader": "auto"}
    grid = {"crs": ELSEWHERE, "resolution": 1.0, "block_size": BLOCK, "origin": (0.0, 0.0)}
    predict = {"precision": "auto", "views": "unsure"}  # as a new project's
    made = {"grid": grid, "imagery": given, "predict": predict, "footprints": {"shared_walls": True}}
    return config.parse(made, "what was asked for")


def _own_year(settings: config.Settings) -> config.PredictSettings:
    return settings.predict.model_copy(update={"model_year": None})


def _project(folder: Path, address: str, settings: config.Settings) -> Project:
    root = address.rsplit("/", 1)[0]
    imagery = settings.imagery.model_copy(update={"reference_roots": (root,)})
    settings = settings.model_copy(update={"imagery": imagery})
    run = settings.run
    store = open_store("", folder, retries=run.retries, retry_seconds=run.retry_seconds)
    return Project(folder, settings, Grid(**settings.grid.model_dump()), store)


def _refer(project: Project, address: str, partition: Partition) -> str:
    """The sheet in the landing folder, by a reference: it is read where it lies."""
    key = f"{landing_prefix(partition)}/{_name(address)}{REFERENCE}"
    project.store.put(key, json.dumps({"url": address}).encode())
    return key


def _name(address: str) -> str:
    from urllib.parse import unquote

    return unquote(address.rsplit("/", 1)[-1])


def _stated_year(project: Project, address: str) -> int:
    """The year that the sheet's name or a tag of its acquisition states; else one that no flight is of."""
    key = _refer(project, address, Partition(FIRST_YEAR, REGION))
    with opened(project, key) as source:
        stated = stated_dates(_name(address), source.tags())
    project.store.delete([key])
    years = [one.year for one in stated if one.source != WRITTEN_TAG and FIRST_YEAR < one.year <= LAST_YEAR]
    return years[0] if years else FIRST_YEAR


def _grid(source: rasterio.DatasetReader, resolution: float, crs: str | None, address: str) -> Grid:
    """A grid that begins at the sheet's upper left corner, with its own pixels where the model knows such.

    Raises BadSheet for a sheet without CRS, BadConfig for a `crs` that is no projected one in metres.
    """
    own = source.crs or crs
    if own is None:
        raise BadSheet(_name(address), "it states no CRS", "Say which it is in: --crs, or crs=")
    target = crs_name(crs or own)
    if crs is None and not _in_metres(target):
        target = _utm(source, target)
    west, south, east, north = source.bounds
    bounds = transformer(crs_name(own), target).transform_bounds(west, south, east, north, densify_pts=21)
    left, bottom, right, top = bounds
    if not all(map(math.isfinite, (left, bottom, right, top))):
        raise BadSheet(_name(address), f"it does not lie where {target} is used", "Give another CRS")
    pixel = abs(source.transform.a)
    if crs_name(own) == target and abs(pixel / resolution - 1) <= SAME:
        resolution = pixel
    wide = math.ceil(max(right - left, top - bottom) / resolution / 256) * 256
    raw = {"crs": target, "resolution": resolution, "block_size": min(BLOCK, max(wide, 256)), "origin": (left, top)}
    return Grid(**config.parse({"grid": raw}, "crs").grid.model_dump())


def _in_metres(crs: str) -> bool:
    import pyproj

    found = pyproj.CRS.from_user_input(crs)
    return found.is_projected and all(axis.unit_name in ("metre", "meter") for axis in found.axis_info)


def _utm(source: rasterio.DatasetReader, crs: str) -> str:
    """The zone of UTM that the middle of the sheet lies in."""
    left, bottom, right, top = transformer(crs, "EPSG:4326").transform_bounds(*source.bounds)
    east, north = (left + right) / 2, (bottom + top) / 2
    if not (math.isfinite(east) and math.isfinite(north)):
        raise BadConfig(crs, "nothing leads from it to longitude and latitude", "Say which CRS to work in")
    zone = min(60, max(1, math.floor((east + 180) / 6) + 1))
    return f"EPSG:{(32600 if north >= 0 else 32700) + zone}"


def address_of(sheet: Any) -> str:
    """URL of a sheet that was given as a path or a URL. Raises BadSheet where no file is there."""
    text = str(sheet)
    if "://" in text:
        return text
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        raise BadSheet(text, "there is no such file", "Check the path")
    return path.as_uri()

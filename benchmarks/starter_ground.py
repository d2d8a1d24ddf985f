"""Ground for the starter model: the labeled towns as the product itself cuts them and draws their labels.

Here: a project for each town, the steps sheets to labels in it, and their blocks put together. Not here: the file
(groundplan/training/pack.py), learning and scoring (starter.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from groundplan.training.pack import Ground

RESOLUTION, BLOCK = 0.15, 2048
DRAWN = 20_261_127
"""Seed of the synthetic country; the demo's are small numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """A labeled region of shared/data/aerial."""

    name: str
    crs: str
    years: tuple[int, ...]
    trust: float = 1.0
    labels_of: str = ""
    """The town whose labels it has, where it is not its own."""


# Nairobi's roofs lean and its labels lie 1 to 4 m beside them: little of it is learned, and nothing judged by it.
TOWNS = (
    Town(name="banepa", crs="EPSG:32645", years=(2022,)),
    Town(name="kampala", crs="EPSG:32636", years=(2022, 2024)),
    Town(name="zanzibar", crs="EPSG:32737", years=(2022, 2024)),
    Town(name="catanduanes", crs="EPSG:32651", years=(2022,)),
    Town(name="nairobi", crs="EPSG:32737", years=(2022,), trust=0.2),
)


def grounds(data: Path, towns: tuple[Town, ...] = TOWNS) -> Iterator[Ground]:
    """The ground of every town and year below `data`, made in a project that is thrown away."""
    for town in towns:
        with tempfile.TemporaryDirectory(prefix="groundplan-starter-") as folder:
            project = _delivered(Path(folder), data / town.name, town)
            for year in town.years:
                yield built(project, town.name, year, town.trust)


def _delivered(home: Path, data: Path, town: Town) -> Any:
    from groundplan import config
    from groundplan.core.grid import default_origin
    from groundplan.ingest.add_imagery import deliver
    from groundplan.labels.registers import add_register
    from groundplan.project import open_project

    origin = default_origin(town.crs, RESOLUTION, BLOCK)
    config.write(home, {"crs": town.crs, "resolution": RESOLUTION, "block_size": BLOCK, "origin": origin}, "")
    project = open_project(home)
    name = town.labels_of or town.name
    labels = data.parent / name / "labels"
    for year in town.years:
        deliver(project, sorted((data / str(year)).glob("*.tif")), town.name, year)
        add_register(
            project, labels / f"{name}_{year}_buildings.geojson", year, labels / f"{name}_label_extent.geojson"
        )
    return project


def drawn(seed: int = DRAWN, size: float = 500.0) -> Iterator[Ground]:
    """A synthetic country of one region, with its exact truth as labels; not the one that the demo draws."""
    from groundplan import config
    from groundplan.core.grid import default_origin
    from groundplan.imagery.regions import add_regions
    from groundplan.ingest.add_imagery import deliver
    from groundplan.labels.registers import add_register
    from groundplan.project import open_project
    from groundplan.synthetic import country as synthetic
    from groundplan.synthetic.place import ZANZIBAR

    with tempfile.TemporaryDirectory(prefix="groundplan-starter-") as folder:
        home = Path(folder)
        country = synthetic.draw(home / "delivery", seed, size, regions=("drawn",), location=ZANZIBAR)
        origin = default_origin(country.crs, country.resolution, BLOCK)
        grid = {"crs": country.crs, "resolution": country.resolution, "block_size": BLOCK, "origin": origin}
        config.write(home, grid, "")
        project = open_project(home)
        add_regions(project, country.regions)
        for (region, year), sheets in sorted(country.sheets.items()):
            deliver(project, sheets, region, year)
            add_register(project, country.truth[year], year, country.regions)
            yield built(project, region, year, trust=0.5)


def built(project: Any, region: str, year: int, trust: float = 1.0) -> Ground:
    """Run the steps of a region and year up to its labels, and put their blocks together."""
    from groundplan.core.manifest import need_manifest
    from groundplan.core.partition import Partition
    from groundplan.pipeline import run_asset

    partition = Partition(year, region)
    for name in ("sheets", "aerial_tiles", "register_buildings", "labels"):
        run_asset(project, name, partition)
    images = need_manifest(project.store, "aerial_tiles", partition).objects
    labels = need_manifest(project.store, "labels", partition).objects
    return _together(project, region, year, images, labels, trust)


def _together(project: Any, region: str, year: int, images: Any, labels: Any, trust: float) -> Ground:
    from groundplan.core.grid import Block
    from groundplan.labels.classes import IGNORE
    from groundplan.raster import cog
    from groundplan.training.split import number_mask

    grid, n = project.grid, project.grid.block_size
    blocks = [Block.parse(name) for name in images]
    left, top = min(b.col for b in blocks), min(b.row for b in blocks)
    wide, high = ((max(getattr(b, k) for b in blocks) - v + 1) * n for k, v in (("col", left), ("row", top)))
    image, label = np.zeros((3, high, wide), np.uint8), np.full((high, wide), IGNORE, np.uint8)
    for block in blocks:
        place = tuple(slice(k * n, (k + 1) * n) for k in (block.row - top, block.col - left))
        image[:, place[0], place[1]] = cog.read_object(project.store, images[block.name].key)[0]
        if block.name in labels:
            label[place] = cog.read_object(project.store, labels[block.name].key)[0][0]
    rows, columns = (np.flatnonzero((image > 0).any(axis=(0, axis))) for axis in (2, 1))
    cut = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    number = number_mask(grid, left * n, top * n, wide, high, project.settings.split.cell)
    return Ground(
        region=region,
        year=year,
        image=np.ascontiguousarray(image[:, cut[0], cut[1]]),
        label=np.ascontiguousarray(label[cut]),
        number=np.ascontiguousarray(number[cut]),
        resolution=grid.resolution,
        trust=trust,
    )

"""Aerial tiles: the region's blocks, mosaicked from sheets and aligned on the grid.

Here: which sheets make up a block, in which order, and the block's pixels. Not here: opening sheets (catalog.py),
putting a block together without GDAL (direct.py), encoding (raster/cog.py, raster/jpeg_cog.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NotRequired, TypeAlias, TypedDict

import numpy as np

from groundplan.core.grid import Block
from groundplan.core.kept_memory import keep_memory
from groundplan.core.manifest import (
    Dataset,
    Planned,
    fingerprint,
    load_object,
    need_manifest,
    object_key,
    read_manifest,
)
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.core.stopwatch import timed
from groundplan.errors import BadSheet, MissingInput
from groundplan.imagery import catalog, decoded_once, direct
from groundplan.imagery.dates import DELIVERY, NAME
from groundplan.imagery.ownership import owned_blocks
from groundplan.imagery.placement import on_grid
from groundplan.imagery.regions import other_regions
from groundplan.imagery.sheet import Sheet, check_unchanged
from groundplan.project import Project
from groundplan.raster import cog
from groundplan.raster.coded_cog import placed
from groundplan.raster.halo import edge_digests
from groundplan.raster.jpeg_tiles import Tiled, parse
from groundplan.step import COG, LANDING, About, Scope, Step, Work


class Facts(TypedDict):
    """What a manifest says of an object."""

    covered: float  # share of the block with imagery
    edges: dict[str, str]  # digest of what each neighbor sees of it
    unreadable: NotRequired[list[str]]  # sheets whose pixels could not be decoded
    copied: NotRequired[int]  # tiles that were taken over as a sheet holds them (imagery.copy_tiles)
    read: NotRequired[dict[str, int]]  # its sheets by how they were read (direct.Cut); by GDAL if absent


DATASET: Dataset[Facts] = Dataset("aerial_tiles")
VERSION = "2"
FACTS = "GROUNDPLAN_FACTS"  # tag of a block that was cut directly: all that a manifest says of it
UNREADABLE = "GROUNDPLAN_UNREADABLE"  # tag of a block: names of sheets that could not be decoded on it
STRIP = 2048  # rows of a block that are put together at once: bounds memory while sheets are warped


def catalog_of(project: Project, partition: Partition) -> catalog.Catalog:
    """The committed catalogue of a region's sheets. Raises MissingInput."""
    manifest = need_manifest(project.store, catalog.DATASET, partition)
    return load_object(project.store, manifest.objects["catalogue"], catalog.from_parquet)


def sheets_around(project: Project, partition: Partition) -> list[catalog.Sheet]:
    """The year's sheets of this region and of regions beside it, in the order in which they are laid.

    A block at a region's border is whole: what a neighbour's sheets show of it belongs to it.
    """
    found = {sheet.identity: sheet for sheet in catalog_of(project, partition).sheets}
    for region in other_regions(project, catalog.DATASET, partition):
        other = Partition(partition.year, region)
        if read_manifest(project.store, catalog.DATASET, other):
            for sheet in catalog_of(project, other).sheets:
                found.setdefault(sheet.identity, sheet)
    return sorted(found.values(), key=catalog.Sheet.order)


@contextmanager
def _decoding_once(project: Project, plan: Sequence[Planned[Needs]]) -> Iterator[dict[str, int]]:
    """While blocks are made, JPEG 2000 is decoded once for all of them. What the run's page says of it, at the end."""
    told: dict[str, int] = {}
    keep_memory()  # tiles are half a megabyte each: without, a step of twenty takes new memory from the system
    with decoded_once.shared({one.name: one.needs[1] for one in plan}, project.settings.run.scratch) as scratch:
        yield told
        if scratch.kept or scratch.passed:
            told["JPEG 2000 tiles decoded once"] = scratch.kept
        if scratch.passed:
            told["JPEG 2000 tiles decoded again (no room in run.scratch)"] = len(scratch.passed)


Needs: TypeAlias = "tuple[Block, tuple[Sheet, ...]]"
"""What an object is made from."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """One block for each that the region owns and any sheet touches."""
    import shapely

    blocks = owned_blocks(project, partition.region, catalog_of(project, partition))
    around = sheets_around(project, partition)
    tree = shapely.STRtree([sheet.polygon for sheet in around])
    planned = []
    for block in blocks:
        square = project.grid.polygon(block)
        hits = sorted(int(index) for index in tree.query(square, predicate="intersects"))
        touching = [around[i] for i in hits if around[i].polygon.intersection(square).area > project.grid.resolution**2]
        if touching:
            planned.append(_planned(project, partition, block, touching))
    if not planned:
        raise MissingInput(
            f"aerial_tiles of {partition}",
            "no sheet lies on a block of this region",
            "Check the regions file and where the sheets lie; `groundplan status` lists both",
        )
    return planned


def _planned(project: Project, partition: Partition, block: Block, touching: list[catalog.Sheet]) -> Planned:
    settings = project.settings.imagery
    digest = fingerprint(
        version=VERSION,
        grid=project.grid.identity(),
        block=block.name,
        sheets=[sheet.identity for sheet in touching],
        bands=settings.bands,
        scale=settings.uint16_range,
        resampling=settings.resampling,
        compress=settings.compress,
        quality=settings.quality if settings.compress == "jpeg" else 0,
        **settings.no_imagery,
        **_resampled(project, touching),
        **settings.direct,
    )
    key = object_key(DATASET, partition, block.name, digest, ".tif")
    return Planned(
        name=block.name,
        fingerprint=digest,
        key=key,
        inputs=tuple(sheet.key for sheet in touching),
        args=(block, tuple(touching)),
    )


def _resampled(project: Project, touching: Sequence[Sheet]) -> dict[str, str]:
    """That sheets are resampled on a mesh, as part of a fingerprint: nothing where none is."""
    if not project.settings.imagery.direct or all(on_grid(project, sheet) for sheet in touching):
        return {}
    return {"resampled": "on a mesh"}


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """The block's COG. Later sheets lie on top of earlier ones; ground without imagery is masked out.

    A block on which its sheets show nothing, as at the edge of a flight, is masked out as a whole. Flat colour in the
    corners of a sheet, which may be no imagery, lies below all that sheets show.
    """
    with decoded_once.block(planned.name):
        return _made(project, planned, check)


def _made(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    block, touching = planned.needs
    tags = {"GROUNDPLAN_FINGERPRINT": planned.fingerprint, **_stated(touching)}
    if not project.settings.imagery.direct:
        return _made_by_gdal(project, planned, tags, check)
    coded, how = direct.cut(project, block, touching, check)
    facts: Facts = {
        "covered": round(coded.covered, 6),
        "edges": coded.edges,
        "read": how.read,
    }
    if coded.copied:
        facts["copied"] = coded.copied
    if how.lost:
        facts["unreadable"] = list(how.lost)
    tags[FACTS] = json.dumps(facts)  # a run that is killed before it writes them down finds them there
    place = placed(project.grid.transform(block), project.grid.crs, ("", "", ""), tags)
    with timed("write"):
        return Output(coded.finish(place), dict(facts), described=True)


def _made_by_gdal(project: Project, planned: Planned[Needs], tags: dict[str, str], check: Cancellation) -> Output:
    """Read, put together and written by GDAL: what is not stored as JPEG, or where imagery.reader says so."""
    block, touching = planned.needs
    n, grid = project.grid.block_size, project.grid
    pixels = np.zeros((len(project.settings.imagery.bands), n, n), np.uint8)
    mask = np.zeros((n, n), bool)
    lost: set[str] = set()
    left, _, right, top = grid.bounds(block)
    layers = [*((sheet, True) for sheet in touching if sheet.fill), *((sheet, False) for sheet in touching)]
    for row in range(0, n, STRIP):
        high = min(STRIP, n - row)
        bounds = (left, top - (row + high) * grid.resolution, right, top - row * grid.resolution)
        for sheet, whole in layers:
            check()
            try:
                part = catalog.read_onto(project, sheet, bounds, (high, n), whole=whole)
            except BadSheet:  # found only now, since a catalogue does not decode all of a sheet: the others go on
                check_unchanged(project, sheet.key, sheet.sha256)
                lost.add(sheet.name)
                continue
            if part is not None:
                data, known = part
                np.copyto(pixels[:, row : row + high], data, where=known)
                mask[row : row + high] |= known
    settings = project.settings.imagery
    encoding = cog.Encoding(settings.compress, settings.quality)
    if lost:
        tags[UNREADABLE] = json.dumps(sorted(lost))
    with timed("write"):
        return Output(cog.write(pixels, mask, grid.transform(block), grid.crs, encoding, tags=tags))


def _stated(touching: Sequence[Sheet]) -> dict[str, str]:
    """What the sheets' own tags say of day, attribution and licence.

    Those tags are part of the contents that the fingerprint covers. `[credits]`, and days by a file's name, are not:
    they stand in STAC and in exports, since the same fingerprint must always mean the same bytes.
    """
    days = sorted(sheet.acquired for sheet in touching if sheet.acquired and sheet.date_source not in (NAME, DELIVERY))
    told = {
        "ACQUISITION": "/".join(dict.fromkeys((days[0], days[-1]))) if len(days) == len(touching) else "",
        "ATTRIBUTION": "; ".join(sorted({sheet.credit[0] for sheet in touching} - {""})),
        "LICENCE": "; ".join(sorted({sheet.credit[1] for sheet in touching} - {""})),
    }
    return {name: text for name, text in told.items() if text}


def describe(data: bytes) -> Facts:
    """Share of the block that has imagery, what its neighbours see of it, and sheets whose pixels are missing."""
    from rasterio.io import MemoryFile

    with MemoryFile(data) as memory, memory.open() as source:
        tags = source.tags()
        if FACTS in tags:
            return _stated_facts(data, tags[FACTS])
        mask = source.dataset_mask() > 0
    lost = json.loads(tags.get(UNREADABLE, "[]"))
    facts: Facts = {"covered": round(float(mask.mean()), 6), "edges": edge_digests(data)}
    if lost:
        facts["unreadable"] = lost
    return facts


def _stated_facts(data: bytes, stated: str) -> Facts:
    """What a block says of itself, if it is there to its end. Raises MissingInput."""
    block = parse(data)
    ends = [] if block is None else [_end(one) for one in (block.pixels, block.mask) if one]
    if not ends or max(ends) > len(data):
        raise MissingInput("a block", "it ends before its last tile", "Remove it and build again: only it is made anew")
    facts: Facts = json.loads(stated)
    return facts


def _end(raster: Tiled) -> int:
    """The byte behind a raster's last tile."""
    return max(start + count for start, count in zip(raster.offsets, raster.counts, strict=True))


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    sharing=_decoding_once,
    scope=Scope.REGION,
    reads=(catalog.DATASET,),
    reads_around=(catalog.DATASET,),
    work=Work(short="tiles", objects="block", of=LANDING),
    about=About(
        title="Aerial imagery on the grid, one cloud-optimized GeoTIFF per block",
        description="The year's aerial image of the region: sheets laid on the national grid, the newest on top, cut "
        "into blocks, each a cloud-optimised GeoTIFF with overviews and a mask that QGIS opens as it is. Sheets "
        "aligned with the grid are not resampled. Blocks are made once: a late sheet remakes only the blocks that it "
        "touches.",
        group="imagery",
        kinds=frozenset({"cog", "gdal"}),
        format=COG,
        page="docs/architecture.md",
        bands=(
            (
                "1 to 3 (imagery.bands)",
                "uint8",
                "red, green, blue as delivered; 16 bits scaled by imagery.uint16_range",
            ),
            ("mask", "1 bit", "1 where there is imagery"),
        ),
    ),
)

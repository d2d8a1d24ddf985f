"""Sheets as delivered: a spoiled one is set aside, or read, and what it then shows lies on its own ground.

Here: small sheets of every format that is taken, with and without files beside them, spoiled, catalogued, read onto the
grid. Not here: what pixels a sound sheet gives (tests/unit/imagery).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.field import READ, REFUSED, Input, InThisProcess, Wrong
from fuzz.mutation import Spot, mutated, spots_of
from groundplan.core.grid import Bounds
from groundplan.core.manifest import Planned
from groundplan.core.partition import Partition
from groundplan.errors import BadSheet
from groundplan.imagery import catalog
from groundplan.imagery.placement import read_onto
from groundplan.imagery.sheet import Sheet
from groundplan.project import Project, open_project

HERE = Partition(2024, "delft")
SIDE = 256
WEST, NORTH = 84000.0, 447000.0  # of the sheets; the grid's origin is whole pixels away
SETTINGS = """
store = "{store}"
[grid]
crs = "EPSG:28992"
resolution = 0.3
block_size = 256
origin = [83400.0, 447600.0]
[imagery]
uint16_range = [0, 4000]
reader = "auto"
"""
BESIDE = {  # what a stranger may lay beside a sheet
    ".aux.xml": (
        b"<PAMDataset><SRS>EPSG:28992</SRS><GeoTransform>84000,0.3,0,447000,0,-0.3</GeoTransform></PAMDataset>",
        b'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/etc/passwd</MDI></Metadata></PAMDataset>',
        b'<PAMDataset><PAMRasterBand band="1"><NoDataValue>nan</NoDataValue><ColorInterp>Alpha</ColorInterp>'
        b"</PAMRasterBand></PAMDataset>",
        b'<PAMDataset><GCPList Projection="EPSG:28992"><GCP Id="" Pixel="1" Line="1" X="84000" Y="447000"/></GCPList>'
        b"</PAMDataset>",
    ),
    ".msk": (b"<VRTDataset rasterXSize='9' rasterYSize='9'/>", b"II*\0\x08\0\0\0\0\0", b""),
    ".ovr": (b"II*\0\x08\0\0\0\0\0", b"MM\0*\xff\xff\xff\xff"),
}


class Sheets(InThisProcess):
    megabytes, seconds = 700, 30

    def __init__(self, folder: Path) -> None:
        self.sheets: dict[str, dict[str, tuple[bytes, list[Spot]]]] = {}
        for name, files in drawn(folder / "drawn").items():
            self.sheets[name] = {file: (data, spots_of(data)) for file, data in files.items()}
        self.projects = [self._project(folder / "disk", ""), self._project(folder / "memory", "memory://fuzz")]
        for files in self.sheets.values():
            with suppress(Wrong):  # some inputs are drawn unspoiled: then it is told
                if self.attempt({name: data for name, (data, _) in files.items()}, folder) != READ:
                    raise AssertionError(f"{next(iter(files))} is not read unspoiled: nothing is tried")

    def _project(self, home: Path, store: str) -> Project:
        home.mkdir()
        (home / "groundplan.toml").write_text(SETTINGS.format(store=store))
        return open_project(home)

    def draw(self, random: np.random.Generator) -> Input:
        files = self.sheets[sorted(self.sheets)[random.integers(len(self.sheets))]]
        given = {name: data for name, (data, _) in files.items()}
        if random.random() < 0.98:
            spoiled = sorted(given)[random.integers(len(given))]
            given[spoiled] = mutated(given[spoiled], random, files[spoiled][1])
        if random.random() < 0.1:
            ending = sorted(BESIDE)[random.integers(len(BESIDE))]
            text = BESIDE[ending][random.integers(len(BESIDE[ending]))]
            given[f"{next(iter(files))}{ending}"] = mutated(text, random, []) if random.random() < 0.5 else text
        return given

    def attempt(self, given: Input, folder: Path) -> str:
        size = sum(map(len, given.values()))
        return self._read(self.projects[size % 4 == 0], given)  # one of four in a store that is no folder

    def _read(self, project: Project, given: Input) -> str:
        digests = dict(_delivered(project, given))
        planned: Planned[Any] = Planned(name="catalogue", fingerprint="", key="", args=(HERE, digests))
        try:
            made = catalog.make(project, planned, lambda: None)
        except BadSheet:
            return REFUSED
        if catalog.describe(made.data)["sheets"] != 1:
            raise Wrong("one sheet was delivered, and the catalogue holds another number")
        (sheet,) = catalog.from_parquet(made.data).sheets
        try:
            for bounds in _pieces(project, sheet):
                _check(project, sheet, bounds)
        except BadSheet:
            return REFUSED
        return READ


def _delivered(project: Project, given: Input) -> Iterator[tuple[str, tuple[str, int]]]:
    """Lay the files into the landing folder, in place of those before: key, digest and size of each."""
    folder = f"landing/{HERE.region}/{HERE.year}"
    if project.store.root is None:
        project.store.delete([item.key for item in project.store.list(folder)])
    else:
        shutil.rmtree(project.store.root / folder, ignore_errors=True)
        (project.store.root / folder).mkdir(parents=True)
    for name, data in given.items():
        if project.store.root is None:
            project.store.put(f"{folder}/{name}", data)
        else:
            (project.store.root / folder / name).write_bytes(data)  # not put(): that waits for the disk
        yield f"{folder}/{name}", (hashlib.sha256(data).hexdigest(), len(data))


def _pieces(project: Project, sheet: Sheet) -> Iterator[Bounds]:
    """Pieces of the grid: at the sheet's upper left corner, around its middle, and far from it."""
    left, bottom, right, top = sheet.polygon.bounds
    half = SIDE // 2 * project.grid.resolution
    for x, y in ((left, top), ((left + right) / 2, (bottom + top) / 2), (right + 900 * half, bottom)):
        col, row = (round(value) for value in project.grid.pixel(x, y))
        west, north = project.grid.corner(col, row)
        yield west - half, north - half, west + half, north + half


def _check(project: Project, sheet: Sheet, bounds: Bounds) -> None:
    """A piece of it is what it should be. Raises Wrong, BadSheet."""
    import shapely

    found = read_onto(project, sheet, bounds, (SIDE, SIDE))
    if found is None:
        return
    pixels, mask = found
    if pixels.dtype != np.uint8 or pixels.shape != (3, SIDE, SIDE) or mask.dtype != bool or mask.shape != (SIDE, SIDE):
        raise Wrong(f"{pixels.dtype} {pixels.shape} with a mask {mask.dtype} {mask.shape}")
    rows, cols = np.nonzero(mask)
    res = project.grid.resolution
    x, y = bounds[0] + (cols + 0.5) * res, bounds[3] - (rows + 0.5) * res
    reach = 2 * res + 2 * sheet.gsd + 0.003 * np.sqrt(sheet.polygon.area)  # an outline has nine points along each side
    outside = ~shapely.contains_xy(sheet.polygon.buffer(reach), x, y)
    if outside.any():
        raise Wrong(f"the mask claims {outside.sum()} pixels of ground that the sheet does not cover")


# ---------------------------------------------------------------------------------------------------- sound sheets


def drawn(folder: Path) -> dict[str, dict[str, bytes]]:
    """Sound sheets by name: each the file and those beside it, by file name, the sheet first."""
    from rasterio import Affine
    from rasterio.enums import ColorInterp

    folder.mkdir()
    noise = np.random.default_rng(3).integers(1, 256, (8, 24, 26), np.uint8)
    color = noise.repeat(4, 1).repeat(4, 2)  # 8 bands of 96 x 104 pixels
    on = Affine(0.3, 0, WEST, 0, -0.3, NORTH)
    off = Affine(0.31, 0, WEST + 0.1, 0, -0.31, NORTH - 0.1)
    turned = on @ Affine.rotation(20)
    red, green, blue, alpha = ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha
    mask = np.zeros(color.shape[1:], bool)
    mask[10:70, 20:90] = True
    clear = np.where(mask, 255, 0).astype(np.uint8)
    tiled = {"tiled": True, "blockxsize": 32, "blockysize": 32}
    kinds: dict[str, tuple[np.ndarray, Any, dict[str, Any]]] = {
        "striped.tif": (color[:3], on, {}),
        "tiled.tif": (color[:3], off, {**tiled, "compress": "deflate", "predictor": 2}),
        "apart.tif": (color[:3], on, {**tiled, "compress": "lzw", "interleave": "band"}),
        "jpeg.tif": (color[:3], off, {**tiled, "compress": "jpeg", "photometric": "ycbcr"}),
        "big.tif": (color[:3], on, {"BIGTIFF": "YES", "compress": "zstd"}),
        "alpha.tif": (np.stack([*color[:3], clear]), off, {"colors": (red, green, blue, alpha), "compress": "deflate"}),
        "alpha_on.tif": (np.stack([*color[:3], clear]), on, {"colors": (red, green, blue, alpha)}),
        "infrared.tif": (color[:4], turned, {"compress": "lzw", "photometric": "rgb", "alpha": "unspecified"}),
        "many.tif": (color, off, {"compress": "deflate", "nodata": 7}),
        "nodata.tif": (color[:3], on, {"nodata": 0, "compress": "packbits"}),
        "masked.tif": (color[:3], off, {**tiled, "mask": mask}),
        "beside.tif": (color[:3], on, {"mask": mask, "external": True}),
        "deep.tif": (color[:3].astype(np.uint16) * 15, off, {"compress": "deflate"}),
        "grey.tif": (color[:1], on, {}),
        "cog.tif": (color[:3], on, {"driver": "COG", "blocksize": 128, "compress": "jpeg", "overviews": "none"}),
        "elsewhere.tif": (color[:3], None, {"compress": "deflate"}),
        "plain.jp2": (color[:3], on, {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}),
        "plain.png": (color[:3], on, {"driver": "PNG"}),
        "clear.png": (np.stack([*color[:3], clear]), off, {"driver": "PNG"}),
        "plain.jpg": (color[:3], on, {"driver": "JPEG"}),
    }
    return {name: _laid(folder / f"{name}.d", name, *kind) for name, kind in kinds.items()}


def _laid(folder: Path, name: str, pixels: np.ndarray, transform: Any, told: dict[str, Any]) -> dict[str, bytes]:
    import rasterio
    from rasterio import Affine

    folder.mkdir()
    colors, mask, external = told.pop("colors", None), told.pop("mask", None), told.pop("external", False)
    crs = "EPSG:28992"
    if transform is None:  # in degrees: it is warped
        crs, transform = "EPSG:4326", Affine(4.4e-6, 0, 4.36, 0, -2.7e-6, 52.0)
    bands, height, width = pixels.shape
    profile = {"driver": "GTiff", "dtype": pixels.dtype, "count": bands, "height": height, "width": width, **told}
    environment = rasterio.Env(GDAL_TIFF_INTERNAL_MASK=not external, GDAL_PAM_ENABLED=True)
    with environment, rasterio.open(folder / name, "w", crs=crs, transform=transform, **profile) as target:
        if colors:
            target.colorinterp = colors
        target.write(pixels)
        if mask is not None:
            target.write_mask(mask)
    others = sorted(path.name for path in folder.iterdir() if path.name != name)
    return {each: (folder / each).read_bytes() for each in (name, *others)}

"""Bad input: refused or set aside with thing, reason and remedy; nothing lost, nothing green, and the rest goes on.

docs/bad-input.md is the table of these cases. Registers, extents and regions files are in test_registers.py, settings
in test_config.py, sheets that only decoding gives away in test_tiles.py.
"""
# ruff: noqa: E501  a table of cases reads best with a case a line

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from conftest import ORIGIN, MakeProject
from laid_sheets import HERE, LOSSLESS, cataloged, ground, here, lay, mosaic, place, world
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC
from shapely import box

from groundplan.core.manifest import manifest_key, need_manifest
from groundplan.core.partition import Partition
from groundplan.core.store import open_store
from groundplan.errors import (
    BadConfig,
    BadRegister,
    BadSheet,
    BlocksFailed,
    Damaged,
    GroundplanError,
    MissingInput,
    ModelMismatch,
    StoreFailed,
)
from groundplan.footprints.export import export
from groundplan.imagery import tiles
from groundplan.imagery.landing import check_region_name, delivered_partitions, landing_prefix, misnamed_folders
from groundplan.imagery.regions import add_regions
from groundplan.ingest.add_imagery import deliver
from groundplan.pipeline import run_step
from groundplan.project import Project, open_project
from groundplan.quality import checks
from groundplan.quality.scores import compare_with_truth
from groundplan.training import models

pytestmark = [
    pytest.mark.slow,  # together: many kinds, each a file and a project
    pytest.mark.bad_input,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning", "ignore::RuntimeWarning"),
]

IMAGE = ground(96, 96)
Maker = Callable[[Path], Path]
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """`cli("build", ...)` as the entry point runs it: exit code, what it printed, and its errors."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("GROUNDPLAN_HOME", "")  # what `build` leaves in this process is put back afterwards
    monkeypatch.delenv("GROUNDPLAN_HOME")

    def run(*words: Any) -> tuple[int, str, str]:
        from orchestration.cli.main import main

        monkeypatch.setattr(sys, "argv", ["groundplan", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    yield run
    signal.signal(signal.SIGTERM, before)


def one_line(err: str) -> str:
    """The only line of an error, without its colour. A traceback, or a second line, fails."""
    assert "Traceback" not in err
    lines = [line for line in err.strip().splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith("error ")
    return lines[0].removeprefix("error ")


# ------------------------------------------------------------------------------------------------ sheets


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def cut(path: Path, keep: float, profile: dict[str, Any] | None = None) -> Path:
    """The first part of a good sheet."""
    told = profile or {}
    if path.suffix in (".png", ".jpg"):
        lay(path, ground(96, 96), None, None, driver={".png": "PNG", ".jpg": "JPEG"}[path.suffix])
        world(path, place(0, 0))
    else:
        lay(path, IMAGE, place(0, 0), **told)
    data = path.read_bytes()
    return write(path, data[: int(len(data) * keep)])


def transformed(path: Path, values: tuple[float, ...]) -> Path:
    """A sheet with any geotransform at all, also one that GDAL would not write."""
    lay(path, IMAGE, Affine(1, 0.5, 3, 0.25, -1, 7), compress="deflate")
    data = path.read_bytes()
    old = struct.pack("<16d", 1, 0.5, 0, 3, 0.25, -1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1)
    a, b, c, d, e, f = values
    new = struct.pack("<16d", a, b, 0, c, d, e, 0, f, 0, 0, 0, 0, 0, 0, 0, 1)
    assert data.count(old) == 1, "GDAL writes a turned geotransform as a matrix"
    return write(path, data.replace(old, new))


def png_bomb(path: Path, side: int) -> Path:
    """A PNG of a hundred bytes that declares any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 1)  # interlaced: a decoder must hold all of it
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    world(path, place(0, 0))
    return write(path, b"\x89PNG\r\n\x1a\n" + parts)


def sparse(path: Path, side: int, **profile: Any) -> Path:
    """A TIFF without a pixel in it that declares any size."""
    told = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 3,
        "height": side,
        "width": side,
        "sparse_ok": True,
        "crs": "EPSG:28992",
        "transform": place(0, 0),
        "compress": "deflate",
        "bigtiff": "yes",
        **profile,
    }
    with rasterio.open(path, "w", **told):
        pass
    return path


def palette(path: Path) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=1, height=96, width=96, crs="EPSG:28992", transform=place(0, 0)
    ) as target:
        target.write(IMAGE[:1])
        target.write_colormap(1, {value: (value, 0, 255 - value) for value in range(256)})
    return path


def overview_elsewhere(path: Path) -> Path:
    lay(path, IMAGE, place(0, 0))
    with rasterio.open(path, "r+") as target:
        target.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="/etc/passwd")
    return path


def said(path: Path, kinds: str = "", pixels: np.ndarray | None = None, **profile: Any) -> Path:
    """A sheet of which GDAL, or its own first directory, says something; scale, offset and tags too."""
    told = {name: profile.pop(name) for name in ("scales", "offsets", "descriptions") if name in profile}
    colors = [ColorInterp[name] for name in kinds.split()] or None
    image = ground(96, 96, len(colors)) if pixels is None and colors else IMAGE if pixels is None else pixels
    lay(path, image, place(0, 0), colors=colors, **profile)
    if told:
        with rasterio.open(path, "r+") as target:
            for name, value in told.items():
                setattr(target, name, value)
    return path


def tagged(path: Path, number: int, value: int, **profile: Any) -> Path:
    """A sheet whose first directory says another value of a tag, also one that GDAL would not write."""
    said(path, **profile)
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (fields,) = struct.unpack_from("<H", data, start)
    at = next(
        start + 2 + 12 * i for i in range(fields) if struct.unpack_from("<H", data, start + 2 + 12 * i)[0] == number
    )
    struct.pack_into("<I", data, at + 8, value)
    return write(path, bytes(data))


def turned(path: Path) -> Path:
    """A TIFF that says of itself that it stands on its head; the tag takes the place of one that nobody misses."""
    tagged(path, 284, 1)
    data = path.read_bytes()
    old = struct.pack("<HHII", 284, 3, 1, 1)
    assert data.count(old) == 1
    return write(path, data.replace(old, struct.pack("<HHII", 274, 3, 1, 3)))


def many_fields(path: Path) -> Path:
    """A TIFF whose directory names thousands of fields."""
    return write(path, b"II*\0" + struct.pack("<IH", 8, 4000) + struct.pack("<HHII", 60000, 3, 1, 0) * 4000 + bytes(4))


def pages(path: Path, count: int) -> Path:
    """Directories upon directories, each nearly empty."""
    one = struct.pack("<H", 1) + struct.pack("<HHII", 256, 3, 1, 1)
    size = len(one) + 4
    body = b"".join(one + struct.pack("<I", 8 + size * (n + 1) if n + 1 < count else 0) for n in range(count))
    return write(path, b"II*\0" + struct.pack("<I", 8) + body)


def far_away(path: Path) -> Path:
    """A BigTIFF whose directory lies where no file has a byte."""
    return write(path, b"II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 2**17) + bytes(100))


def endless_box(path: Path) -> Path:
    """A JP2 with a box inside another that says it goes to the file's end: GDAL 3 walks over it for ever."""
    lay(path, IMAGE, place(0, 0), driver="JP2OpenJPEG", quality=100, reversible="yes")
    data = path.read_bytes()
    at = data.index(b"colr") - 4
    return write(path, data[:at] + struct.pack(">I", 0) + b"none" + data[at + 8 :])


def many_boxes(path: Path, count: int) -> Path:
    lay(path, IMAGE, place(0, 0), driver="JP2OpenJPEG", quality=100, reversible="yes")
    data = path.read_bytes()
    at = data.index(b"jp2h") - 4
    return write(path, data[:at] + struct.pack(">I", 8).join([b""] + [b"free"] * count) + data[at:])


def long_beside(path: Path, ending: str) -> Path:
    lay(path, IMAGE, place(0, 0))
    write(path.with_name(path.name + ending), "<PAMDataset>" + " " * 2_000_000 + "</PAMDataset>")
    return path


def interlaced(path: Path, side: int) -> Path:
    world(path, place(0, 0))
    return png_bomb(path, side)


def points_only(path: Path) -> Path:
    x, y = ORIGIN
    points = [GroundControlPoint(r, c, x + c * 0.3, y - r * 0.3, 0) for r in (0, 96) for c in (0, 96)]
    lay(path, IMAGE, None, "EPSG:28992", gcps=points)
    return path


def camera_only(path: Path) -> Path:
    one, none = [1.0, *[0.0] * 19], [0.0] * 20
    numbers = {"height_off": 0, "height_scale": 100, "lat_off": 52, "lat_scale": 1, "long_off": 5, "long_scale": 1}
    numbers |= {"line_off": 48, "line_scale": 48, "samp_off": 48, "samp_scale": 48, "err_bias": 0, "err_rand": 0}
    terms = {"line_den_coeff": one, "samp_den_coeff": one, "line_num_coeff": none, "samp_num_coeff": none}
    lay(path, IMAGE, None, None, rpcs=RPC(**numbers, **terms))
    return path


def spoiled_mask(path: Path) -> Path:
    lay(path, IMAGE, place(0, 0))
    write(path.with_name(path.name + ".msk"), VRT)
    return path


def _ponds() -> np.ndarray:
    """Red, green, blue and infrared that is 0 on water and 255 on a roof."""
    image = ground(96, 96, 4)
    image[3, :30, :30], image[3, 60:, 60:] = 0, 255
    return image


VRT = """<VRTDataset rasterXSize="96" rasterYSize="96"><SRS>EPSG:28992</SRS><GeoTransform>182361,0.3,0,447771,0,-0.3</GeoTransform>
<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""
FLOAT, DEEP = IMAGE.astype(np.float32), IMAGE.astype(np.uint16) * 200
FAR = "EPSG:32645"  # the same numbers, read in it, lie in Sri Lanka's waters
AGAIN = "again"
SHEETS: dict[str, tuple[Maker, str, str]] = {
    # what is delivered, what the catalogue says of it, what to do
    "zero bytes": (lambda d: write(d / "bad.tif", b""), "it is empty (0 bytes)", AGAIN),
    "text as tif": (
        lambda d: write(d / "bad.tif", "Dear customer"),
        "it is no image (it begins with b'Dear cus')",
        "Deliver GeoTIFF",
    ),
    "web page as jp2": (lambda d: write(d / "bad.jp2", "<html>503</html>"), "it is no image", "Deliver GeoTIFF"),
    "vrt as tif": (
        lambda d: write(d / "bad.tif", VRT),
        "it is no image (it begins with b'<VRTData')",
        "Deliver GeoTIFF",
    ),
    "vrt as mask beside": (
        lambda d: spoiled_mask(d / "bad.tif"),
        "the file bad.tif.msk beside it is no TIFF",
        "remove that file",
    ),
    "overviews elsewhere": (
        lambda d: overview_elsewhere(d / "bad.tif"),
        "name another file for its overviews",
        "without that",
    ),
    "only a signature": (lambda d: write(d / "bad.tif", b"II*\0\x08\0\0\0"), "its pixels cannot be decoded", AGAIN),
    "half a tiled tiff": (
        lambda d: cut(d / "bad.tif", 0.6, {"tiled": True, "blockxsize": 32, "blockysize": 32}),
        "it is cut short",
        AGAIN,
    ),
    "half a striped tiff": (lambda d: cut(d / "bad.tif", 0.6), "it is cut short", AGAIN),
    "last band cut": (lambda d: cut(d / "bad.tif", 0.98, {"interleave": "band"}), "it is cut short", AGAIN),
    "half a cog": (
        lambda d: cut(d / "bad.tif", 0.6, {"driver": "COG", "compress": "deflate", "blocksize": 128}),
        "it is cut short",
        AGAIN,
    ),
    "half a png": (lambda d: cut(d / "bad.png", 0.6), "its pixels cannot be decoded", AGAIN),
    "half a jpeg": (lambda d: cut(d / "bad.jpg", 0.6), "it is cut short: no end of image", AGAIN),
    "half a jp2": (
        lambda d: cut(d / "bad.jp2", 0.5, {"driver": "JP2OpenJPEG", "quality": 100, "reversible": "yes"}),
        "its pixels cannot be decoded",
        AGAIN,
    ),
    "16 bits": (
        lambda d: lay(d / "bad.tif", DEEP, place(0, 0)),
        "it has 16 bits and no scaling is stated",
        "imagery.uint16_range",
    ),
    "float32": (lambda d: lay(d / "bad.tif", FLOAT, place(0, 0)), "its pixels are float32", "Deliver uint8"),
    "int16": (
        lambda d: lay(d / "bad.tif", IMAGE.astype(np.int16), place(0, 0)),
        "its pixels are int16",
        "Deliver uint8",
    ),
    "palette": (lambda d: palette(d / "bad.tif"), "its colours are numbers of a palette", "-expand rgb"),
    "12 bits in 16": (
        lambda d: said(d / "bad.tif", pixels=IMAGE.astype(np.uint16) * 16, nbits=12),
        "it has 12 bits in 16 and no scaling is stated",
        "imagery.uint16_range = [low, 4095]",
    ),
    "12 bits, the setting says 16": (
        lambda d: said(d / "bad.tif", pixels=IMAGE.astype(np.uint16) * 16, nbits=12),
        "it has 12 bits in 16, so no value reaches the 60000 of imagery.uint16_range",
        "imagery.uint16_range = [0, 4095]",
    ),
    "12 bits of a jp2": (
        lambda d: said(
            d / "bad.jp2",
            pixels=IMAGE.astype(np.uint16) * 16,
            nbits=12,
            driver="JP2OpenJPEG",
            quality=100,
            reversible="yes",
        ),
        "it has 12 bits in 16 and no scaling is stated",
        "4095",
    ),
    "a scale": (
        lambda d: said(d / "bad.tif", scales=(0.5,) * 3, offsets=(1.0,) * 3),
        "its values are to be read times 0.5 plus 1",
        "-unscale",
    ),
    "an offset of one band": (
        lambda d: said(d / "bad.tif", scales=(1.0,) * 3, offsets=(0.0, 0.0, -9.0)),
        "its values are to be read times 1 plus -9",
        "-unscale",
    ),
    "infrared flagged as alpha": (
        lambda d: said(d / "bad.tif", "red green blue alpha"),
        "its band 4 is flagged as alpha, but hardly any of it is opaque: it may be infrared",
        "-colorinterp_4 undefined",
    ),
    "infrared flagged as alpha, a pond and a white roof in it": (
        lambda d: said(d / "bad.tif", "red green blue alpha", pixels=_ponds()),
        "its band 4 is flagged as alpha",
        "or deliver a mask",
    ),
    "an alpha of 90": (
        lambda d: said(d / "bad.tif", "gray alpha", pixels=np.stack([IMAGE[0], np.full_like(IMAGE[0], 90)])),
        "its band 2 is flagged as alpha, but hardly any of it is opaque",
        "or deliver a mask",
    ),
    "two masks": (
        lambda d: said(d / "bad.tif", "red green blue alpha alpha"),
        "its bands 4, 5 are all flagged as alpha",
        "Flag the one that is its mask",
    ),
    "infrared, red, green": (
        lambda d: said(d / "bad.tif", "nir red green"),
        "its bands are nir, red, green, and red, green and blue are wanted",
        "Set imagery.bands",
    ),
    "one band of three": (lambda d: said(d / "bad.tif", "red"), "its only band is red", "all bands in one file"),
    "two stories of the bands": (
        lambda d: said(d / "bad.tif", "red green blue", descriptions=("blue", "green", "red")),
        "its bands are described as blue, green, red and flagged as red, green, blue",
        "one of the two",
    ),
    "hue and lightness": (
        lambda d: said(d / "bad.tif", "hue saturation lightness"),
        "its bands are hue, saturation, lightness",
        "as RGB",
    ),
    "L*a*b*": (lambda d: said(d / "bad.tif", photometric="CIELAB"), "its colours are CIE L*a*b*", "as RGB"),
    "ICC L*a*b*": (lambda d: said(d / "bad.tif", photometric="ICCLAB"), "its colours are ICC L*a*b*", "as RGB"),
    "a camera's raw values": (
        lambda d: tagged(d / "bad.tif", 262, 32803),
        "its colours are a camera's raw values",
        "as RGB",
    ),
    "white is zero in three bands": (
        lambda d: said(d / "bad.tif", photometric="MINISWHITE"),
        "its values say that white is zero, in several bands",
        "as RGB",
    ),
    "on its head": (lambda d: turned(d / "bad.tif"), "(orientation 3)", "as it is to be shown"),
    "multiplied by half an alpha": (
        lambda d: said(
            d / "bad.tif",
            pixels=np.concatenate([IMAGE // 2, np.where(np.mgrid[:96, :96][0] < 70, 255, 140)[None].astype(np.uint8)]),
            photometric="RGB",
            alpha="PREMULTIPLIED",
        ),
        "its colours are multiplied by its alpha",
        "with a plain alpha",
    ),
    "control points only": (
        lambda d: points_only(d / "bad.tif"),
        "it has control points only (4), and no geotransform",
        "gdalwarp",
    ),
    "a camera's coefficients only": (
        lambda d: camera_only(d / "bad.tif"),
        "it has a camera's coefficients only (RPC), and no geotransform",
        "terrain model",
    ),
    "thousands of fields": (
        lambda d: many_fields(d / "bad.tif"),
        "a directory of it names 4,000 fields, more than 512",
        "-of COG",
    ),
    "a jp2 whose box has no end": (lambda d: endless_box(d / "bad.jp2"), "says that it has 0 bytes", "-of COG"),
    "thousands of boxes of a jp2": (lambda d: many_boxes(d / "bad.jp2", 5000), "more than 4096 boxes", "-of COG"),
    "a directory beyond any file": (lambda d: far_away(d / "bad.tif"), "Failed to read directory", ""),
    "hundreds of images": (lambda d: pages(d / "bad.tif", 1000), "it holds more than 256 images", "one image a file"),
    "2 MB of metadata beside": (
        lambda d: long_beside(d / "bad.tif", ".aux.xml"),
        "the file bad.tif.aux.xml beside it has 2 MiB, more than 1",
        "Remove that file",
    ),
    "a tile of 0.5 GiB": (
        lambda d: sparse(d / "bad.tif", 13_312, tiled=True, blockxsize=13_312, blockysize=13_312),
        "its pixels are packed in pieces of 13312 x 13312, 0.5 GiB each",
        "gdal_translate -of COG",
    ),
    "an interlaced png of 0.2 GiB": (
        lambda d: interlaced(d / "bad.png", 9000),
        "its pixels are packed in pieces of 9000 x 9000, 0.2 GiB each",
        "gdal_translate -of COG",
    ),
    "two bands": (
        lambda d: lay(d / "bad.tif", ground(96, 96, 2), place(0, 0)),
        "it has 2 bands and band 3 is wanted",
        "imagery.bands",
    ),
    "all nodata": (lambda d: lay(d / "bad.tif", IMAGE * 0, place(0, 0), nodata=0), "it holds no imagery", "remove it"),
    "all transparent": (
        lambda d: lay(
            d / "bad.tif",
            np.concatenate([IMAGE, IMAGE[:1] * 0]),
            place(0, 0),
            colors=[ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha],
        ),
        "it holds no imagery",
        "remove it",
    ),
    "all masked": (
        lambda d: lay(d / "bad.tif", IMAGE, place(0, 0), mask=np.zeros((96, 96), bool)),
        "it holds no imagery",
        "remove it",
    ),
    "no CRS": (lambda d: lay(d / "bad.tif", IMAGE, place(0, 0), None), "it states no CRS", "imagery.assume_crs"),
    "no position": (lambda d: lay(d / "bad.tif", IMAGE, None), "it states no position", "with a world file"),
    "CRS of another country": (
        lambda d: lay(d / "bad.tif", IMAGE, place(0, 0), FAR),
        "it lies outside the area where EPSG:28992 is used (its CRS is EPSG:32645)",
        "Check its CRS",
    ),
    "CRS of the next zone": (
        lambda d: lay(d / "bad.tif", IMAGE, Affine(0.3, 0, 685_000, 0, -0.3, 5_762_000), "EPSG:32632"),
        "it lies outside the area where EPSG:28992 is used (its CRS is EPSG:32632)",
        "Check its CRS",
    ),
    "just outside of the area of use": (
        lambda d: lay(d / "bad.tif", IMAGE, Affine(0.3, 0, 320_000, 0, -0.3, 450_000)),
        "it lies outside the area where EPSG:28992 is used (its CRS is EPSG:28992)",
        "Check its CRS",
    ),
    "150 km away": (
        lambda d: lay(d / "bad.tif", IMAGE, place(0, -500_000)),
        "more than 100 km from the region's other sheets (its CRS is EPSG:28992)",
        "for the region where it lies",
    ),
    "lines as a pixel": (
        lambda d: transformed(d / "bad.tif", (0.3, 0.3, ORIGIN[0], 0.3, 0.3, ORIGIN[1])),
        "its pixels measure",
        "Check its geotransform",
    ),
    "pixels of no size": (
        lambda d: transformed(d / "bad.tif", (0.0, 0.0, ORIGIN[0], 0.0, 0.0, ORIGIN[1])),
        "its pixels measure 0 x 0 m",
        "Check its geotransform",
    ),
    "pixels of nan": (
        lambda d: transformed(d / "bad.tif", (float("nan"), 0.0, ORIGIN[0], 0.0, -0.3, ORIGIN[1])),
        "it states no position",
        "georeferenced",
    ),
    "endless origin": (
        lambda d: transformed(d / "bad.tif", (0.3, 0.0, float("inf"), 0.0, -0.3, ORIGIN[1])),
        "it states no position",
        "georeferenced",
    ),
    "pixels of 1000 km": (
        lambda d: lay(d / "bad.tif", IMAGE, Affine(1e6, 0, ORIGIN[0], 0, -1e6, ORIGIN[1])),
        "its pixels measure 1e+06 x 1e+06 m, far from the grid's 0.3 m",
        "Check its geotransform",
    ),
    "long thin pixels": (
        lambda d: lay(d / "bad.tif", IMAGE, Affine(1e-4, 0, ORIGIN[0], 0, -900, ORIGIN[1])),
        "its pixels measure 0.0001 x 900 m",
        "Check its geotransform",
    ),
    "bomb": (
        lambda d: sparse(d / "bad.tif", 100_000, tiled=True, blockxsize=512, blockysize=512),
        "it declares 100000 x 100000 pixels, more than 3,000,000,000",
        "raise imagery.max_pixels",
    ),
    "bomb in one piece": (
        lambda d: sparse(d / "bad.tif", 30_000, tiled=True, blockxsize=16_000, blockysize=16_000),
        "its pixels are packed in pieces of 16000 x 16000, 0.7 GiB each",
        "gdal_translate -of COG",
    ),
    "bomb of a png": (
        lambda d: png_bomb(d / "bad.png", 50_000),
        "it declares 50000 x 50000 pixels, more than 500,000,000",
        "as a tiled GeoTIFF",
    ),
}
REMOTE = (
    "half a tiled tiff",
    "half a png",
    "half a jpeg",
    "half a jp2",
    "vrt as mask beside",
    "bomb",
    "zero bytes",
    "all masked",
)


@pytest.mark.parametrize(
    ("kind", "store"), [*((kind, "") for kind in SHEETS), *((kind, "memory://x") for kind in REMOTE)]
)
def test_a_bad_sheet_is_set_aside_and_named_and_the_others_go_on(
    kind: str, store: str, tmp_path: Path, make_project: MakeProject
) -> None:
    assume = {} if kind == "no CRS" else {"assume_crs": "EPSG:28992"}
    deep = {"uint16_range": [0, 60_000]} if kind == "12 bits, the setting says 16" else {}
    project = make_project(tmp_path / "home", store, imagery={**LOSSLESS, **assume, **deep})
    given = tmp_path / "given"
    given.mkdir()
    make, reason, remedy = SHEETS[kind]
    bad = make(given)
    good = [lay(given / f"good{n}.tif", ground(96, 96, seed=n), place(96 * n, 0)) for n in (1, 2)]
    beside = [path for path in given.iterdir() if path not in (bad, *good)]
    deliver(project, [bad, *good, *beside], HERE.region, HERE.year)
    landed = project.store.list("landing")

    started, peak = time.monotonic(), _peak(lambda: run_step(project, "sheets", HERE))
    assert time.monotonic() - started < 60
    assert peak < 300, f"{peak:.0f} MB to look at a small file"
    sheet_catalog = tiles.catalog_of(project, HERE)
    assert [item.key.rsplit("/", 1)[-1] for item in sheet_catalog.quarantined] == [bad.name]
    assert reason in sheet_catalog.quarantined[0].reason
    assert remedy in sheet_catalog.quarantined[0].remedy
    assert "/" not in sheet_catalog.quarantined[0].reason.replace("http://", ""), "paths differ, and the bytes must not"
    verdict = checks.sheets_usable(project, HERE)
    assert not verdict.passed
    assert f"1 of 3 files are set aside: {bad.name}: " in verdict.message

    pixels, mask = mosaic(project, run_step(project, "aerial_tiles", HERE).manifest, 288, 96)
    np.testing.assert_array_equal(pixels[:, :, 96:192], ground(96, 96, seed=1))
    np.testing.assert_array_equal(pixels[:, :, 192:], ground(96, 96, seed=2))
    assert not mask[:, :96].any()
    assert checks.tiles_complete(project, HERE).passed
    assert project.store.list("landing") == landed, "what was delivered is never touched"


def _peak(work: Callable[[], Any]) -> float:
    """Megabytes by which this process grew while working, sampled."""

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    before, seen, done = resident(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            seen.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return max(seen) - before


def test_the_memory_bound_would_notice(tmp_path: Path) -> None:
    assert _peak(lambda: (np.ones(60_000_000), time.sleep(0.1))) > 300


def test_a_sheet_that_spreads_over_too_much_of_the_grid_is_set_aside(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery={"max_pixels": 2_000_000})
    wide = lay(tmp_path / "wide.tif", ground(1000, 100), Affine(14.0, 0, ORIGIN[0], 0, -14.0, ORIGIN[1]))
    good = lay(tmp_path / "good.tif", IMAGE, place(0, 0))
    (item,) = cataloged(project, [wide, good]).quarantined
    assert "it spreads over 217,777,778 pixels of the grid" in item.reason
    assert "raise imagery.max_pixels" in item.remedy


@pytest.mark.parametrize("name", ["bad.tif", "bad.jpg"])
def test_a_png_by_another_name_is_read_as_what_it_is(name: str, tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "assume_crs": "EPSG:28992"})
    png = lay(tmp_path / "a.png", IMAGE, None, None, driver="PNG")
    shutil.copy(world(png, place(0, 0)), tmp_path / name.replace("tif", "tfw").replace("jpg", "jgw"))
    sheet_catalog = cataloged(
        project, [png.rename(tmp_path / name), tmp_path / name.replace("tif", "tfw").replace("jpg", "jgw")]
    )
    assert sheet_catalog.quarantined == ()
    pixels, _ = mosaic(project, run_step(project, "aerial_tiles", HERE).manifest, 96, 96)
    np.testing.assert_array_equal(pixels, IMAGE)


def test_a_sheet_outside_the_regions_polygon_is_set_aside(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    geopandas.GeoDataFrame({"name": ["delft"]}, geometry=[here(box(0, 0, 100, 100))], crs="EPSG:28992").to_file(
        tmp_path / "r.gpkg"
    )
    add_regions(project, tmp_path / "r.gpkg")
    inside, outside = (
        lay(tmp_path / f"{name}.tif", IMAGE, place(col, 0)) for name, col in (("inside", 0), ("outside", 20_000))
    )
    (item,) = cataloged(project, [inside, outside]).quarantined
    assert item.key.endswith("outside.tif")
    assert "it lies outside the region's polygon by 5.9 km (its CRS is EPSG:28992)" in item.reason
    assert "deliver it for the region where it lies" in item.remedy


@pytest.mark.parametrize("store", ["", "memory://x"])
@pytest.mark.parametrize("numbers", ["north is up", "0.3\n0\n0\n", "nan\n0\n0\n-0.3\n1\n1\n"])
def test_a_world_file_that_says_nothing_is_named(
    numbers: str, store: str, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home", store, imagery={"assume_crs": "EPSG:28992"})
    bad = lay(tmp_path / "bad.png", IMAGE, None, None, driver="PNG")
    write(tmp_path / "bad.pgw", numbers)
    sheet_catalog = cataloged(project, [bad, tmp_path / "bad.pgw", lay(tmp_path / "good.tif", IMAGE, place(0, 0))])
    (item,) = sheet_catalog.quarantined
    assert item.key.endswith("bad.png")
    assert "world file bad.pgw does not hold six numbers" in item.reason or "states no position" in item.reason


def test_a_file_that_is_no_sheet_at_all_is_named(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    project.store.put(f"{landing_prefix(HERE)}/terms.docx", b"PK")
    (item,) = cataloged(project, [lay(tmp_path / "good.tif", IMAGE, place(0, 0))]).quarantined
    assert item.reason == "its ending is not one of a sheet"
    assert ".tif" in item.remedy


# ------------------------------------------------------------------------------------------------ references

REFERENCES: dict[str, tuple[Callable[[str], Any], str]] = {
    "up and out": (lambda root: {"url": f"{root}/../../etc/passwd"}, "which lies in none of imagery.reference_roots"),
    "up, encoded": (lambda root: {"url": f"{root}/%2e%2e/%2e%2e/etc/passwd"}, "which lies in none of"),
    "up, encoded twice": (lambda root: {"url": f"{root}/%252e%252e/etc/passwd"}, "which lies in none of"),
    "passwd": (lambda root: {"url": "file:///etc/passwd"}, "it refers to file:///etc/passwd, which lies in none of"),
    "beside the root": (lambda root: {"url": f"{root}-secret/a.tif"}, "which lies in none of"),
    "a web server": (lambda root: {"url": "http://169.254.169.254/latest/meta-data"}, "which lies in none of"),
    "gdal's own network": (lambda root: {"url": "/vsicurl/http://127.0.0.1/a.tif"}, "which lies in none of"),
    "no json": (lambda root: "look over there", "it is no reference"),
    "no url": (lambda root: {"path": "/a.tif"}, "it is no reference"),
    "a list": (lambda root: [1, 2], "it is no reference"),
    "a number": (lambda root: {"url": 7}, "it is no reference"),
    "far too long": (lambda root: {"url": f"{root}/{'a' * 20_000}"}, "it is no reference"),
    "nothing there": (lambda root: {"url": f"{root}/none.tif"}, "where nothing lies"),
    "an empty file": (lambda root: {"url": f"{root}/empty.tif"}, "it is empty (0 bytes)"),
    "no image": (lambda root: {"url": f"{root}/text.tif"}, "it is no image"),
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_a_reference_to_where_it_must_not_point_is_set_aside(
    kind: str, tmp_path: Path, make_project: MakeProject
) -> None:
    root, secret = tmp_path / "imagery", tmp_path / "imagery-secret"
    lay(secret / "a.tif", IMAGE, place(0, 0))
    root.mkdir()
    write(root / "empty.tif", b"")
    write(root / "text.tif", "no image")
    project = make_project(tmp_path / "home", imagery={**LOSSLESS, "reference_roots": [root.as_uri()]})
    make, reason = REFERENCES[kind]
    content = make(root.as_uri())
    project.store.put(
        f"{landing_prefix(HERE)}/bad.tif.ref", (content if isinstance(content, str) else json.dumps(content)).encode()
    )
    sheet_catalog = cataloged(project, [lay(tmp_path / "good.tif", IMAGE, place(0, 0))])
    assert [sheet.name for sheet in sheet_catalog.sheets] == ["good.tif"]
    assert [item.key.rsplit("/", 1)[-1] for item in sheet_catalog.quarantined] == ["bad.tif.ref"]
    assert reason in sheet_catalog.quarantined[0].reason
    assert not checks.sheets_usable(project, HERE).passed
    assert sorted(path.name for path in root.iterdir()) == ["empty.tif", "text.tif"]


def test_a_file_outside_the_allowed_folders_cannot_be_referred_to(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    file = lay(tmp_path / "a.tif", IMAGE, place(0, 0))
    with pytest.raises(BadConfig, match=r"imagery\.reference_roots = \[\"file://"):
        deliver(project, [file], HERE.region, HERE.year, reference=True)
    assert project.store.list() == []


# ------------------------------------------------------------------------------------------------ delivering

NAMES = [
    "a|b",
    "a,b",
    "a/b",
    "..",
    "../a",
    "a/../b",
    "a..b",
    ".hidden",
    "a\nb",
    "a\x00b",
    "a\x1bb",
    "x" * 300,
    "",
    " ",
    " a",
    "a ",
    "a.",
    "a\\b",
    "a:b",
    "a*b",
    "a?b",
    "-a",
    "_a",
    "%2e%2e",
]


@pytest.mark.parametrize("name", NAMES, ids=[ascii(name)[:12] for name in NAMES])
def test_a_region_name_that_would_break_keys_is_refused(name: str, tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    with pytest.raises(BadConfig) as caught:
        deliver(project, [lay(tmp_path / "a.tif", IMAGE, place(0, 0))], name, 2024)
    line = str(caught.value)
    assert line.startswith(f"region name {name!r}")
    assert "it cannot be part of a path and of a partition key" in line
    assert "Use letters, digits, spaces" in line
    assert "\n" not in line
    assert project.store.list() == []


@pytest.mark.parametrize(
    "name", ["Delft", "'s-Gravenhage", "Sint-Michielsgestel (oost)", "Île-de-France", "区域 7", "B&W", "no. 4a"]
)
def test_names_that_people_give_are_taken_or_refused_before_anything_else(
    name: str, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home")
    try:
        check_region_name(name)
    except BadConfig:
        assert name == "'s-Gravenhage", "only a name that begins with neither letter nor digit"
        return
    partition = Partition(2024, name)
    deliver(project, [lay(tmp_path / "a.tif", IMAGE, place(0, 0))], name, 2024)
    assert delivered_partitions(project) == [partition]
    run_step(project, "sheets", partition)
    assert run_step(project, "aerial_tiles", partition).made == ("x00y00",)


def test_a_region_that_the_regions_file_does_not_name_is_refused(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    geopandas.GeoDataFrame({"name": ["Delft"]}, geometry=[here(box(0, 0, 100, 100))], crs="EPSG:28992").to_file(
        tmp_path / "r.gpkg"
    )
    add_regions(project, tmp_path / "r.gpkg")
    before = project.store.list()
    with pytest.raises(
        BadConfig, match=r"the regions file does not name it\. Did you mean 'Delft'\? Choose from: Delft"
    ):
        deliver(project, [lay(tmp_path / "a.tif", IMAGE, place(0, 0))], "Delfft", 2024)
    assert project.store.list() == before


FILES: dict[str, tuple[Maker, str, str]] = {
    "not there": (lambda d: d / "none.tif", "there is no such file", "nothing was copied"),
    "a folder": (lambda d: d, "there is no such file", "Check the path"),
    "a vrt": (lambda d: write(d / "a.vrt", VRT), "it is no image by its name", "Give files of .tif"),
    "a name with control characters": (
        lambda d: write(d / "a\x07b.tif", "x"),
        "no store can hold a file of that name",
        "Rename it",
    ),
    "a name without end": (
        lambda d: write(d / f"{'a' * 220}.tif", "x"),
        "no store can hold a file of that name",
        "Rename it",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_one_file_that_cannot_be_delivered_stops_the_delivery_before_it_begins(
    kind: str, tmp_path: Path, make_project: MakeProject
) -> None:
    project = make_project(tmp_path / "home")
    make, reason, remedy = FILES[kind]
    bad = make(tmp_path)
    with pytest.raises(BadSheet) as caught:
        deliver(project, [lay(tmp_path / "good.tif", IMAGE, place(0, 0)), bad], HERE.region, HERE.year)
    assert reason in str(caught.value)
    assert remedy in str(caught.value)
    assert project.store.list() == [], "nothing is copied unless all can be"


def test_a_file_name_that_the_store_cannot_list_is_named(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    deliver(project, [lay(tmp_path / "good.tif", IMAGE, place(0, 0))], HERE.region, HERE.year)
    root = project.store.root
    assert root is not None
    write(root / landing_prefix(HERE) / "a\x07b.tif", "x")  # somebody put it there by hand
    started = time.monotonic()
    with pytest.raises(StoreFailed, match=r"a name below it cannot be one in a store .*a.x07b\.tif.*Rename that file"):
        run_step(project, "sheets", HERE)
    assert time.monotonic() - started < 3, "waiting does not help"


# ------------------------------------------------------------------------------------------------ the store


def home_with(folder: Path, make_project: MakeProject, store: str) -> Path:
    """A home whose settings name that store, which need not be usable."""
    home = make_project(folder, run={"retries": 1, "retry_seconds": 4.0}).home
    text = (home / "groundplan.toml").read_text()
    (home / "groundplan.toml").write_text(text.replace('store = ""', f"store = {json.dumps(store)}"))
    return home


def test_a_file_where_the_stores_folder_should_be_is_named(tmp_path: Path, make_project: MakeProject, cli: Cli) -> None:
    write(tmp_path / "file", "I am no folder")
    for url in ((tmp_path / "file").as_uri(), (tmp_path / "file" / "below").as_uri()):
        home = home_with(tmp_path / f"home{len(url)}", make_project, url)
        with pytest.raises(BadConfig, match="the folder cannot be used"):
            open_project(home)
        code, _, err = cli("status", "--home", home)
        assert code == 1
        assert f"store {tmp_path / 'file'}" in one_line(err)
        assert "Give another" in err
    assert (tmp_path / "file").read_text() == "I am no folder"


@pytest.mark.parametrize("url", ["ftp://host/imagery", "imagery", "C:\\imagery", "s3:bucket"])
def test_a_store_of_an_unknown_kind_says_which_are_known(
    url: str, tmp_path: Path, make_project: MakeProject, cli: Cli
) -> None:
    home = home_with(tmp_path / "home", make_project, url)
    code, _, err = cli("status", "--home", home)
    assert code == 1
    line = one_line(err)
    assert url not in line, "an address may hold a secret in a way that nobody thought of"
    assert "file://, s3://, az://, gs://, memory://" in line or "Check the URL" in line


def test_a_store_that_does_not_answer_is_an_error_and_not_an_empty_project(
    tmp_path: Path, make_project: MakeProject, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    home = home_with(tmp_path / "home", make_project, "s3://bucket/prefix")
    for words in (("status",), ("build",), ("export", tmp_path / "a.parquet", "--region", "delft", "--year", 2024)):
        code, out, err = cli(*words, "--home", home)
        assert code == 1
        line = one_line(err)
        assert line.startswith("s3://bucket/prefix")
        assert "in 2 tries" in line
        assert "run again when the store answers" in line
        assert "Nothing to do" not in out
    assert not (tmp_path / "a.parquet").exists()


# ---------------------------------------------------------------------------------- the model, export, evaluate


@pytest.fixture
def built(built_home: Path, tmp_path: Path) -> Path:
    """A finished project of one's own."""
    shutil.copytree(built_home, tmp_path / "built")
    return tmp_path / "built"


def changed(home: Path, old: str, new: str) -> Project:
    text = (home / "groundplan.toml").read_text()
    assert old in text or old == "[grid]"
    (home / "groundplan.toml").write_text(text.replace(old, new))
    return open_project(home)


@pytest.mark.parametrize(
    ("new", "reason", "remedy"),
    [
        (
            "[imagery]\nbands = [1]",
            "it was trained for bands [1, 2, 3] and the imagery has [1]",
            "Set imagery.bands as it was",
        ),
        (
            "[imagery]\nbands = [3, 2, 1]",
            "it was trained for bands [1, 2, 3] and the imagery has [3, 2, 1]",
            "train a model for these bands",
        ),
    ],
    ids=["fewer bands", "bands in another order"],
)
def test_a_model_trained_for_other_bands_is_refused(new: str, reason: str, remedy: str, built: Path) -> None:
    project = changed(built, "[imagery]", new)
    before = project.store.list()
    with pytest.raises(ModelMismatch) as caught:
        models.load(project, 2024)
    assert reason in str(caught.value)
    assert remedy in str(caught.value)
    partition = delivered_partitions(project)[0]
    for name in ("sheets", "aerial_tiles"):
        run_step(project, name, partition)
    with pytest.raises(BlocksFailed) as failed:
        run_step(project, "predictions", partition)
    assert reason in str(failed.value)
    assert remedy in str(failed.value)
    assert {item.key for item in before} - {item.key for item in project.store.list()} == set(), "nothing is lost"


def test_a_model_trained_at_another_resolution_is_refused(built: Path) -> None:
    project = changed(built, "resolution = 0.3", "resolution = 0.6")
    with pytest.raises(
        ModelMismatch, match=r"it was trained at 0.3 m per pixel and the grid has 0.6. Train a model on this grid"
    ):
        models.load(project, 2024)


@pytest.mark.parametrize(
    "content", [b"", b"PK\3\4 not really a zip", b"weights", None], ids=["empty", "broken", "text", "another zip"]
)
def test_a_file_that_is_no_model_at_all_is_refused(content: bytes | None, built: Path, tmp_path: Path) -> None:
    project = open_project(built)
    key = need_manifest(project.store, models.DATASET, Partition(2024)).objects["model"].key
    if content is None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("readme.txt", "no model")
        content = (tmp_path / "a.zip").read_bytes()
    project.store.put(key, content)
    with pytest.raises(Damaged, match="and the manifest says"):
        models.load(project, 2024)
    manifest = need_manifest(project.store, models.DATASET, Partition(2024))
    stated = replace(manifest.objects["model"], bytes=len(content), sha256=sha256(content).hexdigest())
    stated_too = replace(manifest, objects={"model": stated})
    project.store.put(manifest_key(models.DATASET, Partition(2024)), stated_too.to_json())
    with pytest.raises(ModelMismatch, match=r"its file holds no model .*Train it anew"):
        models.load(project, 2024)


def test_a_year_without_a_model_says_what_to_do(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home")
    with pytest.raises(
        MissingInput, match=r"trained_model of 2024: it has not been made yet. Run `groundplan build --year 2024"
    ):
        models.load(project, 2024)


def test_weights_that_are_not_there_are_named(tmp_path: Path, make_project: MakeProject) -> None:
    project = make_project(tmp_path / "home", model={"encoder_weights": "weights/none.safetensors"})
    with pytest.raises(
        ModelMismatch, match=r"none.safetensors: there is no such weights file. Set model.encoder_weights"
    ):
        models.train_settings(project)


def test_an_export_to_an_unknown_ending_writes_nothing(built: Path, tmp_path: Path, cli: Cli) -> None:
    partition = delivered_partitions(open_project(built))[0]
    for name, reason in (
        ("a.dxf", "'.dxf' is no format"),
        ("a", "'' is no format"),
        ("none/a.gpkg", "its folder does not exist"),
    ):
        code, _, err = cli(
            "export", tmp_path / name, "--region", partition.region, "--year", partition.year, "--home", built
        )
        assert code == 1
        assert reason in one_line(err)
        assert not (tmp_path / name).exists()
    with pytest.raises(BadConfig, match=r"\.parquet, \.fgb, \.gpkg, \.geojson"):
        export(open_project(built), tmp_path / "a.dxf", partition.region, partition.year)


def test_an_export_of_what_was_not_made_says_so(tmp_path: Path, make_project: MakeProject, cli: Cli) -> None:
    project = make_project(tmp_path / "home")
    home = project.home
    asked = ("export", tmp_path / "a.parquet", "--region", "delft", "--year", 2024, "--home", home)
    code, _, err = cli(*asked)
    assert code == 1
    assert "region 'delft': nothing was delivered to this project yet" in one_line(err)
    deliver(project, [lay(tmp_path / "a.tif", IMAGE, place(0, 0))], "delft", 2024)
    code, _, err = cli(*asked)
    assert code == 1
    assert "building_footprints of delft 2024: it has not been made yet" in one_line(err)
    assert not (tmp_path / "a.parquet").exists()


def test_a_truth_that_lies_elsewhere_scores_nothing(built: Path, tmp_path: Path, cli: Cli) -> None:
    partition = delivered_partitions(open_project(built))[0]
    away = tmp_path / "away.gpkg"
    geopandas.GeoDataFrame(geometry=[here(box(5000, 5000, 5010, 5010))], crs="EPSG:28992").to_file(away)
    words = ("evaluate", "--region", partition.region, "--year", partition.year, "--home", built)
    code, out, err = cli(*words, "--truth", away)
    assert code == 1
    assert f"it covers no imaged ground of {partition}" in one_line(err)
    assert str(away) in err
    assert "IoU" not in out
    code, _, err = cli(*words, "--truth", tmp_path / "none.gpkg")
    assert code == 1
    assert "there is no such file" in one_line(err)
    with pytest.raises(BadRegister, match="Check its CRS, the region and the year"):
        compare_with_truth(open_project(built), partition.region, partition.year, away, None, None)


# -------------------------------------------------------------------------------------------- the command line


def test_init_with_options_that_make_no_sense_makes_nothing(tmp_path: Path, cli: Cli) -> None:
    home = tmp_path / "home"
    good = {"--crs": "EPSG:28992", "--resolution": "0.25"}
    for options, reason in (
        ({"--crs": "EPSG:4326"}, "EPSG:4326 is geographic"),
        ({"--crs": "EPSG:2263"}, "is not in metres"),
        ({"--crs": "Delft"}, "is not a CRS that PROJ knows"),
        ({"--resolution": "-1"}, "input should be greater than 0"),
        ({"--block-size": "1000"}, "must be a multiple of 256"),
        ({"--store": "ftp://x"}, "its kind is not known"),
        ({"--regions": str(tmp_path / "none.gpkg")}, "there is no such file"),
    ):
        words = [word for pair in {**good, **options}.items() for word in pair]
        code, _, err = cli("init", home, *words)
        assert code == 1
        assert reason in one_line(err)
        assert not (home / "groundplan.toml").exists(), "a half-made project would be found later"
    code, out, _ = cli("init", home, "--crs", "EPSG:28992", "--resolution", "0.25")
    assert code == 0
    assert "Made" in out
    code, _, err = cli("init", home, "--crs", "EPSG:28992", "--resolution", "0.5")
    assert code == 1
    assert "there is a project in this folder already" in one_line(err)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("add-imagery", "{file}", "--region", "a|b", "--year", 2024), "region name 'a|b'"),
        (("add-imagery", "{none}", "--region", "a", "--year", 2024), "there is no such file"),
        (("add-register", "{none}", "--year", 2024), "there is no such file"),
        (("add-register", "{file}", "--year", 2024), "its ending is not one of a vector file"),
        (("build", "--select", "houses"), "asset 'houses': there is none of that name. Choose from: sheets"),
        (("build",), "nothing was delivered yet"),
        (
            ("evaluate", "--region", "a", "--year", 2024, "--truth", "{none}"),
            "nothing was delivered to this project yet",
        ),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)
def test_each_command_ends_with_one_line_and_exit_code_1(
    words: tuple[Any, ...], reason: str, tmp_path: Path, make_project: MakeProject, cli: Cli
) -> None:
    project = make_project(tmp_path / "home")
    given = {"file": str(lay(tmp_path / "a.tif", IMAGE, place(0, 0))), "none": str(tmp_path / "none.gpkg")}
    code, _, err = cli(*(str(word).format(**given) for word in words), "--home", project.home)
    assert code == 1
    assert reason in one_line(err)
    assert project.store.list() == []


def test_a_command_outside_a_project_says_how_to_make_one(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("status")
    assert code == 1
    assert "or make one: `groundplan init FOLDER`" in one_line(err)
    write(tmp_path / "groundplan.toml", "[grid\n")
    code, _, err = cli("status")
    assert code == 1
    assert "it is not valid TOML" in one_line(err)


def test_options_that_do_not_exist_exit_with_1_too(cli: Cli) -> None:
    for words in (("build", "--regoin", "a"), ("fly",), ("add-imagery", "a.tif", "--region", "a", "--year", "soon")):
        code, _, err = cli(*words)
        assert code == 1
        assert "Traceback" not in err


def test_a_build_with_a_bad_sheet_makes_the_rest_and_exits_with_1(
    tmp_path: Path, make_project: MakeProject, cli: Cli
) -> None:
    project = make_project(tmp_path / "home")
    deliver(
        project,
        [lay(tmp_path / "good.tif", IMAGE, place(0, 0)), write(tmp_path / "bad.tif", "text")],
        HERE.region,
        HERE.year,
    )
    code, out, _ = cli("build", "--select", "sheets", "--home", project.home)
    assert code == 1, "nothing green that did not work"
    assert "sheets_usable: 1 of 2 files are set aside: bad.tif: it is no image" in " ".join(out.split())
    assert [sheet.name for sheet in tiles.catalog_of(project, HERE).sheets] == ["good.tif"]
    code, out, _ = cli("build", "--select", "aerial_tiles", "--home", project.home)
    assert code == 0, out
    assert project.store.exists(manifest_key("aerial_tiles", HERE))


def test_a_second_build_is_not_green_while_a_sheet_is_set_aside(
    tmp_path: Path, make_project: MakeProject, cli: Cli
) -> None:
    project = make_project(tmp_path / "home", imagery=LOSSLESS)
    cataloged(project, [lay(tmp_path / "good.tif", IMAGE, place(0, 0)), write(tmp_path / "bad.tif", "text")])
    for select, expected in (("sheets", 1), ("aerial_tiles", 0)):
        if select == "aerial_tiles":
            run_step(project, select, HERE)
        code, out, _ = cli("build", "--select", select, "--home", project.home)
        assert code == expected
        assert "Nothing to do: all 1 partitions are current" in out
        assert ("bad.tif: it is no image" in " ".join(out.split())) == (select == "sheets")


@pytest.mark.parametrize("folder", ["a|b/2024", "a,b/2024", "delft/2o24", "delft/24", "a..b/2024"])
def test_a_landing_folder_that_names_no_region_and_year_is_not_passed_over(
    folder: str, tmp_path: Path, make_project: MakeProject, cli: Cli
) -> None:
    project = make_project(tmp_path / "home")
    file = lay(tmp_path / "a.tif", IMAGE, place(0, 0))
    project.store.put_file(f"landing/{folder}/a.tif", file)
    assert misnamed_folders(project) == [f"landing/{folder}"]
    assert delivered_partitions(project) == []
    code, out, _ = cli("status", "--home", project.home)
    assert code == 0
    assert f"landing/{folder}: no region and year can be made of that name" in out
    cataloged(project, [file])
    code, _, err = cli("build", "--select", "sheets", "--home", project.home)
    assert code == 1
    assert f"landing/{folder}" in err
    assert project.store.exists(f"landing/{folder}/a.tif"), "it is left alone"


def test_errors_are_a_small_vocabulary() -> None:
    import pickle

    for kind in (BadConfig, BadSheet, BadRegister, MissingInput, ModelMismatch, StoreFailed, BlocksFailed):
        error = kind("thing", "reason", "Remedy")
        assert isinstance(error, GroundplanError)
        assert str(error) == "thing: reason. Remedy"
        assert str(pickle.loads(pickle.dumps(error))) == str(error), "it must survive a worker"
    assert issubclass(NotGeoreferencedWarning, Warning)
    assert open_store("memory://x").list() == []
    assert shapely.__version__ > "2"

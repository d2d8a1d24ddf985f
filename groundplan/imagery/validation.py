"""Sheet validation: whether a delivered file can be used, without decoding all of it; reasons and remedies.

Here: the checks, cheapest first, so that a bomb is refused before anything of its size is allocated. Not here: opening
and reading (sheet.py), comparing a sheet with the others (catalog.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.core.datum import grids_in, grids_of_shift, transformer
from groundplan.core.grid import Bounds, Grid, area_of_use
from groundplan.core.partition import Partition
from groundplan.errors import BadSheet
from groundplan.foreign_text import crs_in_words
from groundplan.imagery.bands import BandReading, reading_of
from groundplan.imagery.dates import acquired_on
from groundplan.imagery.landing import REFERENCE, SHEET_ENDINGS, WORLD_ENDINGS
from groundplan.imagery.samples import half_transparent, look_at
from groundplan.imagery.sheet import Sheet, crs_name, header_of, located, opened, referred_state, sibling
from groundplan.imagery.stated_credit import stated_credit
from groundplan.imagery.tiff_header import TiffHeader
from groundplan.project import Project

if TYPE_CHECKING:
    import rasterio


MOST_CHECKED = 20_000  # tiles of a sheet whose place in the file is looked at
MOST_AT_ONCE = 64 * 2**20  # bytes that must be decoded together to reach one pixel
PHOTOMETRIC = {0: "", 1: "", 2: "", 3: "", 5: "CMYK", 6: "YCBCR"}
"""Kinds of colours of a TIFF that are read, and what GDAL says when it has turned them into red, green, blue."""
OTHER_COLORS = {
    4: "a mask",
    5: "inks",
    6: "YCbCr that cannot be turned into RGB",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a camera's raw values",
    32844: "logarithms of light",
    32845: "logarithms of light",
    34892: "a camera's raw values",
}
ASSOCIATED = 1  # an alpha by which the colours are multiplied
WITHOUT_TILES = 500_000_000  # pixels of a PNG or JPEG: to reach its end, all of it must be decoded
STRETCH = 50  # a sheet's pixels may be so many times larger or smaller than the grid's
SPREAD = 4  # a sheet may cover so many times imagery.max_pixels of the grid's pixels
DEGREE = 111_320.0  # metres
MOST_PRJ = 20_000  # bytes of a .prj file

Outline = tuple[tuple[float, float], ...]


def inspect(
    project: Project,
    partition: Partition,
    key: str,
    sha256: str,
    size: int,
    beside: Sequence[tuple[str, str]] = (),
) -> Sheet:
    """Check one delivered file. beside: name and digest of the files that belong to it.

    Raises BadSheet with the reason and the remedy, StoreFailed when the store does not deliver it.
    """
    settings = project.settings.imagery
    if not key.lower().endswith((*SHEET_ENDINGS, REFERENCE)):
        raise BadSheet(key, "its ending is not one of a sheet", f"Use one of {', '.join(SHEET_ENDINGS)}, or remove it")
    if key.endswith(REFERENCE):
        sha256, size = referred_state(project, key)
    if size == 0:
        raise BadSheet(key, "it is empty (0 bytes)", "Deliver it again; the transfer was cut")
    if size > settings.max_bytes:
        raise BadSheet(key, f"it has {size / 2**30:.1f} GiB", "Cut it into smaller sheets or raise imagery.max_bytes")
    names = [name for name, _ in beside]
    header = header_of(project, key)
    with opened(project, key, names, known=True) as source:
        _check_size(source, project, key, header)
        _check_said(source, header, key)
        reading = reading_of(source, settings, key)
        crs, transform = _check_georeferencing(source, key, project, names)
        _check_complete(source, project, key, size)
        look = look_at(source, reading, settings, key)
        _check_unmultiplied(source, header, reading, key)
        name = crs_name(crs)
        outline = _outline(source, name, transform, project.grid, key)
        _check_spread(outline, project, key)
        acquired, date_source = acquired_on(key.rsplit("/", 1)[-1], source.tags(), partition.year)
        return Sheet(
            key=key,
            sha256=sha256,
            bytes=size,
            width=source.width,
            height=source.height,
            crs=name,
            transform=tuple(transform)[:6],
            bands=source.count,
            dtype=source.dtypes[0],
            gsd=_gsd(outline, source.width, source.height),
            acquired=acquired,
            date_source=date_source,
            shift=_shift(project, name, outline),
            outline=outline,
            beside=tuple(beside),
            reading=reading.unusual(settings, source.count),
            colors=reading.colors,
            fill=look.fill,
            notes=(*look.notes, *_pages(source)),
            credit=stated_credit(source.tags()),
        )


def _check_size(source: rasterio.DatasetReader, project: Project, key: str, header: TiffHeader | None) -> None:
    settings = project.settings.imagery
    pixels = source.width * source.height
    tiled = source.driver not in ("PNG", "JPEG") and not _one_strip(source, header)
    most = settings.max_pixels if tiled else min(settings.max_pixels, WITHOUT_TILES)
    if pixels > most:
        remedy = "or raise imagery.max_pixels if it is meant" if tiled else "or deliver it as a tiled GeoTIFF"
        raise BadSheet(
            key,
            f"it declares {source.width} x {source.height} pixels, more than {most:,}",
            f"Cut it into smaller sheets, {remedy}",
        )
    high, wide = (source.height, source.width) if _held_whole(source, project, key) else source.block_shapes[0]
    at_once = high * wide * source.count * np.dtype(source.dtypes[0]).itemsize
    if at_once > MOST_AT_ONCE:
        raise BadSheet(
            key,
            f"its pixels are packed in pieces of {wide} x {high}, {at_once / 2**30:.1f} GiB each",
            "Write it again with tiles of 512 pixels, such as `gdal_translate -of COG`",
        )


def _one_strip(source: rasterio.DatasetReader, header: TiffHeader | None) -> bool:
    """Whether a packed TIFF has no places at which decoding can begin but its start."""
    if header is None or header.get("compression", 1) == 1:
        return False
    if header.get("rows_per_strip", source.height) * source.width <= WITHOUT_TILES:
        return False
    return not source.profile.get("tiled")


def _held_whole(source: rasterio.DatasetReader, project: Project, key: str) -> bool:
    """Whether a decoder holds all of a PNG or JPEG at once: one that is interlaced, or grows sharper as it loads."""
    if source.driver not in ("PNG", "JPEG"):
        return False
    store, path = located(project, key)
    start = store.part(path, 0, 1 << 16)
    return start[28:29] == b"\x01" if source.driver == "PNG" else _progressive(start)


def _progressive(start: bytes) -> bool:
    """Whether the frame of a JPEG, by its first bytes, is a progressive one."""
    at = 2
    while at + 4 <= len(start) and start[at] == 0xFF:
        marker, length = start[at + 1], int.from_bytes(start[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker in (0xC2, 0xC6, 0xCA, 0xCE)
        at += 2 + length
    return False


def _check_said(source: rasterio.DatasetReader, header: TiffHeader | None, key: str) -> None:
    """Check of what a file says of its pixels and GDAL passes over."""
    said = header.get("photometric", 1) if header else 1
    space = source.tags(ns="IMAGE_STRUCTURE").get("SOURCE_COLOR_SPACE", "").upper()
    if said not in PHOTOMETRIC or PHOTOMETRIC[said] not in ("", space):
        raise BadSheet(key, f"its colours are {OTHER_COLORS.get(said, f'of kind {said}')}", "Write it again as RGB")
    turned = header.get("orientation", 1) if header else int(source.tags().get("EXIF_Orientation", "1") or 1)
    if turned > 1:
        raise BadSheet(
            key,
            f"it says that its first row is not the upper one (orientation {turned})",
            "Write it again as it is to be shown, without that tag",
        )


def _check_unmultiplied(
    source: rasterio.DatasetReader, header: TiffHeader | None, reading: BandReading, key: str
) -> None:
    """Colours that were multiplied by an alpha are what they should be only where it is opaque."""
    if header and reading.alpha and header.get("extra", 0) == ASSOCIATED and half_transparent(source, reading):
        raise BadSheet(
            key, "its colours are multiplied by its alpha, which is half transparent", "Deliver it with a plain alpha"
        )


def _pages(source: rasterio.DatasetReader) -> list[str]:
    count = len(source.subdatasets)
    return [f"it holds {count} images, and only the first is read"] if count > 1 else []


def _check_georeferencing(
    source: rasterio.DatasetReader, key: str, project: Project, beside: Sequence[str]
) -> tuple[Any, Any]:
    from affine import Affine
    from rasterio.crs import CRS

    _check_placed(source, project, key, beside)
    crs = source.crs or _prj_file(project, key)
    if crs is None:
        assumed = project.settings.imagery.assume_crs
        if assumed is None:
            raise BadSheet(key, "it states no CRS", "Deliver it with one, or set imagery.assume_crs")
        crs = CRS.from_user_input(assumed)
    transform = source.transform
    if transform.is_identity and (stated := _world_file(project, key, beside)):
        transform = Affine(*stated)
    if transform.is_identity or not all(math.isfinite(value) for value in tuple(transform)[:6]):
        raise BadSheet(key, "it states no position (no geotransform)", "Deliver it georeferenced or with a world file")
    unit = DEGREE if crs.is_geographic else crs.linear_units_factor[1]
    resolution = project.grid.resolution
    sides = math.hypot(transform.a, transform.d) * unit, math.hypot(transform.b, transform.e) * unit
    thin = abs(transform.determinant) * unit**2 / max(max(sides) ** 2, 1e-300)  # of a skewed pixel's area
    if not all(resolution / STRETCH <= side <= resolution * STRETCH for side in sides) or thin < 1e-3:
        raise BadSheet(
            key,
            f"its pixels measure {sides[0]:g} x {sides[1]:g} m, far from the grid's {resolution:g} m",
            "Check its geotransform and CRS",
        )
    return crs, transform


def _check_placed(source: rasterio.DatasetReader, project: Project, key: str, beside: Sequence[str]) -> None:
    """Check of a file that says where it lies in ways that need a warp first: no position is made up for it."""
    if not source.transform.is_identity or _world_file(project, key, beside):
        return
    if points := source.gcps[0]:
        raise BadSheet(
            key,
            f"it has control points only ({len(points)}), and no geotransform",
            "Warp it by them and deliver the result: `gdalwarp -r cubic -of COG in.tif out.tif`",
        )
    if source.rpcs:
        raise BadSheet(
            key,
            "it has a camera's coefficients only (RPC), and no geotransform",
            "Rectify it with a terrain model and deliver the result: `gdalwarp -rpc -to RPC_DEM=terrain.tif`",
        )


def outline_of(project: Project, source: rasterio.DatasetReader, key: str, beside: Sequence[str] = ()) -> Outline:
    """Outline of an opened file in the grid's CRS, by its header alone. Raises BadSheet as `inspect` does."""
    crs, transform = _check_georeferencing(source, key, project, beside)
    outline = _outline(source, crs_name(crs), transform, project.grid, key)
    _check_spread(outline, project, key)
    return outline


def _prj_file(project: Project, key: str) -> Any:
    """The CRS that the .prj file beside a sheet states, None without one. Raises BadSheet.

    Only here is it looked for: of a sheet that states its CRS, it would decide nothing.
    """
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    store, path = located(project, key)
    name = next(
        (name for name in (f"{path.rpartition('.')[0]}{end}" for end in (".prj", ".PRJ")) if store.exists(name)), None
    )
    if name is None:
        return None
    text = store.part(name, 0, MOST_PRJ).decode("utf-8", "replace").strip()
    for esri in (True, False):
        with suppress(CRSError):
            return CRS.from_wkt(text, morph_from_esri_dialect=esri)
    remedy = "Deliver a .prj that holds WKT, or set imagery.assume_crs and remove it"
    raise BadSheet(key, f"its file {name.rsplit('/', 1)[-1]} names no CRS that is known", remedy)


def _world_file(project: Project, key: str, beside: Sequence[str]) -> tuple[float, ...] | None:
    """A world file's numbers as a geotransform (a, b, c, d, e, f), None without one. Raises BadSheet.

    GDAL finds it by itself on a local disk, but cannot read text through rasterio's openers.
    """
    name = next((name for name in beside if name.lower().endswith(WORLD_ENDINGS)), None)
    if name is None:
        return None
    store, path = located(project, key)
    text = store.part(sibling(path, name), 0, 1000).decode("latin-1")
    try:
        a, d, b, e, x, y = (float(line.replace(",", ".")) for line in text.split()[:6])
    except ValueError as error:
        raise BadSheet(key, f"its world file {name} does not hold six numbers", "Deliver that file again") from error
    return a, b, x - (a + b) / 2, d, e, y - (d + e) / 2  # it names the middle of the first pixel


def _check_complete(source: rasterio.DatasetReader, project: Project, key: str, size: int) -> None:
    """Check for a cut transfer without decoding: a TIFF's tiles lie inside the file, a JPEG has an end."""
    if source.driver == "JPEG":
        store, path = located(project, key)
        start = max(0, size - 65_536)
        if b"\xff\xd9" not in store.part(path, start, size - start):
            raise BadSheet(key, f"it is cut short: no end of image in its {size:,} bytes", "Deliver it again")
    if source.driver != "GTiff":
        return
    high, wide = source.block_shapes[0]
    cols, rows = math.ceil(source.width / wide), math.ceil(source.height / high)
    step = max(1, cols * rows // MOST_CHECKED)
    apart = (source.interleaving is not None and source.interleaving.name == "band") and source.count > 1
    for index in {*range(0, cols * rows, step), cols * rows - 1}:
        y, x = divmod(index, cols)
        for band in source.indexes if apart else (1,):
            offset = source.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=band)
            length = source.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=band)
            if offset and length and int(offset) + int(length) > size:
                raise BadSheet(key, f"it is cut short: pixels should lie beyond its {size:,} bytes", "Deliver it again")


def _outline(source: rasterio.DatasetReader, crs: str, transform: Any, grid: Grid, key: str) -> Outline:
    """The sheet's border in the grid's CRS, with points between the corners, since straight lines bend."""
    from pyproj.exceptions import ProjError

    w, h = source.width, source.height
    along = np.linspace(0, 1, 9)[:-1]
    cols = np.concatenate([along * w, np.full(8, w), (1 - along) * w, np.zeros(8)])
    rows = np.concatenate([np.zeros(8), along * h, np.full(8, h), (1 - along) * h])
    xs, ys = transform @ (cols, rows)
    try:
        x, y = transformer(crs, grid.crs).transform(xs, ys)
    except ProjError as error:
        raise BadSheet(
            key,
            f"nothing leads from its CRS, {crs_in_words(crs)}, to {grid.crs}",
            "Deliver it in a known CRS",
        ) from error
    use = area_of_use(grid.crs)
    if not np.isfinite(x).all() or not np.isfinite(y).all() or (use and not _near(use, x, y)):
        raise BadSheet(
            key,
            f"it lies outside the area where {grid.crs} is used (its CRS is {crs_in_words(crs)})",
            "Check its CRS and georeferencing, or the project's CRS",
        )
    return tuple((round(float(a), 4), round(float(b), 4)) for a, b in zip(x, y, strict=True))


def _shift(project: Project, name: str, outline: Outline) -> str:
    """Grids of PROJ's that brought a sheet onto the project's grid; '' where none has a part in it."""
    if name == project.grid.crs or not grids_in(project.grids):
        return ""
    return grids_of_shift(project.grid.crs, name, outline[0])


def _near(use: Bounds, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether some of it lies within the area of use, as a register must, and none of it far from there."""
    if x.min() > use[2] or x.max() < use[0] or y.min() > use[3] or y.max() < use[1]:
        return False
    wide, high = use[2] - use[0], use[3] - use[1]
    return bool(
        (np.abs(x - (use[0] + use[2]) / 2) < 1.5 * wide).all()
        and (np.abs(y - (use[1] + use[3]) / 2) < 1.5 * high).all()
    )


def _check_spread(outline: Outline, project: Project, key: str) -> None:
    from shapely import Polygon

    pixels = abs(Polygon(outline).area) / project.grid.resolution**2
    if pixels > SPREAD * project.settings.imagery.max_pixels:
        raise BadSheet(
            key,
            f"it spreads over {pixels:,.0f} pixels of the grid",
            "Check its geotransform; if it is meant, cut it into smaller sheets or raise imagery.max_pixels",
        )


def _gsd(outline: Outline, width: int, height: int) -> float:
    from shapely import Polygon

    return round(math.sqrt(abs(Polygon(outline).area) / (width * height)), 4)

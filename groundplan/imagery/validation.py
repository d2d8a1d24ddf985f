"""Sheet validation: whether a delivered file can be used, without decoding all of it; reasons and remedies.

Here: the checks, cheapest first, so that a bomb is refused before anything of its size is allocated. Not here: opening
and reading (sheet.py), comparing a sheet with the others (catalog.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.config import ImagerySettings
from groundplan.core.grid import Bounds, Grid, area_of_use
from groundplan.core.partition import Partition
from groundplan.errors import BadSheet
from groundplan.imagery.landing import REFERENCE, SHEET_ENDINGS, WORLD_ENDINGS
from groundplan.imagery.sheet import Sheet, color_bands, crs_name, located, opened, referred_state, sibling
from groundplan.project import Project

if TYPE_CHECKING:
    import rasterio


MOST_CHECKED = 20_000  # tiles of a sheet whose place in the file is looked at
MOST_AT_ONCE = 512 * 2**20  # bytes that must be decoded together to reach one pixel
WITHOUT_TILES = 500_000_000  # pixels of a PNG or JPEG: to reach its end, all of it must be decoded
STRETCH = 50  # a sheet's pixels may be so many times larger or smaller than the grid's
SPREAD = 4  # a sheet may cover so many times imagery.max_pixels of the grid's pixels
DEGREE = 111_320.0  # metres

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
    with opened(project, key, names) as source:
        _check_size(source, key, settings)
        _check_bands(source, key, settings)
        crs, transform = _check_georeferencing(source, key, project, names)
        _check_complete(source, project, key, size)
        _check_data(source, key)
        outline = _outline(source, crs, transform, project.grid, key)
        _check_spread(outline, project, key)
        return Sheet(
            key=key,
            sha256=sha256,
            bytes=size,
            width=source.width,
            height=source.height,
            crs=crs_name(crs),
            transform=tuple(transform)[:6],
            bands=source.count,
            dtype=source.dtypes[0],
            gsd=_gsd(outline, source.width, source.height),
            acquired=_acquired(source, partition.year),
            outline=outline,
            beside=tuple(beside),
        )


def _check_size(source: rasterio.DatasetReader, key: str, settings: ImagerySettings) -> None:
    pixels = source.width * source.height
    tiled = source.driver not in ("PNG", "JPEG")
    most = settings.max_pixels if tiled else min(settings.max_pixels, WITHOUT_TILES)
    if pixels > most:
        remedy = "or raise imagery.max_pixels if it is meant" if tiled else "or deliver it as a tiled GeoTIFF"
        raise BadSheet(
            key,
            f"it declares {source.width} x {source.height} pixels, more than {most:,}",
            f"Cut it into smaller sheets, {remedy}",
        )
    high, wide = source.block_shapes[0]
    at_once = high * wide * source.count * np.dtype(source.dtypes[0]).itemsize
    if at_once > MOST_AT_ONCE:
        raise BadSheet(
            key,
            f"its pixels are packed in pieces of {wide} x {high}, {at_once / 2**30:.1f} GiB each",
            "Write it again with tiles of 512 pixels, such as `gdal_translate -of COG`",
        )


def _check_bands(source: rasterio.DatasetReader, key: str, settings: ImagerySettings) -> None:
    from rasterio.enums import ColorInterp

    dtypes = set(source.dtypes)
    if dtypes == {"uint16"}:
        if settings.uint16_range is None:
            raise BadSheet(
                key,
                "it has 16 bits and no scaling is stated",
                "Set imagery.uint16_range = [low, high] or deliver 8 bits",
            )
    elif dtypes != {"uint8"}:
        raise BadSheet(key, f"its pixels are {', '.join(sorted(dtypes))}", "Deliver uint8, or uint16 with uint16_range")
    if ColorInterp.palette in source.colorinterp:
        raise BadSheet(
            key, "its colours are numbers of a palette", "Write it again as RGB: `gdal_translate -expand rgb`"
        )
    need = max(settings.bands)
    colors = color_bands(source)
    if colors < need and colors != 1:
        alpha = " (not counting alpha)" if colors < source.count else ""
        raise BadSheet(
            key, f"it has {colors} bands{alpha} and band {need} is wanted", "Deliver all bands or change imagery.bands"
        )


def _check_georeferencing(
    source: rasterio.DatasetReader, key: str, project: Project, beside: Sequence[str]
) -> tuple[Any, Any]:
    from affine import Affine
    from rasterio.crs import CRS

    crs = source.crs
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


def outline_of(project: Project, source: rasterio.DatasetReader, key: str, beside: Sequence[str] = ()) -> Outline:
    """Outline of an opened file in the grid's CRS, by its header alone. Raises BadSheet as `inspect` does."""
    crs, transform = _check_georeferencing(source, key, project, beside)
    outline = _outline(source, crs, transform, project.grid, key)
    _check_spread(outline, project, key)
    return outline


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


def _check_data(source: rasterio.DatasetReader, key: str) -> None:
    """Check that a little of it decodes, and that it holds anything."""
    from rasterio.enums import MaskFlags
    from rasterio.windows import Window

    for col, row in ((0, 0), (source.width - 1, source.height - 1), (source.width // 2, source.height // 2)):
        source.read(1, window=Window(col, row, 1, 1))
    if all(MaskFlags.all_valid in flags for flags in source.mask_flag_enums):
        return
    side = 256
    for row in np.linspace(0, max(0, source.height - side), 5).astype(int):  # most sheets show data at once
        for col in np.linspace(0, max(0, source.width - side), 5).astype(int):
            if source.dataset_mask(window=_within(source, int(col), int(row), side)).any():
                return
    for _, window in source.block_windows(1):
        if source.dataset_mask(window=window).any():
            return
    raise BadSheet(key, "it holds no imagery: all of it is nodata", "Deliver it again or remove it")


def _within(source: rasterio.DatasetReader, col: int, row: int, side: int) -> Any:
    from rasterio.windows import Window

    return Window(col, row, min(side, source.width - col), min(side, source.height - row))


def _outline(source: rasterio.DatasetReader, crs: Any, transform: Any, grid: Grid, key: str) -> Outline:
    """The sheet's border in the grid's CRS, with points between the corners, since straight lines bend."""
    import pyproj
    from pyproj.exceptions import ProjError

    w, h = source.width, source.height
    along = np.linspace(0, 1, 9)[:-1]
    cols = np.concatenate([along * w, np.full(8, w), (1 - along) * w, np.zeros(8)])
    rows = np.concatenate([np.zeros(8), along * h, np.full(8, h), (1 - along) * h])
    xs, ys = transform @ (cols, rows)
    try:
        x, y = pyproj.Transformer.from_crs(crs, grid.crs, always_xy=True).transform(xs, ys)
    except ProjError as error:
        raise BadSheet(
            key, f"nothing leads from its CRS, {crs_name(crs)[:80]}, to {grid.crs}", "Deliver it in a known CRS"
        ) from error
    use = area_of_use(grid.crs)
    if not np.isfinite(x).all() or not np.isfinite(y).all() or (use and not _near(use, x, y)):
        raise BadSheet(
            key,
            f"its place is nowhere near the area where {grid.crs} is used (its CRS is {crs_name(crs)})",
            "Check its CRS and georeferencing, or the project's CRS",
        )
    return tuple((round(float(a), 4), round(float(b), 4)) for a, b in zip(x, y, strict=True))


def _near(use: Bounds, x: np.ndarray, y: np.ndarray) -> bool:
    """Within the area of use, or beside it by no more than its own size."""
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


def _acquired(source: rasterio.DatasetReader, year: int) -> str:
    """Acquisition date: TIFF's own where it names the delivery's year; scanners and converters write others."""
    text = source.tags().get("TIFFTAG_DATETIME", "")
    try:
        date = datetime.strptime(text[:10], "%Y:%m:%d").date()
    except ValueError:
        return f"{year}-01-01"
    return date.isoformat() if date.year == year else f"{year}-01-01"

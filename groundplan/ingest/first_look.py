"""A first look at sheets: what their headers say, told at once to whoever brings them.

Here: what of a delivered sheet a person wants to see, and the grid that suits sheets that are not delivered yet. Not
here: whether a sheet can be used (imagery/validation.py), copying it (add_imagery.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundplan.core.foreign_warnings import hush_missing_transform
from groundplan.core.partition import Partition
from groundplan.errors import BadConfig, BadSheet
from groundplan.foreign_text import crs_in_words
from groundplan.imagery.catalog import beside_by_name
from groundplan.imagery.dates import DELIVERY
from groundplan.imagery.landing import SHEET_ENDINGS, landed_files
from groundplan.imagery.sheet import crs_name, driver_of, opened
from groundplan.imagery.validation import inspect
from groundplan.polygons.vector_files import NO_NETWORK
from groundplan.project import Project

if TYPE_CHECKING:
    import rasterio

SAME = 1e-6  # share by which two pixel sizes may differ and be one


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetSeen:
    """What a sheet's header says, in words; '-' for what it does not say. problem: why it cannot be used, or ''."""

    name: str
    crs: str = "-"
    bands: str = "-"
    size: str = "-"
    pixel: str = "-"
    date: str = "-"
    nodata: str = "-"
    problem: str = ""


def look_at_sheets(project: Project, partition: Partition, keys: Sequence[str]) -> Iterator[SheetSeen]:
    """What can be seen of delivered sheets, by their keys, one after the other. Raises StoreFailed."""
    landed = {item.key: ("", item.size) for item in landed_files(project, partition)}
    beside = beside_by_name(landed)
    for key in keys:
        parts = beside(key)
        try:
            sheet = inspect(project, partition, key, "", landed[key][1], parts)
        except BadSheet as error:
            yield _by_header(project, key, [name for name, _ in parts], f"{error.reason}. {error.remedy}")
            continue
        seen = _by_header(project, key, [name for name, _ in parts], "")
        yield SheetSeen(
            name=seen.name,
            crs=crs_in_words(sheet.crs),
            bands=f"{seen.bands} ({', '.join(sheet.colors)})" if sheet.colors else seen.bands,
            size=seen.size,
            pixel=f"{sheet.gsd:.3g} m",
            date=f"{sheet.acquired} ({sheet.date_source})" if sheet.acquired else f"{partition.year} ({DELIVERY})",
            nodata=seen.nodata,
        )


def _by_header(project: Project, key: str, beside: Sequence[str], problem: str) -> SheetSeen:
    name = key.rsplit("/", 1)[-1]
    try:
        with opened(project, key, beside) as source:
            return SheetSeen(
                name=name,
                crs=crs_in_words(crs_name(source.crs)) if source.crs else "-",
                bands=f"{source.count} {source.dtypes[0]}",
                size=f"{source.width} x {source.height}",
                nodata=nodata_of(source),
                problem=problem,
            )
    except BadSheet as error:
        return SheetSeen(name=name, problem=problem or f"{error.reason}. {error.remedy}")


def nodata_of(source: rasterio.DatasetReader) -> str:
    """How a file says where it shows nothing: a value, an alpha band, a mask; '-' where it does not."""
    from rasterio.enums import MaskFlags

    flags = {flag for band in source.mask_flag_enums for flag in band}
    if MaskFlags.alpha in flags:
        return "alpha"
    if MaskFlags.nodata in flags:
        return ", ".join(f"{value:g}" for value in dict.fromkeys(v for v in source.nodatavals if v is not None))
    return "mask" if MaskFlags.per_dataset in flags and MaskFlags.all_valid not in flags else "-"


# ------------------------------------------------------------------------------------ a grid like sheets


@dataclass(frozen=True, slots=True, kw_only=True)
class GridLike:
    """CRS and metres per pixel that sheets have in common, and a corner of a pixel of theirs."""

    crs: str
    resolution: float
    corner: tuple[float, float]

    def origin(self, near: tuple[float, float]) -> tuple[float, float]:
        """A point on the sheets' lattice of pixels, less than a pixel from `near`: then they are not resampled."""
        return tuple(  # type: ignore[return-value]
            round(at + (corner - at) % self.resolution, 9) for at, corner in zip(near, self.corner, strict=True)
        )


def grid_like(files: Sequence[Path], crs: str = "", resolution: float = 0.0) -> GridLike:
    """The grid that suits sheets on a disk. crs, resolution: what a person says, which then is not asked of the sheets.

    Raises BadConfig where sheets disagree, naming them, BadSheet for what is no sheet or does not say.
    """
    stated = {file: _stated(file) for file in files}
    crs = crs or _agreed("CRS", {file: _crs_of(file, each[0]) for file, each in stated.items()})
    if not resolution:
        _check_metres(crs, stated)
        sizes = {file: _side(file, each[1]) for file, each in stated.items()}
        first = next(iter(sizes.values()))
        same = {file: first if abs(size / first - 1) <= SAME else size for file, size in sizes.items()}
        resolution = float(
            _agreed("pixel size", {file: f"{size:.9g}" for file, size in same.items()}, " m", "resolution")
        )
    transform = next(iter(stated.values()))[1]
    return GridLike(crs=crs, resolution=resolution, corner=(transform.c, transform.f))


def _stated(file: Path) -> tuple[Any, Any, tuple[float, ...]]:
    """CRS (None where it states none), geotransform and bounds of a file on a disk. Raises BadSheet."""
    with _opened_file(file) as source:
        if source.transform.is_identity:
            raise BadSheet(str(file), "it states no position (no geotransform)", "Give sheets that are georeferenced")
        return source.crs, source.transform, tuple(source.bounds)


@contextmanager
def _opened_file(file: Path) -> Iterator[rasterio.DatasetReader]:
    import rasterio
    from rasterio.errors import RasterioError

    if not file.is_file():
        raise BadSheet(str(file), "there is no such file", "Check the path")
    if not file.name.lower().endswith(SHEET_ENDINGS):
        raise BadSheet(str(file), "it is no image by its name", f"Give files of {', '.join(SHEET_ENDINGS)}")
    hush_missing_transform()
    with file.open("rb") as start:
        driver = driver_of(start.read(12), str(file))
    try:
        with rasterio.Env(**NO_NETWORK), rasterio.open(file, driver=driver) as source:
            yield source
    except RasterioError as error:
        raise BadSheet(str(file), f"it cannot be opened ({str(error)[:120]})", "Give another sheet") from error


def _crs_of(file: Path, crs: Any) -> str:
    if crs is None:
        raise BadSheet(str(file), "it states no CRS", "Give --crs, such as --crs EPSG:28992")
    return crs_name(crs)


def _side(file: Path, transform: Any) -> float:
    """Metres of a pixel's side. Raises BadConfig where it is no square."""
    across, down = math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e)
    if abs(across / down - 1) > 1e-3:
        raise BadConfig(str(file), f"its pixels are {across:.6g} x {down:.6g} m, no squares", "Give --resolution")
    return across


def _agreed(what: str, found: dict[Path, str], unit: str = "", option: str = "crs") -> str:
    """The one value of all files. Raises BadConfig, naming a file of each."""
    first: dict[str, Path] = {}
    for file, value in found.items():
        first.setdefault(value, file)
    if len(first) > 1:
        said = "; ".join(f"{file.name} has {crs_in_words(value)}{unit}" for value, file in list(first.items())[:4])
        raise BadConfig(
            "--like", f"the sheets disagree on the {what}: {said}", f"Give --{option}, or sheets of one kind"
        )
    return next(iter(first))


def _check_metres(crs: str, stated: dict[Path, tuple[Any, Any, tuple[float, ...]]]) -> None:
    """Raises BadConfig where the sheets' own pixels are in degrees, or in another CRS than the one given."""
    import pyproj

    file, (own, _, bounds) = next(iter(stated.items()))
    if own is not None and pyproj.CRS.from_user_input(crs_name(own)).is_geographic:
        zone = _utm(bounds)
        raise BadConfig(
            "--like",
            f"{file.name} is in degrees, and a grid needs metres",
            f"Give --crs and --resolution too{f', such as --crs {zone}' if zone else ''}",
        )
    if own is not None and crs_name(own) != crs_name(crs):
        raise BadConfig(
            "--like", f"{file.name} is in {crs_in_words(crs_name(own))}, not in {crs}", "Give --resolution too"
        )


def _utm(bounds: tuple[float, ...]) -> str:
    """The UTM zone, as EPSG has it, of the middle of bounds in degrees; '' where there is none."""
    from pyproj.aoi import AreaOfInterest
    from pyproj.database import query_utm_crs_info

    x, y = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
    found = query_utm_crs_info(datum_name="WGS 84", area_of_interest=AreaOfInterest(x, y, x, y))
    return f"{found[0].auth_name}:{found[0].code}" if found else ""

"""Sheet: one delivered file, and opening it wherever it lies.

Here: what is known of a usable sheet, following a reference, telling a bad file from a store that fails. Not here:
whether a file is usable (validation.py), its pixels (bands.py, placement.py), or which sheets there are (catalog.py).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from groundplan.addresses import secret_in
from groundplan.core.foreign_warnings import hush_missing_transform
from groundplan.core.manifest import fingerprint
from groundplan.core.store import Store, open_store
from groundplan.errors import BadSheet, MissingInput, StoreFailed
from groundplan.imagery.bands import SIMPLE
from groundplan.imagery.jp2_boxes import check_boxes
from groundplan.imagery.landing import REFERENCE, partition_of_key
from groundplan.imagery.tiff_header import TiffHeader, read_header
from groundplan.polygons.vector_files import NO_NETWORK
from groundplan.project import Project

if TYPE_CHECKING:
    from pathlib import Path

    import rasterio
    from shapely import Polygon


# What a file is follows from how it begins, not from its name. A VRT and its like can name other files: not read.
BEGINNINGS = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG",
    b"\xff\x4f\xff\x51": "JP2OpenJPEG",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
}
KINDS = "GeoTIFF, COG, JP2, PNG or JPEG"
MOST_REFERENCE = 10_000  # bytes of a file that holds one address
MOST_BESIDE = 2**20  # bytes of a file beside a sheet that GDAL reads whole
READ_WHOLE = (".aux.xml", ".aux", ".xml", ".prj", ".wld", ".imd", ".rpb", ".rpc", ".pvl", ".til", "_rpc.txt", ".tab")
READ_WHOLE_ANY = (*READ_WHOLE, *(ending.upper() for ending in READ_WHOLE))  # of any case that is used


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A usable sheet. outline: its ground, in the grid's CRS, upper left corner first, then clockwise."""

    key: str
    sha256: str
    bytes: int
    width: int
    height: int
    crs: str
    transform: tuple[float, ...]
    bands: int
    dtype: str
    gsd: float  # metres on the ground
    acquired: str | None  # ISO date; None when only the delivery's year is known
    outline: tuple[tuple[float, float], ...]
    beside: tuple[tuple[str, str], ...] = field(default=())  # name and digest of its world file, mask ...
    date_source: str = "delivery"  # what says when it was flown: name, a tag, delivery (the year alone)
    shift: str = ""  # grids of the datum shift that brings it onto the project's grid
    reading: tuple[str, ...] = field(default=())  # how it is read, where that is unusual (bands.py)
    colors: tuple[str, ...] = field(default=())  # what it calls the wanted bands; () where it does not say
    fill: tuple[tuple[int, ...], ...] = field(default=())  # colours of it that are hardly imagery, 8 bits a band
    notes: tuple[str, ...] = field(default=())  # what a person should look at
    credit: tuple[str, str] = ("", "")  # attribution and licence that its tags state; '' where they do not

    @property
    def name(self) -> str:
        return self.key.rsplit("/", 1)[-1]

    @property
    def polygon(self) -> Polygon:
        from shapely import Polygon

        return Polygon(self.outline)

    @property
    def identity(self) -> str:
        """Changes when any pixel, or where it lies, may have changed. Two white PNGs differ by their world files.

        What a sheet says beyond that counts only where it is unusual, so that ordinary sheets stay what they were.
        """
        shift = {"shift": self.shift} if self.shift else {}  # with another grid, the same coordinates lie elsewhere
        unusual = [*(["mask by bands"] if self.bands not in SIMPLE else []), *self.reading, *map(list, self.fill)]
        reading = {"reading": unusual} if unusual else {}
        return fingerprint(
            file=self.sha256,
            beside=[digest for _, digest in self.beside],
            crs=self.crs,
            transform=list(self.transform),
            **shift,
            **reading,
        )

    @property
    def day(self) -> str:
        """ISO date by which it is laid: of what is only known to be of a year, that year's first. No fact to show."""
        partition = partition_of_key(self.key)
        return self.acquired or f"{partition.year if partition else 1900}-01-01"

    def order(self) -> tuple[str, str, str]:
        """Mosaic order: overlapping sheets are laid by date, then by file name, the last on top."""
        return self.day, self.name, self.identity


# ------------------------------------------------------------------------------------------------ opening


@contextmanager
def opened(
    project: Project, key: str, beside: Sequence[str] = (), *, known: bool = False
) -> Iterator[rasterio.DatasetReader]:
    """Open a delivered file as a rasterio dataset, wherever it lies. beside: names of the files that belong to it.

    known: its header was looked at before. Else that is done first: some take long only to open.
    Raises BadSheet when it is no image or, inside the block, when its pixels cannot be decoded; StoreFailed when it is
    the store that does not deliver.
    """
    import rasterio
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    hush_missing_transform()
    store, path = located(project, key)
    driver = driver_of(store.part(path, 0, 12), key)
    if not known:
        header_of(project, key)
    local, files = store.local_path(path), None
    for name in {*(sibling(path, name) for name in beside), *(_found_by_gdal(local, path) if local else ())}:
        _check_beside(store, name, key)
    try:
        if local is not None:
            with rasterio.Env(**NO_NETWORK):
                source = rasterio.open(local, driver=driver)
        else:
            from groundplan.core.range_reader import StoreFiles

            files = StoreFiles(store, [path.rsplit("/", 1)[-1], *beside])
            with rasterio.Env(**NO_NETWORK):
                source = rasterio.open(path, driver=driver, opener=files)
        with rasterio.Env(**NO_NETWORK), source:
            _check_inside(source, key)
            yield source
    except (RasterioError, CPLE_BaseError) as error:
        if files is not None and files.failure:  # not the file's fault: it must not be set aside for it
            raise files.failure from error
        raise BadSheet(key, f"its pixels cannot be decoded ({_short(error)})", f"Deliver {KINDS} again") from error
    if files is not None and files.failure:  # GDAL takes a mask that cannot be read for no mask
        raise files.failure


def header_of(project: Project, key: str) -> TiffHeader | None:
    """A TIFF's first directory, None for other files; a JP2's boxes are looked at. Raises BadSheet, StoreFailed."""
    store, path = located(project, key)

    def part(start: int, length: int) -> bytes:
        return store.part(path, start, length)

    check_boxes(part, key)
    return read_header(part, key)


def sibling(path: str, name: str) -> str:
    """The key of a file beside another."""
    return f"{path.rpartition('/')[0]}/{name}".lstrip("/")


def driver_of(start: bytes, key: str) -> str:
    """GDAL driver of a file, by how it begins. Raises BadSheet."""
    for begin, name in BEGINNINGS.items():
        if start.startswith(begin):
            return name
    raise BadSheet(key, f"it is no image (it begins with {start[:8]!r})", f"Deliver {KINDS}")


def _check_beside(store: Store, path: str, key: str) -> None:
    """A mask or overview file is opened by GDAL as whatever it is: a VRT there could name any file.

    Others it reads whole. Raises BadSheet.
    """
    name = path.rsplit("/", 1)[-1]
    if path.lower().endswith((".msk", ".ovr")):
        if not store.part(path, 0, 4).startswith(tuple(BEGINNINGS)[:4]):
            raise BadSheet(key, f"the file {name} beside it is no TIFF", "Deliver or remove that file")
    elif (size := store.head(path).size) > MOST_BESIDE:
        raise BadSheet(
            key,
            f"the file {name} beside it has {size / 2**20:,.0f} MiB, more than 1",
            "Remove that file, or shorten it",
        )


def _found_by_gdal(local: Path, path: str) -> list[str]:
    """Keys of what GDAL reads whole beside a file on a disk, besides what belongs to a sheet by our rules."""
    folder = f"{local.parent}/"
    names = {start + ending for start in (local.name, local.stem) for ending in READ_WHOLE_ANY} - {local.name}
    return [sibling(path, name) for name in sorted(names) if os.path.isfile(folder + name)]


def _check_inside(source: rasterio.DatasetReader, key: str) -> None:
    if "OVERVIEW_FILE" in source.tags(ns="OVERVIEWS"):
        raise BadSheet(key, "its metadata name another file for its overviews", "Deliver it without that")


def located(project: Project, key: str) -> tuple[Store, str]:
    """Location of a delivered file: store and key; `.ref` objects hold {"url": ...} below one of the allowed roots."""
    if not key.endswith(REFERENCE):
        return project.store, key
    remedy = 'A .ref holds {"url": "file:///folder/sheet.tif"} below one of imagery.reference_roots'
    try:
        if project.store.head(key).size > MOST_REFERENCE:
            raise ValueError("it is too long")
        url = json.loads(project.store.get(key))["url"]
        parts = urlsplit(url)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadSheet(key, "it is no reference", remedy) from error
    if secret := secret_in(url):
        raise BadSheet(key, f"it refers to an address that cannot be used: {secret}", remedy)
    roots = project.settings.imagery.reference_roots
    climbs = re.search(r"(^|[/\\])\.\.([/\\]|$)", unquote(unquote(parts.path))) or parts.query or parts.fragment
    if climbs or not any(url.startswith(root.rstrip("/") + "/") for root in roots):
        raise BadSheet(key, f"it refers to {url}, which lies in none of imagery.reference_roots", remedy)
    folder, name = url.rsplit("/", 1)
    local = parts.scheme == "file"
    run = project.settings.run
    store = open_store(folder, retries=run.retries, retry_seconds=run.retry_seconds, make=False)
    return store, unquote(name) if local else name


def referred_state(project: Project, key: str) -> tuple[str, int]:
    """Identity of a referred file, in place of its content's hash, and its size. Raises BadSheet when it is gone."""
    store, path = located(project, key)
    try:
        found = store.head(path)
    except MissingInput as error:
        raise BadSheet(
            key, f"it refers to {error.thing}, where nothing lies", "Put the file there or remove the reference"
        ) from error
    return fingerprint(url=store.uri(path), size=found.size, tag=found.tag), found.size


def check_unchanged(project: Project, key: str, digest: str) -> None:
    """Check that a file is still what it was. Raises StoreFailed when it is the disk, or a delivery still going on."""
    store, path = located(project, key)
    now = referred_state(project, key)[0] if key.endswith(REFERENCE) else store.digest(path)
    if now != digest:
        raise StoreFailed(key, "it changed while it was read", "Run again when the delivery is complete")


def referred_beside(project: Project, key: str) -> list[tuple[str, str]]:
    """Name and state of the files that GDAL reads together with a referred sheet, as far as they can be guessed."""
    store, path = located(project, key)
    stem, _, ending = path.rpartition(".")
    found = []
    for name in (f"{path}.aux.xml", f"{path}.msk", f"{stem}.{ending[:1]}{ending[-1:]}w", f"{stem}.wld"):
        with suppress(MissingInput):
            state = store.head(name)
            found.append((name, fingerprint(size=state.size, tag=state.tag)))
    return sorted(found)


def _short(error: BaseException) -> str:
    """First line of an error, without folders: they differ by machine, and the catalogue's bytes must not."""
    line = (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"[^\s'\"(]*/(?=[^/\s])", "", line)[:160]


def crs_name(crs: Any) -> str:
    """Canonical name of a CRS, however it was given: its code, or WKT where it has none or states its own shift."""
    from rasterio.crs import CRS

    return _crs_name(str(CRS.from_user_input(crs).to_wkt()))


@lru_cache(maxsize=256)
def _crs_name(wkt: str) -> str:
    import pyproj
    from rasterio.crs import CRS

    code = CRS.from_wkt(wkt).to_epsg()
    # a code that is found by likeness knows nothing of the shift to WGS 84 (TOWGS84) that the file states
    return f"EPSG:{code}" if code and not pyproj.CRS.from_wkt(wkt).is_bound else wkt

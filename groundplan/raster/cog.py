"""Cloud-optimised GeoTIFFs: the one writer and the one reader of block objects.

Here: arrays to COG bytes and back, strips for neighbours, small pictures. Not here: what the pixels mean.

The writer is GDAL's COG driver on a dataset in memory. A faster one for JPEG blocks can take the place of `write`:
nothing else knows how a block is encoded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from affine import Affine

from groundplan.core.store import Store
from groundplan.errors import MissingInput

if TYPE_CHECKING:
    from groundplan.core.range_reader import StoreFiles


TILE = 512
CACHE = 64 << 20
"""Bytes of decoded tiles that GDAL may keep; its own default is a share of the machine's memory, not the pod's."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """Encoding of a block's pixels."""

    compress: Literal["jpeg", "deflate", "zstd"] = "deflate"
    quality: int = 90
    overviews: Literal["average", "nearest"] = "average"
    colors: tuple[tuple[int, tuple[int, int, int]], ...] = ()  # of classes: how programs draw each value of one band


def write(
    pixels: np.ndarray,
    mask: np.ndarray | None,
    transform: Affine,
    crs: str,
    encoding: Encoding,
    descriptions: Sequence[str] = (),
    tags: dict[str, str] | None = None,
) -> bytes:
    """Write COG bytes of uint8 (bands, H, W). mask: bool (H, W), True where there is data; None where all is data.

    The same arguments give the same bytes.
    """
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    profile = _profile("MEM", pixels.shape, transform, crs)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as target:
        with rasterio.open("", "w", **profile) as source:
            source.write(pixels)
            _describe(source, descriptions, tags)
            if encoding.colors:
                source.write_colormap(1, {value: (*color, 255) for value, color in encoding.colors})
            if mask is not None and not mask.all():
                source.write_mask(mask)
            copy(source, target.name, **_options(encoding))
        return bytes(target.getbuffer())


def write_rows(
    rows: Iterable[np.ndarray],
    shape: tuple[int, int, int],
    transform: Affine,
    crs: str,
    encoding: Encoding,
    descriptions: Sequence[str] = (),
    tags: dict[str, str] | None = None,
) -> bytes:
    """Write COG bytes of uint8 `shape` (bands, H, W) that comes from the top as (bands, some rows, W); no mask.

    What is held in memory is one piece of rows and GDAL's bounded cache; the rest waits in a temporary file.
    The same pixels give the same bytes, however they are cut.
    """
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy
    from rasterio.windows import Window

    profile = _profile("GTiff", shape, transform, crs) | {"tiled": True, "blockxsize": TILE, "blockysize": TILE}
    top = 0
    with rasterio.Env(GDAL_CACHEMAX=CACHE), tempfile.TemporaryDirectory(prefix="groundplan-") as folder:
        raw = f"{folder}/rows.tif"
        with rasterio.open(raw, "w", **profile, bigtiff="IF_SAFER") as source:
            for piece in rows:
                source.write(piece, window=Window(0, top, shape[2], piece.shape[1]))
                top += piece.shape[1]
            _describe(source, descriptions, tags)
        if top != shape[1]:
            raise ValueError(f"{top} rows came for a raster of {shape[1]}")
        with MemoryFile() as target:
            copy(raw, target.name, **_options(encoding))
            return bytes(target.getbuffer())


def _profile(driver: str, shape: tuple[int, ...], transform: Affine, crs: str) -> dict[str, Any]:
    return {
        "driver": driver,
        "count": shape[0],
        "height": shape[1],
        "width": shape[2],
        "dtype": "uint8",
        "crs": crs,
        "transform": transform,
    }


def _describe(source: Any, descriptions: Sequence[str], tags: dict[str, str] | None) -> None:
    from rasterio.enums import ColorInterp

    if source.count == 3:  # viewers show it as a picture
        source.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    for index, text in enumerate(descriptions, 1):
        source.set_band_description(index, text)
    if tags:
        source.update_tags(**tags)


def _options(encoding: Encoding) -> dict[str, Any]:
    options: dict[str, Any] = {
        "driver": "COG",
        "blocksize": TILE,
        "compress": encoding.compress.upper(),
        "overview_resampling": encoding.overviews,
        "overview_compress": encoding.compress.upper(),
        "num_threads": 1,  # blocks are made in parallel already
        "bigtiff": "IF_SAFER",
    }
    if encoding.compress == "jpeg":
        return options | {"quality": encoding.quality, "overview_quality": encoding.quality}
    return options | {"predictor": "YES"}


def read(data: bytes, window: tuple[int, int, int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read pixels uint8 (bands, H, W) and mask bool (H, W) from a block's bytes.

    window: (col, row, width, height) in pixels of the block; None is the whole block.
    """
    from rasterio.io import MemoryFile

    with MemoryFile(data) as memory, memory.open() as source:
        return read_window(source, window)


def in_rows(data: bytes) -> Iterator[np.ndarray]:
    """Pixels uint8 (bands, up to TILE, W) of a block's bytes, from the top down."""
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.windows import Window

    with rasterio.Env(GDAL_CACHEMAX=CACHE), MemoryFile(data) as memory, memory.open() as source:
        for top in range(0, source.height, TILE):
            yield source.read(window=Window(0, top, source.width, min(TILE, source.height - top)))


def read_object(
    store: Store, key: str, window: tuple[int, int, int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """As `read`, from the store. A file is opened in place; elsewhere a whole block costs one request.

    A window costs a request for each row of tiles that it touches, or for each tile.
    """
    with opened(store, key, whole=window is None) as source, damage_named(store.uri(key)):
        return read_window(source, window)


@contextmanager
def opened(store: Store, key: str, whole: bool = True) -> Iterator[Any]:
    """Open a block to be read. Raises MissingInput when it is absent, or damaged at its beginning.

    whole: all of it will be read, so it may be brought in one piece.
    """
    import rasterio
    from rasterio.io import MemoryFile

    path, files = store.local_path(key), None
    with ExitStack() as stack:
        if path is not None:
            store.head(key)  # an absent object is MissingInput, with its remedy, as everywhere
            with damage_named(store.uri(key)):
                source = rasterio.open(path)
        elif whole:
            memory = stack.enter_context(MemoryFile(store.get(key)))
            with damage_named(store.uri(key)):
                source = memory.open()
        else:
            from groundplan.core.range_reader import WINDOW, StoreFiles

            files = StoreFiles(store, [key.rsplit("/", 1)[-1]], WINDOW, 64, {key: store.begin(key, WINDOW)})
            with _delivered(files), damage_named(store.uri(key)):
                source = rasterio.open(key, opener=files)
        with _delivered(files):
            yield stack.enter_context(source)


@contextmanager
def _delivered(files: StoreFiles | None) -> Iterator[None]:
    """Store failures kept apart from damage: what the store did not deliver is not the block's fault."""
    try:
        yield
    except MissingInput as error:
        if files is not None and files.failure:
            raise files.failure from error
        raise
    if files is not None and files.failure:
        raise files.failure


@contextmanager
def damage_named(name: str) -> Iterator[None]:
    """Name a damaged block: it was made whole, and a disk or a person changed it."""
    from rasterio.errors import RasterioError

    try:
        yield
    except RasterioError as error:
        reason = f"it is damaged ({str(error.__cause__ or error).splitlines()[0][:120]})"
        raise MissingInput(name, reason, "Remove it and build again: only it is made anew") from error


def read_window(source: Any, window: tuple[int, int, int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    from rasterio.windows import Window

    part = Window(*window) if window else None
    return source.read(window=part), source.dataset_mask(window=part) > 0


def read_overview(store: Store, key: str, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Read a block reduced to `longest` pixels, from its overviews: pixels (bands, h, w) and mask (h, w)."""
    with opened(store, key, whole=False) as source, damage_named(store.uri(key)):
        scale = min(1.0, longest / max(source.shape))
        shape = tuple(max(1, round(side * scale)) for side in source.shape)
        return source.read(out_shape=(source.count, *shape)), source.dataset_mask(out_shape=shape) > 0


def validate(data: bytes) -> list[str]:
    """Faults of a block as a COG, by rio-cogeo's reading of the specification; empty when there is none."""
    from rasterio.io import MemoryFile
    from rio_cogeo.cogeo import cog_validate

    with MemoryFile(data) as memory:
        _, errors, warnings = cog_validate(memory.name, quiet=True)
    return [*errors, *warnings]

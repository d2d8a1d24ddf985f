"""Cloud-optimised GeoTIFFs: the one writer and the one reader of block objects.

Here: arrays to COG bytes and back, strips for neighbours, small pictures. Not here: what the pixels mean.

The writer is GDAL's COG driver on a dataset in memory. A faster one for JPEG blocks can take the place of `write`:
nothing else knows how a block is encoded.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from affine import Affine

from groundplan.errors import MissingInput
from groundplan.grid import Block, Grid
from groundplan.store import Store

TILE = 512
EDGE = 256  # pixels of a block that neighbours may read; the widest halo allowed
DIRECTIONS = {"nw": (-1, -1), "n": (0, -1), "ne": (1, -1), "w": (-1, 0), "e": (1, 0), "sw": (-1, 1), "s": (0, 1),
              "se": (1, 1)}  # fmt: skip
OPPOSITE = {"nw": "se", "n": "s", "ne": "sw", "w": "e", "e": "w", "sw": "ne", "s": "n", "se": "nw"}


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a block's pixels are stored."""

    compress: Literal["jpeg", "deflate", "zstd"] = "deflate"
    quality: int = 90
    overviews: Literal["average", "nearest"] = "average"


def write(pixels: np.ndarray, mask: np.ndarray | None, transform: Affine, crs: str, encoding: Encoding,
          descriptions: Sequence[str] = (), tags: dict[str, str] | None = None) -> bytes:  # fmt: skip
    """COG bytes of uint8 (bands, H, W). mask: bool (H, W), True where there is data; None where all is data.

    The same arguments give the same bytes.
    """
    import rasterio
    from rasterio.enums import ColorInterp
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    bands, height, width = pixels.shape
    profile = {"driver": "MEM", "count": bands, "height": height, "width": width, "dtype": "uint8", "crs": crs,
               "transform": transform}  # fmt: skip
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
        options |= {"quality": encoding.quality, "overview_quality": encoding.quality}
    else:
        options |= {"predictor": "YES"}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as target:
        with rasterio.open("", "w", **profile) as source:
            source.write(pixels)
            if bands == 3:  # viewers show it as a picture
                source.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
            for index, text in enumerate(descriptions, 1):
                source.set_band_description(index, text)
            if tags:
                source.update_tags(**tags)
            if mask is not None and not mask.all():
                source.write_mask(mask)
            copy(source, target.name, **options)
        return bytes(target.getbuffer())


def read(data: bytes, window: tuple[int, int, int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (bands, H, W) and mask bool (H, W) of a block's bytes.

    window: (col, row, width, height) in pixels of the block; None is the whole block.
    """
    from rasterio.io import MemoryFile

    with MemoryFile(data) as memory, memory.open() as source:
        return _read(source, window)


def read_object(
    store: Store, key: str, window: tuple[int, int, int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """As `read`, from the store. A file is opened in place; elsewhere a whole block costs one request."""
    path = store.local_path(key)
    if path is None:
        with _sound(store, key):
            return read(store.get(key), window)
    import rasterio

    store.head(key)  # an absent object is MissingInput, with its remedy, as everywhere
    with _sound(store, key), rasterio.open(path) as source:
        return _read(source, window)


@contextmanager
def _sound(store: Store, key: str) -> Iterator[None]:
    """A block that was made whole but is so no longer: a disk or a person changed it."""
    from rasterio.errors import RasterioError

    try:
        yield
    except RasterioError as error:
        reason = f"it is damaged ({str(error.__cause__ or error).splitlines()[0][:120]})"
        raise MissingInput(store.uri(key), reason, "Remove it and build again: only it is made anew") from error


def _read(source: Any, window: tuple[int, int, int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    from rasterio.windows import Window

    part = Window(*window) if window else None
    return source.read(window=part), source.dataset_mask(window=part) > 0


def small(store: Store, key: str, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """A block shrunk to `longest` pixels, from its overviews: pixels (bands, h, w) and mask (h, w)."""
    import rasterio
    from rasterio.io import MemoryFile

    def shrink(source: Any) -> tuple[np.ndarray, np.ndarray]:
        scale = min(1.0, longest / max(source.shape))
        shape = tuple(max(1, round(side * scale)) for side in source.shape)
        return source.read(out_shape=(source.count, *shape)), source.dataset_mask(out_shape=shape) > 0

    path = store.local_path(key)
    if path is not None:
        with _sound(store, key), rasterio.open(path) as source:
            return shrink(source)
    with _sound(store, key), MemoryFile(store.get(key)) as memory, memory.open() as source:
        return shrink(source)


def edge_window(direction: str, size: int, width: int) -> tuple[int, int, int, int]:
    """(col, row, width, height) of the strip or corner of a block that its neighbour in `direction` reads."""
    dx, dy = DIRECTIONS[direction]
    col, wide = {-1: (0, width), 0: (0, size), 1: (size - width, width)}[dx]
    row, high = {-1: (0, width), 0: (0, size), 1: (size - width, width)}[dy]
    return col, row, wide, high


def edge_digests(data: bytes) -> dict[str, str]:
    """What a neighbour can see of a block, hashed: direction to digest of the pixels and mask there.

    A halo's fingerprint uses these and not the neighbour's own fingerprint, so that a change in the middle of a block
    does not remake the blocks around it.
    """
    from rasterio.io import MemoryFile

    digests = {}
    with MemoryFile(data) as memory, memory.open() as source:
        for direction in DIRECTIONS:
            pixels, mask = _read(source, edge_window(direction, source.width, min(EDGE, source.width)))
            digests[direction] = hashlib.sha256(pixels.tobytes() + np.packbits(mask).tobytes()).hexdigest()[:16]
    return digests


def read_with_halo(
    store: Store, grid: Grid, block: Block, halo: int, keys: dict[Block, str]
) -> tuple[np.ndarray, np.ndarray]:
    """A block and `halo` pixels around it, from its neighbours: pixels (bands, n+2h, n+2h) and mask (n+2h, n+2h).

    keys: object key of each block that exists; ground without one is 0 and masked out.
    """
    n = grid.block_size
    inner, known = read_object(store, keys[block])
    pixels = np.zeros((inner.shape[0], n + 2 * halo, n + 2 * halo), np.uint8)
    mask = np.zeros(pixels.shape[1:], bool)
    pixels[:, halo : halo + n, halo : halo + n] = inner
    mask[halo : halo + n, halo : halo + n] = known
    for direction, (dx, dy) in DIRECTIONS.items():
        neighbour = Block(block.col + dx, block.row + dy)
        if halo == 0 or neighbour not in keys:
            continue
        window = edge_window(OPPOSITE[direction], n, halo)
        part, part_mask = read_object(store, keys[neighbour], window)
        col = {-1: 0, 0: halo, 1: halo + n}[dx]
        row = {-1: 0, 0: halo, 1: halo + n}[dy]
        pixels[:, row : row + window[3], col : col + window[2]] = part
        mask[row : row + window[3], col : col + window[2]] = part_mask
    return pixels, mask


def halo_identity(edges: dict[Block, dict[str, str]], block: Block) -> dict[str, str]:
    """What a block sees of its neighbours, for its fingerprint. edges: `edge_digests` of each block that exists."""
    seen = {}
    for direction, (dx, dy) in DIRECTIONS.items():
        neighbour = edges.get(Block(block.col + dx, block.row + dy))
        if neighbour is not None:
            seen[direction] = neighbour[OPPOSITE[direction]]
    return seen


def validate(data: bytes) -> list[str]:
    """What is wrong with a block as a COG, by rio-cogeo's reading of the specification; empty when nothing is."""
    from rasterio.io import MemoryFile
    from rio_cogeo.cogeo import cog_validate

    with MemoryFile(data) as memory:
        _, errors, warnings = cog_validate(memory.name, quiet=True)
    return [*errors, *warnings]


def to_png(rgb: np.ndarray) -> bytes:
    """PNG bytes of uint8 (H, W, 3)."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def to_jpeg(rgb: np.ndarray, limit: int = 90_000) -> bytes:
    """JPEG bytes of uint8 (H, W, 3), at the best quality that stays below `limit` bytes."""
    from PIL import Image

    for quality in (85, 75, 65, 50, 35, 20):
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, "jpeg", quality=quality)
        if buffer.tell() <= limit:
            break
    return buffer.getvalue()

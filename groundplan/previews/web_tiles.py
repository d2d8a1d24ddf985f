"""Web map tiles of blocks: EPSG:3857, 256 pixels, z/x/y as in WebMercatorQuad.

Here: which blocks a tile shows, and its pixels as PNG, read by ranges from the blocks' overviews. Not here: HTTP and
caches (serving/), and what is done with the pixels otherwise.
https://docs.ogc.org/is/17-083r4/17-083r4.html (WebMercatorQuad)
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from groundplan.core.datum import transformer
from groundplan.core.grid import Bounds, Grid
from groundplan.core.manifest import Manifest
from groundplan.errors import MissingInput
from groundplan.footprints import predictions
from groundplan.imagery import tiles
from groundplan.labels import masks
from groundplan.labels.classes import BACKGROUND
from groundplan.previews.pictures import PALETTE
from groundplan.project import Project
from groundplan.raster import cog

SIDE = 256  # pixels of a tile
HALF = math.pi * 6378137.0  # metres from the middle of the web map to its edge
NODE = 16  # pixels between places that PROJ computes; a straight line between them is right to a hundredth of a pixel
OUTSIDE = 1e12  # metres: a place that the CRS cannot name
DEEPEST = 23
MOST_BLOCKS = 64  # that one tile may show: further out the map shows regions, not imagery
DATASETS = (tiles.DATASET, predictions.DATASET, masks.DATASET)


def tile_bounds(z: int, x: int, y: int) -> Bounds:
    """Bounds (left, bottom, right, top) of a tile in EPSG:3857 meters. Raises ValueError for a tile that is none."""
    if not 0 <= z <= DEEPEST or not (0 <= x < 2**z and 0 <= y < 2**z):
        raise ValueError(f"there is no tile {z}/{x}/{y}")
    size = 2 * HALF / 2**z
    left, top = -HALF + x * size, HALF - y * size
    return left, top - size, left + size, top


def blocks_on(grid: Grid, manifest: Manifest, bounds: Bounds) -> list[str]:
    """Names of the blocks that share ground with `bounds` (EPSG:3857); empty where none does, or too many do."""
    box = transformer("EPSG:3857", grid.crs).transform_bounds(*bounds, densify_pts=9)
    if not all(math.isfinite(value) for value in box):
        return []  # a part of the world that the project's CRS cannot name
    across = (box[2] - box[0]) / grid.span + 2
    if across > 2 * math.sqrt(MOST_BLOCKS) + 2:
        return []
    names = [block.name for block in grid.touching(box) if block.name in manifest.objects]
    return names if len(names) <= MOST_BLOCKS else []


def render(project: Project, manifest: Manifest, z: int, x: int, y: int) -> bytes | None:
    """Render a tile as RGBA PNG; None where there are no pixels. Raises ValueError, MissingInput, StoreFailed."""
    bounds = tile_bounds(z, x, y)
    canvas = np.zeros((4, SIDE, SIDE), np.uint8)
    for name in blocks_on(project.grid, manifest, bounds):
        pixels, valid = _warped(project, manifest.objects[name].key, bounds)
        canvas[:, valid] = _colored(manifest.dataset, pixels, valid)[:, valid]
    return _png(canvas) if canvas[3].any() else None


def _warped(project: Project, key: str, bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
    """A block's first bands (1 to 3, 256, 256) on a tile, and where it has any pixels: bool (256, 256).

    Not by GDAL's warper: with an alpha band it takes four times as long, and people wait for a tile.
    """
    import rasterio
    from rasterio.enums import Resampling

    classes = key.startswith(masks.DATASET)
    with rasterio.Env(GDAL_CACHEMAX=cog.CACHE), _opened(project, key, _level(project.grid, bounds)) as source:
        cols, rows = ~source.transform @ _places(project.grid, bounds)
        inside = (cols >= 0) & (cols < source.width) & (rows >= 0) & (rows < source.height)
        bands = min(source.count, 3)
        if not inside.any():
            return np.zeros((bands, SIDE, SIDE), np.uint8), inside
        window, reduced = _window(cols[inside], rows[inside], source.shape), _reduced(cols, rows)
        shape = tuple(math.ceil(side / reduced) for side in (window.height, window.width))
        kind = Resampling.nearest if classes else Resampling.average
        pixels = source.read(list(range(1, bands + 1)), window=window, out_shape=(bands, *shape), resampling=kind)
        known = source.dataset_mask(window=window, out_shape=shape) > 0
    across = (cols - window.col_off) * (shape[1] / window.width) - 0.5
    down = (rows - window.row_off) * (shape[0] / window.height) - 0.5
    return _sampled(pixels, known, across, down, inside, classes)


def _places(grid: Grid, bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
    """x and y in the grid's CRS of a tile's pixel centers, (256, 256) each; exact at each 16th pixel's corner."""
    edges = np.linspace(0, 1, SIDE // NODE + 1)
    x, y = np.meshgrid(bounds[0] + edges * (bounds[2] - bounds[0]), bounds[3] - edges * (bounds[3] - bounds[1]))
    nodes = transformer("EPSG:3857", grid.crs).transform(x, y)
    across, down = (np.where(np.isfinite(axis), axis, OUTSIDE) for axis in nodes)
    return _between(_between(across).T).T, _between(_between(down).T).T


def _between(nodes: np.ndarray) -> np.ndarray:
    """Values (256, n) at pixel centers on straight lines between those at nodes (17, n). Not by a product of matrices:
    its threads cost more than they spare."""
    before, share = np.divmod((np.arange(SIDE) + 0.5) / NODE, 1)
    first = before.astype(int)
    return nodes[first] * (1 - share[:, None]) + nodes[first + 1] * share[:, None]


def _window(cols: np.ndarray, rows: np.ndarray, shape: tuple[int, int]) -> Any:
    """What of a source of `shape` (height, width) lies below these places, and a pixel around."""
    from rasterio.windows import Window

    left, top = (max(0, math.floor(axis.min()) - 1) for axis in (cols, rows))
    right, bottom = (min(side, math.floor(axis.max()) + 2) for axis, side in ((cols, shape[1]), (rows, shape[0])))
    return Window(left, top, right - left, bottom - top)


def _reduced(cols: np.ndarray, rows: np.ndarray) -> float:
    """By how much a source is to be reduced first, lest pixels between those of the tile be passed over."""
    apart = math.hypot(cols[0, -1] - cols[0, 0], rows[0, -1] - rows[0, 0]) / (SIDE - 1)
    return apart if apart >= 2 else 1.0


def _sampled(
    pixels: np.ndarray, known: np.ndarray, across: np.ndarray, down: np.ndarray, inside: np.ndarray, classes: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (bands, h, w) at places (256, 256), and where they are known; what is not known colors no neighbor."""
    import cv2

    def at(image: np.ndarray, kind: int) -> np.ndarray:
        return cv2.remap(
            image, across.astype(np.float32), down.astype(np.float32), kind, borderMode=cv2.BORDER_REPLICATE
        )

    kind = cv2.INTER_NEAREST if classes else cv2.INTER_LINEAR
    valid = inside & (at(known.astype(np.uint8), cv2.INTER_NEAREST) > 0)
    if known.all() or classes:
        return np.stack([at(band, kind) for band in pixels]), valid
    weight = np.maximum(at(known.astype(np.float32), kind), 1e-6)
    found = [at(np.where(known, band, 0).astype(np.float32), kind) / weight for band in pixels]
    return np.stack(found).round().clip(0, 255).astype(np.uint8), valid


def _level(grid: Grid, bounds: Bounds) -> int:
    """Overview level that is still finer than the tile (-1: the block itself); else GDAL would read every pixel."""
    middle = (bounds[1] + bounds[3]) / 2
    meters = (bounds[2] - bounds[0]) / SIDE / math.cosh(middle * math.pi / HALF)  # mercator stretches away from 0 N
    most = max(0, math.ceil(math.log2(grid.block_size / cog.TILE)))  # the COG driver stops at one tile
    return min(most, max(0, math.floor(math.log2(max(1.0, meters / grid.resolution))))) - 1


@contextmanager
def _opened(project: Project, key: str, level: int) -> Iterator[Any]:
    """A block at one of its overviews; where the store is not a folder, by requests for ranges of it."""
    import rasterio
    from rasterio.errors import RasterioError

    from groundplan.core.range_reader import WINDOW, StoreFiles

    store = project.store
    store.head(key)  # an absent object is MissingInput, with its remedy, as everywhere
    local, name = store.local_path(key), key.rsplit("/", 1)[-1]
    files = None if local is not None else StoreFiles(store, [name], WINDOW, keep=64)
    options: dict[str, Any] = {} if level < 0 else {"overview_level": level}
    try:
        with rasterio.open(local or key, driver="GTiff", opener=files, **options) as source:
            yield source
        if files is not None and files.failure:  # GDAL takes a mask that cannot be read for no mask
            raise files.failure
    except RasterioError as error:
        if files is not None and files.failure:
            raise files.failure from error
        reason = f"it is damaged ({str(error.__cause__ or error).splitlines()[0][:120]})"
        raise MissingInput(store.uri(key), reason, "Remove it and build again: only it is made anew") from error


def _colored(dataset: str, pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """RGBA uint8 (4, h, w): imagery as it is; probability as red, the surer the denser; labels by class."""
    if dataset == predictions.DATASET:
        building, edge = pixels[0], pixels[1]
        surest = np.maximum(building, edge)
        return np.stack([np.full_like(surest, 255), np.where(edge > building, 220, 70), surest // 4, surest]) * valid
    if dataset == masks.DATASET:
        known = np.minimum(pixels[0], len(PALETTE) - 1)
        inside = (pixels[0] > BACKGROUND) & (pixels[0] < len(PALETTE)) & valid
        return np.concatenate([PALETTE[known].transpose(2, 0, 1), (inside * 170)[None].astype(np.uint8)])
    bands = pixels[:3] if pixels.shape[0] >= 3 else pixels[:1].repeat(3, axis=0)
    return np.concatenate([bands, (valid * 255)[None].astype(np.uint8)])


def _png(canvas: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(canvas.transpose(1, 2, 0)), "RGBA").save(buffer, "png", compress_level=1)
    return buffer.getvalue()

"""What the product is measured against: the scripts that people write, and what the machine allows.

Here: peers, as short and as fast as their kind can be. Not here: our own steps, clocks (common.py), figures.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ground import CRS, part, settings
from groundplan.core.grid import Block, Grid

TILE = 512
WINDOW, STRIDE = 512, 384  # of the naive prediction script


def mosaic(path: Path, files: list[Path], crs: str) -> str:
    """What gdalbuildvrt would write for sheets that share one lattice of pixels; returns the VRT's path."""
    import rasterio

    places = []
    for file in files:
        with rasterio.open(file) as source:
            places.append((file, source.transform, source.width, source.height))
    left, top, step = min(p[1].c for p in places), max(p[1].f for p in places), places[0][1].a
    boxes = [(file, round((t.c - left) / step), round((top - t.f) / step), w, h) for file, t, w, h in places]
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}">'
        + "".join(
            f"<SimpleSource><SourceFilename>{file}</SourceFilename><SourceBand>{band}</SourceBand>"
            f'<SrcRect xOff="0" yOff="0" xSize="{w}" ySize="{h}"/>'
            f'<DstRect xOff="{x}" yOff="{y}" xSize="{w}" ySize="{h}"/></SimpleSource>'
            for file, x, y, w, h in boxes
        )
        + "</VRTRasterBand>"
        for band in (1, 2, 3)
    )
    size = max(x + w for _, x, _, w, _ in boxes), max(y + h for _, _, y, _, h in boxes)
    path.write_text(
        f'<VRTDataset rasterXSize="{size[0]}" rasterYSize="{size[1]}"><SRS>{crs}</SRS>'
        f"<GeoTransform>{left}, {step}, 0, {top}, 0, {-step}</GeoTransform>{bands}</VRTDataset>"
    )
    return str(path)


def gdal_cog(vrt: str, grid: Grid, block: Block, target: Path, overviews: str, warp: bool) -> None:
    """Read the block, or warp it, put it into memory, let GDAL's COG driver write it."""
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.shutil import copy
    from rasterio.vrt import WarpedVRT

    n, place = grid.block_size, grid.transform(block)
    with rasterio.open(vrt) as source:
        if warp:
            with WarpedVRT(source, crs=CRS, transform=place, width=n, height=n, resampling=Resampling.cubic) as turned:
                data = turned.read()
        else:
            data = source.read(window=source.window(*grid.bounds(block)))
    profile = {"driver": "MEM", "count": 3, "width": n, "height": n, "dtype": "uint8", "crs": CRS, "transform": place}
    with rasterio.open("", "w", **profile) as memory:
        memory.write(data)
        copy(memory, target, driver="COG", compress="JPEG", quality=90, blocksize=TILE, overviews=overviews)


def warped_read(vrt: str, grid: Grid, block: Block) -> None:
    """Read and warp the block, and nothing else: GDAL's warper with as little around it as there can be."""
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    told = {"crs": CRS, "transform": grid.transform(block), "width": grid.block_size, "height": grid.block_size}
    with rasterio.open(vrt) as source, WarpedVRT(source, resampling=Resampling.cubic, **told) as turned:
        turned.read()


def window_loop(vrt: str, grid: Grid, block: Block, folder: Path) -> None:
    """The loop of countless notebooks: a window, a JPEG file. No place, no overviews."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.windows import Window

    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    folder.mkdir(exist_ok=True)
    profile = {"driver": "JPEG", "count": 3, "width": TILE, "height": TILE, "dtype": "uint8", "quality": 90}
    with rasterio.open(vrt) as source:
        whole = source.window(*grid.bounds(block))
        for row in range(0, grid.block_size, TILE):
            for col in range(0, grid.block_size, TILE):
                window = Window(round(whole.col_off) + col, round(whole.row_off) + row, TILE, TILE)
                with rasterio.open(folder / f"{row}_{col}.jpg", "w", **profile) as tile:
                    tile.write(source.read(window=window))


def turbo(pixels: np.ndarray, size: int) -> Callable[[], None]:
    """libjpeg-turbo's limit: decode and encode as many 512 tiles as a block has, and nothing else.

    OpenCV's, which calls it with less around it than Pillow does.
    """
    import cv2

    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)
    count, across = (size // TILE) ** 2, size // TILE
    places = [((i % across) * TILE, (i // across) * TILE) for i in range(count)]
    coded = [_jpeg(part(pixels, *place, TILE, TILE), sampling) for place in places]

    def work() -> None:
        for data in coded:
            cv2.imencode(".jpg", cv2.imdecode(data, cv2.IMREAD_COLOR), (cv2.IMWRITE_JPEG_QUALITY, 90, *sampling))

    return work


def _jpeg(tile: np.ndarray, sampling: tuple[int, int]) -> Any:
    """A tile as the sheets hold it (ground.lay_sheets)."""
    import cv2

    turned = np.ascontiguousarray(tile[::-1].transpose(1, 2, 0))
    return cv2.imencode(".jpg", turned, (cv2.IMWRITE_JPEG_QUALITY, 92, *sampling))[1]


def torch_windows(state: dict[str, Any], image: np.ndarray, windows: int, threads: int) -> Callable[[], None]:
    """The naive prediction: torch eager float32, one window at a time, normalised on the host.

    Runs `windows` windows, of which STRIDE x STRIDE pixels each count.
    """
    import torch

    from groundplan.training import network

    torch.set_num_threads(threads)
    layers: Any = network.load_state(state, settings())
    normalize, unet = layers[0], layers[1]
    scale, shift = (value.detach().numpy().reshape(-1, 1, 1) for value in (normalize.weight, normalize.bias))
    across = max(1, (image.shape[2] - WINDOW) // STRIDE + 1)

    def work() -> None:
        for index in range(windows):
            top, left = index // across * STRIDE, index % across * STRIDE
            window = image[:, top : top + WINDOW, left : left + WINDOW].astype(np.float32) * scale + shift
            with torch.no_grad():
                torch.sigmoid(unet(torch.from_numpy(window)[None]))[0].numpy()

    return work

"""Cutting: the tile step's megapixels per processor-second, beside what a script would do with the same sheets.

    python -m benchmarks.cutting [--size 8192] [--repeats 3] [--image FILE]

One block from JPEG-in-TIFF sheets of 5000 x 4000 pixels that lie on the grid's pixels but not on its blocks; then one
from sheets in another CRS, which are resampled.
Against: rasterio read -> dataset in memory -> GDAL's COG driver (JPEG q90, OVERVIEWS=AUTO and none); a rasterio loop
that writes a JPEG file per 512 window; for the resampled one, WarpedVRT over all sheets -> COG driver. All read the
sheets through one VRT. The limit is libjpeg-turbo (Pillow's): decode the 512 tiles of the sheets once, encode the
block's 512 tiles once, nothing else.
Bound by: GDAL's COG driver, which builds and encodes overviews (share printed below). The ground is an invented town,
mirrored until it fills the sheets, or `--image`: rates follow the entropy of the pixels, so compare within one run.
"""

from __future__ import annotations

import argparse
import io
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import CRS, FOREIGN, clock, lay_sheets, medians, new_project, part, picture, scratch, show, timed
from groundplan import cog, sheets, tiles
from groundplan.blocks import Check
from groundplan.grid import Block
from groundplan.steps import run_step

BLOCK = Block(0, 0)
TILE = 512


def prepared(home: Path, size: int, pixels: np.ndarray, crs: str) -> tuple[Any, Any, str]:
    """A project with catalogued sheets around its first block, the block's plan, and a VRT of all sheets."""
    project = new_project(home, size)
    margin = size // 8 if crs == FOREIGN else 0  # another CRS is turned: more ground is needed to cover the block
    ground = (-1234 - margin, -777 - margin, size + 300 + margin, size + 300 + margin)
    partition = lay_sheets(project, pixels, ground, crs=crs)
    run_step(project, sheets.DATASET, partition)
    planned = next(one for one in tiles.plan(project, partition) if one.name == BLOCK.name)
    files = [project.store.local_path(key) for key in sorted(planned.inputs)]
    return project, planned, mosaic(home / "sheets.vrt", files, crs)


def mosaic(path: Path, files: list[Path], crs: str) -> str:
    """What gdalbuildvrt would write for aligned sheets."""
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


def script_cog(vrt: str, project: Any, target: Path, overviews: str, warp: bool = False) -> None:
    """What a script does: read the block, put it into memory, let the COG driver write it."""
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.shutil import copy
    from rasterio.vrt import WarpedVRT

    n, place = project.grid.block_size, project.grid.transform(BLOCK)
    with rasterio.open(vrt) as source:
        if warp:
            with WarpedVRT(source, crs=CRS, transform=place, width=n, height=n, resampling=Resampling.cubic) as turned:
                data = turned.read()
        else:
            data = source.read(window=source.window(*project.grid.bounds(BLOCK)))
    profile = {"driver": "MEM", "count": 3, "width": n, "height": n, "dtype": "uint8", "crs": CRS, "transform": place}
    with rasterio.open("", "w", **profile) as memory:
        memory.write(data)
        copy(memory, target, driver="COG", compress="JPEG", quality=90, blocksize=TILE, overviews=overviews)


def script_windows(vrt: str, project: Any, folder: Path) -> None:
    """The loop of countless notebooks: a window, a file."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    folder.mkdir(exist_ok=True)
    with rasterio.open(vrt) as source:
        block = source.window(*project.grid.bounds(BLOCK))
        for row in range(0, project.grid.block_size, TILE):
            for col in range(0, project.grid.block_size, TILE):
                window = rasterio.windows.Window(round(block.col_off) + col, round(block.row_off) + row, TILE, TILE)
                profile = {"driver": "JPEG", "count": 3, "width": TILE, "height": TILE, "dtype": "uint8"}
                with rasterio.open(folder / f"{row}_{col}.jpg", "w", quality=90, **profile) as tile:
                    tile.write(source.read(window=window))


def turbo(pixels: np.ndarray, size: int) -> Callable[[], None]:
    """Decode and encode as many 512 tiles as the block has, and nothing else."""
    from PIL import Image

    def encode(tile: Any) -> bytes:
        buffer = io.BytesIO()
        tile.save(buffer, "jpeg", quality=90, subsampling="4:2:0")
        return buffer.getvalue()

    count, side = (size // TILE) ** 2, size // TILE
    places = [((i % side) * TILE, (i // side) * TILE) for i in range(min(count, 64))]
    coded = [encode(Image.fromarray(part(pixels, *p, TILE, TILE).transpose(1, 2, 0))) for p in places]

    def work() -> None:
        for index in range(count):
            tile = Image.open(io.BytesIO(coded[index % len(coded)]))
            tile.load()
            encode(tile)

    return work


def step(project: Any, planned: Any) -> None:
    """The tile step as a build runs it: make, save, describe."""
    data = tiles.make(project, planned, Check()).data
    project.store.put(planned.key, data)
    tiles.describe(data)


def measure(home: Path, size: int, repeats: int, pixels: np.ndarray, crs: str) -> list[tuple[Any, ...]]:
    project, planned, vrt = prepared(home, size, pixels, crs)
    warp = crs != CRS
    shares: Counter[str] = Counter()

    def ours() -> None:
        with timed(sheets, "read_onto") as read, timed(cog, "write", "edge_digests") as rest:
            shares["all"] += clock(lambda: step(project, planned)).cpu
        shares.update(read | rest)

    works: dict[str, Callable[[], None]] = {
        "ours": ours,
        "auto": lambda: script_cog(vrt, project, home / "peer.tif", "AUTO", warp),
        "none": lambda: script_cog(vrt, project, home / "bare.tif", "NONE", warp),
    }
    if not warp:
        works |= {"loop": lambda: script_windows(vrt, project, home / "tiles"), "turbo": turbo(pixels, size)}
    clock(works["none"])  # imports and first use are not the work
    cost = medians(repeats, **works)
    area = size**2 / 1e6

    def row(name: str, key: str) -> tuple[Any, ...]:
        return name, cost[key].cpu, area / cost[key].cpu, f"{cost[key].cpu / cost['ours'].cpu:.2f}", cost[key].wall

    overviews = cost["auto"].cpu - cost["none"].cpu
    share = {name: shares[name] / shares["all"] for name in ("read_onto", "write", "edge_digests")}
    rows = [
        row("groundplan, step (make, save, describe)", "ours"),
        *((f"  of which {text}", cost["ours"].cpu * part_, "", f"{part_:.0%}", "") for text, part_ in (
            ("read sheets" + (" and warp" if warp else ""), share["read_onto"]),
            ("write COG", share["write"]),
            ("  overviews in it (as in the peer)", overviews / cost["ours"].cpu),
            ("digest edges", share["edge_digests"]),
        )),
        row("script: " + ("WarpedVRT" if warp else "read") + " -> COG, OVERVIEWS=AUTO", "auto"),
        row("script: the same, no overviews", "none"),
    ]  # fmt: skip
    if not warp:
        rows += [row("script: 512 windows -> JPEG files, no overviews", "loop"), row("limit: turbo decode + encode", "turbo")]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=8192, help="pixels of the block's side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--image", type=Path, help="take pixels from this 3-band file instead of the invented town")
    given = parser.parse_args()
    pixels = picture(given.image)
    for crs, kind in ((CRS, "sheets on the grid's pixels"), (FOREIGN, "sheets in another CRS, resampled (cubic)")):
        with scratch() as home:
            rows = measure(home / "gp", given.size, given.repeats, pixels, crs)
        show(f"Cutting one block of {given.size} px: {kind}",
             ("work", "cpu-s / block", "MPx / cpu-s", "cpu / ours", "wall s"), rows,
             [f"median of {given.repeats}; pixels of {given.image.name if given.image else 'the invented town'}"])


if __name__ == "__main__":
    main()

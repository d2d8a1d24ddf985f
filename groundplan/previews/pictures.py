"""Preview pictures of a partition: what a person looks at instead of reading logs.

Here: overviews of tiles, labels, probabilities and footprints, and the curves of a training, each a small JPEG or PNG.
Not here: where they are shown (assets/), or figures (polygons/metrics.py).
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.core.grid import Block
from groundplan.core.manifest import Made
from groundplan.core.pictures import signed, to_jpeg
from groundplan.imagery.regions import readable_polygons
from groundplan.labels.classes import BUILDING, GAP, IGNORE, INNER_EDGE
from groundplan.project import Project
from groundplan.raster import cog

if TYPE_CHECKING:
    import geopandas as gpd

    from groundplan.imagery.catalog import Catalog


LONGEST = 900  # pixels of the longer side
EDGE = 12  # pixels around a plan
LIMIT = 70_000  # bytes: every byte is copied into Dagster's database, a third larger as text
PALETTE = np.array([[60, 60, 60], [240, 160, 40], [255, 235, 120], [220, 40, 90]], np.uint8)


Bounds = tuple[float, float, float, float]


def imaged_bounds(project: Project, tiles: dict[str, Made]) -> Bounds:
    """Bounds (left, bottom, right, top) of the ground that the blocks show: a picture of black margins says little."""
    bounds = []
    for name, made in tiles.items():
        mask = cog.read_overview(project.store, made.key, 64)[1]
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        left, _, _, top = project.grid.bounds(Block.parse(name))
        pixel = project.grid.span / mask.shape[0]
        if len(rows):
            bounds.append((cols[0], -rows[-1] - 1, cols[-1] + 1, -rows[0]) * np.array(pixel) + (left, top, left, top))
    if not bounds:
        return project.grid.bounds(Block.parse(next(iter(tiles))))
    low, high = np.min(bounds, axis=0), np.max(bounds, axis=0)
    return float(low[0]), float(low[1]), float(high[2]), float(high[3])


def overview(
    project: Project, objects: dict[str, Made], longest: int = LONGEST, bounds: Bounds | None = None
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Mosaic of reduced blocks: uint8 (bands, h, w), and (left, top, meters per pixel) of the picture.

    With `bounds` only what lies inside them, and so in more detail.
    """
    grid = project.grid
    blocks = {Block.parse(name): made.key for name, made in objects.items()}
    cols, rows = [b.col for b in blocks], [b.row for b in blocks]
    wide, high = max(cols) - min(cols) + 1, max(rows) - min(rows) + 1
    blocks_across = max(wide, high) if bounds is None else max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / grid.span
    side = max(8, min(grid.block_size, int(longest / max(blocks_across, 1.0))))
    canvas: np.ndarray | None = None
    for block, key in blocks.items():
        part, _ = cog.read_overview(project.store, key, side)
        if canvas is None:
            canvas = np.zeros((part.shape[0], high * side, wide * side), np.uint8)
        y, x = (block.row - min(rows)) * side, (block.col - min(cols)) * side
        canvas[:, y : y + part.shape[1], x : x + part.shape[2]] = part
    assert canvas is not None, "an overview needs a block"
    left, top = grid.corner(min(cols) * grid.block_size, min(rows) * grid.block_size)
    pixel = grid.span / side
    if bounds is None:
        return canvas, (left, top, pixel)
    x, y = max(0, math.floor((bounds[0] - left) / pixel)), max(0, math.floor((top - bounds[3]) / pixel))
    right, bottom = math.ceil((bounds[2] - left) / pixel), math.ceil((top - bounds[1]) / pixel)
    return canvas[:, y:bottom, x:right], (left + x * pixel, top - y * pixel, pixel)


def rgb(canvas: np.ndarray) -> np.ndarray:
    """Display image of any number of bands: uint8 (H, W, 3)."""
    bands = canvas[:3] if canvas.shape[0] >= 3 else canvas[:1].repeat(3, axis=0)
    return np.ascontiguousarray(bands.transpose(1, 2, 0))


def tiles_picture(project: Project, objects: dict[str, Made], credit: str | None = None) -> bytes:
    """The image itself. credit, here and below: a line at the edge that names whose imagery it is."""
    return to_jpeg(signed(rgb(overview(project, objects, bounds=imaged_bounds(project, objects))[0]), credit), LIMIT)


def labels_picture(
    project: Project, tiles: dict[str, Made], objects: dict[str, Made], credit: str | None = None
) -> bytes:
    """Classes over the image: buildings orange, their edges yellow, gaps red; unknown ground is left grey."""
    bounds = imaged_bounds(project, tiles)
    image = rgb(overview(project, {name: tiles[name] for name in objects if name in tiles}, bounds=bounds)[0])
    classes = overview(project, objects, bounds=bounds)[0][0]
    gray = image.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2)
    picture = np.where((classes == IGNORE)[..., None], gray // 2 + 40, image)
    for value in (BUILDING, INNER_EDGE, GAP):
        here = classes == value
        picture[here] = (picture[here] * 0.45 + PALETTE[value] * 0.55).astype(np.uint8)
    return to_jpeg(signed(picture, credit), LIMIT)


def probability_picture(project: Project, tiles: dict[str, Made], objects: dict[str, Made]) -> bytes:
    """Building probability from dark to bright, the edge band in red."""
    building, edge = overview(project, objects, bounds=imaged_bounds(project, tiles))[0]
    picture = np.stack([np.maximum(building, edge), building, building // 2], axis=-1)
    return to_jpeg(picture, LIMIT)


def footprints_picture(
    project: Project,
    tiles: dict[str, Made],
    frame: gpd.GeoDataFrame,
    bad: np.ndarray | None = None,
    credit: str | None = None,
) -> bytes:
    """Outlines over the image. bad: bool per footprint; those are red and thick, the others pale."""
    import cv2

    canvas, (left, top, pixel) = overview(project, tiles, bounds=imaged_bounds(project, tiles))
    picture, shapes = rgb(canvas), frame.geometry.values
    place = left, top, pixel
    if bad is None:
        cv2.polylines(picture, rings(shapes, place), True, (255, 60, 60), 1, cv2.LINE_AA, 4)
    else:
        cv2.polylines(picture, rings(shapes[~bad], place), True, (230, 230, 230), 1, cv2.LINE_AA, 4)
        cv2.polylines(picture, rings(shapes[bad], place), True, (255, 30, 30), 3, cv2.LINE_AA, 4)
    return to_jpeg(signed(picture, credit), LIMIT)


def rings(shapes: Any, place: tuple[float, float, float]) -> list[np.ndarray]:
    """Rings of polygons as OpenCV wants them: pixels of a picture, 4 bits of fraction. place: as `overview` gives."""
    import shapely

    left, top, pixel = place
    return [
        np.round((shapely.get_coordinates(ring) - (left, top)) / (pixel, -pixel) * 16).astype(np.int32)
        for ring in shapely.get_rings(shapes)
    ]


def blocks_picture(project: Project, whole: dict[str, Made], wrong: Collection[str]) -> bytes:
    """The whole blocks side by side; ground of the wrong ones hatched red."""
    import cv2

    bounds = np.array([project.grid.bounds(Block.parse(name)) for name in (*whole, *wrong)])
    low, high = bounds.min(axis=0), bounds.max(axis=0)
    area = float(low[0]), float(low[1]), float(high[2]), float(high[3])
    pixel = max(area[2] - area[0], area[3] - area[1]) / LONGEST
    shape = math.ceil((area[3] - area[1]) / pixel), math.ceil((area[2] - area[0]) / pixel)
    picture = np.full((*shape, 3), 235, np.uint8)
    if whole:
        canvas, (left, top, step) = overview(project, whole)
        reduced = cv2.resize(rgb(canvas), None, fx=step / pixel, fy=step / pixel, interpolation=cv2.INTER_AREA)
        x, y = round((left - area[0]) / pixel), round((area[3] - top) / pixel)
        part = picture[y : y + reduced.shape[0], x : x + reduced.shape[1]]
        part[:] = reduced[: part.shape[0], : part.shape[1]]
    for name in wrong:
        left, bottom, right, top = project.grid.bounds(Block.parse(name))
        x0, x1 = (round((value - area[0]) / pixel) for value in (left, right))
        y0, y1 = (round((area[3] - value) / pixel) for value in (top, bottom))
        square = picture[y0:y1, x0:x1]
        stripes = (np.add.outer(np.arange(square.shape[0]), np.arange(square.shape[1])) // 8) % 2 == 0
        square[:] = np.where(stripes[..., None], (214, 64, 56), (250, 226, 224))
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), (150, 20, 20), 2)
    return to_jpeg(picture, LIMIT)


def sheets_picture(project: Project, sheet_catalog: Catalog, region: str) -> bytes:
    """Index map of sheets: outlines over the region's polygon, darker where they overlap. PNG."""
    shapes = [sheet.polygon for sheet in sorted(sheet_catalog.sheets, key=lambda sheet: sheet.order())]
    return plan_picture([(list(shapes), (46, 110, 170), 60)], readable_polygons(project).get(region))


def plan_picture(layers: Sequence[tuple[Sequence[Any], tuple[int, int, int], int]], ground: Any = None) -> bytes:
    """Plan of polygons on white, PNG. layers: polygons, color, opacity of filling (0..255). ground: below them."""
    import shapely
    from PIL import Image, ImageDraw

    drawn = [([ground], (150, 156, 164), 30)] if ground is not None else []
    layers = [
        ([shape for shape in shapes if not shape.is_empty], color, opacity)
        for shapes, color, opacity in [*drawn, *layers]
    ]
    everything = [shape for shapes, _, _ in layers for shape in shapes]
    left, bottom, right, top = shapely.total_bounds(np.array(everything)) if everything else (0.0, 0.0, 1.0, 1.0)
    pixel = max(right - left, top - bottom) / (LONGEST - 2 * EDGE) or 1.0
    size = round((right - left) / pixel) + 2 * EDGE, round((top - bottom) / pixel) + 2 * EDGE
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image, "RGBA")
    for shapes, color, opacity in layers:
        for ring in shapely.get_rings(np.array(shapes, object)):
            points = (shapely.get_coordinates(ring) - (left, top)) / (pixel, -pixel) + EDGE
            draw.polygon([tuple(point) for point in points], fill=(*color, opacity), outline=(*color, 255))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def reliability_picture(parts: dict[str, Any]) -> bytes:
    """Reliability diagram: what was said, what came true, by name; PNG. parts: float (bins, 3), see `reliability`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    for name, rows in parts.items():
        axis.plot(rows[:, 0], rows[:, 1], marker="o", markersize=4, label=name)
    axis.set(xlabel="said", ylabel="came true", xlim=(0, 1), ylim=(0, 1))
    axis.grid(alpha=0.3)
    axis.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def curves_picture(history: Iterable[dict[str, Any]]) -> bytes:
    """Learning curves: loss and validation figures over the steps of a training, PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(history)
    figure = Figure(figsize=(7, 3), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    steps = [row["step"] for row in rows]
    for axis, names in zip(figure.subplots(1, 2), (("loss",), ("iou", "cores", "score")), strict=True):
        for name in names:
            if rows and name in rows[0]:
                axis.plot(steps, [row[name] for row in rows], marker="o", markersize=3, label=name)
        axis.set_xlabel("steps")
        axis.grid(alpha=0.3)
        if rows:
            axis.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()

"""Pictures of a partition: what a person looks at instead of reading logs.

Here: overviews of tiles, labels, probabilities and footprints, and the curves of a training, each a small JPEG or PNG.
Not here: where they are shown (assets/), or figures (evaluate.py).
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan import cog, labels
from groundplan.blocks import Made
from groundplan.grid import Block
from groundplan.project import Project

if TYPE_CHECKING:
    import geopandas as gpd

LONGEST = 900  # pixels of the longer side
LIMIT = 70_000  # bytes: every byte is copied into Dagster's database, a third larger as text
PALETTE = np.array([[60, 60, 60], [240, 160, 40], [255, 235, 120], [220, 40, 90]], np.uint8)


Bounds = tuple[float, float, float, float]


def imaged(project: Project, tiles: dict[str, Made]) -> Bounds:
    """Bounds (left, bottom, right, top) of the ground that the blocks show: a picture of black margins says little."""
    bounds = []
    for name, made in tiles.items():
        mask = cog.small(project.store, made.key, 64)[1]
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
    """Blocks side by side, shrunk: uint8 (bands, h, w), and (left, top, metres per pixel) of the picture.

    With `bounds` only what lies inside them, and so in more detail.
    """
    grid = project.grid
    blocks = {Block.parse(name): made.key for name, made in objects.items()}
    cols, rows = [b.col for b in blocks], [b.row for b in blocks]
    wide, high = max(cols) - min(cols) + 1, max(rows) - min(rows) + 1
    shown = max(wide, high) if bounds is None else max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / grid.span
    side = max(8, min(grid.block_size, int(longest / max(shown, 1.0))))
    canvas: np.ndarray | None = None
    for block, key in blocks.items():
        part, _ = cog.small(project.store, key, side)
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
    """Any number of bands as uint8 (H, W, 3)."""
    bands = canvas[:3] if canvas.shape[0] >= 3 else canvas[:1].repeat(3, axis=0)
    return np.ascontiguousarray(bands.transpose(1, 2, 0))


def tiles_picture(project: Project, objects: dict[str, Made]) -> bytes:
    return cog.to_jpeg(rgb(overview(project, objects, bounds=imaged(project, objects))[0]), LIMIT)


def labels_picture(project: Project, tiles: dict[str, Made], objects: dict[str, Made]) -> bytes:
    """Classes over the image: buildings orange, their edges yellow, gaps red; unknown ground is left grey."""
    bounds = imaged(project, tiles)
    image = rgb(overview(project, {name: tiles[name] for name in objects if name in tiles}, bounds=bounds)[0])
    classes = overview(project, objects, bounds=bounds)[0][0]
    grey = image.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2)
    picture = np.where((classes == labels.UNKNOWN)[..., None], grey // 2 + 40, image)
    for value in (labels.BUILDING, labels.EDGE, labels.GAP):
        here = classes == value
        picture[here] = (picture[here] * 0.45 + PALETTE[value] * 0.55).astype(np.uint8)
    return cog.to_jpeg(picture, LIMIT)


def probability_picture(project: Project, tiles: dict[str, Made], objects: dict[str, Made]) -> bytes:
    """Building probability from dark to bright, the edge band in red."""
    building, edge = overview(project, objects, bounds=imaged(project, tiles))[0]
    picture = np.stack([np.maximum(building, edge), building, building // 2], axis=-1)
    return cog.to_jpeg(picture, LIMIT)


def footprints_picture(project: Project, tiles: dict[str, Made], frame: gpd.GeoDataFrame) -> bytes:
    """Outlines over the image."""
    import cv2
    import shapely

    canvas, (left, top, pixel) = overview(project, tiles, bounds=imaged(project, tiles))
    picture = rgb(canvas)
    rings = [
        np.round((shapely.get_coordinates(ring) - (left, top)) / (pixel, -pixel) * 16).astype(np.int32)
        for ring in shapely.get_rings(frame.geometry.values)
    ]
    cv2.polylines(picture, rings, True, (255, 60, 60), 1, cv2.LINE_AA, 4)
    return cog.to_jpeg(picture, LIMIT)


def curves_picture(history: Iterable[dict[str, Any]]) -> bytes:
    """Loss and validation figures over the steps of a training, PNG."""
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
        axis.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def markdown(picture: bytes, title: str) -> str:
    """A picture as Markdown that needs no server."""
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"![{title}](data:image/{kind};base64,{base64.b64encode(picture).decode()})"

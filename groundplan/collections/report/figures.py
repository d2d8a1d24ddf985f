"""Pictures of a collection: how variance falls, where its images lie, what is taken for what.

Here: a scree plot, a map of the first two components with thumbnails, a confusion matrix, each a small PNG or JPEG.
Not here: where they are shown (assets/, report.py), or which images are thumbnails (report.py).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.collections.descriptors.pca import Axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LIMIT = 70_000  # bytes: every byte is copied into Dagster's database, a third larger as text
MOST_POINTS = 6000
MOST_NAMED = 40  # classes that a legend or an axis can name
MOST_THUMBNAILS = 90
CELLS = (15, 11)  # of the map, columns and rows: at most one thumbnail in each


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of the image in row `row`: uint8 RGB (H, W, 3)."""

    row: int
    pixels: np.ndarray


def scree(axes: Axes) -> bytes:
    """Share of the variance on each axis and on all up to it, PNG; the kept ones are filled."""
    ratio = axes.ratio
    shown = min(len(ratio), max(30, 2 * axes.kept))
    numbers = np.arange(1, shown + 1)
    figure = _figure(7, 3.2)
    left = figure.subplots()
    kept = numbers <= axes.kept
    left.bar(numbers[kept], 100 * ratio[:shown][kept], width=1.0, color="#3b7dd8")
    left.bar(numbers[~kept], 100 * ratio[:shown][~kept], width=1.0, color="#c8d3e0")
    left.set_xlabel("component")
    left.set_ylabel("% of variance, each")
    right = left.twinx()
    right.plot(numbers, 100 * np.cumsum(ratio[:shown]), color="#d6552c")
    right.axvline(axes.kept + 0.5, color="#555555", linewidth=0.8, linestyle=":")
    right.set_ylabel("% together")
    right.set_ylim(0, 101)
    left.set_title(f"{axes.kept} components hold {100 * axes.explained:.1f} % of the variance", fontsize=10)
    return _png(figure)


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> bytes:
    """Rows are the truth, columns what was said, PNG. Colour is the share of a row; the diagonal is right."""
    counts = np.asarray(matrix, float)
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = min(9.0, 2.2 + 0.42 * len(labels))
    figure = _figure(side + 1.2, side)
    axis = figure.subplots()
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= MOST_NAMED:
        named = [label[:24] for label in labels]
        axis.set_xticks(range(len(labels)), named, rotation=90, fontsize=7, parse_math=False)
        axis.set_yticks(range(len(labels)), named, fontsize=7, parse_math=False)
    if len(labels) <= 20:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if share[row, column] > 0.6 else "black"
            axis.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=7, color=color)
    axis.set_xlabel("said")
    axis.set_ylabel("is")
    return _png(figure)


def collection_map(places: np.ndarray, labels: Sequence[str], thumbnails: Sequence[Thumbnail] = ()) -> bytes:
    """Images at their first two components, coloured by class, some of them as thumbnails, JPEG.

    places: float (N, 1) or wider; labels: the class of each row; thumbnails: of the rows that `spread` chose.
    """
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    from groundplan.core.pictures import to_jpeg

    spots = np.zeros((len(places), 2))
    spots[:, : places.shape[1]] = places[:, :2]
    names = sorted(set(labels))
    figure = _figure(9.5, 6.5)
    axis = figure.subplots()
    for number, name in enumerate(names):
        here = np.flatnonzero([label == name for label in labels])
        here = here[:: max(1, -(-len(labels) // MOST_POINTS))]
        axis.scatter(
            spots[here, 0],
            spots[here, 1],
            s=7,
            color=_color(number, len(names)),
            alpha=0.6,
            linewidths=0,
            label=_plain(name),
        )
    for thumbnail in thumbnails:
        box = OffsetImage(thumbnail.pixels, zoom=30 / max(thumbnail.pixels.shape[:2]))
        color = _color(names.index(labels[thumbnail.row]), len(names))
        frame = {"edgecolor": color, "linewidth": 1.2}
        spot = (float(spots[thumbnail.row, 0]), float(spots[thumbnail.row, 1]))
        axis.add_artist(AnnotationBbox(box, spot, pad=0.08, bboxprops=frame))
    axis.set_xlabel("first component")
    axis.set_ylabel("second component")
    if len(names) <= MOST_NAMED:
        axis.legend(fontsize=7, markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))
    return to_jpeg(_pixels(figure), LIMIT)


def spread(places: np.ndarray, order: Sequence[int]) -> list[int]:
    """Rows that may be thumbnails without hiding each other: in each cell of a lattice the first of `order`."""
    spots = places[:, :2]
    if not len(spots):
        return []
    low, high = spots.min(axis=0), spots.max(axis=0)
    cells = (spots - low) / np.maximum(high - low, 1e-12) * (np.array(CELLS[: spots.shape[1]]) - 1e-6)
    taken: dict[tuple[int, ...], int] = {}
    for row in order:
        taken.setdefault(tuple(cells[row].astype(int)), row)
    return list(taken.values())[:MOST_THUMBNAILS]


def _plain(name: str) -> str:
    r"""A class name is no formula and no hidden label: matplotlib reads `$` and a leading `_` as such."""
    return f" {name[:30]}".replace("$", r"\$")


def _color(number: int, of: int) -> Any:
    import matplotlib

    return matplotlib.colormaps["tab10" if of <= 10 else "hsv"](number if of <= 10 else number / of)


def _figure(wide: float, high: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, high), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _pixels(figure: Figure) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])

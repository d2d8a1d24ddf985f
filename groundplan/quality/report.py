"""A page on the accuracy of a region's footprints, in the words of mapping agencies.

Here: its rows, its pictures, the worst places. Not here: the figures (polygons/metrics.py, figures.py), which ground is
scored (scores.py). Terms are those of ISO 19157 (completeness, positional accuracy) and of ASPRS (RMSE, 95 % circle).
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.core.templates import templates
from groundplan.errors import BadConfig
from groundplan.footprints import footprints
from groundplan.imagery import tiles
from groundplan.imagery.credits import credits_of
from groundplan.polygons import figures, metrics
from groundplan.previews import pictures
from groundplan.project import Project
from groundplan.quality.comparison import CELL
from groundplan.quality.scores import AROUND, scored_ground

if TYPE_CHECKING:
    import geopandas as gpd
    import numpy as np

WORST = 6
"""Places that are shown."""
CIRCLE = 1.7308
"""Of an RMSE, the radius that holds 95 % of normal errors: FGDC-STD-007.3."""


def write_report(
    project: Project,
    partition: Partition,
    real: gpd.GeoDataFrame,
    complete: Any,
    scores: dict[str, metrics.Scores],
    target: Path,
) -> None:
    """Write the page on footprints against `real` where it is `complete`, with a column for each ground of `scores`.

    Raises BadConfig where the file cannot be written; nothing is seen half-written.
    """
    frame = footprints.load_around(project, partition)
    found, true = metrics.polygons_of(frame), metrics.polygons_of(real)
    grounds = {name: scored_ground(project, partition, complete, name) for name in scores}
    told = {name: figures.figures(found, true, ground) for name, ground in grounds.items()}
    canvas = _ShownBuildings(project, partition, found, true)
    page = templates(__package__).get_template("accuracy.html.j2")
    text = page.render(
        place=str(partition),
        truth=f"{len(true)} true buildings",
        hectares=f"{grounds['all'].area / 1e4:.2f}",
        model=str(frame["model"].iloc[0]) if len(frame) else "none",
        tested="test" in scores,
        grounds=[f"{name} ground" for name in scores],
        rows=_rows(scores, told),
        sizes=[
            [size, *(f"{one.by_size[size][1]:.3f} of {one.by_size[size][0]}" for one in told.values())]
            for size in next(iter(told.values())).by_size
        ],
        picture=canvas.shown(grounds["all"].bounds, 1600, 1_500_000),
        worst=[canvas.place(cell, *errors) for cell, *errors in worst(found, true, grounds["all"])],
        credits=credits_of(project, partition).sources_line or "",
    )
    temporary = target.with_name(f".{target.name}.part")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(target)
    except OSError as error:
        raise BadConfig(str(target), f"it cannot be written ({error.strerror})", "Choose another place") from error
    finally:
        temporary.unlink(missing_ok=True)


def _rows(scores: dict[str, metrics.Scores], told: dict[str, figures.Figures]) -> list[list[str]]:
    """A row per figure, with a value for each ground: agencies' own figures first."""
    rows: dict[str, list[str]] = {}
    for name, score in scores.items():
        one = told[name]
        first = [
            ("buildings: true / found", f"{score.buildings} / {score.predicted}"),
            ("omission of buildings", f"{100 * (1 - one.objects.completeness):.1f} %"),
            ("commission of buildings", f"{100 * (1 - one.objects.correctness):.1f} %"),
            ("omission of area", f"{100 * (1 - one.area.completeness):.1f} %"),
            ("commission of area", f"{100 * (1 - one.area.correctness):.1f} %"),
            (f"95 % circle of corners within {figures.REACH:g} m", f"{CIRCLE * one.corner_rmse:.2f} m"),
        ]
        sizes = tuple(f"found, {size}" for size in one.by_size)
        for figure, value in [*first, *figures.table(one), *metrics.table(score)]:
            if not figure.startswith(("buildings: true / pred", *sizes)):
                rows.setdefault(figure, []).append(value)
    return [[figure, *values] for figure, values in rows.items()]


def worst(found: np.ndarray, true: np.ndarray, ground: Any) -> list[tuple[Any, float, float]]:
    """Cells of the ground with most wrong square metres, the worst first: cell, m2 missed, m2 invented."""
    import numpy as np
    import shapely

    left, bottom, right, top = np.floor(np.array(ground.bounds) / CELL).astype(int)
    trees = shapely.STRtree(found), shapely.STRtree(true)
    rows = []
    for x in range(left, right + 1):
        for y in range(bottom, top + 1):
            cell = shapely.box(x * CELL, y * CELL, (x + 1) * CELL, (y + 1) * CELL)
            here = shapely.intersection(cell, ground)
            one, other = (
                shapely.intersection(shapely.union_all(tree.geometries[tree.query(here)]), here) for tree in trees
            )
            rows.append((cell, other.difference(one).area, one.difference(other).area))
    rows.sort(key=lambda row: (-(row[1] + row[2]), row[0].bounds))
    return [row for row in rows[:WORST] if row[1] + row[2] >= 1]


class _ShownBuildings:
    """Pictures of places of a region with found and true buildings."""

    def __init__(self, project: Project, partition: Partition, found: np.ndarray, true: np.ndarray) -> None:
        self.project, self.found, self.true = project, found, true
        self.objects = need_manifest(project.store, tiles.DATASET, partition).objects

    def shown(self, bounds: tuple[float, float, float, float], side: int, most: int) -> str:
        """A picture as an address that holds it."""
        import shapely
        from affine import Affine

        left, bottom, right, top = bounds
        bounds = left - AROUND, bottom - AROUND, right + AROUND, top + AROUND
        canvas, (left, top, pixel) = pictures.overview(self.project, self.objects, side, bounds)
        near = shapely.box(*bounds)
        found, true = (each[shapely.intersects(each, near)] for each in (self.found, self.true))
        transform = Affine(pixel, 0, left, 0, -pixel, top)
        drawn = metrics.compare_picture(pictures.rgb(canvas), found, true, transform, side=side, limit=most)
        return f"data:image/png;base64,{base64.b64encode(drawn).decode()}"

    def place(self, cell: Any, missed: float, invented: float) -> dict[str, str]:
        """A worst place, as the page shows it."""
        east, north = cell.centroid.coords[0]
        return {
            "picture": self.shown(cell.bounds, 300, 100_000),
            "place": f"{east:.0f} E, {north:.0f} N",
            "missed": f"{missed:.0f}",
            "invented": f"{invented:.0f}",
        }

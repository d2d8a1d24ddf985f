"""How footprints are drawn from pixel outlines, in one place for countries and for single images.

Here: which of the ways of this room is taken. Not here: the ways themselves (regularize.py, walls.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SQUARED_AT = 0.75  # IoU from which a building is squared beside others; at 0.85 a fifth of a dense town has staircases
STAIRCASE = 1.2  # pixels; what is simplified by less keeps their corners


@dataclass(frozen=True, slots=True)
class Drawing:
    """simplify: metres; regularise: square buildings; shared_walls: those that touch together."""

    simplify: float = 0.5
    regularise: bool = True
    shared_walls: bool = False


AS_SHIPPED = Drawing()


def drawn(raw: np.ndarray, drawing: Drawing, pixel: float) -> np.ndarray:
    """Pixel outlines, object (N,) of valid Polygons in metres, as footprints: none overlaps another, order kept.

    pixel: metres.
    """
    import shapely

    from groundplan.polygons.regularize import Regularity, regularize, separate
    from groundplan.polygons.walls import contacts, together

    tolerance = max(drawing.simplify, STAIRCASE * pixel)
    if not drawing.regularise:
        polygons = shapely.simplify(raw, drawing.simplify)
    elif drawing.shared_walls:
        polygons = together(raw, contacts(raw), Regularity(simplify=tolerance, iou=SQUARED_AT))
    else:
        polygons = regularize(raw, Regularity(simplify=tolerance))
    return separate(polygons, raw)

"""Label classes: what the values of a label block mean.

Here: the one definition. Not here: drawing them (masks.py), or learning from them (training/).
"""

from __future__ import annotations

BACKGROUND, BUILDING, INNER_EDGE, GAP, IGNORE = 0, 1, 2, 3, 255
COLORS = (  # as previews draw them
    (BACKGROUND, (60, 60, 60)),
    (BUILDING, (240, 160, 40)),
    (INNER_EDGE, (255, 235, 120)),
    (GAP, (220, 40, 90)),
    (IGNORE, (200, 200, 200)),
)

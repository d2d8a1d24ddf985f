"""Label classes: what the values of a label block mean.

Here: the one definition. Not here: drawing them (masks.py), or learning from them (training/).
"""

from __future__ import annotations

BACKGROUND, BUILDING, INNER_EDGE, GAP, IGNORE = 0, 1, 2, 3, 255

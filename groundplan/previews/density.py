"""The picture of a country: how many buildings stand where.

Here: cells as colours, with a line that says what they are. Not here: counting (footprints/density.py).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from groundplan.core.manifest import Made
from groundplan.core.pictures import signed_png
from groundplan.footprints import density
from groundplan.project import Project

LONGEST, LEAST = 700, 320  # pixels of the longer side
COLORS = ((255, 255, 255), (254, 217, 142), (254, 153, 41), (217, 95, 14), (153, 52, 4))  # ColorBrewer YlOrBr


def density_picture(project: Project, made: Sequence[Made[Any]]) -> bytes:
    """Buildings per cell of the whole country, white is none, north up; PNG. Raises MissingInput."""
    from PIL import Image

    counts, cell, _ = density.raster(project, made, LONGEST)
    most = max(int(counts.max()), 1)
    level = np.log1p(counts) / np.log1p(most) * (len(COLORS) - 1)  # towns and hamlets in one picture
    low = np.minimum(level.astype(int), len(COLORS) - 2)
    table = np.array(COLORS, float)
    pixels = table[low] + (table[low + 1] - table[low]) * (level - low)[..., None]
    image = Image.fromarray(pixels.round().astype(np.uint8))
    if (enlarged := LEAST // max(image.size)) > 1:
        image = image.resize((image.width * enlarged, image.height * enlarged), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return signed_png(buffer.getvalue(), f"buildings per {cell:g} m cell: none is white, brown is {most}")

"""Where an image lies as a request or a message states it: `crs` with `bounds`, or with six numbers of an affine map.

Here: reading that from a box or a world file, what follows for an image's pixels, and a mark by which two places of the
same bytes are two. Not here: what a file's own tags say (georeference.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from groundplan.errors import BadConfig
from groundplan.single.georeference import Georeference, known_crs, of_box, of_world_file
from groundplan.single.prepare import Placed

Stated = Mapping[str, Any]
"""`crs` (EPSG:...), and `bounds` (west, south, east, north) or `affine` (six numbers)."""


def stated_box(bbox: str, crs: str) -> Stated:
    """Of west,south,east,north as text. Raises BadConfig."""
    try:
        bounds = [float(part) for part in bbox.split(",")]
    except ValueError:
        bounds = []
    if len(bounds) != 4:
        raise BadConfig("bbox", "it is not four numbers", "Give west,south,east,north")
    return {"crs": of_box(bounds, crs, 1, 1).crs, "bounds": bounds}


def stated_world(text: str, crs: str) -> Stated:
    """Of a world file's six lines. Raises BadConfig."""
    found = of_world_file(text, known_crs(crs))
    return {"crs": found.crs, "affine": list(found.affine)}


def placed(told: Stated | None) -> Placed | None:
    """What `prepare` takes. Raises BadConfig, KeyError, TypeError, ValueError for what states no place."""
    if told is None:
        return None
    crs = known_crs(told["crs"])
    if "bounds" in told:
        bounds = [float(value) for value in told["bounds"]]
        of_box(bounds, crs, 1, 1)
        return lambda width, height: of_box(bounds, crs, width, height)
    a, b, c, d, e, f = map(float, told["affine"])
    return Georeference(crs, (a, b, c, d, e, f))


def place_mark(told: Stated | None) -> str:
    """'' where nothing is stated, else 16 hexadecimal digits that follow from it."""
    if told is None:
        return ""
    text = json.dumps(dict(told), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""Blocks of a year as the comparison reads them: probability, and where there is imagery.

Here: reading one block, or a part of one. Not here: which blocks there are (the manifests), what is done with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from groundplan.changes.evidence import Read
from groundplan.core.grid import Block
from groundplan.core.manifest import Made
from groundplan.project import Project
from groundplan.raster import cog

Objects = Mapping[str, Made[Any]]
"""A manifest's objects: block name to what was made."""
Window = tuple[int, int, int, int]


def reads(project: Project, predicted: Objects, images: Objects) -> dict[Block, Read]:
    """How each block is read. images: the tiles that it was predicted from."""
    return {
        Block.parse(name): partial(read, project, made, images[name])
        for name, made in predicted.items()
        if name in images
    }


def read(
    project: Project, predicted: Made[Any], image: Made[Any], window: Window | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Building probability uint8, and bool where there is imagery, both (n, n) or of the window (col, row, w, h)."""
    return cog.read_object(project.store, predicted.key, window)[0][0], seen(project, image, window)


def seen(project: Project, image: Made[Any], window: Window | None = None) -> np.ndarray:
    """Bool where a block of tiles shows imagery; its mask is only read where it does not cover the block."""
    if image.facts.get("covered") == 1.0:
        side = project.grid.block_size
        return np.ones((window[3], window[2]) if window else (side, side), bool)
    return cog.read_object(project.store, image.key, window)[1]

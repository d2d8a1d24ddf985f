"""Known to be empty: ground of which it can be believed that no building stands on it.

Here: whose word is believed, and where. Not here: what the labels say of it (labels/masks.py), which is asked besides.

A false alarm on registered ground is often a new building: a register that is older than the imagery would teach a
network to miss it. So ground counts only where a register of empty ground says so, where people said so in reviews, or
where a register has nothing that is not older than the imagery.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from groundplan.core.grid import Block
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.imagery import tiles
from groundplan.labels import registers
from groundplan.labels.register_dates import vouches
from groundplan.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """Ground believed to be empty where labels say so too: a polygon in the grid's CRS, and on whose word."""

    ground: Any
    why: str
    reviewer: str = ""


def beliefs(project: Project, partition: Partition) -> list[Belief]:
    """Ground of a region that is believed to be empty, the surest word first."""
    import shapely

    names = need_manifest(project.store, tiles.DATASET, partition).objects
    area = shapely.union_all([project.grid.polygon(Block.parse(name)) for name in names])
    found = []
    for register in _believed(project, partition):
        ground = registers.extent_near(project, register, area)
        if not ground.is_empty:
            found.append(Belief(ground=ground, why=_why(register), reviewer=", ".join(register.by)))
    return found


def identity(project: Project, partition: Partition) -> list[list[str]]:
    """Whose word is believed, as part of a fingerprint."""
    return [[one.digest, _why(one), *one.by] for one in _believed(project, partition)]


def _believed(project: Project, partition: Partition) -> list[registers.Register]:
    days = registers.flown(project, partition)
    found = [one for one in registers.registers_of(project, partition.year) if one.corrects or _says(one, days)]
    return sorted(found, key=lambda one: (not one.corrects, not one.empty, one.name))


def _says(register: registers.Register, days: tuple[date, date]) -> bool:
    return register.empty or vouches(register, days)


def _why(register: registers.Register) -> str:
    if register.corrects:
        return "people who looked said that there is no building"
    return f"empty ground: {register.name}" if register.empty else f"register {register.name} of {register.date}"


def painted(ground: list[Belief], shape: tuple[int, int], transform: Any) -> np.ndarray:
    """Number of the belief that each pixel lies in, from 1; 0: none. uint8 (H, W)."""
    from rasterio.features import rasterize

    from groundplan.core.foreign_warnings import hush_missing_transform

    hush_missing_transform()
    shapes = [(one.ground, number) for number, one in enumerate(ground, 1) if not one.ground.is_empty]
    if not shapes:
        return np.zeros(shape, np.uint8)
    return rasterize(shapes[::-1], out_shape=shape, transform=transform, dtype="uint8")  # the last one wins


def parts_of(side: int, part: int) -> Iterator[tuple[int, int, int, int]]:
    """Column, row, width and height of the parts of a square of `side` pixels, none larger than `part`."""
    for row in range(0, side, part):
        for col in range(0, side, part):
            yield col, row, min(part, side - col), min(part, side - row)

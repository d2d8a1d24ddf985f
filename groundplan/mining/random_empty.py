"""Random empty ground: places drawn by chance on ground that is known to be empty, to compare mined ones with.

Here: the draw. Not here: which ground that is (known_empty.py).
"""

from __future__ import annotations

import numpy as np

from groundplan.core.grid import Block
from groundplan.core.manifest import need_manifest
from groundplan.core.partition import Partition
from groundplan.labels import masks, registers
from groundplan.mining.known_empty import beliefs
from groundplan.project import Project
from groundplan.training.split import SPLITS, split_of

AWAY = 2.0  # metres from the nearest building
TRIES = 200  # points drawn at most for each that is wanted: where empty ground is a thousandth, there are fewer places


def random_places(project: Project, year: int, regions: list[str], count: int, seed: int) -> list[tuple[str, int, int]]:
    """Region, column and row of places on empty training ground, each as likely as any other; at most `count`."""
    import shapely

    rng = np.random.default_rng([seed, year])
    blocks = [(region, block) for region in regions for block in _labeled(project, Partition(year, region))]
    grounds = {region: _Ground(project, Partition(year, region)) for region in regions}
    found: list[tuple[str, int, int]] = []
    if not blocks:
        return found
    span = project.grid.span
    for _ in range(TRIES):
        chosen = rng.integers(0, len(blocks), count)
        within = rng.random((count, 2)) * span
        for number, (dx, dy) in zip(chosen, within, strict=True):
            region, block = blocks[number]
            left, bottom, _, _ = project.grid.bounds(block)
            col, row = (int(value) for value in project.grid.pixel(left + dx, bottom + dy))
            if grounds[region].empty_at(shapely.Point(*project.grid.corner(col + 0.5, row + 0.5))):
                found.append((region, col, row))
                if len(found) == count:
                    return found
    return found


def _labeled(project: Project, partition: Partition) -> list[Block]:
    made = need_manifest(project.store, masks.DATASET, partition).objects
    return [Block.parse(name) for name in sorted(made) if made[name].facts["known"]]


class _Ground:
    """Empty training ground of a region, asked by place."""

    def __init__(self, project: Project, partition: Partition) -> None:
        import shapely

        frame, complete = registers.load(project, partition)
        believed = shapely.union_all([one.ground for one in beliefs(project, partition)])
        self.empty = shapely.intersection(believed, complete)
        shapely.prepare(self.empty)
        self.buildings = shapely.STRtree(frame.geometry.values.to_numpy())
        self.split = project.settings.split

    def empty_at(self, point: object) -> bool:
        import shapely

        x, y = np.array([shapely.get_x(point)]), np.array([shapely.get_y(point)])
        if SPLITS[int(split_of(x, y, self.split.cell, self.split.turn)[0])] != "train":
            return False
        if not shapely.contains(self.empty, point):
            return False
        return not len(self.buildings.query(point, predicate="dwithin", distance=AWAY))

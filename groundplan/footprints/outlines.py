"""Building outlines: raw polygons traced from a block's probabilities.

Here: the step. Not here: the geometry (polygons/outlines.py), or merging across borders (footprints.py).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from groundplan.core.grid import Block
from groundplan.core.manifest import Dataset, Made, Planned, fingerprint, need_manifest, object_key
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.footprints import predictions
from groundplan.imagery.regions import blocks_around
from groundplan.polygons import outlines
from groundplan.polygons.instances import Thresholds, reach
from groundplan.project import Project
from groundplan.raster.halo import EDGE, halo_identity, open_with_halo
from groundplan.step import Scope, Step, Work
from groundplan.training import models

if TYPE_CHECKING:
    pass
from groundplan.polygons.geoparquet import read


class OutlineFacts(TypedDict):
    """What a manifest says of an object."""

    pieces: int
    on_border: int


OUTLINES: Dataset[OutlineFacts] = Dataset("building_outlines")
OUTLINES_VERSION = "2"


Needs: TypeAlias = "tuple[Block, dict[Block, str], dict[str, float]]"
"""What an object is made from."""


def plan_outlines(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """The region's blocks and the ring around them: a building at the border is seen whole from both regions."""
    own = need_manifest(project.store, predictions.DATASET, partition)
    model = models.model_for(project, partition.year)
    ring = blocks_around(project, predictions.DATASET, partition, own.objects)
    around = {**_second_ring(project, partition, ring), **ring}
    edges = {block: made.facts["edges"] for block, made in around.items()}
    keys = {block: made.key for block, made in around.items()}
    halo = _halo(project, model.facts["thresholds"])
    planned = []
    for block, made in sorted(ring.items(), key=lambda item: (item[0].row, item[0].col)):
        digest = fingerprint(
            version=OUTLINES_VERSION,
            prediction=made.fingerprint,
            halo=halo_identity(edges, block),
            pixels=halo,
            thresholds=model.facts["thresholds"],
            resolution=project.grid.resolution,
        )
        key = object_key(OUTLINES, partition, block.name, digest, ".parquet")
        near = {other: keys[other] for other in [block, *block.neighbors()] if other in keys}
        args = (block, near, model.facts["thresholds"])
        planned.append(
            Planned(
                name=block.name,
                fingerprint=digest,
                key=key,
                inputs=tuple(near[other] for other in sorted(near)),
                args=args,
            )
        )
    return planned


def _second_ring(project: Project, partition: Partition, ring: dict[Block, Made]) -> dict[Block, Made]:
    return blocks_around(project, predictions.DATASET, partition, {block.name: made for block, made in ring.items()})


def _halo(project: Project, thresholds: dict[str, float]) -> int:
    """Halo in pixels that decides instances at the border, as far as a neighbor shows them."""
    needed = reach(Thresholds(**thresholds), project.grid.resolution)
    return min(EDGE, max(project.settings.footprints.halo, needed))


def make_outlines(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """Pieces of buildings inside one block, in pixels of the grid.

    Large blocks are outlined part by part, so that memory does not grow with the block; `merge_outlines` glues parts as
    it glues blocks.
    """
    import pandas as pd

    block, near, thresholds = planned.needs
    n, halo, chosen = project.grid.block_size, _halo(project, thresholds), Thresholds(**thresholds)
    side = part_side(n)
    found = []
    with open_with_halo(project.store, project.grid, block, halo, near) as ground:
        for row in range(n // side):
            probability, _ = ground.rows(row * side, (row + 1) * side + 2 * halo)
            for col in range(n // side):
                check()
                part = probability[:, :, col * side : (col + 1) * side + 2 * halo]
                place = block.col * (n // side) + col, block.row * (n // side) + row
                found.append(outlines.block_outlines(part, halo, *place, chosen, project.grid.resolution))
    buffer = io.BytesIO()
    pd.concat(found, ignore_index=True).to_parquet(buffer, index=False, compression="zstd")
    return Output(buffer.getvalue())


def part_side(block_size: int) -> int:
    """Side of a part that is outlined at once: the block size's largest divisor of 256 k pixels, at most 2048.

    Blocks of up to 2048 pixels are one part.
    """
    return max(side for side in range(256, 2049, 256) if block_size % side == 0)


def describe_outlines(data: bytes) -> OutlineFacts:
    frame = read(data)
    return {"pieces": len(frame), "on_border": int((frame["touches"] != "").sum())}


STEP: Step[Partition] = Step(
    name=OUTLINES,
    version=OUTLINES_VERSION,
    plan=plan_outlines,
    make=make_outlines,
    describe=describe_outlines,
    scope=Scope.REGION,
    reads=(predictions.DATASET,),
    reads_around=(predictions.DATASET,),
    comes_with="building_footprints",
    work=Work(short="outlines", objects="ring", of=predictions.DATASET),
)

"""Predictions: probability of a building for every pixel of every block.

Here: which block is predicted from what, and the block's probabilities. Not here: the lattice of windows
(inference/runtime.py).

Two bands, uint8, 0..255 for 0..1: building, and edge (where one building ends and another may begin).
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from groundplan.core.grid import Block
from groundplan.core.manifest import Dataset, Planned, fingerprint, need_manifest, object_key
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.core.progress import counted
from groundplan.imagery import tiles
from groundplan.imagery.regions import blocks_around
from groundplan.project import Project
from groundplan.raster import cog
from groundplan.raster.halo import edge_digests, halo_identity, open_with_halo
from groundplan.step import COG, About, Scope, Step, Work
from groundplan.training import models

if TYPE_CHECKING:
    from groundplan.inference.runtime import Runtime


class Facts(TypedDict):
    """What a manifest says of an object."""

    building: float  # share of the block above 0.5
    edges: dict[str, str]  # digest of what each neighbor sees of it


DATASET: Dataset[Facts] = Dataset("predictions")
VERSION = "2"


Needs: TypeAlias = "tuple[Block, dict[Block, str], str, int]"
"""What an object is made from."""


def plan(project: Project, partition: Partition) -> list[Planned[Needs]]:
    """A block per image block, from the model, the block and what lies around it."""
    own = need_manifest(project.store, tiles.DATASET, partition)
    model = models.model_for(project, partition.year)
    around = blocks_around(project, tiles.DATASET, partition, own.objects)
    edges = {block: made.facts["edges"] for block, made in around.items()}
    keys = {block: made.key for block, made in around.items()}
    settings = project.settings.predict
    planned = []
    for name, tile in own.objects.items():
        block = Block.parse(name)
        digest = fingerprint(
            version=VERSION,
            model=model.facts["sha256"],
            tile=tile.fingerprint,
            halo=halo_identity(edges, block),
            core=settings.core,
            margin=settings.margin,
            precision=settings.precision,
            views=settings.views,
        )
        key = object_key(DATASET, partition, name, digest, ".tif")
        near = {other: keys[other] for other in [block, *block.neighbors()] if other in keys}
        inputs = (model.key, *(near[other] for other in sorted(near)))
        planned.append(
            Planned(
                name=name,
                fingerprint=digest,
                key=key,
                inputs=inputs,
                args=(block, near, model.facts["sha256"], partition.year),
            )
        )
    return planned


def make(project: Project, planned: Planned[Needs], check: Cancellation) -> Output:
    """The block's probabilities as a lossless COG; in memory are the rows of one row of windows."""
    from groundplan.inference.sliding_window import predict_rows

    block, near, sha256, year = planned.needs
    margin = project.settings.predict.margin
    core = min(project.settings.predict.core, project.grid.block_size)
    started = time.process_time()  # the runtime's own threads count too; one block is predicted at a time
    with open_with_halo(project.store, project.grid, block, margin, near) as ground:
        predicted = predict_rows(runtime_of(project, year, sha256), ground.rows, ground.side, core, margin, check)
        with counted(f"rows of windows of {planned.name}", predicted, -(-project.grid.block_size // core)) as windows:
            data = cog.write_rows(
                windows,
                (2, project.grid.block_size, project.grid.block_size),
                project.grid.transform(block),
                project.grid.crs,
                cog.Encoding("deflate"),
                ["building, 0..255 for 0..1", "edge, 0..255 for 0..1"],
                {"GROUNDPLAN_FINGERPRINT": planned.fingerprint},
            )
    return Output(data, {"cpu_seconds": time.process_time() - started})


def describe(data: bytes) -> Facts:
    above = total = 0
    for pixels in cog.in_rows(data):
        above, total = above + int((pixels[0] > 127).sum()), total + pixels[0].size
    return {"building": round(above / total, 6), "edges": edge_digests(data)}


@lru_cache(maxsize=1)
def runtime_of(project: Project, year: int, sha256: str) -> Runtime:
    """The loaded model, kept between blocks; compiling it takes as long as a block of small imagery."""
    from groundplan.inference import runtime

    model = models.load(project, year)
    assert model.sha256 == sha256, "the model was replaced while its predictions were planned"
    settings = project.settings.predict
    return runtime.load(
        model.onnx,
        threads=project.workers,
        precision=settings.precision,
        views=settings.views,
        contract=model.contract,
    )


STEP: Step[Partition] = Step(
    name=DATASET,
    version=VERSION,
    plan=plan,
    make=make,
    describe=describe,
    scope=Scope.REGION,
    reads=(tiles.DATASET, models.DATASET),
    reads_around=(tiles.DATASET,),
    alone=True,
    automated=True,
    starts_when="new tiles, and a model; neighbours are done",
    work=Work(short="predictions", objects="block", of=tiles.DATASET),
    accelerator=True,
    about=About(
        title="Building probability, pixel by pixel",
        description="How sure the model is of a building, pixel by pixel: two bands per block, 0..255, building and "
        "edge between buildings. Windows overlap and read across block and region borders, so that no seam shows.",
        group="footprints",
        kinds=frozenset({"cog", "openvino"}),
        format=COG,
        page="docs/architecture.md",
        bands=(
            ("1 building", "uint8", "probability of a building, 0..255 for 0..1"),
            ("2 edge", "uint8", "probability of an edge between buildings, 0..255 for 0..1"),
        ),
    ),
)

"""Predictions: probability of a building for every pixel of every block.

Here: which block is predicted from what, and the block's probabilities on processors. Not here: the lattice of windows
(inference/sliding_window.py), blocks on a GPU (on_device.py).

Two bands, uint8, 0..255 for 0..1: building, and edge (where one building ends and another may begin).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from groundplan.core.grid import Block
from groundplan.core.manifest import Dataset, Planned, fingerprint, need_manifest, object_key
from groundplan.core.materialize import Cancellation, Output
from groundplan.core.partition import Partition
from groundplan.core.progress import counted
from groundplan.core.stopwatch import timed
from groundplan.footprints import on_device
from groundplan.imagery import tiles
from groundplan.imagery.regions import blocks_around
from groundplan.project import Project
from groundplan.raster import cog
from groundplan.raster.halo import edge_digests, halo_identity, open_with_halo
from groundplan.step import COG, About, Scope, Step, Work
from groundplan.training import models, torch_model

if TYPE_CHECKING:
    import numpy as np

    from groundplan.footprints.conveyed import Line
    from groundplan.inference.runtime import Runtime
    from groundplan.inference.sliding_window import Rows


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
            **({"skip_empty": True} if settings.skip_empty else {}),
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
    """The block's probabilities as a lossless COG: by the runtime that is asked for, or that there is."""
    block, near, sha256, year = planned.needs
    with _TURN:  # who comes second finds what the first has loaded
        line = _line(project, year, sha256)
    if line is not None:
        return on_device.make(line, project, block, near, planned.fingerprint, check)
    with _ground(project, block, near, check) as rows, _ALONE:  # what a bucket holds comes while another is predicted
        check()
        return _on_processors(project, planned, rows, check)


def _on_processors(project: Project, planned: Planned[Needs], rows: Rows, check: Cancellation) -> Output:
    """One block after the other; in memory are the rows of one row of windows, what was read, and the next block's."""
    from groundplan.inference.sliding_window import predict_rows

    block, _, sha256, year = planned.needs
    grid, settings = project.grid, project.settings.predict
    core = min(settings.core, grid.block_size)
    started = time.process_time()  # the runtime's own threads count too; one block is predicted at a time
    runtime = runtime_of(project, year, sha256)
    with timed("write"):
        high = grid.block_size + 2 * settings.margin
        predicted = _computed(predict_rows(runtime, _read(rows), high, core, settings.margin, check))
        with counted(f"rows of windows of {planned.name}", predicted, -(-grid.block_size // core)) as windows:
            data = cog.write_rows(
                windows,
                (2, grid.block_size, grid.block_size),
                grid.transform(block),
                grid.crs,
                cog.Encoding("deflate"),
                on_device.BANDS,
                {"GROUNDPLAN_FINGERPRINT": planned.fingerprint},
            )
    return Output(data, {"cpu_seconds": time.process_time() - started})


def _read(rows: Rows) -> Rows:
    def read(top: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
        with timed("read"):
            return rows(top, bottom)

    return read


def _computed(windows: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    while True:
        with timed("compute"):
            found = next(windows, None)
        if found is None:
            return
        yield found


@contextmanager
def _ground(project: Project, block: Block, near: dict[Block, str], check: Cancellation) -> Iterator[Rows]:
    """The block's rows with its neighbours': where "f16" is stated, read as a GPU's are, that both decide alike."""
    if project.settings.predict.precision == "f16":
        with timed("read"):
            canvas = on_device.whole_canvas(project, block, near, check)
        yield canvas
        return
    with ExitStack() as stack:
        with timed("read"):
            ground = stack.enter_context(
                open_with_halo(project.store, project.grid, block, project.settings.predict.margin, near)
            )
        yield ground.rows


def describe(data: bytes) -> Facts:
    above = total = 0
    for pixels in cog.in_rows(data):
        above, total = above + int((pixels[0] > 127).sum()), total + pixels[0].size
    return {"building": round(above / total, 6), "edges": edge_digests(data)}


_TURN, _ALONE = threading.Lock(), threading.Lock()
_LINES: dict[tuple[Project, int, str], Line | None] = {}  # the one in use


def _line(project: Project, year: int, sha256: str) -> Line | None:
    """The model on a device, kept between blocks; None where processors predict."""
    asked, key = project.settings.predict.runtime, (project, year, sha256)
    if torch_model.chosen_runtime(asked) == "openvino":
        return None
    if key not in _LINES:
        for old in filter(None, _LINES.values()):  # a device has no room for two
            old.close()
        _LINES.clear()
        model = models.load(project, year)
        on_it = torch_model.chosen_runtime(asked, model) == "torch"
        _LINES[key] = on_device.line_of(project, model) if on_it else None
    return _LINES[key]


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
        skip_empty=settings.skip_empty,
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
    at_once=on_device.blocks_in_hand,
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

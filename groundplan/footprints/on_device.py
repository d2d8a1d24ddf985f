"""Predictions of a project's blocks on a device: what of a store and a grid the conveyor asks for.

Here: blocks and their neighbours read from the store, how many are in hand, a block's output. Not here: which block is
predicted from what (predictions.py), the way of a block beside the device (conveyed.py).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from groundplan.core.grid import Block
from groundplan.core.materialize import Output
from groundplan.core.store import Store
from groundplan.errors import BadConfig
from groundplan.project import Project
from groundplan.raster.edges import DIRECTIONS, EDGE
from groundplan.training.torch_model import chosen_runtime, load_torch

if TYPE_CHECKING:
    import numpy as np

    from groundplan.footprints.conveyed import Line
    from groundplan.inference.sliding_window import Rows
    from groundplan.training.packed_model import Model

BANDS = ["building, 0..255 for 0..1", "edge, 0..255 for 0..1"]
MOST_BLOCKS, MOST_BYTES = 8, 4 * 2**30
"""In hand at once: enough to read, compute, code and store at the same time; and their memory, beside the device's."""
BYTES_PER_PIXEL = 7  # of a block in hand: imagery, mask, result with overviews


def blocks_in_hand(project: Project) -> int:
    """How many blocks are made at once: several on a device.

    On processors one is predicted, and where the store is no folder the next one is fetched meanwhile.
    """
    if chosen_runtime(project.settings.predict.runtime) == "openvino":
        return 2 if project.store.root is None else 1
    from groundplan.training.device import device

    if device() == "cpu":
        return 2
    return max(2, min(MOST_BLOCKS, MOST_BYTES // (BYTES_PER_PIXEL * project.grid.block_size**2)))


def line_of(project: Project, model: Model) -> Line:
    """A model on this machine's device, with what blocks share on their way.

    Raises ModelMismatch, MemoryError; BadConfig where windows are to be skipped: a device's graph runs them all.
    """
    from groundplan.core.kept_memory import keep_memory
    from groundplan.footprints.conveyed import Line
    from groundplan.inference.canvases import Lattice
    from groundplan.inference.conveyor import fitted
    from groundplan.raster.cog import TILE

    settings, size = project.settings.predict, project.grid.block_size
    if settings.skip_empty:
        reason = "torch runs every window, so a GPU would find what processors skip"
        raise BadConfig("predict.skip_empty", reason, "Set it to false, or predict.runtime to 'openvino'")
    keep_memory()
    runtime = load_torch(model, precision=settings.precision, views=settings.views)
    core = min(settings.core, size)
    cut = Lattice(block=size, core=core, margin=settings.margin, tile=TILE, edge=min(EDGE, size))
    return Line(
        conveyor=fitted(runtime, lambda each: replace(cut, core=min(each, size)), core, blocks_in_hand(project)),
        pool=ThreadPoolExecutor(max(2, project.workers), thread_name_prefix="tiles"),
    )


def make(
    line: Line, project: Project, block: Block, near: dict[Block, str], fingerprint: str, check: Callable[[], None]
) -> Output:
    """A block's probabilities, and all that is said of it. near: key of the block and of each neighbour there is."""
    from groundplan.footprints.conveyed import predict_block
    from groundplan.raster.coded_cog import placed

    grid = project.grid
    place = placed(grid.transform(block), grid.crs, BANDS, {"GROUNDPLAN_FINGERPRINT": fingerprint})
    coded = predict_block(line, stored_input(project, block, near), place, check)
    facts = {"building": coded.building, "edges": coded.edges, "cpu_seconds": line.meter.since()}
    return Output(coded.data, facts, described=True)


def stored_input(project: Project, block: Block, near: dict[Block, str]) -> StoredInput:
    """A block as the project's precision has it read; near: key of the block and of each neighbour there is."""
    keys = {"": near[block]}
    for direction, (dx, dy) in DIRECTIONS.items():
        beside = Block(block.col + dx, block.row + dy)
        if beside in near:
            keys[direction] = near[beside]
    return StoredInput(project.store, keys, turbo=project.settings.predict.precision in ("f16", "auto"))


def whole_canvas(project: Project, block: Block, near: dict[Block, str], check: Callable[[], None]) -> Rows:
    """A block and its neighbours' edges, read as on a device, for processors; all of it in memory."""
    import numpy as np

    from groundplan.footprints.conveyed import Edges, fill_canvas

    margin, n = project.settings.predict.margin, project.grid.block_size
    canvas = np.zeros((n + 2 * margin, n + 2 * margin, len(project.settings.imagery.bands)), np.uint8)
    valid = np.ones(canvas.shape[:2], bool)  # around the block, ground without imagery is 0 already
    given = stored_input(project, block, near)
    with ThreadPoolExecutor(max(2, project.workers), thread_name_prefix="tiles") as pool:
        mask = fill_canvas(canvas, n, margin, given, pool, Edges(most=0), check)
    if mask is not None:
        valid[margin : margin + n, margin : margin + n] = mask
    return lambda top, bottom: (canvas[top:bottom].transpose(2, 0, 1), valid[top:bottom])


@dataclass(frozen=True)
class StoredInput:
    """A block of a store and what lies around it. keys: by direction, the block's own under "".

    turbo: JPEG by libjpeg-turbo, twice as fast as by GDAL, and to pixels that differ a little: enough to move one or
    two of a thousand pixels over a threshold. So the stated precision says which it is, on every device; "auto" leaves
    that to the device, as it does the width of numbers.
    """

    store: Store
    keys: dict[str, str]
    turbo: bool = True

    def own(self, out: np.ndarray, pool: Executor, check: Callable[[], None]) -> np.ndarray | None:
        from groundplan.raster import cog
        from groundplan.raster.jpeg_tiles import BEGIN, parse, read_into
        from groundplan.raster.rows_ahead import read_ahead

        key, (high, wide) = self.keys[""], out.shape[:2]
        block = parse(self.store.begin(key, BEGIN)[1]) if self.turbo and out.shape[2] == 3 else None
        if block is not None:
            with read_ahead(block, partial(self.store.part, key)) as part:
                return read_into(block, part, (0, 0, wide, high), out, pool, check, self.store.uri(key))
        with cog.damage_named(self.store.uri(key)):
            pixels, mask = cog.read(self.store.get(key))
        out[:] = (pixels * mask).transpose(1, 2, 0)
        return None if mask.all() else mask

    def around(self, direction: str, window: tuple[int, int, int, int], pool: Executor) -> np.ndarray | None:
        import numpy as np

        from groundplan.raster.cog import read_object
        from groundplan.raster.jpeg_tiles import BEGIN, parse, read_into

        key = self.keys.get(direction)
        if key is None:
            return None
        block = parse(self.store.begin(key, BEGIN)[1]) if self.turbo else None
        if block is None:
            pixels, mask = read_object(self.store, key, window)
            return np.ascontiguousarray((pixels * mask).transpose(1, 2, 0))
        out = np.zeros((window[3], window[2], 3), np.uint8)
        read_into(block, partial(self.store.part, key), window, out, pool, name=self.store.uri(key))
        return out

    def identity(self, direction: str) -> str:
        return self.keys.get(direction, "")

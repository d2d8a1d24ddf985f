"""What processors do beside a GPU that predicts, with the device's work left out: no GPU is needed.

    python -m benchmarks.conveyor [--image FILE] [--blocks 8] [--threads 2] [--small]

Blocks of 8192 px as in benchmarks.gpu, COG to stored COG; the device "answers" at once, always the same probabilities,
which the starter model gave for a part of the ground. Processor seconds per MPx, of which the system's own (new memory,
files), and how long a thread that does nothing else waits for Python's lock.
Bound by: decoding and coding. No bar: what is good enough, a GPU says (benchmarks.gpu).
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from benchmarks.common import arguments, show
from benchmarks.gpu import MARGIN, TILE, Country, Row, country, mirrored, picture, waiting
from groundplan import starter
from groundplan.core.kept_memory import keep_memory
from groundplan.footprints import conveyed
from groundplan.inference.canvases import Lattice, Predicted, Slot
from groundplan.inference.conveyor import Conveyor
from groundplan.inference.sliding_window import predict_canvas
from groundplan.raster.coded_cog import ZSTD, Level, pieces
from groundplan.raster.edges import EDGE


class NoDevice:
    """A runtime that has nothing to do."""

    device, step, bands = "cpu", 1, 3

    def ready(self, count: int, high: int, wide: int, margin: int = 0) -> Any:
        import torch

        from groundplan.inference.torch_runtime import Captured

        nothing = torch.zeros((count, 2, 1, 1), dtype=torch.uint8)
        return Captured(windows=nothing, said=nothing, run=lambda: None)


def answer(image: np.ndarray, side: int, predicted: int) -> np.ndarray:
    """uint8 (2, side, side): of a part of the ground by the starter model, mirrored on and on."""
    from groundplan.training.packed_model import unpack
    from groundplan.training.torch_model import load_torch

    runtime = load_torch(unpack(starter.FILE.read_bytes()), precision="f32", device="cpu")
    across = mirrored(0, predicted + 2 * MARGIN, min(image.shape[:2]))
    canvas = np.ascontiguousarray(image[across[:, None], across].transpose(2, 0, 1))
    part = predict_canvas(runtime, canvas, np.ones(canvas.shape[1:], bool), min(512, predicted), MARGIN)
    there = mirrored(0, side, predicted)
    return np.ascontiguousarray(part[:, there[:, None], there])


@contextmanager
def line_of(given: argparse.Namespace, said: np.ndarray, pool: ThreadPoolExecutor) -> Iterator[conveyed.Line]:
    """Blocks' way beside a device whose answers are there already."""
    import torch

    cut = Lattice(block=given.size, core=min(2048, given.size), margin=MARGIN, tile=TILE, edge=min(EDGE, given.size))
    conveyor = Conveyor(NoDevice(), cut, given.slots, 1, at_once=True)  # type: ignore[arg-type]
    for slot in list(conveyor._free.queue):
        slot.device["result"][:, : given.size, : given.size] = torch.from_numpy(said)
        conveyor._made(slot)
        slot.host["made"].copy_(slot.device["made"])
        slot.whole = lambda: None
    with (
        patch.object(conveyor, "_bring", lambda slot: None),
        patch.object(conveyor, "_back", lambda job: job.done.set_result(None)),
    ):
        line = conveyed.Line(conveyor=conveyor, pool=pool)
        yield line
        conveyor.close()


def measured(name: str, work: Callable[[], Any], area: float) -> Row:
    """A row of the table: area in MPx."""
    before, clock = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    with waiting() as waits:
        work()
    wall, after = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_SELF)
    system = after.ru_stime - before.ru_stime
    used = after.ru_utime - before.ru_utime + system
    wait = 1e6 * float(np.mean(waits)) if waits else 0.0
    faults = (after.ru_minflt - before.ru_minflt) / area
    return name, 1e3 * used / area, 1e3 * system / area, faults, wait, area / wall


def parts(line: conveyed.Line, ground: Country, folder: Path, given: argparse.Namespace) -> list[Row]:
    """The whole, and each piece of work by itself."""
    area, cut, times = given.size**2 / 1e6, line.conveyor.ground, min(3, given.blocks)
    slot: Slot = line.conveyor._free.queue[0]
    levels, edges = ([one.numpy() for one in slot.host[name]] for name in ("levels", "edges"))
    said = Predicted(levels=levels, edges=edges, building=0)
    tiles: list[Level] = []

    def one(number: int) -> None:
        coded = conveyed.predict_block(line, ground.block(number), {})
        (folder / f"out-{number % 16}.tif").write_bytes(coded.data)

    def whole() -> None:
        with ThreadPoolExecutor(given.slots) as hands:
            list(hands.map(one, range(given.blocks)))

    def code() -> None:
        tiles[:] = [Level(n, conveyed.coded(t, line.pool)) for n, t in zip(cut.levels(), said.levels, strict=True)]

    def file() -> None:
        line.files.joined(pieces(tiles, 2, TILE, ZSTD, {}))

    one(0)  # not counted: libraries load what they need
    line.edges.forget()
    rows = [measured("all of it, COG to stored COG", whole, given.blocks * area)]
    works: dict[str, Callable[[], Any]] = {
        "decode, with neighbours' edges": lambda: conveyed._fill(slot, cut, ground.block(0), line, lambda: None),
        "code": code,
        "join to a file": file,
        "digests of edges": lambda: conveyed.digests(said, cut),
    }
    for name, work in works.items():
        rows.append(measured(name, lambda work=work: [work() for _ in range(times)], times * area))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, help="a picture at 0.15 m instead of the drawn town")
    parser.add_argument("--size", type=int, default=8192, help="pixels of a block's side")
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--distinct", type=int, default=4, help="files that the blocks are")
    parser.add_argument("--slots", type=int, default=3, help="blocks in hand at once")
    parser.add_argument("--threads", type=int, default=max(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--predicted", type=int, default=1024, help="pixels of the side that the model looks at")
    given = arguments(parser, size=1024, blocks=2, distinct=1, slots=2, predicted=256)
    kept = keep_memory()
    cv2.setNumThreads(1)
    image = picture(given.image, min(4096, given.size))
    said = answer(image, given.size, given.predicted)
    with (
        ThreadPoolExecutor(given.threads) as pool,
        country(given, pool) as ground,
        line_of(given, said, pool) as line,
    ):
        rows = parts(line, ground, ground.files[0].parent, given)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    named = given.image.name if given.image else "drawn ground"
    notes = [
        f"{given.blocks} blocks of {given.size} px, {given.threads} threads, {given.slots} blocks in hand",
        f"{named}; peak {peak} MiB, memory {'is' if kept else 'not'} kept",
    ]
    columns = ("work", "cpu-ms / MPx", "system's", "page faults / MPx", "wait for the lock, us", "MPx / s (wall)")
    show("Beside a GPU", columns, rows, notes)


if __name__ == "__main__":
    main()

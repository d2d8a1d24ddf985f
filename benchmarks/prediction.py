"""Prediction: useful megapixels per processor-second of a canvas, beside the bare network and a naive script.

    python -m benchmarks.prediction [--size 2048] [--repeats 3] [--threads N] [--image FILE] [--model FILE] [--small]

The same exported network for all: by default the default encoder with random weights from a seed and 60 steps on an
invented town, so that its mask is one; or the `model.onnx` or the zip of a trained model.
Against: the bare forward rate (same graph, same window size, windows already cut, seen once), divided by the overlap
factor ((core + 2 margin) / core)^2 and by the views of a window: the most that any cutting into such windows can reach;
and the naive script (torch eager float32, batch 1, 512 windows at stride 384, normalised on the host), where torch is
installed.
Bars: what new projects have ("auto", a second view by need) at least 3 times the naive script, 95 % of its wall time in
the forward pass.
Bound by: the forward pass. What is lost besides is overlap and views, so the table shows cores of 512 and 2048, and one
view, too.
Agreement of bfloat16 with float32: share of pixels on the same side of 0.5, and differences of 255.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import arguments, clock, medians, show
from benchmarks.ground import part, picture, trained
from benchmarks.peers import STRIDE, WINDOW, torch_windows
from groundplan.config import PredictSettings
from groundplan.inference.precision import Precision
from groundplan.inference.runtime import OpenVinoRuntime, Runtime, load
from groundplan.inference.second_view import BUDGET, Views
from groundplan.inference.sliding_window import predict_canvas

FIXED: tuple[Precision, ...] = ("f32", "bf16")
AUTO: Precision = "auto"
NEED: Views = "unsure"
WIDE = 2048  # core of new projects (config/sources.py), where blocks are as large
PRECISIONS = (*FIXED, AUTO)
TIMES, FORWARD = 3.0, 0.95  # bars: against the naive script, and share of wall time in the forward pass


def bare(runtime: Runtime, image: np.ndarray, core: int, margin: int) -> Callable[[], None]:
    """As many windows as the canvas needs, without cutting or pasting."""
    window = np.ascontiguousarray(image[:, : core + 2 * margin, : core + 2 * margin])
    count = ((image.shape[1] - 2 * margin) // core) ** 2

    def work() -> None:
        for _ in range(count):
            runtime.predict(window)

    return work


def graph(file: Path | None, steps: int) -> tuple[dict[str, Any] | None, bytes]:
    """Weights for torch, where there are any, and the graph."""
    if file is None:
        return trained(steps)
    if file.suffix == ".onnx":
        return None, file.read_bytes()
    from groundplan.training.models import unpack

    return None, unpack(file.read_bytes()).onnx


def agreement(exact: np.ndarray, fast: np.ndarray) -> list[str]:
    gap = np.abs(exact.astype(np.int16) - fast)
    return [
        f"bf16 against f32, {name}: {((a > 127) == (b > 127)).mean():.3%} of pixels on the same side of 0.5 "
        f"({(a > 127).mean():.1%} above it in f32), difference mean {g.mean():.2f}, max {g.max()} of 255"
        for name, a, b, g in zip(("building", "edge"), exact, fast, gap, strict=True)
    ]


ROLES: dict[tuple[Precision, Views], str] = {("f32", 2): " (unset)", (AUTO, NEED): " (new)"}


def bars(
    runtime: OpenVinoRuntime, image: np.ndarray, mask: np.ndarray, core: int, margin: int, rate: dict[str, float]
) -> list[str]:
    """Of what new projects have: the rate against the naive script, and the share of its time in the forward pass."""
    spent: list[float] = []

    class Timed:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def infer(self, given: Any) -> Any:
            begin = time.perf_counter()
            said = self.inner.infer(given)
            spent.append(time.perf_counter() - begin)
            return said

    class Compiled:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def create_infer_request(self) -> Timed:
            return Timed(self.inner.create_infer_request())

    watched = replace(runtime, _ready={}, _compile=lambda shaped: Compiled(runtime._compile(shaped)))
    for _ in range(2):  # the first compiles
        spent.clear()
        cost = clock(lambda: predict_canvas(watched, image, mask, core, margin))
    share = sum(spent) / cost.wall
    lines = [f"bar: share of wall time in the forward pass: {share:.3f} ({FORWARD}), {met(share >= FORWARD)}"]
    if "naive" in rate:
        times = rate[str((AUTO, NEED, core))] / rate["naive"]
        lines.append(f"bar: new projects against the naive script: {times:.2f} ({TIMES}), {met(times >= TIMES)}")
    return lines


def met(fits: bool) -> str:
    return "met" if fits else "not met"


def main() -> None:
    default = PredictSettings()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048, help="pixels of the canvas's side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--margin", type=int, default=default.margin)
    parser.add_argument("--views", type=int, choices=(1, 2, 4, 8), default=default.views)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=60, help="training steps of the network, 0 for none")
    parser.add_argument("--image", type=Path, help="a 3-band file instead of the invented town")
    parser.add_argument("--model", type=Path, help="model.onnx or the zip of a trained model")
    given = arguments(parser, size=512, repeats=1, steps=1)

    size, margin = given.size, given.margin
    state, onnx = graph(given.model, given.steps)
    image = part(picture(given.image), 0, 0, size + 2 * margin, size + 2 * margin)
    mask = np.ones(image.shape[1:], bool)
    views: list[Views] = sorted({1, given.views})
    runtimes = {
        (name, view): load(onnx, threads=given.threads, precision=name, views=view)
        for name in PRECISIONS
        for view in (*views, NEED)
    }
    cores = sorted(core for core in {512, default.core, WIDE} if size % core == 0)
    first, new = default.core if default.core in cores else cores[-1], cores[-1]
    cases: list[tuple[Precision, Views, int]] = [(name, 1, core) for name in FIXED for core in cores]
    cases += [(name, view, first) for name in FIXED for view in (*views[1:], NEED)]
    cases += [(AUTO, view, core) for core in sorted({first, new}) for view in (*views, NEED)]
    results: dict[tuple[str, Views, int], np.ndarray] = {}
    works: dict[str, Callable[[], None]] = {}

    def canvas(name: Precision, view: Views, core: int) -> None:
        results[name, view, core] = predict_canvas(runtimes[name, view], image, mask, core, margin)

    for case in cases:
        works[str(case)] = partial(canvas, *case)
        runtime, side = runtimes[case[0], case[1]], case[2] + 2 * margin
        runtime.predict(np.zeros((runtime.bands, side, side), np.uint8))  # compiling is not the work
    for name in PRECISIONS:
        works[name] = bare(runtimes[name, 1], image, first, margin)
    sample = min(4, ((size - WINDOW) // STRIDE + 1) ** 2)
    if state is not None:
        works["naive"] = torch_windows(state, image, sample, given.threads)
        clock(works["naive"])
    cost = medians(given.repeats, **works)

    area = {name: (sample * STRIDE**2 if name == "naive" else size**2) / 1e6 for name in works}
    rate = {name: area[name] / seconds.cpu for name, seconds in cost.items()}
    wall = {name: area[name] / seconds.wall for name, seconds in cost.items()}
    times = {name: f"{rate[name] / rate['naive']:.1f}" if state is not None else "-" for name in works}
    rows: list[tuple[Any, ...]] = []
    for name, view, core in sorted(cases, key=lambda case: (PRECISIONS.index(case[0]), str(case[1]), case[2])):
        key, factor = (
            str((name, view, core)),
            ((core + 2 * margin) / core) ** 2 * (1 + BUDGET if view == NEED else view),
        )
        forward = rate[name] * ((first + 2 * margin) / first) ** 2  # of windows' pixels, overlap included
        title = f"{name}, core {core} + margin {margin}, views {view}"
        title += ROLES.get((name, view), "") if core == (new if name == AUTO else first) else ""
        reached = f"{rate[key] * factor / forward:.2f}"
        rows.append((title, rate[key], forward, f"{factor:.2f}", reached, times[key], wall[key]))
    if state is not None:
        slow, factor = rate["naive"], (WINDOW / STRIDE) ** 2
        rows.append(("naive torch f32", slow, slow * factor, f"{factor:.2f}", "", "1.0", wall["naive"]))
    what = given.model.name if given.model else f"default encoder, random weights, {given.steps} steps on the town"
    notes = agreement(*(results[name, views[-1], first] for name in FIXED))
    narrow = runtimes[AUTO, 1].metadata["precision"]
    notes.append(f"auto is {narrow} here, of a rearranged graph; unsure: up to {1 + BUDGET} views")
    notes += bars(runtimes[AUTO, NEED], image, mask, new, margin, rate)
    notes.append(f"median of {given.repeats}, {given.threads} threads, canvas {size} px; network: {what}")
    columns = ("work", "MPx / cpu-s", "forward", "overlap x views", "of forward / that", "x naive", "wall MPx / s")
    show("Prediction: useful MPx per processor-second", columns, rows, notes)


if __name__ == "__main__":
    main()

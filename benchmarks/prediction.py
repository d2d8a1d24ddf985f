"""Prediction: useful megapixels per processor-second of a canvas, beside the bare network and a naive script.

    python -m benchmarks.prediction [--size 2048] [--repeats 3] [--threads N] [--image FILE] [--model FILE]

The same exported network for all: by default the default encoder, random weights from a seed, 60 steps on an invented
town, so that its mask is one; or the `model.onnx` or the zip of a trained model.
Against: the bare forward rate (same runtime, same window size, windows already cut), and that rate divided by the
overlap factor ((core + 2 margin) / core)^2, which is the most that any cutting into such windows can reach; the naive
script (torch eager float32, batch 1, 512 windows at stride 384, normalised on the host), where torch is installed.
Bound by: the forward pass. What is lost besides is overlap, so the table shows cores of 512 and 2048 too.
Agreement of bfloat16 with float32: share of pixels on the same side of 0.5, and differences of 255.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import clock, medians, part, picture, settings, show, trained
from groundplan.config import PredictSettings
from groundplan.runtime import Runtime, load, predict_canvas

WINDOW, STRIDE = 512, 384  # the naive script's


def naive(state: dict[str, Any], image: np.ndarray, windows: int, threads: int) -> Callable[[], None]:
    """`windows` windows as scripts run them; each brings STRIDE x STRIDE pixels that count."""
    import torch

    from groundplan import network

    torch.set_num_threads(threads)
    whole = network.load_state(state, settings())
    normalise, unet = whole[0], whole[1]
    scale, shift = normalise.weight.detach().numpy().reshape(-1, 1, 1), normalise.bias.detach().numpy().reshape(-1, 1, 1)
    across = max(1, (image.shape[2] - WINDOW) // STRIDE + 1)

    def work() -> None:
        for index in range(windows):
            top, left = index // across * STRIDE, index % across * STRIDE
            window = image[:, top : top + WINDOW, left : left + WINDOW].astype(np.float32) * scale + shift
            with torch.no_grad():
                torch.sigmoid(unet(torch.from_numpy(window)[None]))[0].numpy()

    return work


def bare(runtime: Runtime, image: np.ndarray, core: int, margin: int) -> Callable[[], None]:
    """As many windows as the canvas needs, without cutting or pasting."""
    side = core + 2 * margin
    window = np.ascontiguousarray(image[:, :side, :side])
    count = ((image.shape[1] - 2 * margin) // core) ** 2

    def work() -> None:
        for _ in range(count):
            runtime.predict(window)

    return work


def graph(file: Path | None, steps: int) -> tuple[dict[str, Any] | None, bytes]:
    if file is None:
        return trained(steps)
    if file.suffix == ".onnx":
        return None, file.read_bytes()
    from groundplan.models import unpack

    return None, unpack(file.read_bytes()).onnx


def agreement(exact: np.ndarray, fast: np.ndarray) -> list[str]:
    gap = np.abs(exact.astype(np.int16) - fast)
    return [
        f"bf16 against f32, {name}: {((a > 127) == (b > 127)).mean():.3%} of pixels on the same side of 0.5 "
        f"({(a > 127).mean():.1%} above it in f32), difference mean {g.mean():.2f}, max {g.max()} of 255"
        for name, a, b, g in zip(("building", "edge"), exact, fast, gap, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048, help="pixels of the canvas's side, a multiple of 2048 for all rows")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--margin", type=int, default=PredictSettings().margin)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=60, help="training steps of the network, 0 for none")
    parser.add_argument("--image", type=Path, help="a 3-band file instead of the invented town")
    parser.add_argument("--model", type=Path, help="model.onnx or the zip of a trained model")
    given = parser.parse_args()
    core, margin = PredictSettings().core, given.margin

    state, onnx = graph(given.model, given.steps)
    image = part(picture(given.image), 0, 0, *[given.size + 2 * margin] * 2)
    mask = np.ones(image.shape[1:], bool)
    runtimes = {precision: load(onnx, threads=given.threads, precision=precision) for precision in ("f32", "bf16")}
    results: dict[str, np.ndarray] = {}
    works: dict[str, Callable[[], None]] = {}

    def canvas(name: str, core: int) -> Callable[[], None]:
        def work() -> None:
            results[f"{name}-{core}"] = predict_canvas(runtimes[name], image, mask, core, margin)

        return work

    cores = sorted(side for side in {512, core, 2048} if given.size % side == 0)
    first = core if core in cores else cores[0]
    for name, runtime in runtimes.items():
        works[f"bare-{name}"] = bare(runtime, image, first, margin)
        works |= {f"{name}-{side}": canvas(name, side) for side in cores}
        for side in cores:  # compiling a window size is not the work
            runtime.predict(np.zeros((runtime.bands, *[side + 2 * margin] * 2), np.uint8))
    sample = min(4, ((given.size - WINDOW) // STRIDE + 1) ** 2)
    if state is not None:
        works["naive"] = naive(state, image, sample, given.threads)
        clock(works["naive"])
    cost = medians(given.repeats, **works)

    area = given.size**2 / 1e6
    useful = {name: area / seconds.cpu for name, seconds in cost.items()}
    wall = {name: area / seconds.wall for name, seconds in cost.items()}
    if state is not None:
        done = sample * STRIDE**2 / 1e6
        useful["naive"], wall["naive"] = done / cost["naive"].cpu, done / cost["naive"].wall
    base = useful.get("naive")
    rows: list[tuple[Any, ...]] = []
    for name in runtimes:
        for side in cores:
            factor = ((side + 2 * margin) / side) ** 2
            rate = useful[f"bare-{name}"] * ((first + 2 * margin) / first) ** 2  # of windows' pixels, overlap included
            key = f"{name}-{side}"
            rows.append((
                f"{name}, core {side} + margin {margin}" + (" (default)" if side == first else ""), useful[key], rate,
                f"{factor:.2f}", f"{useful[key] / (rate / factor):.2f}",
                f"{useful[key] / base:.1f}" if base else "-", wall[key],
            ))  # fmt: skip
    if base:
        rows.append((f"naive: torch f32, {WINDOW} windows, stride {STRIDE}", base, "", f"{(WINDOW / STRIDE) ** 2:.2f}",
                     "", "1.0", wall["naive"]))  # fmt: skip
    notes = agreement(results[f"f32-{first}"], results[f"bf16-{first}"])
    what = given.model.name if given.model else f"default encoder, random weights, {given.steps} steps on the town"
    notes.append(f"median of {given.repeats}, {given.threads} threads, canvas {given.size} px; network: {what}")
    show("Prediction: useful MPx per processor-second",
         ("work", "MPx / cpu-s", "bare forward", "overlap factor", "share of bare / factor", "x naive", "MPx / s wall"),
         rows, notes)  # fmt: skip


if __name__ == "__main__":
    main()

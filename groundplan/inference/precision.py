"""Precision: in which numbers a network is computed, and on processors which of them is the faster.

Here: the words, OpenVINO's properties for each, the trial at a runtime's start. Not here: loading (runtime.py), the
rearranged graph (rearranged.py), what each costs in accuracy (benchmarks/decisions.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from groundplan.inference.rearranged import rearrange

if TYPE_CHECKING:
    import openvino as ov

Precision = Literal["f32", "bf16", "f16", "auto"]
"""What of a device is part of a result's fingerprint. A processor computes "f16" in float32; "auto" is what a device
does fastest: float16 on a GPU, on processors a rearranged graph in bfloat16 or float32."""
TRIAL = 256
"""Pixels of the side of the window that is tried, or the network's step."""
ROUNDS = 3
WORTH = 1.2
"""How many times as fast bfloat16 must be to be taken: it decides some of a thousand pixels otherwise."""
SAME = 1
"""Levels of 255 by which a rearranged graph may differ: its sums are the same but for their order."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a graph is computed on this processor."""

    precision: Literal["f32", "bf16"]
    rearranged: bool = False

    def compile(self, core: ov.Core, shaped: ov.Model, threads: int) -> Any:
        """A graph of fixed sizes, which this may change."""
        if self.rearranged:
            rearrange(shaped)
        properties = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": self.precision,
            "ENABLE_CPU_PINNING": False,  # several runs on one node would be pinned to the same cores
        }
        return core.compile_model(shaped, "CPU", properties)


_FOUND: dict[tuple[str, int], Way] = {}  # by graph and threads: tried once in a process


def fastest(core: ov.Core, model: ov.Model, shape: tuple[int, int], threads: int, name: str) -> Way:
    """The fastest way of a network on this processor, by a trial of a second or two, once in a process.

    shape: its bands and step. name: what the graph is known by. It is rearranged where that gives the same answers;
    float32 where the processor has no bfloat16, and where that is less than WORTH times as fast. Processor-seconds
    count, so that other work does not decide.
    """
    if (name, threads) not in _FOUND:
        same = _same_when_rearranged(core, model, shape, threads)
        plain, narrow = Way("f32", same), Way("bf16", same)
        has = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        worth = has and gain(core, model, shape, threads, (plain, narrow)) >= WORTH
        _FOUND[name, threads] = narrow if worth else plain
    return _FOUND[name, threads]


def gain(core: ov.Core, model: ov.Model, shape: tuple[int, int], threads: int, ways: tuple[Way, Way]) -> float:
    """How many times as fast the second way is as the first: the best of ROUNDS each, in turns."""
    window = _window(shape)
    ready = [_ready(core, model, window, threads, way) for way in ways]
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for number, request in enumerate(ready):
            begin = time.process_time()
            request.infer({0: window})
            best[number] = min(best[number], time.process_time() - begin)
    return best[0] / max(best[1], 1e-9)


def _same_when_rearranged(core: ov.Core, model: ov.Model, shape: tuple[int, int], threads: int) -> bool:
    window = _window(shape)
    said = [
        _ready(core, model, window, threads, Way("f32", rearranged)).infer({0: window})[0].astype(np.int16)
        for rearranged in (False, True)
    ]
    return bool(np.abs(said[0] - said[1]).max() <= SAME)


def _window(shape: tuple[int, int]) -> np.ndarray:
    bands, step = shape
    side = -(-TRIAL // step) * step
    return np.random.default_rng(0).integers(0, 256, (1, bands, side, side), np.uint8)


def _ready(core: ov.Core, model: ov.Model, window: np.ndarray, threads: int, way: Way) -> Any:
    """A request that has run once: the first prepares."""
    shaped = model.clone()
    shaped.reshape(list(window.shape))
    request = way.compile(core, shaped, threads).create_infer_request()
    request.infer({0: window})
    return request

"""Precision: in which numbers a network is computed, and on processors which of them is the faster.

Here: the words, OpenVINO's properties for each, the trial at a runtime's start. Not here: loading (runtime.py), what
each costs in accuracy (benchmarks/decisions.py).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import openvino as ov

Precision = Literal["f32", "bf16", "f16", "auto"]
"""What of a device is part of a result's fingerprint. A processor computes "f16" in float32; "auto" is what a device
does best: float16 on a GPU, on processors bfloat16 or float32."""
TRIAL = 256
"""Pixels of the side of the window that is tried, or the network's step."""
ROUNDS = 3
WORTH = 1.2
"""How many times as fast bfloat16 must be to be taken: it decides a few of a thousand pixels otherwise."""
_FOUND: dict[tuple[int, int, int], Literal["f32", "bf16"]] = {}  # by bands, step and threads: once in a process


def properties_of(precision: Literal["f32", "bf16"], threads: int) -> dict[str, Any]:
    """How a graph is compiled for the processor."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_CPU_PINNING": False,  # several runs on one node would be pinned to the same cores
    }


def faster(core: ov.Core, model: ov.Model, shape: tuple[int, int], threads: int) -> Literal["f32", "bf16"]:
    """The faster of both for a network on this processor, by a trial of a second or two, once in a process.

    shape: its bands and step. float32 without a trial where the processor has no bfloat16, and where the trial shows
    bfloat16 to be less than WORTH times as fast. It counts processor-seconds, so that other work does not decide.
    """
    key = (*shape, threads)
    if key not in _FOUND:
        has = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        _FOUND[key] = "bf16" if has and gain(core, model, shape, threads) >= WORTH else "f32"
    return _FOUND[key]


def gain(core: ov.Core, model: ov.Model, shape: tuple[int, int], threads: int) -> float:
    """How many times as fast bfloat16 is as float32: the best of ROUNDS each, in turns."""
    bands, step = shape
    side = -(-TRIAL // step) * step
    window = np.random.default_rng(0).integers(0, 256, (1, bands, side, side), np.uint8)
    ready: dict[str, Any] = {}
    for name in ("f32", "bf16"):
        fixed = model.clone()
        fixed.reshape([1, bands, side, side])
        ready[name] = core.compile_model(fixed, "CPU", properties_of(name, threads)).create_infer_request()  # type: ignore[arg-type]
        ready[name].infer({0: window})  # the first prepares
    best = dict.fromkeys(ready, float("inf"))
    for _ in range(ROUNDS):
        for name, request in ready.items():
            begin = time.process_time()
            request.infer({0: window})
            best[name] = min(best[name], time.process_time() - begin)
    return best["f32"] / max(best["bf16"], 1e-9)

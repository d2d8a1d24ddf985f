"""Device: where training computes, and in which precision.

Here: asking the machine. Not here: the loop (loop.py).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


MOST_HANDS = 8


def idle_threads() -> None:
    """Passive OpenMP waiting, before torch: where jobs shared two cores, a step took 4 s instead of 15."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def device() -> str:
    """Device that networks are trained on: the first GPU, else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def hands() -> int:
    """Threads that make a training's crops: one beside a CPU, which needs its cores itself; for a GPU all but one."""
    return 1 if device() == "cpu" else max(1, min(MOST_HANDS, len(os.sched_getaffinity(0)) - 1))


def repeatable(target: str) -> contextlib.AbstractContextManager[Any]:
    """Within this a GPU takes no kernels whose sums change from run to run: a resumed training ends in the same bytes.

    Of the network's own operations those of cuDNN alone have such kernels; on a CPU none has.
    """
    import torch

    if target == "cpu":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True)


def half_precision(target: str) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision: bfloat16 where the hardware computes with it (no loss scaling needed), else float32."""
    import torch

    able = torch.cuda.is_bf16_supported() if target == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(target, dtype=torch.bfloat16) if able else contextlib.nullcontext()

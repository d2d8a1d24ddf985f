"""Device: where training computes, and in which precision.

Here: asking the machine. Not here: the loop (loop.py).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


def idle_threads() -> None:
    """Let waiting threads sleep instead of spin (where jobs shared two cores: 4 s a step, not 15). Before torch."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def device() -> str:
    """Where networks are trained: the first GPU, else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def half_precision(target: str) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 where the hardware computes with it (no loss scaling needed), else float32."""
    import torch

    able = torch.cuda.is_bf16_supported() if target == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(target, dtype=torch.bfloat16) if able else contextlib.nullcontext()

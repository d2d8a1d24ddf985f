"""Measured rates of prediction that are shipped: on processors by precision and views, and on a GPU.

Here: figures, each with machine, command and date, for whoever has measured nothing yet. Not here: the other steps'
costs and what a project's manifests say (costs.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from groundplan.training.models import FINEST

Views = Literal[1, 2, 4, 8, "unsure"]

FORWARD = (0.158, 1.772)
"""Prediction is not only the network: processor seconds per megapixel of grid, and per megapixel that the network sees.

Measured at 0.25, 0.20, 0.15 and 0.08 m; their ratio carries a prediction to another resolution: at 8 cm the network
sees 0.16 pixels per grid pixel.
"""
BY_NEED = 1.3  # views of a window that is seen again where the first view is unsure: the most that it may cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Useful megapixels of grid per processor second, or per second of a GPU, and where they were measured.

    resolution, network: metres per pixel of the grid, and of what the network saw. views: those of a window.
    """

    megapixels: float
    resolution: float
    network: float
    views: Views
    machine: str
    command: str
    date: str

    def __str__(self) -> str:
        where = f"{self.resolution:g} m, network at {self.network:g} m"
        return (
            f"{self.megapixels:g} MPx/s at {where}, views: {self.views}; {self.machine}; `{self.command}`, {self.date}"
        )


def _on_core(megapixels: float, views: Views, options: str = "--repeats 2") -> Rate:
    return Rate(
        megapixels=megapixels,
        resolution=0.25,
        network=0.25,
        views=views,
        machine="core of AMD family 25 model 17, avx512_bf16",
        command=f"python -m benchmarks.prediction {options}",
        date="2026-11-28",
    )


PROCESSORS: Mapping[tuple[str, Views], Rate] = {
    ("f32", 1): _on_core(0.766, 1),
    ("f32", 2): _on_core(0.384, 2),
    ("f32", "unsure"): _on_core(0.599, "unsure"),
    ("bf16", 1): _on_core(1.57, 1),
    ("bf16", 2): _on_core(0.790, 2),
    ("bf16", "unsure"): _on_core(1.24, "unsure"),
    ("auto", 1): _on_core(2.30, 1, "--size 4096 --repeats 2"),
    ("auto", 2): _on_core(1.24, 2, "--size 4096 --repeats 2"),
    ("auto", "unsure"): _on_core(2.02, "unsure", "--size 4096 --repeats 2"),
}
"""By `predict.precision` and `predict.views`, per processor second. "auto", in windows that keep 2048 pixels, as new
projects have both, was bfloat16, of a rearranged graph; the others keep 1024."""


def _on_gpu(megapixels: float) -> Rate:
    return Rate(
        megapixels=megapixels,
        resolution=0.15,
        network=0.20,
        views=1,
        machine="one NVIDIA H200 with 16 processors, float16",
        command="python -m benchmarks.gpu --image town.jpg",
        date="2026-11-28",
    )


GPU_WHOLE, GPU_NETWORK = _on_gpu(381.0), _on_gpu(797.0)
"""From COG blocks to stored COGs, where the machine's processors bind; and the network alone."""


def seen(resolution: float, network: float) -> float:
    """Pixels that the network sees for each of the grid. network: 0 for what is chosen by itself."""
    return (resolution / (network or max(resolution, FINEST))) ** 2


def forward(resolution: float, network: float) -> float:
    """Processor seconds of a megapixel of grid, up to a factor."""
    return FORWARD[0] + FORWARD[1] * seen(resolution, network)


def on_processors(precision: str, views: Views) -> tuple[Rate, float]:
    """What was measured for a project's `predict`, and by what its cost is to be multiplied for more views."""
    width = precision if (precision, 1) in PROCESSORS else "f32"  # "f16" is a GPU's; processors take float32
    if (width, views) in PROCESSORS:
        return PROCESSORS[width, views], 1.0
    return PROCESSORS[width, 1], times(views)


def gpu_rate(resolution: float, network: float, views: Views) -> float:
    """Useful megapixels per second of a machine with one GPU: its processors bind, or the network does.

    What processors do (decode, code) is per pixel of the grid, the network's work per pixel that it sees and per view.
    """
    network_alone = GPU_NETWORK.megapixels * seen(GPU_NETWORK.resolution, GPU_NETWORK.network)
    return min(GPU_WHOLE.megapixels, network_alone / seen(resolution, network) / times(views))


def times(views: Views) -> float:
    return BY_NEED if views == "unsure" else float(views)

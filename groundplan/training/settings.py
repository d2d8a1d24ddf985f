"""Training settings, as the loop takes them.

Here: values. Not here: groundplan.toml (config.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """Training settings. The defaults are a prototype's recipe; only the starting norms were compared here."""

    encoder: str = "mobilenet_v2"
    encoder_weights: str = "imagenet"
    """"imagenet", "none" or the path of a .safetensors."""
    start: str | None = None
    """Path of a .safetensors with the state of a whole network, or of a model's .zip, to learn on from;
    `encoder_weights` then plays no part."""
    bands: int = 3
    grid_resolution: float = 0.15
    """Metres per pixel of the scenes."""
    resolution: float = 0.20
    """Metres per pixel that the network sees."""
    minutes: float = 15.0
    """Wall time, over all resumed runs together; validation included."""
    steps: int | None = None
    """When given, the schedule follows steps and is the same on any machine that is fast enough for `minutes`."""
    batch: int = 8
    crop: int = 256
    """Side of a crop in the network's pixels, a multiple of 32."""
    learning_rate: float = 1e-3
    """Peak, of the decoder; the encoder learns at half of it when it starts from given weights."""
    warm_up: float = 0.1
    """Share of the budget in which the rate rises."""
    weight_decay: float = 0.01
    average: float = 0.995
    """Decay per step of the moving average of the weights, which is what is validated and kept."""
    inner_edge_weight: float = 2.0
    """How much a pixel of a building's inner edge counts in the loss of buildings, and the next, one of a gap: where
    two buildings nearly touch, a few pixels decide whether there is one polygon or two."""
    gap_weight: float = 5.0
    edge_weight: float = 3.0
    """How much a pixel of either counts in the loss of edges."""
    validations: int = 10
    """How often in a budget the average is validated."""
    patience: int = 5
    """Validations in a row that are clearly worse than the best, after which training ends early."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.crop % 32:
            raise ValueError(f"crop must be a multiple of 32 pixels, got {self.crop}")
        if self.minutes <= 0 or (self.steps is not None and self.steps < 1):
            raise ValueError(f"there is no budget to train in: {self.minutes} minutes, {self.steps} steps")

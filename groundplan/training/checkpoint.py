"""Checkpoints: the state of a training as bytes, and back.

Here: saving and restoring. Not here: where they are kept (models.py).
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from groundplan.errors import ModelMismatch
from groundplan.training.schedule import Takeover

if TYPE_CHECKING:
    import torch
from groundplan.training.device import device
from groundplan.training.settings import TrainSettings


@dataclass(slots=True, kw_only=True)
class TrainingState:
    """Training state: all that changes while learning, and therefore all that a checkpoint holds."""

    network: torch.nn.Module
    average: torch.nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, torch.Tensor] | None = None
    late: Takeover | None = None
    pairs: tuple[list[torch.Tensor], list[torch.Tensor]] | None = None
    """Tensors of the average and of the network that belong together; no part of a checkpoint."""


# --- checkpoints ------------------------------------------------------------------------------------------------------

# What may differ between a checkpoint and the run that takes it up: how long it runs, not what it learns; and where the
# model lies that it began with.
_FREE = ("minutes", "steps", "patience", "validations", "start")


def to_bytes(state: TrainingState, settings: TrainSettings) -> bytes:
    """A checkpoint's bytes."""
    import torch

    buffer = io.BytesIO()
    content = {
        "settings": asdict(settings),
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "step": state.step,
        "seconds": state.seconds,
        "losses": state.losses,
        "history": state.history,
        "best": state.best,
        "late": state.late,
    }
    torch.save(content, buffer)
    return buffer.getvalue()


def restore(state: TrainingState, settings: TrainSettings, data: bytes | None) -> None:
    """Restore a checkpoint into a training that was just begun.

    Raises:
        ModelMismatch: the checkpoint is damaged or was made with other settings.
    """
    import torch

    if data is None:
        return
    try:
        content = torch.load(io.BytesIO(data), map_location=device(), weights_only=True)
    except Exception as error:
        raise ModelMismatch(
            "training checkpoint", f"it cannot be read: {error}", "Delete it; training then starts from the beginning."
        ) from error
    old, new = {**asdict(TrainSettings()), **content["settings"]}, asdict(settings)  # older ones lack newer settings
    differ = [f"{k} was {old.get(k)} and is {v}" for k, v in new.items() if k not in _FREE and old.get(k) != v]
    if differ:
        raise ModelMismatch(
            "training checkpoint",
            f"it was made with other settings: {'; '.join(differ)}",
            "Train with the old settings, or delete the checkpoint to start from the beginning.",
        )
    state.network.load_state_dict(content["network"])
    state.average.load_state_dict(content["average"])
    state.optimizer.load_state_dict(content["optimiser"])
    torch.set_rng_state(content["random"].cpu())
    state.step, state.seconds = content["step"], content["seconds"]
    state.losses, state.history, state.best = content["losses"], content["history"], content["best"]
    state.late = content["late"]


def state_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the network's state on the CPU, that later steps do not change."""
    return {key: value.detach().to("cpu", copy=True).contiguous() for key, value in network.state_dict().items()}

"""Fine-tuning an encoder with a linear head on a collection's images: the loop, its checkpoints, and the graph.

Here: torch. Not here: which images teach and where things are kept (fine_tuned.py), or loading an encoder
(collections/descriptors/torch_encoders.py).

Everything random is drawn from (seed, step) and the steps are fixed beforehand, so a resumed training ends in the bytes
of an undisturbed one (on the same kind of machine: another number of threads adds in another order). The network stays
in evaluation mode: norms keep the statistics of their many training images, which batches of 16 would only blur, and
weights with folded norms can be tuned at all.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.collections.classification import calibration
from groundplan.collections.descriptors.encoders import scaled
from groundplan.collections.images.decode import square as square_of
from groundplan.errors import ModelMismatch

if TYPE_CHECKING:
    import torch


SAVE_EVERY = 60.0  # seconds between checkpoints: what a kill can cost
WARM_UP = 0.1  # share of the steps in which the rate rises
SLOWER = 0.1  # the encoder's rate as a share of the head's: what is known already should move less
VALIDATIONS = 5  # times that validation images are asked
INFERENCE_BATCH = 64  # images at once where nothing is learned

Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]  # a step's images uint8 (B, S, S, 3) and their truth int (B,)


def need_torch() -> None:
    """Raises ModelMismatch where torch is not installed."""
    try:
        import timm  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise ModelMismatch(
            "torch and timm",
            "they are not installed, and fine-tuning needs them",
            "Install the extra 'train', or set collections.fine_tune to 0",
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Recipe of a tuning, images aside. weights: a .safetensors, or None for the published ones."""

    encoder: str
    weights: Path | None
    side: int
    scaling: str
    classes: int
    steps: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.01


@dataclass(slots=True, kw_only=True)
class TuningState:
    """Tuning state: all that changes while learning, and therefore all that a checkpoint holds."""

    network: Any
    optimizer: Any
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, torch.Tensor] | None = None


def tune(
    recipe: Recipe,
    draw: Draw,
    validation: tuple[np.ndarray, np.ndarray],
    *,
    load: Callable[[], bytes | None],
    save: Callable[[bytes], None],
    progress: Callable[[int, str], None] = lambda _step, _figures: None,
    check: Callable[[], None] = lambda: None,
) -> tuple[Any, list[dict[str, float]]]:
    """The network with the least loss on validation images (of the end, where there are none), and the looks at them.

    validation: uint8 (N, S, S, 3) and truth int (N,). `load` gives the last checkpoint or None, `save` keeps one; one
    is saved about every minute and when `check` raises. `progress` gets the step and its figures in words.
    Raises ModelMismatch, and whatever `check` raises.
    """
    import torch

    from groundplan.collections.descriptors.torch_encoders import device

    kind = device()
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with exact if kind == "cuda" else contextlib.nullcontext():
        state = _initial_state(recipe, kind)
        _restore(state, load(), kind)
        saved = time.monotonic()
        progress(state.step, "")
        while state.step < recipe.steps:
            try:
                check()
            except BaseException:  # a told stop is not an Exception, and its work is worth keeping
                save(_checkpoint(state))
                raise
            loss = _step(state, recipe, *draw(state.step), kind)
            if (
                len(validation[1])
                and state.step * VALIDATIONS // recipe.steps > (state.step - 1) * VALIDATIONS // recipe.steps
            ):
                _validate(state, recipe, validation)
            progress(state.step, _in_words(loss, state.history))
            if time.monotonic() - saved >= SAVE_EVERY:
                save(_checkpoint(state))
                saved = time.monotonic()
    if state.best is not None:
        state.network.load_state_dict(state.best)
    return state.network.cpu().eval(), state.history


def encoder_with_head(recipe: Recipe) -> Any:
    """Encoder with a linear head: logits (N, classes) of scaled images (N, 3, side, side). Raises ModelMismatch."""
    import torch

    from groundplan.collections.descriptors.torch_encoders import network

    class Headed(torch.nn.Module):
        def __init__(self, encoder: Any, width: int) -> None:
            super().__init__()
            self.encoder = encoder
            self.head = torch.nn.Linear(width, recipe.classes)
            torch.nn.init.zeros_(self.head.weight)  # no class is likelier before anything was seen
            torch.nn.init.zeros_(self.head.bias)

        def features(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.encoder(pixels).flatten(1)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.head(self.features(pixels))

    encoder = network(recipe.encoder, recipe.weights)
    with torch.no_grad():
        width = encoder(torch.zeros(1, 3, recipe.side, recipe.side)).flatten(1).shape[1]
    return Headed(encoder, width).eval()


def _initial_state(recipe: Recipe, kind: str) -> TuningState:
    import torch

    network = encoder_with_head(recipe).to(kind)
    groups = [
        {"params": list(network.encoder.parameters()), "share": SLOWER},
        {"params": list(network.head.parameters()), "share": 1.0},
    ]
    return TuningState(
        network=network, optimizer=torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    )


def rate(recipe: Recipe, step: int) -> float:
    """Learning rate: rises in the first tenth, then falls along a cosine."""
    done = (step + 1) / recipe.steps
    if done < WARM_UP:
        return recipe.learning_rate * done / WARM_UP
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP + 1 / recipe.steps)))


def _step(state: TuningState, recipe: Recipe, squares: np.ndarray, truth: np.ndarray, kind: str) -> float:
    """One step; returns the loss of its batch."""
    import torch

    random = np.random.default_rng([0, state.step])
    batch = np.stack([scaled(augmented(square, random), recipe.scaling) for square in squares])
    for group in state.optimizer.param_groups:
        group["lr"] = rate(recipe, state.step) * group["share"]
    logits = state.network(torch.from_numpy(batch).to(kind))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(truth).to(kind))
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
    state.optimizer.step()
    state.step += 1
    return float(loss.detach())


def _in_words(loss: float, history: list[dict[str, float]]) -> str:
    """`loss 1.310, validation accuracy 0.420 at step 120`."""
    looked = f", validation accuracy {history[-1]['accuracy']:.3f} at step {history[-1]['step']:.0f}" if history else ""
    return f"loss {loss:.3f}{looked}"


def augmented(square: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Augmentation of an image uint8 (S, S, 3): mirrored, a little nearer, lighter or darker."""
    side = len(square)
    near = int(side * random.uniform(0.85, 1.0))
    top, left = random.integers(0, side - near + 1, 2)
    part = square_of(square[top : top + near, left : left + near], side)
    part = part[:, ::-1] if random.random() < 0.5 else part
    return np.clip(part * random.uniform(0.85, 1.15), 0, 255).astype(np.uint8)


def logits_of(network: Any, squares: Iterable[np.ndarray], scaling: str) -> np.ndarray:
    """float32 (N, classes) of RGB images uint8 (S, S, 3), wherever the network is."""
    import torch

    kind, waiting, found = next(network.parameters()).device, iter(squares), []
    while batch := [scaled(square, scaling) for square in islice(waiting, INFERENCE_BATCH)]:
        with torch.inference_mode():
            found.append(network(torch.from_numpy(np.stack(batch)).to(kind)).float().cpu().numpy())
    return np.concatenate(found) if found else np.zeros((0, network.head.out_features), np.float32)


def _validate(state: TuningState, recipe: Recipe, validation: tuple[np.ndarray, np.ndarray]) -> None:
    """Add a row to the history, and keep the network when its loss is the least so far."""
    logits = logits_of(state.network, validation[0], recipe.scaling)
    row = {
        "step": float(state.step),
        "loss": round(calibration.log_loss(logits, validation[1]), 6),
        "accuracy": round(float((logits.argmax(axis=1) == validation[1]).mean()), 6),
    }
    if all(row["loss"] < old["loss"] for old in state.history):
        state.best = {name: value.detach().to("cpu", copy=True) for name, value in state.network.state_dict().items()}
    state.history.append(row)


# ---------------------------------------------------------------------------------------------- checkpoints


def _checkpoint(state: TuningState) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(
        {
            "network": state.network.state_dict(),
            "optimiser": state.optimizer.state_dict(),
            "step": state.step,
            "history": state.history,
            "best": state.best,
        },
        buffer,
    )
    return buffer.getvalue()


def _restore(state: TuningState, data: bytes | None, kind: str) -> None:
    """Put a checkpoint into a run that was just begun. Raises ModelMismatch for a damaged one."""
    import torch

    if data is None:
        return
    try:
        content = torch.load(io.BytesIO(data), map_location=kind, weights_only=True)
        state.network.load_state_dict(content["network"])
        state.optimizer.load_state_dict(content["optimiser"])
    except Exception as error:
        raise ModelMismatch(
            "fine-tuning's checkpoint",
            f"it cannot be taken up ({str(error)[:160]})",
            "Delete it below `checkpoints/` in the store; fine-tuning then starts from the beginning",
        ) from error
    state.step, state.history, state.best = content["step"], content["history"], content["best"]


# ---------------------------------------------------------------------------------------------- the graph


def export(network: Any, side: int, temperature: float, facts: dict[str, str]) -> bytes:
    """An ONNX graph. Input `images`: float32 (N, 3, side, side), scaled. Outputs `features` (N, D), so that it can be
    `collections.weights`, and `probabilities` (N, classes), cooled. facts: its metadata.
    """
    import onnx
    import torch

    from groundplan.inference.onnx import OPSET

    class ExportedClassifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = self.network.features(pixels)
            return features, torch.softmax(self.network.head(features) / temperature, dim=1)

    file: Any = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)  # this exporter is the older one, as for footprints
        torch.onnx.export(
            ExportedClassifier().eval(),
            (torch.zeros(1, 3, side, side),),
            file,
            input_names=["images"],
            output_names=["features", "probabilities"],
            opset_version=OPSET,
            dynamo=False,
            dynamic_axes={name: {0: "batch"} for name in ("images", "features", "probabilities")},
        )
    model = onnx.load_from_string(file.getvalue())
    onnx.helper.set_model_props(model, facts)
    return model.SerializeToString()


def squares_in(found: Iterator[np.ndarray], side: int) -> np.ndarray:
    """uint8 (N, side, side, 3) of images one by one; none at all too."""
    every = list(found)
    return np.stack(every) if every else np.zeros((0, side, side, 3), np.uint8)

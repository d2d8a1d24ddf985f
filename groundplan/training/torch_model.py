"""A model's file as a network in torch: weights found in the file, made ready for a device and a precision.

Here: the network for torch's runtime, and which runtime a project takes. Not here: running it
(inference/torch_runtime.py), the runtime on processors (inference/runtime.py), learning (loop.py).
"""

from __future__ import annotations

from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from groundplan.errors import BadConfig, ModelMismatch

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from groundplan.inference.precision import Precision
    from groundplan.inference.second_view import Views
    from groundplan.inference.torch_runtime import TorchRuntime
    from groundplan.training.network import Scale
    from groundplan.training.packed_model import Model
    from groundplan.training.settings import TrainSettings

Chosen = Literal["openvino", "torch"]
SAME = 1e-3
"""By which logits of a network with folded norms may differ from those of the network as it was learned."""


def chosen_runtime(asked: str, model: Model | None = None) -> Chosen:
    """The runtime that "auto" means here: torch where it sees a GPU and knows the network, else OpenVINO.

    torch is asked only where a device is there: loading it takes seconds. Raises BadConfig where "torch" is asked for
    and not installed.
    """
    here = find_spec("torch") is not None
    if asked == "torch" and not here:
        raise BadConfig("predict.runtime", "torch is not installed", "Install the extra 'train', or set it to 'auto'")
    if asked != "auto":
        return "torch" if asked == "torch" else "openvino"
    if not here or not Path("/dev/nvidiactl").exists():
        return "openvino"
    import torch

    return "torch" if torch.cuda.is_available() and (model is None or is_known(model)) else "openvino"


def is_known(model: Model) -> bool:
    """Whether torch can build a model's network and find its weights in its file."""
    try:
        return bool(load_state_of(model))
    except ModelMismatch:
        return False


def load_torch(
    model: Model, *, precision: Precision, views: Views = 1, device: str | None = None, tuned: bool = False
) -> TorchRuntime:
    """A runtime with a model's own weights. device: "cuda", "cpu", or None for the first GPU, else the CPU.

    Raises:
        ModelMismatch: torch cannot build it: made elsewhere, or without weights by name.
    """
    from groundplan.inference.torch_runtime import TorchRuntime
    from groundplan.training.device import device as found_device
    from groundplan.training.network import scale_of

    settings, where = settings_of(model), device or found_device()
    scale = scale_of(settings)
    network = load_state_of(model)
    return TorchRuntime(
        bands=settings.bands,
        step=scale.step,
        grid_resolution=settings.grid_resolution,
        metadata={"bands": str(settings.bands), "step": str(scale.step), "encoder": settings.encoder},
        views=views,
        device=where,
        tuned=tuned,
        _logits=at_grid(network, scale, where, precision),
    )


def load_state_of(model: Model) -> torch.nn.Module:
    """The network as it was learned, float32, in evaluation mode. Raises ModelMismatch."""
    from groundplan.training.network import load_state

    return load_state(weights_of(model), settings_of(model), f"model {model.name}")


def settings_of(model: Model) -> TrainSettings:
    """What a model was trained with, by its card. Raises ModelMismatch for a network that was made elsewhere."""
    from groundplan.training.settings import TrainSettings

    stated = model.card.get("settings")
    if model.contract is not None or not isinstance(stated, dict):
        reason = "it was made elsewhere, and torch knows the networks that Groundplan trained"
        raise ModelMismatch(f"model {model.name}", reason, "Set predict.runtime to 'auto' or 'openvino'")
    known = {one.name for one in fields(TrainSettings)} - {"start", "encoder_weights"}
    kept = {key: value for key, value in stated.items() if key in known}
    return TrainSettings(**kept, encoder_weights="none")


def weights_of(model: Model) -> dict[str, torch.Tensor]:
    """The state, float32, in a model's file: its own weights, or those that its graph holds by name.

    Raises ModelMismatch when there are none.
    """
    from safetensors.torch import load

    from groundplan.training.export import state_in

    found = load(model.weights) if model.weights else state_in(model.onnx)
    if not any(name.endswith("running_var") for name in found):  # a graph folds norms away, unless weights are named
        reason = "its file holds a graph alone, without weights by name"
        raise ModelMismatch(f"model {model.name}", reason, "Set predict.runtime to 'openvino', or train it anew")
    return {key: value.float() if value.is_floating_point() else value for key, value in found.items()}


def at_grid(
    network: torch.nn.Module, scale: Scale, device: str, precision: Precision
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network around which the change of resolution is put: uint8 (N, bands, H, W) to float32 logits (N, 2, H, W).

    Resolution, normalisation and logits at the grid are float32, as in the exported graph; `precision` is the U-Net's.
    """
    import torch

    from groundplan.training.network import to_grid, to_network

    named = ("f16" if device == "cuda" else "f32") if precision == "auto" else precision
    kind = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[named]
    parts: Any = network
    normalize = parts[0]
    unet: Any = folded(parts[1].cpu().eval(), len(normalize.weight)).requires_grad_(False)
    unet = unet.to(device, kind, memory_format=torch.channels_last)
    factor, offset = (each.detach().reshape(1, -1, 1, 1).to(device) for each in (normalize.weight, normalize.bias))

    def logits(window: torch.Tensor) -> torch.Tensor:
        pixels = torch.addcmul(offset, to_network(window.float(), scale), factor)
        said = unet(pixels.to(kind, memory_format=torch.channels_last))
        return to_grid(said.float(), scale, window.shape[2:])

    return logits


def folded(unet: torch.nn.Module, bands: int) -> torch.nn.Module:
    """The network with batch norms folded into the convolutions before them: the same function, fewer passes.

    Which convolution stands before a norm is seen in one run. Where the result is not the same, the network as it was.
    """
    import copy

    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    noise = torch.randn((1, bands, 64, 64), generator=torch.Generator().manual_seed(0))
    merged = copy.deepcopy(unet)
    with torch.no_grad():
        expected = unet(noise)
        for norm, conv in _pairs(merged, noise):
            owner, _, name = conv.rpartition(".")
            place = merged.get_submodule(owner)
            pair: Any = merged.get_submodule(conv), merged.get_submodule(norm)
            setattr(place, name, fuse_conv_bn_eval(*pair))
            owner, _, name = norm.rpartition(".")
            setattr(merged.get_submodule(owner), name, torch.nn.Identity())
        found = merged(noise)
    near = (found - expected).abs().max() <= SAME * expected.abs().max().clamp(min=1)
    return merged if near else unet


def _pairs(unet: torch.nn.Module, noise: torch.Tensor) -> list[tuple[str, str]]:
    """Names of each batch norm and of the convolution whose result it takes."""
    import torch

    made: dict[int, tuple[str, torch.Tensor]] = {}  # the tensors are kept, or another could get a number again
    found: list[tuple[str, str]] = []
    handles = []
    for name, module in unet.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            handles.append(
                module.register_forward_hook(lambda _m, _i, out, name=name: made.__setitem__(id(out), (name, out)))
            )
        elif type(module) is torch.nn.BatchNorm2d:  # others do more than a norm
            handles.append(
                module.register_forward_pre_hook(
                    lambda _m, given, name=name: found.append((name, made.get(id(given[0]), ("", None))[0]))
                )
            )
    unet(noise)
    for handle in handles:
        handle.remove()
    return [(norm, conv) for norm, conv in found if conv]

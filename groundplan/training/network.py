"""Network: a U-Net with its input normalization, the weights that it starts from, and its scale.

Here: the U-Net, its input normalisation, starting weights and their checks, the relation between the grid's pixels and
the network's pixels, and the export to ONNX. Not here: how it learns (`train`), how it is run over a canvas
(`runtime`), and what is made of its probabilities (`outlines`).

The normalisation is part of the network (a frozen 1 x 1 convolution), so that a state cannot be used with another
normalisation than its own; everything outside handles raw uint8.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundplan.core.progress import current_progress
from groundplan.errors import ModelMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from groundplan.training.settings import TrainSettings


OUTPUTS = ("building", "edge")
DECODER = (128, 64, 48, 32, 16)  # half of smp's default: a fifth faster, no loss seen on buildings
ENCODER_STRIDE = 32

# Mean and standard deviation of raw 0..255 values, by the name under which a weights file states its input.
_UNIT = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))  # x / 127.5 - 1
_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
# Names of the parts of a classifier that a segmentation network has no use for.
_CLASSIFIER = ("classifier.", "fc.", "head.", "last_linear.", "_fc.")


@dataclass(frozen=True, slots=True)
class Scale:
    """Scale between grid and network: a window is shrunk by `pool`, then resized by the rest of `ratio`.

    The ratio is a simple fraction, so that window sides are integers at both resolutions and no phase is lost.
    """

    ratio: Fraction
    """Network pixels per grid pixel, e.g. 3/4 for a 0.15 m grid that the network sees at 0.20 m."""

    @property
    def pool(self) -> int:
        """Factor of mean pooling before the bilinear resize; without it, a ratio below 1/2 would skip pixels."""
        return max(1, math.floor(1 / self.ratio))

    @property
    def step(self) -> int:
        """Stride in grid pixels that window sides must be a multiple of."""
        stride = ENCODER_STRIDE * self.ratio.denominator
        return math.lcm(stride // math.gcd(stride, self.ratio.numerator), self.pool)

    def inside(self, side: int) -> int:
        """The side in network pixels of a window of `side` grid pixels."""
        return side * self.ratio.numerator // self.ratio.denominator


def scale_of(settings: TrainSettings) -> Scale:
    """The scale between grid and network, snapped to a fraction with a denominator of at most 8."""
    if not (settings.grid_resolution > 0 and settings.resolution > 0):
        raise ValueError(f"resolutions must be positive, got {settings.grid_resolution} and {settings.resolution}")
    ratio = Fraction(settings.grid_resolution / settings.resolution).limit_denominator(8)
    return Scale(ratio if ratio > 0 else Fraction(1, 8))


def build(settings: TrainSettings) -> torch.nn.Module:
    """Build a U-Net: raw values (N, bands, h, w), 0..255, at network resolution to logits (N, 2, h, w).

    `h` and `w` are multiples of 32. Starting weights by `settings.encoder_weights`: "none", "imagenet" (downloaded by
    the encoder's library), or the path of a .safetensors with the encoder's own state. With `settings.start` all
    weights, and the normalization, are those of that state.

    Raises:
        ModelMismatch: unknown encoder, weights that cannot be had, or a file that does not fit the encoder.
    """
    import torch

    if settings.start is not None:
        return load_state(starting_state(Path(settings.start), settings.encoder), settings, settings.start).train()
    unet = _unet(settings.encoder, "imagenet" if settings.encoder_weights == "imagenet" else None)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mean, std = _IMAGENET if settings.encoder_weights == "imagenet" else _UNIT
    if settings.encoder_weights not in ("none", "imagenet"):
        mean, std = _load_encoder(unet.encoder, Path(settings.encoder_weights), settings.encoder)
    _adapt_bands(unet.encoder, settings.bands)
    normalize: Any = torch.nn.Conv2d(settings.bands, settings.bands, 1, groups=settings.bands)
    normalize.weight.data = 1 / torch.tensor(_spread(std, settings.bands)).reshape(-1, 1, 1, 1)
    normalize.bias.data = -torch.tensor(_spread(mean, settings.bands)) / torch.tensor(_spread(std, settings.bands))
    normalize.requires_grad_(False)
    return torch.nn.Sequential(normalize, unet)


def _unet(encoder: str, weights: str | None) -> Any:
    import segmentation_models_pytorch as smp

    from groundplan.inference.hub import fetch, quiet_hub

    known = smp.encoders.encoders.get(encoder, {}).get("pretrained_settings", {}).get(weights, {})
    try:
        with quiet_hub():
            if "repo_id" in known:  # else the library finds them where it knows
                fetch(known["repo_id"], "model.safetensors", known["revision"], current_progress().task)
            return smp.Unet(encoder, encoder_weights=weights, decoder_channels=DECODER, classes=len(OUTPUTS))
    except KeyError as error:
        raise ModelMismatch(
            f"encoder {encoder!r}",
            f"segmentation_models_pytorch cannot build it: {error}",
            "Name one of its encoders, for example mobilenet_v2 or resnet18.",
        ) from error
    except Exception as error:
        if weights is None:
            raise
        raise ModelMismatch(
            f"{weights} weights of {encoder}",
            f"they could not be downloaded: {type(error).__name__}: {error}",
            "Allow access to the model hub, or give the path of a .safetensors file as the encoder's weights.",
        ) from error


def _load_encoder(encoder: torch.nn.Module, path: Path, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Fill the encoder from a file and return the mean and standard deviation that its weights expect.

    Shapes are strict; a classifier's tensors are left out. The file's own metadata says how its input is scaled
    (`input: RGB, x/127.5-1`); without it ImageNet's mean and deviation are taken, as torchvision and timm do.
    """
    tensors, metadata = _read_safetensors(path, name)
    wanted = encoder.state_dict()
    extra = [k for k in tensors if k not in wanted and not k.startswith(_CLASSIFIER)]
    missing = [k for k in wanted if k not in tensors and not k.endswith("num_batches_tracked")]
    misshapen = [
        f"{k} is {tuple(tensors[k].shape)} and should be {tuple(wanted[k].shape)}"
        for k in wanted
        if k in tensors and tensors[k].shape != wanted[k].shape
    ]
    faults = [
        f"{len(found)} tensors {what} (first: {found[0]})"
        for what, found in (("missing", missing), ("not known to the encoder", extra), ("of another shape", misshapen))
        if found
    ]
    if faults:
        raise ModelMismatch(
            str(path),
            f"the weights do not fit the encoder {name}: {'; '.join(faults)}",
            "Give the weights of that encoder, or name the encoder that these weights belong to.",
        )
    encoder.load_state_dict({**wanted, **{k: v for k, v in tensors.items() if k in wanted}})
    return _UNIT if "127.5" in metadata.get("input", "") else _IMAGENET


def _read_safetensors(path: Path, name: str) -> tuple[dict[str, torch.Tensor], Mapping[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata = file.metadata() or {}
    except FileNotFoundError as error:
        raise ModelMismatch(
            str(path), "there is no such weights file", f"Give a .safetensors of {name}, or the word none or imagenet."
        ) from error
    except (SafetensorError, OSError) as error:
        raise ModelMismatch(
            str(path), f"it is not a readable .safetensors file: {error}", "Fetch it again or convert it."
        ) from error
    # Half precision is only how they travel: batch norm and the optimiser need float32.
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, metadata


def _adapt_bands(encoder: torch.nn.Module, bands: int) -> None:
    """Adapted first convolution: `bands` channels instead of 3, with the size of its response kept.

    Fewer than three bands: every band gets the mean over the colours. More: the first three keep theirs and each
    further band starts from the mean.
    """
    import torch

    if bands == 3:
        return
    first = next(m for m in encoder.modules() if isinstance(m, torch.nn.Conv2d))
    old = first.weight.data
    mean = old.mean(dim=1, keepdim=True)
    new = mean.repeat(1, bands, 1, 1)
    if bands > 3:
        new[:, :3] = old
    first.weight = torch.nn.Parameter(new * (3 / bands))
    first.in_channels = bands


def _spread(colors: tuple[float, ...], bands: int) -> list[float]:
    """A value per band from a value per colour, as `_adapt_bands` spreads the weights."""
    mean = sum(colors) / len(colors)
    return [colors[i] if bands >= 3 and i < 3 else mean for i in range(bands)]


def starting_state(path: Path, encoder: str) -> dict[str, torch.Tensor]:
    """The state, float32, of a whole network in a .safetensors or in a model's .zip. Raises ModelMismatch."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    from groundplan.training.export import state_in

    if path.suffix.lower() != ".zip":
        return _read_safetensors(path, encoder)[0]
    try:
        with zipfile.ZipFile(path) as archive:
            if "weights.safetensors" in archive.namelist():
                found = load(archive.read("weights.safetensors"))
            else:
                found = state_in(archive.read("model.onnx"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, SafetensorError) as error:
        raise ModelMismatch(str(path), f"it holds no model to start from: {error}", "Fetch it again.") from error
    if not found:
        raise ModelMismatch(
            str(path), "its graph does not hold its weights by name", "Give a model that Groundplan trained."
        )
    return {key: value.float() if value.is_floating_point() else value for key, value in found.items()}


def load_state(
    state: Mapping[str, torch.Tensor], settings: TrainSettings, thing: str = "trained state"
) -> torch.nn.Module:
    """The network with a trained state in it, in evaluation mode. thing: what the error names.

    Raises:
        ModelMismatch: the state belongs to another encoder or band count.
    """
    from dataclasses import replace

    network = build(replace(settings, encoder_weights="none", start=None))
    try:
        counters = {key: value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")}
        network.load_state_dict({**counters, **state})  # a graph has no use for these
    except RuntimeError as error:
        raise ModelMismatch(
            thing,
            f"it does not fit {settings.encoder} with {settings.bands} bands: {str(error)[:400]}",
            "Use the settings that the model was trained with.",
        ) from error
    return network.eval()


def to_network(window: torch.Tensor, scale: Scale) -> torch.Tensor:
    """Resize to network resolution: float (N, C, H, W) to (N, C, H * ratio, W * ratio)."""
    from torch.nn import functional

    high, wide = window.shape[2:]
    if scale.pool > 1:
        window = functional.avg_pool2d(window, scale.pool)
    if scale.ratio * scale.pool == 1:
        return window
    p, q = scale.ratio.numerator, scale.ratio.denominator
    return functional.interpolate(window, size=(high * p // q, wide * p // q), mode="bilinear", align_corners=False)


def to_grid(logits: torch.Tensor, scale: Scale, size: torch.Size) -> torch.Tensor:
    """Resize to grid resolution: float (N, C, H * ratio, W * ratio) back to (N, C, H, W)."""
    from torch.nn import functional

    if scale.ratio == 1:
        return logits
    return functional.interpolate(logits, size=(size[0], size[1]), mode="bilinear", align_corners=False)


def normalization_text(state: Mapping[str, torch.Tensor]) -> str:
    """The affine map of raw values that the state's weights belong to, in words, for the graph's metadata."""
    factor = [f"{v:.6g}" for v in state["0.weight"].flatten().tolist()]
    offset = [f"{v:.6g}" for v in state["0.bias"].flatten().tolist()]
    return f"x * [{', '.join(factor)}] + [{', '.join(offset)}]"

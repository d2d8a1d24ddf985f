"""What a decoder costs on processors: the network as it is, the same function rearranged, and other decoders.

    python -m benchmarks.decoder [--side 1024] [--repeats 4] [--small]

Networks have random weights, which cost what trained ones do: accuracy is not measured here. "Rearranged" is what
`predict.precision = "auto"` runs, with the same answers (groundplan/inference/rearranged.py). The others would have to
be learned: a head at half the network's resolution that gives four pixels each, and decoders of fewer channels.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import numpy as np

from benchmarks.common import arguments, show
from groundplan.inference.precision import Way

NARROW = {"half the channels": (64, 48, 32, 24, 16), "half, but for the first": (128, 64, 32, 16, 8)}
PRECISIONS = ("f32", "bf16")


def graphs() -> dict[str, bytes]:
    """The default network, and others, as graphs that take uint8 at the network's resolution."""
    import torch
    from segmentation_models_pytorch import Unet

    from benchmarks.ground import settings
    from groundplan.training import network
    from groundplan.training.export import export
    from groundplan.training.torch_model import folded

    torch.manual_seed(7)
    chosen = settings()
    built: Any = network.build(chosen).eval()
    found = {"as it is": export(built.state_dict(), chosen)}
    unet: Any = folded(built[1], 3)
    found["head at half the resolution"] = _graph(built[0], _half(unet))
    for name, channels in NARROW.items():
        narrow = Unet("mobilenet_v2", encoder_weights=None, decoder_channels=channels, classes=2).eval()
        found[name] = _graph(built[0], folded(narrow, 3))
    return found


def _half(unet: Any) -> Any:
    """The network without its last block: four results for each pixel of half the resolution."""
    import torch

    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.blocks = unet.encoder, unet.decoder.blocks[:4]
            self.head = torch.nn.Conv2d(32, 8, 3, padding=1)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            seen = self.encoder(pixels)[1:][::-1]
            found = seen[0]
            for block, beside in zip(self.blocks, seen[1:], strict=True):
                found = block(found, *beside.shape[2:], skip_connection=beside)
            return torch.nn.functional.pixel_shuffle(self.head(found), 2)

    return Half()


def _graph(normalize: Any, unet: Any) -> bytes:
    import io
    import warnings

    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.normalize, self.unet = normalize, unet

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.round(torch.sigmoid(self.unet(self.normalize(pixels.float()))) * 255).to(torch.uint8)

    file: Any = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros((1, 3, 64, 64), dtype=torch.uint8)
        axes = {"window": {2: "height", 3: "width"}}
        torch.onnx.export(
            Whole().eval(), (example,), file, input_names=["window"], dynamic_axes=axes, opset_version=17, dynamo=False
        )
    return bytes(file.getvalue())


def requests(onnx: bytes, side: int, threads: int) -> dict[tuple[str, bool], Any]:
    """By precision and whether it is rearranged."""
    from groundplan.foreign_reports import silent_openvino

    core, found = silent_openvino().Core(), {}
    for precision in PRECISIONS:
        for rearranged in (False, True):
            model = core.read_model(onnx)
            model.reshape([1, 3, side, side])
            compiled = Way(precision, rearranged).compile(core, model, threads)  # type: ignore[arg-type]
            found[precision, rearranged] = compiled.create_infer_request()
    return found


def rates(ready: dict[Any, Any], side: int, repeats: int) -> dict[Any, float]:
    """MPx per processor-second, the best of the repeats, which take turns."""
    window = np.random.default_rng(0).integers(0, 256, (1, 3, side, side), np.uint8)
    best = dict.fromkeys(ready, float("inf"))
    for number in range(repeats + 1):
        for key, request in ready.items():
            begin = time.process_time()
            request.infer({0: window})
            if number:  # the first prepares
                best[key] = min(best[key], time.process_time() - begin)
    return {key: side**2 / 1e6 / seconds for key, seconds in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    given = arguments(parser, side=256, repeats=1)
    ready = {
        (name, *how): request
        for name, onnx in graphs().items()
        for how, request in requests(onnx, given.side, given.threads).items()
    }
    found = rates(ready, given.side, given.repeats)
    base = {precision: found["as it is", precision, False] for precision in PRECISIONS}
    rows = [
        (f"{name}{', rearranged' if rearranged else ''}", precision, rate, f"{rate / base[precision]:.2f}")
        for (name, precision, rearranged), rate in found.items()
    ]
    note = f"windows of {given.side} px, best of {given.repeats}, {given.threads} threads, random weights"
    show("Decoders: forward MPx per processor-second", ("decoder", "numbers", "MPx / cpu-s", "times"), rows, [note])


if __name__ == "__main__":
    main()

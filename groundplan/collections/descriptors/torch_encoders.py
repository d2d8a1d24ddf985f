"""Encoders as torch modules: from timm, with its weights, or from a file; and running one on a CUDA device.

Here: all of the collections' code that imports torch. Not here: which encoder a project has, or its runs on processors
(encoders.py): the runtime image has no torch, and needs none for a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from groundplan.core.foreign_warnings import hush_tracing
from groundplan.core.progress import going_on
from groundplan.errors import ModelMismatch
from groundplan.foreign_reports import silent_openvino
from groundplan.inference.hub import quiet_hub

BATCH = 64  # images at once; the last batch is filled up, so that all have one shape
NAME_IT = "Set collections.encoder to the network that the weights are of"


def device() -> str:
    """'cuda' where torch sees one, else 'cpu'."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def network(name: str, path: Path | None) -> Any:
    """The encoder as a torch module, pooled features out. path: a state dict, of timm or torchvision, or None.

    Raises ModelMismatch: the name is not known, weights cannot be had, or do not fit.
    """
    try:
        import timm
        import torch
    except ImportError as error:
        raise ModelMismatch(
            "torch and timm", "they are not installed", "Install the extra 'train', or set collections.weights to .onnx"
        ) from error
    if path is not None:
        return _from_file(name, path)
    known = {"mobilenet_v2": "mobilenetv2_100"}.get(name, name)
    if not timm.is_model(known):
        raise ModelMismatch(f"encoder '{name}'", "timm does not know it", "Take a name that timm.list_models() shows")
    try:
        with quiet_hub(), going_on(f"download of {known}"):
            module = timm.create_model(known, pretrained=True, num_classes=0)
    except Exception as error:
        reason = f"its weights cannot be fetched ({type(error).__name__}: {str(error)[:120]})"
        raise ModelMismatch(f"encoder '{name}'", reason, "Set collections.weights to a local file") from error
    with torch.no_grad():
        return module.eval()


def _from_file(name: str, path: Path) -> Any:
    """torchvision's network where the keys are its own, else timm's."""
    import timm
    import torch
    import torchvision
    from safetensors.torch import load_file

    try:
        state = {key: value.float() if value.is_floating_point() else value for key, value in load_file(path).items()}
    except Exception as error:
        raise ModelMismatch(str(path), f"it cannot be read ({str(error)[:120]})", "Give a .safetensors file") from error
    if name in torchvision.models.list_models(module=torchvision.models):
        module = torchvision.models.get_model(name, weights=None)
        if set(module.state_dict()) == set(state):
            module.load_state_dict(state)
            return _headless(module).eval()
    known = {"mobilenet_v2": "mobilenetv2_100"}.get(name, name)
    if not timm.is_model(known):
        raise ModelMismatch(f"encoder '{name}'", "neither timm nor torchvision knows it", NAME_IT)
    module = timm.create_model(known, pretrained=False, num_classes=0)
    try:
        missing, _ = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelMismatch(str(path), f"it does not fit {known} ({str(error)[:160]})", NAME_IT) from error
    if missing:
        raise ModelMismatch(str(path), f"it lacks {len(missing)} parts of {known}, such as {missing[0]}", NAME_IT)
    with torch.no_grad():
        return module.eval()


def _headless(module: Any) -> Any:
    """A torchvision network without its last linear layer."""
    import torch

    head = "fc" if hasattr(module, "fc") else "classifier"
    last = getattr(module, head)
    if isinstance(last, torch.nn.Sequential) and isinstance(last[-1], torch.nn.Linear):
        last[-1] = torch.nn.Identity()  # VGG: the features are those of its second fully connected layer
    else:
        setattr(module, head, torch.nn.Identity())
    return module


def runner(module: Any, kind: str) -> ImageRunner:
    """Runs a network in torch on a device of that kind, `BATCH` images at a time, float32 without shortcuts."""
    import torch

    module = module.to(kind)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def run(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        waiting = iter(images)
        while batch := list(islice(waiting, BATCH)):
            filled = np.stack(batch + [batch[-1]] * (BATCH - len(batch)))
            with torch.inference_mode():
                outputs = module(torch.from_numpy(filled).to(kind)).float().cpu().numpy()
            yield from outputs[: len(batch)]

    return run


ImageRunner = Callable[
    [Iterable[np.ndarray]], Iterator[np.ndarray]
]  # float32 (3, side, side) of each image to its features


def converted(module: Any, side: int) -> Any:
    """The module as an OpenVINO model for one image of side x side pixels."""
    ov = silent_openvino()
    import torch

    hush_tracing()
    shape, threads = [1, 3, side, side], torch.get_num_threads()
    torch.set_num_threads(1)  # tracing runs many small pieces: threads would only wait for each other
    try:
        with torch.no_grad():
            return ov.convert_model(module, example_input=torch.zeros(shape), input=shape)
    finally:
        torch.set_num_threads(threads)

"""Deep features: embeddings of images by a network that was trained on other pictures.

Here: loading an encoder, from a graph or from weights, and running it. Not here: reading images
(collections/images/decode.py), shards.

On a processor every encoder runs in OpenVINO, one image at a time on each thread: that is as fast as a batch here,
needs no torch for a graph, and the numbers of an image do not depend on its company. Measured on 2 cores with
MobileNetV2 at 224 pixels: 130-195 images per processor-second in OpenVINO whatever the batch (1, 8, 16, 32) and the
threads, with the same bits, against 77-108 in ONNX Runtime. torch converts weights to OpenVINO; it runs them itself
only on a CUDA device, where numbers differ in the last bits: make a collection's features on one kind of device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from groundplan.collections.descriptors.torch_encoders import ImageRunner
from groundplan.core.manifest import fingerprint
from groundplan.core.records import digest_outside
from groundplan.errors import ModelMismatch
from groundplan.foreign_reports import silent_openvino
from groundplan.project import Project

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of colours 0..1
FEATURES = "features"  # the output of a graph that is taken; a graph with one output needs no name
ENDINGS = (".onnx", ".safetensors")
MOST_FEATURES = 8192  # the reduction's bound


@dataclass(frozen=True)
class Encoder:
    """A network that is ready; `run` takes scaled images and gives float32 (D,) for each, in order."""

    side: int
    scaling: str
    run: ImageRunner

    def __call__(self, squares: Iterable[np.ndarray]) -> np.ndarray:
        """Features float32 (N, D) of RGB images uint8 (side, side, 3)."""
        return np.stack(list(self.run(scaled(square, self.scaling) for square in squares)))


def scaled(square: np.ndarray, scaling: str) -> np.ndarray:
    """Input scaling: float32 (3, H, W) of uint8 (H, W, 3). 'symmetric': -1 to 1; 'imagenet': its mean and deviation."""
    planes = np.ascontiguousarray(square.transpose(2, 0, 1)).astype(np.float32)
    if scaling == "symmetric":
        return planes / np.float32(127.5) - np.float32(1)
    mean, deviation = (np.array(values, np.float32)[:, None, None] for values in (MEAN, DEVIATION))
    return (planes / np.float32(255) - mean) / deviation


def encoder_fingerprint(project: Project) -> str:
    """Fingerprint of all that decides deep features, images aside. Raises ModelMismatch for weights never seen."""
    settings = project.settings.collections
    given = settings.weights
    name, digest = settings.encoder, given
    if given != "imagenet":
        name = "" if given.endswith(".onnx") else name
        found = digest_outside(project.store, given, project.home / given)
        if found is None or not given.endswith(ENDINGS):
            weights_path(project)  # says what is wrong
        digest = found or given
    return fingerprint(encoder=name, weights=digest, side=settings.size, scaling=scaling_of(project))


def scaling_of(project: Project) -> str:
    settings = project.settings.collections
    if settings.scaling != "auto":
        return settings.scaling
    return "imagenet" if settings.weights == "imagenet" else "symmetric"


def encoder(project: Project) -> Encoder:
    """The project's encoder, loaded once per process. Raises ModelMismatch."""
    settings = project.settings.collections
    path = weights_path(project)
    run = _loaded(settings.encoder, path, encoder_fingerprint(project), settings.size, project.workers)
    return Encoder(settings.size, scaling_of(project), run)


def weights_path(project: Project) -> Path | None:
    """The file of the project's own weights; None for published ones. Raises ModelMismatch."""
    given = project.settings.collections.weights
    if given == "imagenet":
        return None
    path = project.home / given
    if not path.is_file() or path.suffix not in ENDINGS:
        raise ModelMismatch(
            str(path),
            "there is no such weights file",
            "Set collections.weights to 'imagenet' or to a file that ends in .onnx or .safetensors",
        )
    return path


@lru_cache(maxsize=2)
def _loaded(name: str, path: Path | None, digest: str, side: int, threads: int) -> ImageRunner:
    if path is not None and path.suffix == ".onnx":
        return checked(_openvino(_graph(path, side), threads))
    from groundplan.collections.descriptors import torch_encoders  # torch is not in the runtime image

    module, kind = torch_encoders.network(name, path), torch_encoders.device()
    if kind != "cpu":
        return checked(torch_encoders.runner(module, kind))
    return checked(_openvino(torch_encoders.converted(module, side), threads))


# ------------------------------------------------------------------------------------------- OpenVINO


def _graph(path: Path, side: int) -> Any:
    """The graph of an ONNX file, cut at its features, for one image."""
    ov = silent_openvino()

    try:
        model = ov.Core().read_model(path)
        names = {name: port for port in model.outputs for name in port.get_names()}
        port = names.get(FEATURES) or (model.outputs[0] if len(model.outputs) == 1 else None)
        if port is None or len(model.inputs) != 1:
            raise ModelMismatch(
                str(path),
                f"it has {len(model.inputs)} inputs and the outputs {', '.join(sorted(names))}",
                f"Give a graph with one input and an output named '{FEATURES}'",
            )
        cut = ov.Model([port], model.get_parameters())
        cut.reshape([1, 3, side, side])
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1][:200]
        raise ModelMismatch(str(path), f"OpenVINO cannot use it ({first})", "Export it again") from error
    return cut


def _openvino(model: Any, threads: int) -> ImageRunner:
    """A runner with `threads` images at once, one thread to each."""
    ov = silent_openvino()

    properties = {
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,  # several runs on one node would be pinned to the same cores
    }
    ready = ov.Core().compile_model(model, "CPU", properties)

    def run(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        found: dict[int, np.ndarray] = {}
        queue = ov.AsyncInferQueue(ready, 2 * threads)
        queue.set_callback(lambda request, at: found.__setitem__(at, request.get_output_tensor().data[0].copy()))
        for number, image in enumerate(images):  # waits when all are busy
            queue.start_async({0: image[None]}, number)
        queue.wait_all()
        for number in range(len(found)):
            yield found[number]

    return run


def checked(inner: ImageRunner) -> ImageRunner:
    """The runner, which raises ModelMismatch rather than give features that nothing can be made of."""

    def run(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for feature in inner(images):
            flat = feature.reshape(-1).astype(np.float32, copy=False)
            if not 1 <= flat.size <= MOST_FEATURES:
                raise ModelMismatch("encoder", f"it gives {flat.size} features", f"Take one of 1 to {MOST_FEATURES}")
            if not np.isfinite(flat).all():
                raise ModelMismatch("encoder", "it gives numbers that are not finite", "Check its weights and scaling")
            yield flat

    return run

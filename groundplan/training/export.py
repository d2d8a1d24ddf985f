"""Model export: the trained network as an ONNX graph.

Here: tracing and metadata. Not here: running it (inference/).
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from groundplan.training.settings import TrainSettings
from groundplan.inference.onnx import OPSET
from groundplan.training.network import OUTPUTS, Scale, load_state, normalization_text, scale_of, to_grid, to_network

PREFIX = "network."
"""What stands before a weight's own name in a graph that is `named`."""


def export(state: Mapping[str, torch.Tensor], settings: TrainSettings, *, named: bool = False) -> bytes:
    """The trained network as an ONNX graph that needs nothing around it.

    named: every weight in float16 under its own name, not folded into others, so that `state_in` finds the state again:
    half the size, and a file that can be learned on from.

    Input `window`: uint8 (N, bands, H, W) at grid resolution, H and W multiples of `scale_of(settings).step`.
    Output `probability`: uint8 (N, 2, H, W), round(255 * sigmoid) of building and edge. Normalisation, the resize to
    the network's resolution and back (of logits, bilinear) and the sigmoid are inside. Metadata: bands, resolutions in
    metres, step, outputs, encoder.
    """
    import onnx
    import torch

    scale = scale_of(settings)
    graph = whole_graph(load_state(state, settings), scale)
    example = torch.zeros((1, settings.bands, scale.step, scale.step), dtype=torch.uint8)
    axes = {0: "batch", 2: "height", 3: "width"}
    file: Any = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the newer exporter took 25 times as long
        torch.onnx.export(
            graph,
            (example,),
            file,
            input_names=["window"],
            output_names=["probability"],
            opset_version=OPSET,
            dynamic_axes={"window": axes, "probability": axes},
            training=torch.onnx.TrainingMode.PRESERVE if named else torch.onnx.TrainingMode.EVAL,
            do_constant_folding=not named,
            dynamo=False,
        )
    model = onnx.load_from_string(file.getvalue())
    if named:
        _halve(model.graph)
    facts = {
        "bands": settings.bands,
        "grid_resolution": settings.grid_resolution,
        "resolution": settings.grid_resolution / float(scale.ratio),
        "step": scale.step,
        "outputs": ",".join(OUTPUTS),
        "encoder": settings.encoder,
        "normalisation": normalization_text(state),
    }
    onnx.helper.set_model_props(model, {key: str(value) for key, value in facts.items()})
    return model.SerializeToString()


def _halve(graph: Any) -> None:
    """Keep the weights of a graph as float16, each with a cast to the float32 that it is computed in."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    weights = [w for w in graph.initializer if w.name.startswith(PREFIX) and w.data_type == TensorProto.FLOAT]
    cast = {weight.name: f"{weight.name}.float32" for weight in weights}
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = cast.get(name, name)
    for weight in weights:
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name))
        graph.node.insert(0, helper.make_node("Cast", [weight.name], [cast[weight.name]], to=TensorProto.FLOAT))


def state_in(onnx_bytes: bytes) -> dict[str, torch.Tensor]:
    """The state, float32, in a graph that is `named`; nothing of it in any other graph."""
    import onnx
    import torch
    from onnx import numpy_helper

    found = onnx.load_from_string(onnx_bytes).graph.initializer
    weights = {w.name.removeprefix(PREFIX): numpy_helper.to_array(w) for w in found if w.name.startswith(PREFIX)}
    return {name: torch.from_numpy(weight.astype("float32")) for name, weight in weights.items()}


def whole_graph(network: torch.nn.Module, scale: Scale) -> torch.nn.Module:
    """Inference graph, uint8 to uint8 at grid resolution: what `export` writes, and the oracle in tests."""
    import torch

    class ExportedNetwork(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, window: torch.Tensor) -> torch.Tensor:
            logits = to_grid(self.network(to_network(window.float(), scale)), scale, window.shape[2:])
            return torch.round(torch.sigmoid(logits) * 255).to(torch.uint8)

    return ExportedNetwork().eval()

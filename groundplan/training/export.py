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


def export(state: Mapping[str, torch.Tensor], settings: TrainSettings) -> bytes:
    """The trained network as an ONNX graph that needs nothing around it.

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
            dynamo=False,
        )
    model = onnx.load_from_string(file.getvalue())
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

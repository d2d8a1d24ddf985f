"""Networks of a few bytes that see something simple, for tests of what is around a network.

`bright` says that what is brighter than half is a building: real graphs, loaded and run as any other.
"""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np

THRESHOLDS = {"mask": 0.5, "seed": 0.45, "seed_area": 0.0, "min_area": 1.0}


def bright_graph(bands: int = 3) -> bytes:
    """ONNX: float32 (N, bands, H, W) of mean 0 and deviation 255 to the probability (N, 1, H, W) of being bright."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.full((1, bands, 1, 1), 24.0 / bands, np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weights", "bias"], ["level"]),
            helper.make_node("Sigmoid", ["level"], ["building"]),
        ],
        "bright",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", bands, "h", "w"])],
        [helper.make_tensor_value_info("building", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([-12.0], np.float32), "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="tests")
    model.ir_version = 9
    return bytes(model.SerializeToString())


def bright_card(resolution: float = 0.25, bands: int = 3) -> dict[str, object]:
    contract = {"mean": [0.0] * bands, "deviation": [255.0] * bands, "step": 8, "output": "probability"}
    return {
        "bands": [*range(1, bands + 1)],
        "resolution": resolution,
        "thresholds": THRESHOLDS,
        "contract": contract,
        "year": 2024,
        "source": "tests",
        "settings_print": "given",
        "steps": 0,
        "validation": {},
        "test": {},
    }


def bright_file(resolution: float = 0.25) -> bytes:
    """A model's file, as a project keeps it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.onnx", bright_graph())
        archive.writestr("card.json", json.dumps(bright_card(resolution)))
    return buffer.getvalue()

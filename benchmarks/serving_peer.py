"""LitServe with the same network and the same image, for benchmarks/serving.py; runs in an environment of its own.

    uv venv build/peer && uv pip install --python build/peer/bin/python litserve openvino pillow numpy
    build/peer/bin/python -P benchmarks/serving_peer.py model.onnx PORT THREADS

Decoding and inference as ours, no polygons: the peer has less to do. Its own defaults for everything else.
"""

from __future__ import annotations

import base64
import io
import sys

import litserve
import numpy as np


class Buildings(litserve.LitAPI):
    """A JPEG in base64 in, the share of building out."""

    def __init__(self, graph: str, threads: int) -> None:
        super().__init__()
        self.graph, self.threads = graph, threads

    def setup(self, device: str) -> None:
        import openvino as ov

        core = ov.Core()
        model = core.read_model(self.graph)
        model.reshape([1, 3, 512, 512])
        options = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": self.threads}
        options |= {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
        self.ready = core.compile_model(model, "CPU", options).create_infer_request()

    def decode_request(self, request: dict[str, str]) -> bytes:  # JSON, which is what it takes without more ado
        return base64.b64decode(request["image"])

    def predict(self, data: bytes) -> float:
        from PIL import Image

        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        window = np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]
        return float((self.ready.infer({0: window})[0][0, 0] > 127).mean())

    def encode_response(self, share: float) -> dict[str, float]:
        return {"share": share}


if __name__ == "__main__":
    api = Buildings(sys.argv[1], int(sys.argv[3]))
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=False)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, num_api_servers=1, log_level="error"
    )

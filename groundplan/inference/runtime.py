"""Applying an exported network to imagery: bytes of a graph in, probabilities out. Needs no training library.

Here: what every runtime can do, loading a graph onto the CPU (OpenVINO), one window. Not here: the runtime of torch
(torch_runtime.py), how the graph is made (`network`), a canvas of any size as a lattice of windows (sliding_window.py),
what is seen a second time by need (second_view.py), which precision "auto" is here (precision.py).

The graph holds normalisation, resizing and sigmoid, so nothing but cutting and pasting of uint8 happens in Python.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from groundplan.errors import ModelMismatch
from groundplan.foreign_reports import silent_openvino
from groundplan.inference.contract import Contract, wrapped
from groundplan.inference.empty_ground import is_empty
from groundplan.inference.precision import Precision, Way, fastest
from groundplan.inference.second_view import Views, seen_by_need

if TYPE_CHECKING:
    import openvino as ov


SIZES_READY = 6  # sizes of windows that stay compiled: blocks have one, single images have what people send
VIEWS: dict[Views, tuple[int, ...]] = {1: (0,), 2: (0, 2), 4: (0, 1, 2, 3), 8: (0, 1, 2, 3, 4, 5, 6, 7)}


class Runtime(Protocol):
    """A network that is ready to run, whatever runs it."""

    @property
    def bands(self) -> int: ...

    @property
    def step(self) -> int:
        """Sides of windows must be multiples of this many pixels."""

    @property
    def grid_resolution(self) -> float:
        """Metres per pixel of the imagery that the network was trained for."""

    @property
    def metadata(self) -> dict[str, str]: ...

    @property
    def views(self) -> Views:
        """1, 2, 4 or 8: how often each window is seen, turned, and the answers averaged; or by need."""

    def predict(self, window: np.ndarray, margin: int = 0) -> np.ndarray:
        """Probabilities uint8 (2, H, W) of building and edge, 0..255, for a window uint8 (bands, H, W).

        margin: pixels at the window's rim that nobody keeps, so that nothing is spent on them.
        """


def check_window(window: np.ndarray, bands: int, step: int) -> None:
    """Raises ModelMismatch for other bands, ValueError for another type or sides that `step` does not divide."""
    if window.ndim != 3 or window.shape[0] != bands:
        raise ModelMismatch(
            "model",
            f"it was trained on {bands} bands and the imagery is {window.shape}",
            "Train a model on imagery with these bands, or give imagery with the model's bands.",
        )
    if window.dtype != np.uint8 or any(side < 1 or side % step for side in window.shape[1:]):
        raise ValueError(f"need uint8 and sides that {step} divides, got {window.dtype} {window.shape}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVinoRuntime:
    """A graph that is ready to run. Windows of one size are compiled once, at the first of them."""

    bands: int
    step: int
    """Sides of windows must be multiples of this many pixels."""
    grid_resolution: float
    """Metres per pixel of the imagery that the network was trained for."""
    metadata: dict[str, str]
    views: Views
    """1, 2, 4 or 8: how often each window is seen, turned, and the answers averaged; "unsure": twice where needed."""
    skip_empty: bool = False
    """Whether windows that a coarse pass finds surely empty are not run (empty_ground.py)."""
    _model: ov.Model
    _compile: Callable[[ov.Model], Any]
    _ready: dict[tuple[int, int], Any] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def predict(self, window: np.ndarray, margin: int = 0) -> np.ndarray:
        """Probabilities uint8 (2, H, W) of building and edge, 0..255, for a window uint8 (bands, H, W).

        margin: pixels at the window's rim that nobody keeps, so that no second view is spent on them. The same
        window gives the same bytes. May be called from several threads; they take turns.

        Raises:
            ModelMismatch: the window has other bands than the model.
            ValueError: it is not uint8, or a side is not a multiple of `step`.
        """
        check_window(window, self.bands, self.step)
        with self._turn:
            if self.skip_empty and is_empty(window, margin, self.step, self._seen):
                return np.zeros((2, *window.shape[1:]), np.uint8)
            if self.views == "unsure":
                return seen_by_need(window, margin, self.step, self._seen)
            total: np.ndarray = np.stack([self._seen(window, view) for view in VIEWS[self.views]]).sum(axis=0)
        return ((total + self.views // 2) // self.views).astype(np.uint8)

    def _seen(self, window: np.ndarray, view: int) -> np.ndarray:
        """uint16 (2, H, W): what the network says of the window turned by `view` quarter turns (4 and up: mirrored)."""
        turned = np.rot90(window, view % 4, (1, 2))
        turned = np.ascontiguousarray(turned[:, :, ::-1] if view >= 4 else turned)
        said = self._request((turned.shape[1], turned.shape[2])).infer({0: turned[None]})[0][0].astype(np.uint16)
        return np.rot90(said[:, :, ::-1] if view >= 4 else said, -(view % 4), (1, 2))

    def _request(self, sides: tuple[int, int]) -> Any:
        request = self._ready.pop(sides, None)
        if request is None:
            model = self._model.clone()
            model.reshape([1, self.bands, *sides])  # known sizes let resizes and buffers be planned ahead
            request = self._compile(model).create_infer_request()
            while len(self._ready) >= SIZES_READY:
                del self._ready[next(iter(self._ready))]
        self._ready[sides] = request  # the last is the one that was used last
        return request


def load(
    onnx: bytes,
    *,
    threads: int,
    precision: Precision = "f32",
    views: Views = 1,
    contract: Contract | None = None,
    skip_empty: bool = False,
) -> OpenVinoRuntime:
    """A runtime on the CPU with `threads` threads that sees every window in so many `views`, or twice where needed.

    contract: of a network that was trained elsewhere; our own graphs state all of it in their metadata. skip_empty: do
    not run windows that a coarse pass finds surely empty.

    "bf16" may be faster or slower than "f32", by the CPU (measure it), and changes about 1 % of a mask's pixels; "f32"
    is the same as training's own arithmetic to within a rounding step, and what "f16" means here: no narrower. "auto"
    is bf16 where a trial of this network shows that to be faster here, else f32, of a graph with fewer multiplications
    (rearranged.py); `metadata["precision"]` says which.

    Raises:
        ModelMismatch: the bytes are not a graph that `network.export` made, or not what the contract states.
    """
    ov = silent_openvino()

    core = ov.Core()
    try:
        model = core.read_model(onnx)
        # OpenVINO keeps an ONNX file's metadata_props there
        metadata = dict(model.get_rt_info("framework").value) if model.has_rt_info("framework") else {}
        if contract is not None:
            metadata |= contract.as_metadata()
            model = wrapped(model, contract)
        bands, step, resolution = int(metadata["bands"]), int(metadata["step"]), float(metadata["grid_resolution"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelMismatch(
            "model file",
            f"it is not a graph that groundplan exported ({type(error).__name__}: {error})",
            "Export it again from the trained state.",
        ) from error
    if precision == "auto":
        way = fastest(core, model, (bands, step), threads, sha256(onnx).hexdigest())
    else:
        way = Way("bf16" if precision == "bf16" else "f32")
    return OpenVinoRuntime(
        bands=bands,
        step=step,
        grid_resolution=resolution,
        metadata=metadata | {"precision": way.precision},
        views=views,
        skip_empty=skip_empty,
        _model=model,
        _compile=lambda shaped: way.compile(core, shaped, threads),
    )

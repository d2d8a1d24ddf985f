"""Applying a network with torch: batches of windows on a GPU, or on the CPU through the same code.

Here: uint8 in, uint8 out on the device, views, and one captured graph for each shape of a batch. Not here: building the
network and its weights (training/torch_model.py), which windows there are (sliding_window.py, conveyor.py), the runtime
on processors (runtime.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from groundplan.inference.device_views import seen_by_need
from groundplan.inference.runtime import VIEWS, check_window

if TYPE_CHECKING:
    import torch

    from groundplan.inference.second_view import Views

WARMED = 3
"""Runs of a shape before it is captured: libraries choose their kernels and take their memory in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A shape of batch that is ready: write into `windows`, call `run`, read `said`; all on the current stream."""

    windows: torch.Tensor
    """uint8 (N, H, W, bands)."""
    said: torch.Tensor
    """uint8 (N, 2, H, W): of building and edge, 0..255."""
    run: Callable[[], None]
    pool: Any = None
    """The graph's memory, which others may use that never run at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchRuntime:
    """A network on a device. A batch of one shape is captured once, at the first of them."""

    bands: int
    step: int
    """Sides of windows must be multiples of this many pixels."""
    grid_resolution: float
    """Metres per pixel of the imagery that the network was trained for."""
    metadata: dict[str, str]
    views: Views
    """1, 2, 4 or 8: how often each window is seen, turned, and the answers averaged; "unsure": twice where needed, at
    the cost of the full budget (device_views.py)."""
    device: str
    """"cuda" or "cpu"."""
    tuned: bool = False
    """Let the library try its kernels and take the fastest: two runs may then give other bytes."""
    _logits: Callable[[torch.Tensor], torch.Tensor]
    """From uint8 (N, bands, H, W) to float32 (N, 2, H, W), both on the device."""
    _ready: dict[tuple[int, int, int, int], Captured] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def predict(self, window: np.ndarray, margin: int = 0) -> np.ndarray:
        """As the runtime on processors: uint8 (bands, H, W) to uint8 (2, H, W). Threads take turns.

        Raises:
            ModelMismatch: the window has other bands than the model.
            ValueError: it is not uint8, or a side is not a multiple of `step`.
        """
        import torch

        check_window(window, self.bands, self.step)
        given = torch.from_numpy(np.ascontiguousarray(window.transpose(1, 2, 0))[None])
        with self._turn:
            return self.said(given.to(self.device), margin)[0].cpu().numpy()

    def said(self, windows: torch.Tensor, margin: int = 0) -> torch.Tensor:
        """What the network says of windows uint8 (N, H, W, bands) on the device: uint8 (N, 2, H, W)."""
        import torch

        pixels = windows.permute(0, 3, 1, 2)  # interleaved bands are what torch calls channels last
        with torch.no_grad(), self._kernels():
            if self.views == "unsure":
                return seen_by_need(pixels, margin, self.step, self._seen)
            if self.views == 1:
                return self._seen(pixels, 0)
            total = sum(self._seen(pixels, view).to(torch.int16) for view in VIEWS[self.views])
            return torch.div(total + self.views // 2, self.views, rounding_mode="floor").to(torch.uint8)

    def _seen(self, pixels: torch.Tensor, view: int) -> torch.Tensor:
        """uint8 (N, 2, H, W): of windows turned by `view` quarter turns (4 and up: mirrored)."""
        import torch

        turned = torch.rot90(pixels, view % 4, (2, 3)) if view else pixels  # it copies what it does not turn
        turned = turned.flip(3) if view >= 4 else turned
        logits = self._logits(turned.contiguous(memory_format=torch.channels_last))
        levels = torch.sigmoid(logits).mul_(255).round_().to(torch.uint8)
        return torch.rot90(levels.flip(3) if view >= 4 else levels, -(view % 4), (2, 3)) if view else levels

    def _kernels(self) -> Any:
        """Which kernels convolutions may take: by default none whose bytes change from run to run, and no TF32."""
        import torch

        return torch.backends.cudnn.flags(
            enabled=True, benchmark=self.tuned, deterministic=not self.tuned, allow_tf32=False
        )

    def ready(self, count: int, high: int, wide: int, margin: int = 0) -> Captured:
        """A batch of so many windows of these sides, captured on a GPU. Raises torch.OutOfMemoryError."""
        import torch

        shape = (count, high, wide, margin)
        if shape not in self._ready:
            self._ready.clear()  # a captured graph keeps its memory
            windows = torch.zeros((count, high, wide, self.bands), dtype=torch.uint8, device=self.device)
            self._ready[shape] = (
                self._captured(windows, margin) if self.device == "cuda" else self._plain(windows, margin)
            )
        return self._ready[shape]

    def _plain(self, windows: torch.Tensor, margin: int) -> Captured:
        import torch

        said = torch.zeros((len(windows), 2, *windows.shape[1:3]), dtype=torch.uint8)

        def run() -> None:
            said.copy_(self.said(windows, margin))

        return Captured(windows=windows, said=said, run=run)

    def _captured(self, windows: torch.Tensor, margin: int) -> Captured:
        run, said, pool = capture(lambda: self.said(windows, margin))
        return Captured(windows=windows, said=said, run=run, pool=pool)


def capture(work: Callable[[], Any], pool: Any = None, warmed: int = WARMED) -> tuple[Callable[[], None], Any, Any]:
    """The kernels of `work` as one graph: launched by one call, instead of hundreds that the GPU waits for.

    Returns what runs it again, what it returned (tensors that each run fills anew), and its memory.
    """
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(warmed):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):  # others copy meanwhile
        found = work()
    return graph.replay, found, graph.pool()

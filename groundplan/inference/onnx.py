"""ONNX: the version of operators that models are exported with.

Here: what exporter and runtime must agree on. Not here: either of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

OPSET = 18

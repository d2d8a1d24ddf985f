"""Libraries that report their use to their makers over the network: brought in so that they report nothing.

Here: one function a library. Not here: warnings (core/foreign_warnings.py), nor Dagster's reports, which dagster.yaml
switches off.
"""

from __future__ import annotations

import sys
from typing import Any


def silent_openvino() -> Any:
    """The module `openvino`, whose import alone would send an event to its maker and leave a file in the home folder.

    It does without its reporter where that is not installed; so nothing of it is found. The event would besides be sent
    by a process that is forked beside our threads, which may hang and then outlive us.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # to Python: there is none
    import openvino

    return openvino

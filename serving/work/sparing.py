"""How often a camera's pictures are looked at for drift: figures of pixels cost a tenth of an answer, or more.

Here: the rule. Not here: the figures (groundplan/monitoring/figures.py), who asks (steps.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

AT_ONCE, EVERY = 20.0, 10.0  # pictures of a camera, and seconds for each one more: 8,600 a day
MOST_CAMERAS = 1000


@dataclass
class Sparing:
    """Of each camera AT_ONCE pictures, then one every EVERY seconds. Threads may ask at the same time."""

    clock: Callable[[], float] = time.monotonic
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def may(self, camera: str) -> bool:
        with self._lock:
            now = self.clock()
            left, at = self._left.pop(camera, (AT_ONCE, now))
            left = min(AT_ONCE, left + (now - at) / EVERY)
            self._left[camera] = (left - 1 if left >= 1 else left, now)
            while len(self._left) > MOST_CAMERAS:
                self._left.pop(next(iter(self._left)))
            return left >= 1

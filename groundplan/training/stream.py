"""Windows streamed from where they are kept: a country's labelled ground in bounded memory, by strata.

Here: which windows a step's crops come from, and how many of them are held. Not here: the order and the strata
(sampling.py), cutting a window out of blocks (scenes.py), crops (augment.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from groundplan.training.augment import CropSource
from groundplan.training.sampling import Order
from groundplan.training.scene import Scene
from groundplan.training.settings import TrainSettings

USES = 4
"""Crops that are taken of a window while it is held: to read and decode one costs as much as several crops of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Windows by their number, in an order that follows from the seed alone, so that a resumed training repeats it."""

    order: Order
    cut: Callable[[int], Scene]
    """The window of a number, from where it is kept."""

    @staticmethod
    def of(share: np.ndarray, cut: Callable[[int], Scene], settings: TrainSettings, most: int) -> Stream:
        """share: of all crops, by window; sum 1. most: windows that are held at once, at least a batch."""
        held = max(settings.batch, most // settings.batch * settings.batch)
        order = Order(share=share, seed=settings.seed, batch=settings.batch, held=held, uses=USES)
        return Stream(order=order, cut=cut)

    def __len__(self) -> int:
        return len(self.order.share)

    def first(self, most: int) -> list[Scene]:
        """The first windows that are learned from, each once."""
        return [self.cut(int(number)) for number in dict.fromkeys(self.order.chunk(0).tolist()[:most])]

    def sources(self, settings: TrainSettings) -> Callable[[int], list[CropSource]]:
        """What gives the windows of a step's crops, each as likely as the others; at most `order.held` are kept."""

        @lru_cache(maxsize=self.order.held)
        def ready(number: int) -> CropSource:
            return CropSource.of(replace(self.cut(number), weight=1.0), settings)

        return lambda step: [ready(int(number)) for number in self.order.of_step(max(step, 0))]

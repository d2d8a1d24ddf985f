"""The gallery: models in memory, by the names they are asked for, exchanged when an alias moves.

Here: loading beside what is used, warming up, swapping, keeping the old one where the new one cannot be used. Not here:
which version a name means (groundplan/single/registered.py), asking a model (predict.py).

A swap is one assignment: who was let in before it is answered by the old model, who comes after it by the new one. At
most one model more than `api.keep` is in memory, while one is exchanged.
"""

from __future__ import annotations

import asyncio
import io
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from groundplan.errors import BadConfig, GroundplanError, MissingInput
from groundplan.project import Project
from groundplan.registry.entries import ModelEntry
from groundplan.single.analyse import FootprintModel, SingleModel, analyse
from groundplan.single.prepare import prepare
from groundplan.single.registered import load_entry, model_names, resolve
from serving.api.problems import Problem

if TYPE_CHECKING:
    from groundplan.inference.runtime import Runtime

log = logging.getLogger("groundplan.api")

WARM = (256, 512)  # pixels: sides that are compiled before a model is used


@dataclass(frozen=True)
class Shown:
    """A model that is ready, and the version that it is."""

    entry: ModelEntry
    model: SingleModel
    word: str
    """By which it was asked for."""


def warm_up(model: SingleModel) -> None:
    """The sizes of window that most people send are compiled, and all that a building needs is imported."""
    from PIL import Image

    for side in WARM:
        buffer = io.BytesIO()
        Image.new("RGB", (side, side)).save(buffer, "JPEG")
        image = prepare(buffer.getvalue())
        analyse(image, model)
    if isinstance(model, FootprintModel):
        analyse(image, replace(model, runtime=_Certain(model.runtime)))  # type: ignore[arg-type]


class _Certain:
    """In place of a network: one that sees a building in the middle of everything."""

    def __init__(self, runtime: Runtime) -> None:
        self.bands, self.step, self.grid_resolution = runtime.bands, runtime.step, runtime.grid_resolution

    def predict(self, window: np.ndarray) -> np.ndarray:
        said = np.zeros((2, *window.shape[1:]), np.uint8)
        high, wide = window.shape[1:]
        said[0, high // 4 : high // 2, wide // 4 : wide // 2] = 255
        return said


Load = Callable[[Project, ModelEntry, int], SingleModel]


@dataclass(kw_only=True)
class Gallery:
    """Models in memory. `look` runs in its own thread; all else on the event loop."""

    project: Project
    threads: int
    load: Load = load_entry
    shown: dict[str, Shown] = field(default_factory=dict)
    """By the word that they are asked by. Only the gallery's own thread writes here."""
    used: dict[str, float] = field(default_factory=dict)
    """When each was asked for the last time."""
    faults: dict[str, str] = field(default_factory=dict)
    """Why the version that a word means is not used, in words for the log."""
    looked: bool = False
    """Whether the first look is over."""
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "gallery"))

    async def need(self, word: str) -> Shown:
        """The model that a word means. Raises Problem 404 where there is none, 503 where it cannot be used now."""
        found = self.shown.get(word)
        if found is None:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._bring, word)
        self.used[word] = time.monotonic()  # of a word that means something: others would fill the memory
        return found

    async def follow(self, seconds: float) -> None:
        """Look for ever whether aliases moved."""
        while True:
            with suppress(Exception):  # whatever it is, the models that are there go on answering
                await self.look_soon()
            await asyncio.sleep(seconds)

    async def look_soon(self) -> None:
        """`look`, when what is being loaded is."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.look)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    # --------------------------------------------------------------------------------- in the gallery's thread

    def look(self) -> None:
        """Bring what is used up to what names mean now: the configured names, and what else is in memory."""
        try:
            self._discover()
            for word in dict.fromkeys([*self.shown, *model_names(self.project)[: self.project.settings.api.keep]]):
                self._renew(word)
        finally:
            self.looked = True

    def _discover(self) -> None:
        from groundplan.promotion.found import discover

        try:
            discover(self.project)
        except GroundplanError as error:  # of a store that may only be read: what is registered is enough
            log.warning("models could not be entered into the registry: %s", error)

    def _renew(self, word: str) -> None:
        before = self.shown.get(word)
        try:
            entry = resolve(self.project, word)
            if before is None or entry.version != before.entry.version:
                self._show(word, self._ready(entry, word))
                log.info("model %s is %s now", word, entry.version)
            self.faults.pop(word, None)
        except Exception as error:  # a file that is broken can trip a runtime in any way; the old model goes on
            if self.faults.get(word) != str(error):
                log.error("model %s cannot be exchanged: %s", word, error)
            self.faults[word] = str(error)

    def _bring(self, word: str) -> Shown:
        if word in self.shown:  # another brought it while this one waited
            return self.shown[word]
        try:
            entry = resolve(self.project, word)
        except (BadConfig, MissingInput) as error:
            raise Problem(404, "model", "There is no model of that name; GET /v1/models lists them") from error
        except GroundplanError as error:
            raise Problem(503, "store", "The store does not answer", retry=5) from error
        for other in list(self.shown.values()):
            if (other.entry.name, other.entry.version) == (entry.name, entry.version):
                return self._show(word, replace(other, word=word))
        try:
            return self._show(word, self._ready(entry, word))
        except Exception as error:
            self.faults[word] = str(error)
            log.error("model %s cannot be used: %s", word, error)
            raise Problem(503, "model", "That model cannot be used now", retry=60) from error

    def _ready(self, entry: ModelEntry, word: str) -> Shown:
        """Loaded and warmed up: the first who asks does not wait for the compiler."""
        model = self.load(self.project, entry, self.threads)
        warm_up(model)
        return Shown(entry, model, word)

    def _show(self, word: str, new: Shown) -> Shown:
        """From now on the word means it. Models beyond `api.keep` go, the longest unused first."""
        self.shown[word] = new
        while len({id(shown.model) for shown in self.shown.values()}) > self.project.settings.api.keep:
            others = [other for other in self.shown if other != word]
            oldest = min(others, key=lambda other: self.used.get(other, 0.0))
            del self.shown[oldest]
            self.used.pop(oldest, None)
        return new

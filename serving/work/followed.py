"""Models of the worker, by the words that messages name, exchanged when an alias moves.

Here: loading at first need, looking now and then, keeping the old one where the new one cannot be used. Not here: what
a word means (groundplan/single/registered.py), the service's own models (serving/api/gallery.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from groundplan.errors import BadConfig, MissingInput
from groundplan.project import Project
from groundplan.registry.entries import ModelEntry
from groundplan.single.analyse import SingleModel

log = logging.getLogger("groundplan.work")


@dataclass(slots=True)
class _Known:
    version: str
    model: SingleModel
    looked: float


class FollowedModels:
    """Models in memory, for all lanes of a process; lanes that need one that is not there wait for each other."""

    def __init__(
        self, project: Project, threads: int = 1, clock: Callable[[], float] = time.monotonic, most: int = 8
    ) -> None:
        self.project, self.threads, self.clock, self.most = project, threads, clock, most
        self._known: dict[str, _Known] = {}
        self._turn = threading.Lock()

    def need(self, word: str) -> SingleModel:
        """The model that `name`, `name@alias` or `name@version` means now, or meant until it could not be loaded.

        Raises BadConfig, MissingInput, ModelMismatch, StoreFailed where none was ever loaded.
        """
        with self._turn:
            known = self._known.get(word)
            if known and self.clock() - known.looked < self.project.settings.api.follow_seconds:
                return known.model
            try:
                return self._renewed(word, known)
            except Exception as error:  # a file that is broken can trip a runtime in any way
                if known is None:
                    raise
                known.looked = self.clock()
                log.error("model %s cannot be exchanged, %s goes on: %s", word, known.version, error)
                return known.model

    def _renewed(self, word: str, known: _Known | None) -> SingleModel:
        entry = self._resolved(word)
        if known and known.version == entry.version:
            known.looked = self.clock()
            return known.model
        from groundplan.single.registered import load_entry

        model = load_entry(self.project, entry, self.threads)
        self._known[word] = _Known(entry.version, model, self.clock())
        while len(self._known) > self.most:
            self._known.pop(next(iter(self._known)))
        log.info("model %s is %s now", word, entry.version)
        return model

    def _resolved(self, word: str) -> ModelEntry:
        """What a word means; models that were made and never entered are entered first."""
        from groundplan.promotion.found import discover
        from groundplan.single.registered import resolve

        try:
            return resolve(self.project, word)
        except (BadConfig, MissingInput):
            discover(self.project)
            return resolve(self.project, word)
